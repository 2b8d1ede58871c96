"""Looks every now and then at what the parts of a worker have counted, and tells it to the board."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import TypeAlias

from gatewright.kernel.instants import Instant
from gatewright.serving.answering import Answering
from gatewright.serving.metrics import (
    BATCHES,
    BREAKER_OPEN,
    BREAKER_OPENINGS,
    COLLECTOR,
    CONNECTIONS,
    EXPIRY,
    FAILURES,
    IN_WORK,
    JOINED_REQUESTS,
    JOINED_RUNS,
    PLAN,
    PLAN_REFUSED,
    RECORDS,
    RECORDS_FAILED,
    RECORDS_LOST,
    REPLACED,
    SEALED_WAIT,
    SHADOW,
    SYNC,
    WORKERS,
    Metric,
    series,
)
from gatewright.serving.plans import Plans
from gatewright.serving.routing import Served
from gatewright.serving.seen import Seen

Collecting: TypeAlias = Callable[[], tuple[bool, float]]
"""Whether a collector runs, and how many seconds the first sealed segment has waited for it."""


class Watch:
    """Reads for one worker, on its event loop.

    ``connections`` are those that are open; ``collecting`` is None where nobody on this machine collects.
    """

    def __init__(
        self,
        seen: Seen,
        *,
        plans: Plans,
        answering: Answering,
        connections: Collection[object],
        clock: Callable[[], Instant],
        collecting: Collecting | None = None,
    ) -> None:
        self._seen = seen
        self._plans = plans
        self._answering = answering
        self._connections = connections
        self._clock = clock
        self._collecting = collecting

    def pull(self) -> None:
        """Bring the board up to date."""
        self._seen.pull(self._counters(), dict(self._gauges()))

    def scrape(self) -> bytes:
        """The metrics of all workers, and those of this one's plan."""
        self.pull()
        table = self._plans.table
        own: dict[Metric, float] = {
            PLAN: table.number,
            PLAN_REFUSED: int(self._plans.refusal is not None),
        }
        if self._collecting is not None:
            own[COLLECTOR], own[SEALED_WAIT] = self._collecting()
        if table.expires is not None:
            own[EXPIRY] = (table.expires.ns - self._clock().ns) * EXPIRY.scale
        return self._seen.scrape(own)

    def _counters(self) -> Iterator[tuple[str, int]]:
        recorder = self._answering.recorder
        yield RECORDS.name, recorder.recorded
        yield RECORDS_FAILED.name, recorder.not_recorded
        yield RECORDS_LOST.name, recorder.lost
        yield BATCHES.name, recorder.batches
        yield SYNC.name, recorder.sync_ns
        for route in self._plans.table.routes:
            if route.shadow is not None:
                tally = route.tally
                for outcome in ("seen", "dropped", "agreed", "differed", "failed", "unrecorded"):
                    name = series(SHADOW, **_labels(route.shadow), outcome=outcome)
                    yield name, getattr(tally, outcome)
            for served in route.served():
                labels = _labels(served)
                runs, requests = served.release.engine.joined
                if runs:
                    yield series(JOINED_RUNS, **labels), runs
                    yield series(JOINED_REQUESTS, **labels), requests
                if served.breaker is not None:
                    yield series(FAILURES, **labels), served.breaker.failures
                    yield series(BREAKER_OPENINGS, **labels), served.breaker.openings
                    yield series(REPLACED, **labels), served.breaker.replaced

    def _gauges(self) -> Iterator[tuple[str, int]]:
        yield WORKERS.name, 1
        yield CONNECTIONS.name, len(self._connections)
        yield IN_WORK.name, self._answering.load.requests
        for route in self._plans.table.routes:
            for served in route.served():
                if served.breaker is not None:
                    yield series(BREAKER_OPEN, **_labels(served)), int(served.breaker.is_open)


def _labels(served: Served) -> dict[str, str]:
    endpoint, place, version = served.label.split("/")
    return {"endpoint": endpoint, "place": place, "version": version}
