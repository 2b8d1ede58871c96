"""An operator with every key but the witness's forges the log in ten ways; a third party convicts each."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from scenario.forging import (
    COPY,
    FORGERIES,
    LOG,
    NOTE,
    PROMISE,
    Verdict,
    World,
    convicted,
    honest,
    third_party,
)

SIZE = 2_000
"""Records in the test; the campaign has 100,000."""
PAGE = Path(__file__).parents[2] / "docs" / "forgeries.md"
BEGIN, END = "<!-- forgeries: begin -->\n", "<!-- forgeries: end -->"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """The honest log, made once; each test forges a copy."""
    return honest(tmp_path_factory.mktemp("forging"), SIZE)


@pytest.fixture(scope="module")
def verdicts(world: World) -> Sequence[Verdict]:
    """What is told of each forgery."""
    return [convicted(world, *each) for each in FORGERIES]


def test_the_honest_log_holds(world: World) -> None:
    """Before anything is forged, all that the third party will use holds."""
    (world.place / "log").symlink_to("kept")
    for words in (LOG, COPY, NOTE, PROMISE):
        ran = third_party(world, words)
        assert 0 == ran.code, ran.out
    (world.place / "log").unlink()


@pytest.mark.parametrize("number", range(len(FORGERIES)), ids=[each[1].__name__ for each in FORGERIES])
def test_each_forgery_is_convicted(verdicts: Sequence[Verdict], number: int) -> None:
    """Exit code 3 with the first bad record; what was signed again holds in itself, and the witness refuses it."""
    found, words = verdicts[number], FORGERIES[number][2]
    assert (3, f"record {found.expected}") == (found.code, found.where), found
    signed_again = words != LOG
    assert (0 if signed_again else 3) == found.alone
    assert (3, signed_again) == (found.bare, found.declined)


def test_the_page_says_what_is_told(verdicts: Sequence[Verdict]) -> None:
    """The table in the documentation is what the third party was told."""
    rows = [f"| {found.done} | {found.has} | {_general(found.says)} | {found.where} |" for found in verdicts]
    head = [
        "| the operator | the third party has, besides log and keys | `verify` says | at |",
        "|---|---|---|---|",
    ]
    text = PAGE.read_text("utf-8")
    before, _, rest = text.partition(BEGIN)
    table = "\n".join([*head, *rows]) + "\n"
    if os.environ.get("GATEWRIGHT_WRITE_DOCS"):
        PAGE.write_text(f"{before}{BEGIN}{table}{END}{rest.partition(END)[2]}", "utf-8")
    assert table == PAGE.read_text("utf-8").partition(BEGIN)[2].partition(END)[0]


def _general(says: str) -> str:
    """Without what differs from run to run: names of segments and times."""
    return re.sub(r"\d{4}-\d\d-\d\dT[0-9:.]+Z", "…", re.sub(r"\d{20}-\w+", "…", says))
