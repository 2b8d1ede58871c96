"""Showing results: one JSON document for machines, plain sentences and tables for people.

Results go to standard output, progress and errors to standard error, so that ``--json`` can be
piped. Colours only where a terminal reads them; every mark has a word beside it.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from tempfile import TemporaryFile
from textwrap import indent
from typing import Any

from rich import markup
from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from gatewright.kernel.errors import Refusal

ACCENT = "cyan"
HIDDEN = frozenset({"Cc", "Cf", "Co", "Cs", "Zl", "Zp"})
"""Unicode categories that a reader cannot see or that act on the terminal."""
_UNUSUAL = re.compile(r"[^\x20-\x7e]")
INDENT = 2
WHOLE = 40
"""A longer word of a table, such as a digest, may be broken where there is no room."""
GAP = 3
"""What stands between two columns."""
STEP = 1_000_000
_BLOCK = 65_536
"""How many records a log is read at once."""
MARKS = {
    "passed": ("green", "✓"),
    "ok": ("green", "✓"),
    "allow": ("green", "✓"),
    "needs-approval": ("yellow", "…"),
    "skipped": ("dim", "–"),
    "unknown": ("yellow", "?"),
    "failed": ("red", "✗"),
    "violated": ("red", "✗"),
    "missing": ("red", "✗"),
    "deny": ("red", "✗"),
    "broken": ("red", "!"),
}

out = Console(soft_wrap=True, highlight=False)
err = Console(stderr=True, soft_wrap=True, highlight=False)


def escape(text: str) -> str:
    """Text as markup that shows it as it is: no markup of its own, no control of the terminal.

    Control and format characters (escape sequences, reversed writing, zero width) come from whoever
    named a file, a class or a column; each is shown as its code.
    """
    return markup.escape(harmless(text))


def harmless(text: str) -> str:
    """Text without controls of the terminal, each shown as its code: a line stays one line."""
    return _UNUSUAL.sub(lambda found: f"<U+{ord(found[0]):04X}>" if _hidden(found[0]) else found[0], text)


def _hidden(letter: str) -> bool:
    return unicodedata.category(letter) in HIDDEN


def as_json(value: Any) -> None:
    """Print one JSON document; what acts on a terminal or cannot be seen is escaped, as JSON allows."""
    sys.stdout.write(_safe(json.dumps(value, indent=INDENT, ensure_ascii=False, sort_keys=True)) + "\n")


def as_json_list(items: Iterable[Any], *, name: str, beside: Mapping[str, Any] | None = None) -> None:
    """Print one JSON document of many items: a list, or an object with the list under ``name``.

    What cannot be finished prints nothing; until then the items lie in a temporary file, so that one
    of them at a time is held. ``name`` comes before the names in ``beside``.
    """
    deep = 0 if beside is None else INDENT
    with TemporaryFile("w+", encoding="utf-8", errors="surrogatepass") as spool:
        count = 0
        for count, item in enumerate(items, 1):
            written = json.dumps(item, indent=INDENT, ensure_ascii=False, sort_keys=True)
            spool.write(",\n" if count > 1 else "\n")
            spool.write(indent(_safe(written), " " * (deep + INDENT)))
        spool.seek(0)
        sys.stdout.write("[" if beside is None else f'{{\n  "{name}": [')
        shutil.copyfileobj(spool, sys.stdout)
        sys.stdout.write(f"\n{' ' * deep}]" if count else "]")
    for key, value in sorted((beside or {}).items()):
        sys.stdout.write(f',\n  "{key}": {_safe(json.dumps(value, ensure_ascii=False))}')
    sys.stdout.write("\n" if beside is None else "\n}\n")


def _safe(document: str) -> str:
    """The same JSON: a hidden letter, which only texts can hold, by its escape; line ends between values stay."""
    return _UNUSUAL.sub(
        lambda found: json.dumps(found[0])[1:-1] if found[0] != "\n" and _hidden(found[0]) else found[0],
        document,
    )


def mark(word: str) -> str:
    """A word with its sign and colour, as markup."""
    style, sign = MARKS.get(word, ("", ""))
    return f"[{style}]{sign} {escape(word)}[/]" if style else escape(word)


def line(text: str = "", *, style: str = "") -> None:
    """Print one line of plain text."""
    out.print(harmless(text), style=style or None, markup=False)


def seconds(time: str) -> str:
    """A time for people: to the second; ``--json`` has the rest."""
    return f"{time[:19]}Z"


def done(text: str) -> None:
    """Print that something was done."""
    out.print(f"[green]✓[/] {escape(text)}")


def hint(text: str) -> None:
    """Print what to do next."""
    out.print(f"[{ACCENT}]→[/] {escape(text)}")


def progress(text: str) -> None:
    """Say what is going on, on standard error."""
    err.print(f"[dim]· {escape(text)}[/]")


def records_read(done: int, of: int) -> None:
    """Say how many records of a log were read, each time another million is done."""
    if of >= STEP and (done == of or done // STEP > (done - _BLOCK) // STEP):
        progress(f"{done:,} of {of:,} records read.")


def table(
    headings: Sequence[str], rows: Iterable[Sequence[str]], *, title: str = "", right: Sequence[str] = ()
) -> None:
    """Print a table; cells may carry markup and must be escaped by the caller where they are data.

    ``right`` names the columns of numbers, which end at the same place. Times, numbers and names are
    whole: a narrow terminal gets longer lines rather than a broken word; digests alone are folded.
    """
    grid = Table(box=SIMPLE_HEAD, title=title or None, title_justify="left", header_style=f"bold {ACCENT}")
    for heading in headings:
        grid.add_column(heading, overflow="fold", justify="right" if heading in right else "left")
    for row in rows:
        grid.add_row(*row)
    needed = 0
    for column in grid.columns:
        column.min_width = max(_whole(each) for each in (column.header, *column.cells))
        needed += column.min_width + GAP
    out.print(grid, width=max(out.width, needed))


def _whole(cell: RenderableType) -> int:
    """The width of the longest word of a cell that is not to be broken."""
    words = Text.from_markup(str(cell)).plain.split()
    return max((cell_len(word) for word in words if len(word) <= WHOLE), default=1)


def failure(refusal: Refusal, *, machine: bool) -> None:
    """Say what went wrong, why, and what to do next."""
    if machine:
        as_json(
            {
                "error": {
                    "code": refusal.code,
                    "what": refusal.what,
                    "why": refusal.why,
                    "next": refusal.next,
                    "place": refusal.place,
                }
            }
        )
        return
    place = f" [dim](at {escape(refusal.place)})[/]" if refusal.place else ""
    err.print(f"[red]✗[/] [bold]{escape(refusal.what)}[/]{place}")
    if refusal.why:
        err.print(f"  {escape(refusal.why)}")
    if refusal.next:
        err.print(f"[{ACCENT}]→[/] {escape(refusal.next)}")
    err.print(f"  [dim]{escape(refusal.code)}[/]")
