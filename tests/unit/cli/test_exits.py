"""The table from errors to exit codes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gatewright.cli import exits
from gatewright.kernel import errors
from gatewright.kernel.errors import (
    ApprovalNeeded,
    BadInput,
    DependencyFailed,
    GatewrightError,
    Misuse,
    Refused,
    Tampered,
)


def _tree(root: type[GatewrightError]) -> Iterator[type[GatewrightError]]:
    yield root
    for child in root.__subclasses__():
        if child.__module__.startswith("gatewright."):
            yield from _tree(child)


@pytest.mark.parametrize("kind", sorted(set(_tree(GatewrightError)), key=lambda kind: kind.__name__))
def test_every_error_has_an_exit_code(kind: type[GatewrightError]) -> None:
    """The table is total over the error tree, and only the bare root is an internal fault."""
    code = exits.exit_code(kind("test.code", "It happened."))
    assert (kind is GatewrightError) == (code == exits.INTERNAL)
    assert code in {1, 2, 3, 4, 5, 70}
    assert kind.__module__ == errors.__name__


@pytest.mark.parametrize(
    ("kind", "code"),
    [(Refused, 1), (Misuse, 2), (BadInput, 2), (Tampered, 3), (DependencyFailed, 4), (ApprovalNeeded, 5)],
)
def test_the_codes_are_those_of_the_design(kind: type[GatewrightError], code: int) -> None:
    """Scripts may rely on the numbers."""
    assert code == exits.exit_code(kind("test.code", "It happened."))


def test_a_narrower_error_comes_before_its_parent() -> None:
    """No row of the table is hidden behind a row above it."""
    kinds = [kind for kind, _ in exits.CODES]
    hidden = [(a, b) for at, b in enumerate(kinds) for a in kinds[:at] if issubclass(b, a)]
    assert [] == hidden
    assert len(kinds) == len(set(kinds))
