"""Asking the witnesses while the collector runs: a thread beside it, which delays neither it nor serving."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gatewright.assembly.settings import HOME_FOLDER, SETTINGS_FILE, find_root
from gatewright.assembly.witness_calls import cosign_home
from gatewright.kernel.errors import GatewrightError

PERIOD_S = 1.0
PATIENCE_S = 10.0
"""How long a witness that failed is left alone."""
LAST_S = 2.0
"""What a witness has for the last head, when the server ends."""
WATCHED = ("ledger.db", "ledger.db-wal", "trust.json")


@contextmanager
def cosigning(start: Path) -> Iterator[None]:
    """Have each new head cosigned while inside, and the last one at the end."""
    asking = _Asking(start)
    asking.start()
    try:
        yield
    finally:
        asking.end()


class _Asking(threading.Thread):
    """Asks whenever the ledger, the keys or the settings changed since everybody answered."""

    def __init__(self, start: Path) -> None:
        super().__init__(name="witnesses", daemon=True)
        self._start = start
        self._ending = threading.Event()
        self._seen: object = None
        self._said = ""

    def run(self) -> None:
        """Round after round."""
        wait = PERIOD_S
        while not self._ending.wait(wait):
            wait = self._round()

    def end(self) -> None:
        """End, after one more round for what was recorded last; not where witnesses failed just now."""
        self._ending.set()
        self.join()
        if not self._said:
            self._round(LAST_S)

    def _round(self, *wait_s: float) -> float:
        problems = ""
        try:
            seen = self._state()
            if seen == self._seen:
                return PERIOD_S
            found = cosign_home(self._start, *wait_s)
            if found is not None:
                problems = "; ".join(one.sentence() for one in found.problems.values())
            self._seen = None if problems else seen
        except GatewrightError as error:
            problems = error.refusal.sentence()
        if problems and problems != self._said:
            sys.stderr.write(f"witnesses: {problems}\n")
            sys.stderr.flush()
        self._said = problems
        return PATIENCE_S if problems else PERIOD_S

    def _state(self) -> object:
        root = find_root(self._start, os.environ)
        folder = root / HOME_FOLDER
        return [_stat(path) for path in (root / SETTINGS_FILE, *(folder / name for name in WATCHED))]


def _stat(path: Path) -> tuple[int, int, int]:
    try:
        found = path.stat()
    except OSError:
        return (0, 0, 0)
    return (found.st_mtime_ns, found.st_size, found.st_ino)
