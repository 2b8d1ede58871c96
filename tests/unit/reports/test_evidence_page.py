"""The page of an evidence pack: whole in itself, inert whatever it is told, readable by everybody."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from itertools import pairwise, product

import pytest

from gatewright.reports.evidence_page import (
    Event,
    EvidencePage,
    Link,
    Rows,
    ShownRelease,
    Word,
    write_page,
)

ATTACKS = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'; background:url(//example.test)",
    "</style></title><svg onload=alert(1)>",
    "\u202egnp.exe\u0000\x1b[31m",
    "&lt;b&gt; &amp;",
)


def _page(text: str) -> EvidencePage:
    """A page that says ``text`` wherever it says something."""
    link = Link(text=text, file="log/records.jsonl")
    rows = Rows(
        caption=text,
        headings=(text, "n", "w", "l"),
        rows=((text, "1", Word(text=text, good=True), link), (link, "2", Word(text="bad", good=False), text)),
        right=(1,),
    )
    return EvidencePage(
        endpoint=text,
        start="2026-03-01T00:00:00Z",
        end="2026-04-01T00:00:00Z",
        origin=text,
        fingerprint=text,
        verifier=text,
        summary=((text, text),),
        events=(Event(time="2026-03-03T14:05:00Z", what=text, by=text, proof=link, before=True),),
        releases=(
            ShownRelease(
                ref=text, root=text, sentence=text, warnings=(text,), tables=(rows,), proofs=(link,)
            ),
        ),
        predictions=rows,
        answers=rows,
        keys=rows,
        witnesses=text,
        contents=rows,
        proven=((text, link),),
        unproven=(text,),
        notes=(text,),
    )


class _Reader(HTMLParser):
    """What the page is made of: its tags in order, with attributes, and all its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("text", ATTACKS)
def test_attack_strings_stay_text(text: str) -> None:
    """Whatever a name or a reason holds, the page has the tags and attributes of a harmless one."""
    plain, attacked = _Reader(write_page(_page("loans"))), _Reader(write_page(_page(text)))
    assert [tag for tag, _ in plain.tags] == [tag for tag, _ in attacked.tags]
    assert [set(given) for _, given in plain.tags] == [set(given) for _, given in attacked.tags]
    assert not re.search("[\u202e\x00\x1b]", write_page(_page(text)))


def test_nothing_runs_and_nothing_is_fetched() -> None:
    """No script, no frame, no address but those of files in the pack; the policy allows the page's own style alone."""
    page = write_page(_page("loans"))
    found = _Reader(page)
    assert not {"script", "iframe", "object", "link", "img", "form", "base"} & {tag for tag, _ in found.tags}
    links = {given["href"] for _, given in found.tags if "href" in given}
    assert not any(link is None or ":" in link or link.startswith(("/", "..")) for link in links)
    style = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    (policy,) = [given["content"] or "" for _, given in found.tags if given.get("http-equiv")]
    digest = base64.b64encode(hashlib.sha256(style[0].encode()).digest()).decode()
    assert (1, True, True) == (len(style), "default-src 'none'" in policy, f"'sha256-{digest}'" in policy)
    assert "url(" not in style[0]
    assert "@import" not in style[0]


def test_it_can_be_read_by_keyboard_and_screen_reader() -> None:
    """One main, headings in order without a jump, sections named by them, tables with captions and heading cells."""
    found = _Reader(write_page(_page("loans")))
    tags = [tag for tag, _ in found.tags]
    assert (1, 1, 1, 1) == tuple(tags.count(each) for each in ("main", "h1", "nav", "header"))
    levels = [int(tag[1]) for tag in tags if re.fullmatch("h[1-6]", tag)]
    assert all(later - earlier <= 1 for earlier, later in pairwise(levels))
    ids = {given["id"] for _, given in found.tags if "id" in given}
    named = {given["aria-labelledby"] for tag, given in found.tags if tag == "section"}
    assert (8, True) == (len(named), named <= ids)
    anchors = {
        str(given["href"])[1:] for _, given in found.tags if str(given.get("href", "")).startswith("#")
    }
    assert anchors <= ids
    assert tags.count("table") == tags.count("caption")
    assert all(given.get("scope") in ("col", "row") for tag, given in found.tags if tag == "th")
    assert "en" == found.tags[0][1]["lang"]


def _luminance(colour: str) -> float:
    """Relative luminance of ``#rrggbb`` or ``#rgb`` (WCAG 2.1)."""
    digits = colour[1:] if len(colour) == 7 else "".join(each * 2 for each in colour[1:])
    parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return float(0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2])


def test_every_text_stands_out_from_its_ground() -> None:
    """In light and dark each colour of text has a contrast of at least 4.5 on each ground (WCAG 2.1, AA)."""
    page = write_page(_page("loans"))
    schemes = [
        dict(re.findall(r"--(\w+):(#[0-9a-f]{3,6})", part))
        for part in re.findall(r":root\{(.*?)\}", page, re.DOTALL)
    ]
    for colours in schemes[:2]:
        for ink, ground in product(("ink", "soft", "accent", "bad"), ("paper", "card", "wash")):
            one, two = sorted((_luminance(colours[ink]), _luminance(colours[ground])))
            assert (two + 0.05) / (one + 0.05) >= 4.5, (ink, ground)
