"""The words of ``release revoke`` are those of the statement."""

from __future__ import annotations

from gatewright.cli.judging import Because
from gatewright.releases.judgements import RevocationReason


def test_the_commands_codes_are_the_statements() -> None:
    """Help names every code that a revocation can carry, and no other."""
    assert [one.value for one in RevocationReason] == [one.value for one in Because]
