"""A circuit breaker: a release that keeps failing is asked no more, until a probe succeeds.

One stands before each release of an endpoint that another release can stand in for. It opens when
``BREAKER_FAILURES`` of the last ``BREAKER_WINDOW`` requests failed. While it is open the other
release answers at once; every ``BREAKER_TIME`` one request is let through as a probe (half-open, in
the words of M. Nygard's *Release It!*, 2007), and the first that succeeds closes it.

What counts as a failure is decided in ``traffic``: only what the other release could answer, so that
nobody opens a breaker by sending inputs that no release can take.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from gatewright.kernel.errors import Refusal
from gatewright.serving.limits import BREAKER_FAILURES, BREAKER_TIME, BREAKER_WINDOW

Report = Callable[[Refusal], None]


class Breaker:
    """The breaker of one release of one endpoint; it outlives a plan that keeps the release.

    ``clock`` gives seconds that never run back; ``report`` is told of every opening and closing.
    Counted since it was made: ``failures`` of the release, ``openings``, and ``replaced``, the answers
    that the other release gave. A request that succeeds costs one addition and takes no lock.
    """

    __slots__ = (
        "_clock", "_endpoint", "_failed_at", "_lock", "_report", "_seen", "_until", "_version", "failures",
        "is_open", "openings", "replaced",
    )  # fmt: skip

    def __init__(self, endpoint: str, version: int, *, clock: Callable[[], float], report: Report) -> None:
        self._endpoint = endpoint
        self._version = version
        self._clock = clock
        self._report = report
        self._lock = threading.Lock()
        self._seen = 0
        self._failed_at: deque[int] = deque(maxlen=BREAKER_FAILURES.value)
        self._until = 0.0
        self.is_open = False
        self.failures = 0
        self.openings = 0
        self.replaced = 0

    def succeeded(self) -> None:
        """Count an answer of the release, while closed."""
        self._seen += 1

    def failed(self) -> None:
        """Count a failure of the release; the window's last one opens the breaker."""
        with self._lock:
            self.failures += 1
            self._seen += 1
            if self.is_open:
                self._until = self._clock() + BREAKER_TIME.value
                return
            self._failed_at.append(self._seen)
            full = len(self._failed_at) == self._failed_at.maxlen
            if not full or self._seen - self._failed_at[0] >= BREAKER_WINDOW.value:
                return
            self.is_open = True
            self.openings += 1
            self._until = self._clock() + BREAKER_TIME.value
        self._report(
            Refusal(
                code="serving.breaker-opened",
                what=f"Version {self._version} of endpoint {self._endpoint} keeps failing.",
                why=f"{BREAKER_FAILURES.value} of its last {BREAKER_WINDOW.value} requests failed.",
                next=f"Another release answers for it; it is tried again every {BREAKER_TIME.value} seconds.",
            )
        )

    def may_probe(self) -> bool:
        """Whether this request is to try the release, while open: one each time, however it ends."""
        with self._lock:
            now = self._clock()
            if now < self._until:
                return False
            self._until = now + BREAKER_TIME.value
            return True

    def probed(self) -> None:
        """Close: a probe succeeded."""
        with self._lock:
            if not self.is_open:
                return
            self._failed_at.clear()
            self.is_open = False
        self._report(
            Refusal(
                code="serving.breaker-closed",
                what=f"Version {self._version} of endpoint {self._endpoint} answers again.",
            )
        )
