"""Showing results: a sheet of sentences and tables, as text in a terminal and as HTML in a notebook.

What is shown is a value first (:class:`Sheet`), so that both forms say the same. The HTML is whole
in itself, without scripts; it takes the colours of the page it stands in, and every mark has a word
beside it. Whatever comes from data is escaped, and what cannot be seen is shown as its code.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from io import StringIO
from typing import TypeAlias

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

ACCENT = "cyan"
LEAST_WIDTH, MOST_WIDTH = 60, 140
CELL_CHARACTERS = 400
"""Most characters of a text that a cell or a line shows."""
SAID_CHARACTERS = 80
"""How wide a line of progress is wiped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sign:
    """How a word is marked: its sign, its colour in a terminal, its class in HTML."""

    sign: str
    style: str
    tone: str


_GOOD = Sign(sign="✓", style="green", tone="good")
_BAD = Sign(sign="✗", style="red", tone="bad")
_DOUBT = Sign(sign="?", style="yellow", tone="bad")
_PLAIN = Sign(sign="·", style="dim", tone="plain")
SIGNS = {
    **dict.fromkeys(("passed", "done", "live", "allowed", "verified"), _GOOD),
    **dict.fromkeys(("failed", "refused", "denied", "broken", "violated", "missing"), _BAD),
    **dict.fromkeys(("unknown", "waiting"), _DOUBT),
    **dict.fromkeys(("skipped", "note"), _PLAIN),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A word that says how something stands: a key of :data:`SIGNS`, and after a semicolon what limits it."""

    word: str

    @property
    def sign(self) -> Sign:
        """How it is marked."""
        return SIGNS.get(self.word.partition(";")[0], _PLAIN)


Cell: TypeAlias = "str | Mark"


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """A table: the first cell of each row names it; ``right`` names the columns of numbers."""

    caption: str
    headings: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    right: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """What a result has to say: a title, marked sentences, tables, notes, and what to do next."""

    title: str
    lead: tuple[tuple[Mark, str], ...] = ()
    grids: tuple[Grid, ...] = ()
    notes: tuple[str, ...] = ()
    next: tuple[str, ...] = ()


class Shown:
    """What shows itself by its sheet: as a table in a terminal, as HTML in a notebook."""

    __slots__ = ()

    def sheet(self) -> Sheet:
        """What there is to see."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return as_text(self.sheet())

    def _repr_html_(self) -> str:
        return as_html(self.sheet())


def visible(text: str) -> str:
    """The text, bounded, with each letter that cannot be seen, or acts on a terminal, as its code."""
    bounded = text if len(text) <= CELL_CHARACTERS else f"{text[: CELL_CHARACTERS - 1]}…"
    return "".join(letter if letter.isprintable() else f"<U+{ord(letter):04X}>" for letter in bounded)


def say(text: str) -> None:
    """Say what is going on: on standard error, and in a notebook in one line that the next one replaces."""
    line = f"· {visible(text)}" if text else ""
    if "ipykernel" in sys.modules:
        sys.stdout.write(f"\r{line:<{SAID_CHARACTERS}}\r{line}")
        sys.stdout.flush()
    elif line:
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()


# ---- text ------------------------------------------------------------------------------------------


def as_text(sheet: Sheet) -> str:
    """The sheet for a terminal, as wide as it is; coloured where standard output is one."""
    width = min(max(shutil.get_terminal_size((100, 24)).columns, LEAST_WIDTH), MOST_WIDTH)
    out = StringIO()
    console = Console(
        file=out,
        width=width,
        force_terminal=sys.stdout.isatty(),
        force_jupyter=False,  # else it would show itself beside the HTML
        highlight=False,
        legacy_windows=False,
    )
    console.print(Text(visible(sheet.title), style=f"bold {ACCENT}"))
    for mark, sentence in sheet.lead:
        console.print(_marked(mark), Text(visible(sentence)))
    for grid in sheet.grids:
        console.print()
        if grid.caption:
            console.print(Text(visible(grid.caption), style="bold"))
        console.print(_table(grid))
    for note in sheet.notes:
        console.print(_hanging("", Text(visible(note), style="dim")))
    for step in sheet.next:
        console.print(_hanging("→", Text(visible(step))))
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


def _hanging(sign: str, text: Text) -> Table:
    """A sign, and a text whose further lines stand under its first one."""
    line = Table.grid(padding=(0, 1))
    line.add_row(Text(sign or " ", style=ACCENT), text)
    return line


def _marked(mark: Mark) -> Text:
    return Text(f"{mark.sign.sign} {mark.word}", style=mark.sign.style)


def _table(grid: Grid) -> Table:
    table = Table(box=SIMPLE_HEAD, header_style=f"bold {ACCENT}")
    for heading in grid.headings:
        table.add_column(
            Text(visible(heading)), overflow="fold", justify="right" if heading in grid.right else "left"
        )
    for row in grid.rows:
        table.add_row(*(_marked(cell) if isinstance(cell, Mark) else Text(visible(cell)) for cell in row))
    return table


# ---- HTML ------------------------------------------------------------------------------------------

# Text, lines and ground are those of the page; only the accent and the red of a refusal are our own,
# each in a form for light and for dark grounds (contrast at least 4.5 to 1 on both).
_STYLE = """
.gw{--gw-accent:#00677d;--gw-bad:#b3261e;--gw-line:color-mix(in srgb,currentColor 22%,transparent);
color:inherit;font:14px/1.5 var(--jp-content-font-family,system-ui,sans-serif);max-width:62rem;margin:.4rem 0}
@media (prefers-color-scheme:dark){.gw{--gw-accent:#5cc8de;--gw-bad:#ff8a80}}
body[data-jp-theme-light=true] .gw,body.vscode-light .gw{--gw-accent:#00677d;--gw-bad:#b3261e}
body[data-jp-theme-light=false] .gw,body.vscode-dark .gw{--gw-accent:#5cc8de;--gw-bad:#ff8a80}
.gw .gw-title{font-size:1.2em;font-weight:600;margin:0 0 .25rem;padding-left:.6rem;
border-left:.22rem solid var(--gw-accent)}
.gw .gw-line{margin:.25rem 0}
.gw .gw-mark{white-space:nowrap;font-weight:600;margin-right:.35rem}
.gw .gw-good,.gw .gw-next b{color:var(--gw-accent)}
.gw .gw-bad{color:var(--gw-bad)}
.gw .gw-plain,.gw .gw-note{opacity:.75}
.gw .gw-note,.gw .gw-next{margin:.2rem 0}
.gw table{border-collapse:collapse;margin:.9rem 0;font-size:1em;color:inherit;background:none;border:0}
.gw caption{text-align:left;font-weight:600;padding:0 0 .3rem;caption-side:top;color:inherit}
.gw tr,.gw thead,.gw tbody tr:nth-child(n),.gw tbody tr:hover{background:none;border:0}
.gw th,.gw td{text-align:left;vertical-align:top;padding:.32rem 1.1rem .32rem 0;border:0;
border-bottom:1px solid var(--gw-line);font-weight:400;line-height:1.5;white-space:normal;max-width:38rem;overflow-wrap:anywhere}
.gw thead th{font-size:.86em;letter-spacing:.02em;opacity:.8;border-bottom-color:currentColor}
.gw tbody th{font-weight:500}
.gw .gw-number{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
"""


def as_html(sheet: Sheet) -> str:
    """The sheet as one HTML element: its own style, no script, nothing fetched."""
    parts = [f'<div class="gw" role="group" aria-label="{_safe(sheet.title)}"><style>{_STYLE}</style>']
    parts.append(f'<p class="gw-title">{_safe(sheet.title)}</p>')
    parts += [f'<p class="gw-line">{_html_mark(mark)} {_safe(sentence)}</p>' for mark, sentence in sheet.lead]
    parts += [_html_table(grid) for grid in sheet.grids]
    parts += [f'<p class="gw-note">{_safe(note)}</p>' for note in sheet.notes]
    parts += [f'<p class="gw-next"><b aria-hidden="true">→</b> {_safe(step)}</p>' for step in sheet.next]
    return "".join((*parts, "</div>"))


def _safe(text: str) -> str:
    return escape(visible(text), quote=True)


def _html_mark(mark: Mark) -> str:
    return (
        f'<span class="gw-mark gw-{mark.sign.tone}"><span aria-hidden="true">{mark.sign.sign} </span>'
        f"{_safe(mark.word)}</span>"
    )


def _html_table(grid: Grid) -> str:
    numbers = [heading in grid.right for heading in grid.headings]
    head = "".join(
        f'<th scope="col"{_class(number)}>{_safe(heading)}</th>'
        for heading, number in zip(grid.headings, numbers, strict=True)
    )
    body = "".join(f"<tr>{_html_row(row, numbers)}</tr>" for row in grid.rows)
    caption = f"<caption>{_safe(grid.caption)}</caption>" if grid.caption else ""
    return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _html_row(row: Sequence[Cell], numbers: Sequence[bool]) -> str:
    cells = [_html_mark(cell) if isinstance(cell, Mark) else _safe(cell) for cell in row]
    first, *others = zip(cells, numbers, strict=True)
    return f'<th scope="row"{_class(first[1])}>{first[0]}</th>' + "".join(
        f"<td{_class(number)}>{cell}</td>" for cell, number in others
    )


def _class(number: bool) -> str:  # noqa: FBT001 - one private question
    return ' class="gw-number"' if number else ""
