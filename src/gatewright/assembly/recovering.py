"""Recording that a home was put back: the one command that opens such a home to record something."""

from __future__ import annotations

from pathlib import Path

from gatewright.assembly.homes import read_home
from gatewright.assembly.rotating import root_folder
from gatewright.operations.recovery import Recovered, recover


def recover_home(start: Path, *, name: str, reason: str, root: Path | None = None) -> Recovered:
    """Record it in the home at or above ``start``; ``root`` holds the root keys, where they were taken off it."""
    with read_home(start, put_back=True) as home, home.exclusive():
        home.archive.require_tables()
        away = None if root is None else root_folder(root, home.trust)
        pair = None if away is None else (away.root, away.root_pq)
        return recover(home, name=name, reason=reason, root=pair)
