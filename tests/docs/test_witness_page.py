"""The page on witnesses: its commands exist, its table is that of the program, its limits are the named ones."""

from __future__ import annotations

import re
from pathlib import Path

from gatewright.assembly.cosigning import PATIENCE_S
from gatewright.assembly.witness_calls import WITNESS_S
from gatewright.http.witness import BROKEN, LATER, STATUS, WAITING
from gatewright.ledger.witnessing import PROOF_LINES, SUBMISSION_BYTES
from gatewright.operations.witness import LOGS
from unit.cli.commands_walked import commands

PAGE = (Path(__file__).parents[2] / "docs" / "witness.md").read_text("utf-8")


def test_every_command_of_the_page_exists() -> None:
    """Each line that begins with the program's name is a command with the options that it has."""
    known = commands()
    lines = re.findall(r"^gatewright (.+?)(?: +#.*)?$", PAGE, re.MULTILINE)
    assert len(lines) > 6
    for line in lines:
        words = line.split()
        name = next((" ".join(words[:n]) for n in (2, 1) if " ".join(words[:n]) in known), "")
        assert name, line
        options = {option for each in known[name].params for option in each.opts}
        assert {word for word in words if word.startswith("--")} <= options, line


def test_the_table_of_refusals_is_the_programs() -> None:
    """Every status that a submission can get has a row, and no other has."""
    table = PAGE.partition("| status | why no cosignature |")[2]
    assert sorted({*STATUS.values(), BROKEN, LATER}) == [
        int(status) for status in re.findall(r"^\| (\d{3}) \|", table, re.MULTILINE)
    ]


def test_the_limits_are_the_named_ones() -> None:
    """Every number on the page is that of the program."""
    for words in (
        f"at most {SUBMISSION_BYTES:,} bytes and {PROOF_LINES} proof lines",
        f"at most {LOGS:,} logs",
        f"more than {WAITING} requests wait",
        f"given {WITNESS_S:g} seconds, asked again {PATIENCE_S:g} seconds later",
    ):
        assert words in PAGE
