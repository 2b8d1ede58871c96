"""What the workers of a home counted of its traffic, read from their shared board; nothing is written."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from gatewright.serving.board import BOARD_FILE, read_sums
from gatewright.serving.metrics import ANSWERS, BREAKER_OPEN, REFUSALS, SHADOW, named

Answerer = tuple[str, int]
"""A place and a version."""


@dataclass(slots=True, kw_only=True)
class Counted:
    """The counts of one endpoint over all workers, since its home has a board.

    ``answers`` are predictions that were answered, by place and version; ``shadow`` what became of the
    copies, by version and outcome; ``breakers_open`` in how many workers the breaker before a release
    is open; ``refused`` the requests that were turned away.
    """

    answers: dict[Answerer, int] = field(default_factory=dict)
    shadow: dict[int, dict[str, int]] = field(default_factory=dict)
    breakers_open: dict[Answerer, int] = field(default_factory=dict)
    refused: int = 0


def counted(segments: Path) -> dict[str, Counted]:
    """The counts by endpoint; empty where no server ever ran."""
    found: dict[str, Counted] = {}
    for series, value in read_sums(segments / BOARD_FILE).items():
        name, labels = named(series)
        if not value or not labels.get("endpoint"):
            continue
        entry = found.setdefault(labels["endpoint"], Counted())
        if name == REFUSALS.name:
            entry.refused += value
        if not labels.get("version", "").isdecimal():
            continue
        release = labels.get("place", ""), int(labels["version"])
        if name == f"{ANSWERS.name}_bucket":
            entry.answers[release] = entry.answers.get(release, 0) + value
        elif name == BREAKER_OPEN.name:
            entry.breakers_open[release] = value
        elif name == SHADOW.name:
            entry.shadow.setdefault(release[1], {})[labels.get("outcome", "")] = value
    return found
