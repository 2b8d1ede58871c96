"""No command that writes is forgotten: each is in the table of verbs that are failed at their writes, or named here."""

from __future__ import annotations

from anomaly.home_verbs import VERBS
from unit.cli.commands_walked import commands

READS = {
    "data list", "data show", "model list", "model show", "model inspect", "policy check", "release list",
    "release show", "advisory list", "advisory check", "witness show", "user list", "key list", "status", "history", "why", "verify", "example", "ready",
}  # fmt: skip
"""Commands that change nothing."""

ELSEWHERE = {
    "serve": "killed, starved and given a sick disk by tests of its own",
    "train": "records by the same call as 'model add'; what it runs is a child's",
    "demo": "runs the other verbs in a folder of its own",
    "compare": "records by the same call as 'check'",
    "resume": "one record of the same kind and way as 'stop'",
    "evidence verifier": "one new file, the same every time, which holds nothing of a home",
    "witness init": "failed at every write in 'test_witness_faults'",
    "witness serve": "the same",
    "witness trust": "the same",
    "key revoke": "one record of the same kind and way as 'key add'",
}
"""Commands that write, and why their writes are failed by another row."""


def typed(words: str) -> str:
    """The command in what is typed."""
    known = commands()
    parts = words.split()
    return " ".join(parts[:2]) if " ".join(parts[:2]) in known else parts[0]


def test_every_command_that_writes_is_failed_at_its_writes() -> None:
    """A new command is in the table, reads only, or says where else its writes are failed."""
    failed = {typed(verb.typed) for verb in VERBS}
    assert set(commands()) == failed | READS | set(ELSEWHERE)
    assert not failed & READS
