"""Errors say what happened, why, where and what to do next."""

from __future__ import annotations

import pytest

from gatewright.kernel.errors import (
    ApprovalNeeded,
    BadInput,
    DependencyFailed,
    GatewrightError,
    Misuse,
    Refusal,
    Refused,
    Tampered,
)

KINDS = (Misuse, BadInput, Refused, ApprovalNeeded, Tampered, DependencyFailed)


def test_a_refusal_reads_as_one_paragraph() -> None:
    """The sentence of a refusal holds what, place, why and next, each ended by one mark."""
    refusal = Refusal(code="a.b", what="It broke", why="It was old.", next="Mend it!", place="row 3")
    assert "It broke (at row 3). It was old. Mend it!" == refusal.sentence()
    assert "It broke." == Refusal(code="a.b", what="It broke").sentence()


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_carries_its_refusal(kind: type[GatewrightError]) -> None:
    """An error of any kind has a code, prints its sentence, and can be made from a refusal."""
    error = kind("a.b", "It broke.", why="Why.", next="Next.", place="here")
    assert "a.b" == error.code
    assert error.refusal.sentence() == str(error)
    again = kind.of(error.refusal)
    assert (kind, error.refusal) == (type(again), again.refusal)


def test_no_kind_is_another() -> None:
    """Only a needed approval is also a refusal; every other pair of kinds is apart."""
    related = {
        (one, other) for one in KINDS for other in KINDS if one is not other and issubclass(one, other)
    }
    assert {(ApprovalNeeded, Refused)} == related
    assert all(issubclass(kind, GatewrightError) for kind in KINDS)


def test_a_notebook_shows_the_refusal_and_nothing_that_acts_on_it() -> None:
    """IPython is given what, where, why and next, a line each, with hidden letters of a text as codes."""
    lines = Refused(
        "a.b", "It \x1b[2J broke", why="Why.", next="Do\u202ethis.", place="row 3"
    )._render_traceback_()
    assert ["It <U+001B>[2J broke", "row 3", "Why.", "Do<U+202E>this.", "a.b"] == [
        next(
            part
            for part in ("It <U+001B>[2J broke", "row 3", "Why.", "Do<U+202E>this.", "a.b")
            if part in line
        )
        for line in lines
    ]
    assert 2 == len(Misuse("a.b", "Only this.")._render_traceback_())
