"""AU-01 (Rack CVE-2025-27111, CVE-2025-57564) and AU-08 (LinkAce CVE-2026-45343): hostile words in records.

Line ends, terminal escapes (CSI, OSC, their eight-bit forms), reversed and invisible writing, markup and
scripts go into every place that takes text. Each leaves one record or a refusal; what is shown of it,
in tables, JSON or a log, acts on no terminal and forges no line.
"""

from __future__ import annotations

import html
import json
import socket
import sqlite3
from contextlib import closing
from pathlib import Path

import httpx
import numpy as np
import pytest

from attack.evidence.conftest import OWNER, Canary, Given, refused, unseen
from gatewright.adapters.ledger_file import read_ledger
from gatewright.cli import show
from gatewright.client.display import Grid, Sheet, as_html, as_text
from gatewright.kernel.errors import Refusal
from gatewright.ledger.records import Record
from gatewright.serving.logs import Log, LogForm
from scenario.world import FEATURES, Home, inside, loans

FORGED = "✓ All records hold"
WORDS = {
    "line end": f"x\n{FORGED}",
    "carriage return": f"x\r\n{FORGED}\r",
    "colours": "x\x1b[31mred\x1b[0m",
    "cleared screen": "x\x1b[2J\x1b[H",
    "title": "x\x1b]0;owned\x07",
    "link": "x\x1b]8;;http://127.0.0.1:9/\x1b\\y\x1b]8;;\x1b\\",
    "clipboard": "x\x1b]52;c;b3duZWQ=\x07",
    "eight-bit escape": "x\x9b31m",
    "backspaces": "x\b\b\b\x7f\x7f",
    "reversed": "x\u202egnp.exe",
    "isolated": "x\u2066y\u2069",
    "invisible": "x\u200b\u200d\ufeff\u2060",
    "line separators": "x\u2028y\u2029z\x85w\x0b\x0c",
    "tags": "x\U000e0041\U000e0042",
    "markup": "[bold red]x[/] [link=http://127.0.0.1:9/]y[/link]",
    "script": "<script>x</script><img src=x onerror=alert(1)>\"'",
    "template": "{{7*7}} ${7*7} $(touch marker) `touch marker` %s %n",
    "lookup": "${jndi:ldap://127.0.0.1:9/x}",
}
MIXED = {f"mixed {number}": " ".join([*WORDS.values()][number::2]) for number in range(2)}
"""The same, some at a time: for what takes longer."""
ALL = " ".join(WORDS.values())


def _records(home: Home) -> list[Record]:
    """Every record but those that the collector makes meanwhile."""
    found = [Record.decode(leaf) for leaf, _ in read_ledger(home.folder / "ledger.db").leaves]
    return [record for record in found if record.draft.kind != "predictions.sealed"]


@pytest.mark.parametrize("name", MIXED)
def test_au01_names_take_no_such_words(given: Given, canary: Canary, name: str) -> None:
    """People, keys, datasets, models and endpoints cannot be named so, and nothing is recorded of a try."""
    word, before = MIXED[name], len(_records(given.home))
    for arguments in (
        ("user", "add", word),
        ("key", "add", "loans", "--name", word),
        ("data", "add", word, "--train", "train.csv", "--test", "test.csv", "--target", "repaid"),
        ("model", "add", "v1.onnx", "--name", word, "--trained-on", "loans"),
        ("deploy", "loans@1", "--to", word),
        ("approve", "loans@1", "--as", word),
        ("release", "show", word),
        ("history", word, "--at", word),
        ("verify", word),
        ("why", word),
        ("check", word),
    ):
        if not all(arguments):
            continue
        refused(given.home.run(*arguments), canary)
        shown = inside(given.home.root, *arguments)
        assert [] == unseen(shown.out + shown.err)
        assert FORGED not in (shown.out + shown.err).splitlines()
    assert before == len(_records(given.home))


def test_au01_a_comment_is_one_record_and_is_shown_nowhere(given: Given) -> None:
    """Whatever an approver writes is one more record, encrypted; no command and no record shows it."""
    given.home.do("user", "add", "xerxes")
    before = len(_records(given.home))
    ran = given.home.run("approve", "loans@2", "--as", "xerxes", "--comment", ALL)
    assert 0 == ran.code, ran.out
    records = _records(given.home)
    assert before + 1 == len(records)
    assert b"touch marker" not in records[-1].encode()
    for arguments in (("release", "show", "loans@2"), ("release", "list"), ("history",), ("status",)):
        shown = inside(given.home.root, *arguments)
        assert [] == unseen(shown.out + shown.err)
        assert "touch marker" not in shown.out


def test_au01_files_columns_and_datasheets_of_such_words(tmp_path: Path, canary: Canary) -> None:
    """A dataset that is full of them is shown letter by letter, one line to a line, in tables and in JSON."""
    home = Home(root=tmp_path / "home")
    home.root.mkdir()
    home.do("init", "--owner", OWNER)
    odd = [f"c{number} {word}" for number, word in enumerate(WORDS.values()) if "\0" not in word]
    heading = ",".join('"' + word.replace('"', '""') + '"' for word in (*odd, "answer"))
    rows = [
        ",".join([*(str((n * 7 + c) % 11) for c in range(len(odd))), f'"{"no" if n % 2 else "yes"}"'])
        for n in range(80)
    ]
    for name in ("a.csv", "b.csv"):
        (home.root / name).write_bytes("\n".join([heading, *rows, ""]).encode())
    described = [part for option in ("title", "description", "origin") for part in (f"--{option}", ALL)]
    ran = home.run(
        "data", "add", "odd", "--train", "a.csv", "--test", "b.csv", "--target", "answer", *described
    )
    assert ran.code in (0, 2), ran.out
    if ran.code:
        refused(ran, canary)
    for arguments in (("data", "show", "odd"), ("data", "list"), ("data", "check", "odd"), ("status",)):
        for machine in ((), ("--json",)):
            shown = inside(home.root, *arguments, *machine)
            assert [] == unseen(shown.out + shown.err)
            assert FORGED not in [line.strip() for line in shown.out.splitlines()]


@pytest.mark.parametrize("name", MIXED)
def test_au01_a_file_of_such_a_name_is_one_refusal(given: Given, canary: Canary, name: str) -> None:
    """A model file with a hostile name that is refused leaves one record, and is named harmlessly."""
    file = given.home.root / (MIXED[name].replace("/", "_")[:80] + ".onnx")
    file.write_bytes(b"not a model")
    before = len(_records(given.home))
    refused(
        given.home.run("model", "add", file.name, "--name", "odd", "--trained-on", "loans"),
        canary,
        codes=(1, 2),
    )
    records = _records(given.home)
    assert [("model.refused")] == [record.draft.kind for record in records[before:]]
    shown = inside(given.home.root, "model", "add", file.name, "--name", "odd", "--trained-on", "loans")
    assert [] == unseen(shown.out + shown.err)
    file.unlink()


@pytest.mark.parametrize("name", MIXED)
def test_au01_callers_words_reach_no_log(given: Given, name: str) -> None:
    """Ids, names, headers and paths of a request are refused or quoted; the server's log keeps lines of its own."""
    word, said = MIXED[name], given.server.said()
    rows, _ = loans(1, 5)
    values = np.float32(rows[0]).tolist()
    tensor = {"name": "x", "shape": [1, len(FEATURES)], "datatype": "FP32", "data": values}
    place, key = "/v2/models/loans/infer", {"Authorization": f"Bearer {given.home.api_key}"}
    with httpx.Client(base_url=given.server.url, headers=key, timeout=60) as client:
        answers = [
            client.post(place, json=body)
            for body in (
                {"id": word, "inputs": [tensor]},
                {"inputs": [{**tensor, "name": word}]},
                {word: word, "inputs": [tensor]},
                {"inputs": [tensor], "parameters": {word: word}},
            )
        ]
    assert [] == [answer.text for answer in answers if answer.status_code >= 500]
    if answers[0].status_code == 200:  # an id belongs to its caller; our commands show it harmlessly
        (given.home.root / "named.json").write_bytes(answers[0].content)
        for arguments in (("verify", "named.json"), ("why", "named.json"), ("why", "named.json", "--json")):
            shown = inside(given.home.root, *arguments)
            assert (0, []) == (shown.code, unseen(shown.out + shown.err)), shown.out
            assert FORGED not in [line.strip() for line in shown.out.splitlines()]
    for header in ("X-Request-Id", "User-Agent", "X-Forwarded-For", "Traceparent", "Host"):
        assert _raw(given, place, f"{header}: {word}").startswith(b"HTTP/1.1 4")
    assert _raw(given, f"/v2/models/{word}/infer", "").startswith(b"HTTP/1.1 4")
    assert [] == unseen(given.server.said().removeprefix(said))
    assert FORGED not in given.server.said().splitlines()


def _raw(given: Given, path: str, header: str) -> bytes:
    """The answer to a request whose bytes no client library looks at; it has no key."""
    host, _, port = given.server.url.removeprefix("http://").partition(":")
    request = f"POST {path} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: 0\r\n{header}\r\n\r\n"
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(request.encode())
        return connection.recv(65_536)


@pytest.mark.parametrize("name", WORDS)
def test_au01_every_way_of_showing(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Lines, hints, marks, tables, failures and JSON show a word without its acting, and on one line."""
    word = WORDS[name]
    show.line(word)
    show.done(word)
    show.hint(word)
    show.progress(word)
    show.table(("a",), [(show.escape(word),)])
    show.failure(Refusal(code="a.b", what=word, why=word, next=word, place=word), machine=False)
    told = capsys.readouterr()
    assert [] == unseen(told.out + told.err)
    assert FORGED not in [line.strip() for line in (told.out + told.err).splitlines()]
    show.as_json({"word": word, word: [word]})
    document = capsys.readouterr().out
    assert [] == unseen(document)
    assert {"word": word, word: [word]} == json.loads(document)


@pytest.mark.parametrize("name", WORDS)
def test_au01_a_log_line_is_one_line(name: str) -> None:
    """A worker's line for machines is one line of ASCII, whatever a fact holds."""
    lines: list[str] = []
    Log(lines.append, LogForm.JSON).turned(why=WORDS[name], request=WORDS[name])
    (line,) = lines
    assert line.isascii()
    assert line.isprintable()
    assert WORDS[name] == json.loads(line)["why"]


@pytest.mark.parametrize("name", WORDS)
def test_au08_pages_show_and_do_nothing(name: str) -> None:
    """A sheet in a notebook is inert: every hostile word stands there as text."""
    word = WORDS[name]
    sheet = Sheet(title=word, grids=(Grid(caption=word, headings=("a",), rows=((word,),)),))
    page = as_html(sheet)
    assert "<script>x" not in page
    assert "<img src=x" not in page
    assert [] == unseen(page)
    assert [] == unseen(as_text(sheet))
    assert html.escape("<") not in WORDS["markup"]


def test_au01_the_index_holds_no_more_lines_than_records(given: Given) -> None:
    """After all of it the database has a row for each record and each row is that record."""
    with closing(sqlite3.connect(given.home.folder / "ledger.db")) as opened:
        subjects = [subject for (subject,) in opened.execute("SELECT subject FROM records ORDER BY seq")]
    found = read_ledger(given.home.folder / "ledger.db").leaves
    records = [Record.decode(leaf) for leaf, _ in found][: len(subjects)]
    assert [record.draft.subject for record in records] == subjects
    assert [] == [subject for subject in subjects if unseen(subject) or "\n" in subject]
