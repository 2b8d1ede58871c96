"""The collector: a process of its own beside the worker, so that the worker never opens the database."""

from __future__ import annotations

import os
import selectors
import sys
from pathlib import Path

from gatewright.assembly.cosigning import cosigning
from gatewright.assembly.homes import open_home, taken_in
from gatewright.assembly.scrubbing import Pace, scrubbing
from gatewright.assembly.settings import Settings, find_root
from gatewright.kernel.errors import GatewrightError
from gatewright.operations.collect import Collected
from gatewright.operations.waiting import sealed

PERIOD_S = 1.0
PATIENCE_S = 10.0


def collect_home(start: Path) -> Collected:
    """One round; whoever opens a home records what waits there."""
    with open_home(start) as home:
        return taken_in(home)


def watch_home(start: Path, pace: Pace | None = None) -> None:
    """Round after round until standard input ends, as it does with the parent; then once more.

    Where no segment is sealed the home is not even opened. A failure is said once and tried again later: what is sealed stays on disk until it is recorded.
    Witnesses are asked beside it, in a thread of their own: none of them delays a round. So is the
    scrubber, which waits as ``pace`` says.
    """
    said = ""
    with cosigning(start), scrubbing(start, pace or Pace()), selectors.DefaultSelector() as parent:
        parent.register(sys.stdin, selectors.EVENT_READ)
        pause = PERIOD_S
        while not parent.select(pause):
            said, pause = _round(start, said)
        _round(start, said)


def _round(start: Path, said: str) -> tuple[str, float]:
    pause = PERIOD_S
    try:
        if not sealed(Settings.read(find_root(start, os.environ)).folder / "segments"):
            return "", pause
        found = "; ".join(collect_home(start).problems)
    except GatewrightError as error:
        found, pause = error.refusal.sentence(), PATIENCE_S
    if found and found != said:
        sys.stderr.write(f"collector: {found}\n")
        sys.stderr.flush()
    return found, pause
