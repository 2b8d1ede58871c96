"""Names: one pattern, and a good suggestion for everything else."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewright.kernel.errors import Misuse
from gatewright.kernel.names import NAME_LENGTH, nearest_spelling, parse_name


@given(st.from_regex(r"[a-z][a-z0-9-]{0,62}", fullmatch=True))
def test_good_names_stay_as_they_are(text: str) -> None:
    """A name of the pattern is taken unchanged."""
    assert text == parse_name(text)


@given(st.text())
def test_the_suggestion_is_always_good(text: str) -> None:
    """Whatever was written, the suggestion in the error is itself a good name."""
    suggestion = nearest_spelling(text)
    assert re.fullmatch(r"[a-z][a-z0-9-]{0,62}", suggestion)
    assert suggestion == parse_name(suggestion)


@pytest.mark.parametrize(
    ("text", "suggestion"),
    [
        ("Breast Cancer", "breast-cancer"),
        ("breast_cancer", "breast-cancer"),
        ("Crème brûlée", "creme-brulee"),
        ("2nd model", "x-2nd-model"),
        ("--", "x"),
        ("", "x"),
        ("名前", "x"),
        ("a" * 64, "a" * NAME_LENGTH),
        ("name\n", "name"),
        ("../etc/passwd", "etc-passwd"),
    ],
)
def test_bad_names_are_refused_with_the_nearest_good_one(text: str, suggestion: str) -> None:
    """A bad name is Misuse, names what it was for, and shows the nearest good spelling."""
    with pytest.raises(Misuse, match=f"the model(?s:.*)'{suggestion}'"):
        parse_name(text, of="model")
