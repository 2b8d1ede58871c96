"""Results show the same in a terminal and in a notebook, and whatever comes from data stays text."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from gatewright.client import display
from gatewright.client.display import Grid, Mark, Sheet, Shown, as_html, as_text, visible

HOSTILE = "<script>alert('x')</script>&\"[bold]\x1b[2J\u202e"
SHEET = Sheet(
    title="adult@1",
    lead=((Mark(word="denied"), "One rule does not hold."),),
    grids=(
        Grid(
            caption="Findings",
            headings=("check", "outcome", "rows"),
            rows=(("data.leakage", Mark(word="passed"), "16,281"), (HOSTILE, Mark(word="unknown"), "3")),
            right=("rows",),
        ),
    ),
    notes=("a note",),
    next=("mend it",),
)


class _Page(HTMLParser):
    """What a browser would make of some HTML: tags with attributes, in order, and the text of cells."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text: list[str] = []
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert tag == self.open.pop()

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text.append(data)


def test_html_is_a_real_table() -> None:
    """A screen reader finds captions, column headings and row headings, and every tag is closed."""
    page = _Page(as_html(SHEET))
    assert [] == page.open
    names = [tag for tag, _ in page.tags]
    assert (1, 1, 1) == (names.count("table"), names.count("caption"), names.count("thead"))
    scopes = [attributes["scope"] for tag, attributes in page.tags if tag == "th"]
    assert ["col"] * 3 + ["row"] * 2 == scopes
    assert ("div", "group", "adult@1") == (
        names[0],
        page.tags[0][1]["role"],
        page.tags[0][1]["aria-label"],
    )


def test_html_holds_no_script_and_fetches_nothing() -> None:
    """Neither the page nor what data put into it is a script, a link or an address."""
    source = as_html(SHEET)
    names = {tag for tag, _ in _Page(source).tags}
    assert {"div", "style", "p", "span", "b", "table", "caption", "thead", "tbody", "tr", "th", "td"} == names
    assert not re.search(r"url\(|@import|https?:|\son\w+=", source)


def test_what_comes_from_data_is_shown_as_it_is() -> None:
    """Markup of HTML and of the terminal is text in both forms, and hidden letters are codes."""
    shown = "<script>alert('x')</script>&\"[bold]<U+001B>[2J<U+202E>"
    assert shown in "".join(_Page(as_html(SHEET)).text)
    text = "".join(as_text(SHEET).split())
    assert "[bold]<U+001B>[2J" in text
    assert "\x1b" not in text


def test_both_forms_say_the_same() -> None:
    """Every title, sentence, heading, cell, note and next step is in both forms."""
    said = ["adult@1", "denied", "One rule does not hold.", "Findings", "outcome", "passed", "16,281", "unknown", "a note", "mend it"]  # fmt: skip
    html = "".join(_Page(as_html(SHEET)).text)
    assert said == [each for each in said if each in html]
    assert said == [each for each in said if each in as_text(SHEET)]


def test_every_mark_has_a_word() -> None:
    """A sign is never alone, and is hidden from who listens."""
    html = as_html(SHEET)
    assert '<span aria-hidden="true">✗ </span>denied' in html
    assert "✗ denied" in as_text(SHEET)
    assert "·" == Mark(word="something else").sign.sign


def test_a_terminal_of_any_width_is_kept_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines are as wide as the terminal at most, and cells are folded."""
    monkeypatch.setenv("COLUMNS", "64")
    wide = Sheet(title="t", grids=(Grid(caption="c", headings=("a", "b"), rows=(("x" * 90, "y " * 90),)),))
    assert max(map(len, as_text(wide).splitlines())) <= 64


def test_texts_are_bounded() -> None:
    """A text of any length takes a bounded place."""
    assert display.CELL_CHARACTERS == len(visible("x" * 10_000))
    assert visible("x" * 10_000).endswith("…")


def test_a_sheet_without_tables_is_short() -> None:
    """A sheet may be a title alone."""
    assert "t" == as_text(Sheet(title="t"))
    assert ["div", "style", "p"] == [tag for tag, _ in _Page(as_html(Sheet(title="t"))).tags]


def test_what_is_shown_shows_itself() -> None:
    """A result shows its sheet where Python or a notebook asks for it."""

    class Result(Shown):
        def sheet(self) -> Sheet:
            return SHEET

    assert (as_text(SHEET), as_html(SHEET)) == (repr(Result()), Result()._repr_html_())
    with pytest.raises(NotImplementedError):
        Shown().sheet()


def test_contrast_is_enough_on_light_and_dark() -> None:
    """The two colours of our own have a contrast of at least 4.5 to 1 on white and on JupyterLab's dark grounds."""

    def luminance(colour: str) -> float:
        parts = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
        red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    def contrast(one: str, other: str) -> float:
        dark, light = sorted((luminance(one), luminance(other)))
        return (light + 0.05) / (dark + 0.05)

    pairs = re.findall(r"--gw-accent:(#\w{6});--gw-bad:(#\w{6})", display._STYLE)
    light, dark, light_theme, dark_theme = pairs
    assert (light, dark) == (light_theme, dark_theme)
    assert all(contrast(colour, "#ffffff") >= 4.5 for colour in light)
    assert all(contrast(colour, ground) >= 4.5 for colour in dark for ground in ("#111111", "#212121"))
