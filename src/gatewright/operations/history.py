"""What was live when: read from the records alone, never from today's tables."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from gatewright.kernel.instants import Instant
from gatewright.operations.catalogue import Endpoint, read
from gatewright.operations.home import Home

ACTS = {
    "endpoint.deployed": "deployed",
    "endpoint.joined": "joined",
    "endpoint.left": "taken away",
    "endpoint.rolled-back": "rolled back",
    "endpoint.limited": "limited",
    "endpoint.stopped": "stopped",
    "endpoint.resumed": "resumed",
    "endpoint.withdrawn": "withdrawn",
}
"""The kinds of records that change an endpoint, and what people call the act."""
ENDPOINT_KINDS = tuple(ACTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One record that changed an endpoint."""

    seq: int
    time: Instant
    kind: str
    actor: str
    entry: Endpoint


def changes(home: Home, *, endpoint: str = "", until: Instant | None = None) -> Iterator[Change]:
    """Every change of endpoints, oldest first, up to a moment."""
    for record in home.archive.history(ENDPOINT_KINDS, until):
        entry = read(Endpoint, record.draft.body)
        if not endpoint or entry.endpoint == endpoint:
            yield Change(
                seq=record.seq,
                time=record.time,
                kind=record.draft.kind,
                actor=record.draft.actor,
                entry=entry,
            )


def live_at(home: Home, moment: Instant, *, endpoint: str = "") -> tuple[Change, ...]:
    """What each endpoint served at a moment, or was when it was stopped: the last change up to it."""
    last = {change.entry.endpoint: change for change in changes(home, endpoint=endpoint, until=moment)}
    return tuple(last[name] for name in sorted(last) if not last[name].entry.withdrawn)
