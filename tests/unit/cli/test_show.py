"""Showing: what came from outside is printed as it is, markup or not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gatewright.cli import show
from gatewright.kernel.errors import Refusal
from scenario.world import Home, inside

MARKUP = ("[red]", "[/]", "[bold]x[/bold]", "[link=a]b[/link]", "\\[red]", "[red]x.onnx")


@pytest.mark.parametrize("text", MARKUP)
def test_markup_in_words_is_printed_literally(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Lines, hints and failures print brackets as brackets."""
    show.line(text)
    show.done(text)
    show.hint(text)
    show.failure(Refusal(code="a.b", what=text, why=text, next=text, place=text), machine=False)
    printed = capsys.readouterr()
    assert (3, 4) == (printed.out.count(text), printed.err.count(text))


@pytest.mark.parametrize("text", MARKUP)
def test_markup_in_arguments_is_printed_literally(lived_in: Home, text: str) -> None:
    """A path or name with brackets comes back in the error as it was typed."""
    for arguments in (("model", "add", text, "--name", "a", "--trained-on", "loans"), ("check", text)):
        ran = inside(lived_in.root, *arguments)
        assert 2 == ran.code
        assert text in ran.err.replace("\\\\", "\\")


def test_markup_in_columns_and_remarks_is_printed_literally(nowhere: Path) -> None:
    """Columns, classes and datasheets with brackets stand in the tables as they are."""
    home = Home(root=nowhere)
    home.do("init", "--owner", "ada")
    rows = [
        '"[red]age","[/]",[bold]',
        *(f"{n},{n * 7 % 5},{'[no]' if n % 2 else '[/yes]'}" for n in range(60)),
    ]
    for name in ("a.csv", "b.csv"):
        (home.root / name).write_text("\n".join(rows) + "\n", "utf-8")
    home.do(
        "data", "add", "odd", "--train", "a.csv", "--test", "b.csv", "--target", "[bold]",
        "--sensitive", "[red]age", "--slice", "[/]", "--title", "[blink]all",
    )  # fmt: skip
    shown = inside(home.root, "data", "show", "odd")
    assert 0 == shown.code, shown.err
    for text in ("[red]age", "[/]", "[bold]", "[blink]all"):
        assert text in shown.out
    assert "[red]age" in inside(home.root, "data", "list").out


def test_a_dataset_is_shown_in_plain_words(nowhere: Path) -> None:
    """Lists read as words, the task stays on its line, and nothing internal stands in the datasheet."""
    home = Home(root=nowhere)
    home.do("init", "--owner", "ada")
    rows = ["id,age,repaid", *(f"P{n},{n * 7 % 31},{n % 2}" for n in range(60))]
    (home.root / "all.csv").write_text("\n".join(rows) + "\n", "utf-8")
    split = inside(
        home.root, "data", "split", "all.csv", "--name", "people", "--target", "repaid", "--drop", "id", "--out",
        "parts", "--description", "sixty people", "--allowed-use", "tests", "--allowed-use", "examples",
    )  # fmt: skip
    assert 0 == split.code, split.err
    assert "Taken out, and no features: id." in split.out
    assert "readable by you alone (mode 0600)" in split.out
    shown = inside(home.root, "data", "show", "people").out
    lines = [" ".join(line.split()) for line in shown.splitlines()]
    assert {"allowed uses tests, examples", "description sixty people", "legal basis not stated"} <= set(
        lines
    )
    assert "sensitive columns not stated" in lines
    assert [] == [line for line in lines if line.startswith("v ") or "[" in line]
    assert "people@1 binary-classification repaid" in " ".join(
        inside(home.root, "data", "list", extra={"COLUMNS": "80"}).out.split()
    )


def test_a_document_is_sorted_and_keeps_its_letters(capsys: pytest.CaptureFixture[str]) -> None:
    """JSON for machines has a stable order and no escapes for letters of other scripts."""
    show.as_json({"b": "é", "a": [1.5, None]})
    printed = capsys.readouterr().out
    assert {"b": "é", "a": [1.5, None]} == json.loads(printed)
    assert printed.index('"a"') < printed.index("é")


def test_every_outcome_has_a_mark_with_its_word() -> None:
    """Colour is never the only sign of an outcome."""
    for word in ("passed", "failed", "unknown", "skipped", "broken", "allow", "deny", "needs-approval"):
        assert word in show.mark(word)
        assert show.MARKS[word][1] in show.mark(word)
    assert "\\[red]" == show.mark("[red]")


@pytest.mark.parametrize("columns", ["40", "80"])
def test_no_word_of_a_table_is_broken(columns: str) -> None:
    """However narrow the terminal, times, numbers, names and words stay whole; only digests are folded."""
    cells = (
        "2026-11-21T16:52:40Z",
        "a-long-name-of-a-release@12",
        "champion again, after a rollback",
        "1,234,567",
    )
    script = (
        "from gatewright.cli import show\n"
        f"show.table(('time', 'release', 'place', 'no.', 'root'), [({', '.join(map(repr, cells))}, 'ab' * 32)], right=('no.',))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True, text=True, check=True, env={**os.environ, "COLUMNS": columns},
    )  # fmt: skip
    printed = ran.stdout.split()
    assert [word for cell in cells for word in cell.split() if word not in printed] == []
    assert "ab" * 32 not in printed
    assert "ab" * 32 == "".join(word for word in printed if set(word) == {"a", "b"})


@pytest.mark.parametrize("count", [0, 1, 3])
@pytest.mark.parametrize("beside", [None, {"from": "a", "to": "\u202eb\n"}])
def test_a_long_list_is_the_same_document(
    count: int, beside: dict[str, str] | None, capsys: pytest.CaptureFixture[str]
) -> None:
    """A list that is written item by item is the document that it would be at once, to the letter."""
    items = [{"b": [number, {}], "a": "x\n\u2028y"} for number in range(count)]
    show.as_json(items if beside is None else {"changes": items, **beside})
    whole = capsys.readouterr().out
    show.as_json_list(iter(items), name="changes", beside=beside)
    assert whole == capsys.readouterr().out


def test_a_list_that_cannot_be_finished_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """An item that fails leaves standard output to the one document that says so."""

    def failing() -> Iterator[int]:
        yield 1
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011 - the one that is raised above
        show.as_json_list(failing(), name="changes")
    assert "" == capsys.readouterr().out


@pytest.mark.parametrize("word", ["a\nb", "a\rb", "a\x1b[31mb", "a\x9bb", "a\u202eb", "a\u200bb", "a\u2028b"])
def test_what_cannot_be_seen_is_shown_as_its_code(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Line ends and invisible letters of data stand in tables and lines as codes, in JSON as escapes."""
    code = f"a<U+{ord(word[1]):04X}>"
    show.line(word)
    show.table(("x",), [(show.escape(word),)])
    assert 2 == capsys.readouterr().out.count(code)
    show.as_json(word)
    document = capsys.readouterr().out
    assert word == json.loads(document)
    assert document.isascii()
    assert document[:-1].isprintable()
