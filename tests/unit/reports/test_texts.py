"""Texts from data, made fit for documents."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewright.reports.texts import visible


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain ünï 漢", "plain ünï 漢"),
        ("two\nlines", "two\nlines"),
        ("\x1b[31mred", "<U+001B>[31mred"),
        ("a\x00b\tc\r", "a<U+0000>b<U+0009>c<U+000D>"),
        ("\u202egnp.exe", "<U+202E>gnp.exe"),
        ("\ud800 \ufffe \uffff", "<U+D800> <U+FFFE> <U+FFFF>"),
        ("\u2028\u200b", "<U+2028><U+200B>"),
    ],
)
def test_hidden_characters_are_shown(text: str, expected: str) -> None:
    """Characters that nobody sees, that act on a terminal or that XML forbids stand as their codes."""
    assert expected == visible(text)


@given(st.text(st.characters(codec=None)))
def test_what_is_visible_stays(text: str) -> None:
    """Doing it twice changes nothing more, and the result is UTF-8."""
    once = visible(text)
    assert once == visible(once)
    assert once == once.encode().decode()
