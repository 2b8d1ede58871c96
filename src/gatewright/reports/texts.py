"""Texts that come from data, made fit for documents that other programs show."""

from __future__ import annotations

import unicodedata

HIDDEN = frozenset({"Cc", "Cf", "Co", "Cs", "Zl", "Zp"})
"""Unicode categories that a reader cannot see or that act on whoever shows them."""
NO_CHARACTERS = frozenset({"\ufffe", "\uffff"})
"""Code points that no XML document may hold (XML 1.0, 2.2) and that no category above covers."""


def visible(text: str) -> str:
    """The text with every hidden character but the line feed shown as its code, ``<U+001B>``.

    What is left is a legal XML 1.0 text (section 2.2, ``Char``) and valid UTF-8.
    """
    return "".join(
        f"<U+{ord(letter):04X}>" if letter != "\n" and _is_hidden(letter) else letter for letter in text
    )


def _is_hidden(letter: str) -> bool:
    return unicodedata.category(letter) in HIDDEN or letter in NO_CHARACTERS
