"""How much work is ahead, and who may add to it: what cannot be answered soon is refused at once.

The work of a request is known about before it is read: requests to an endpoint take about what the
last ones took. When more than :data:`~gatewright.serving.limits.WAITING_TIME` of it is ahead, a
further request would only make all of them late, and is turned away from its head (after Little,
1961: waiting = number in the system x time of each). No thread is ever left without a next request.
What is measured is the time of the model and of the codec, never the wait for the disk: a slow disk
makes batches larger, not more work.

Callers share. While more than half of that much work is ahead, a key that has its equal part of it
gets no more, and one that has less is let in up to half as much again; a key with nothing in work is
let in whatever the others do. So one that floods cannot shut out one that asks now and then.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field

from gatewright.serving.admission import Turned
from gatewright.serving.limits import REQUESTS, WAITING_TIME

RETRY = ((b"retry-after", b"1"),)
MEMORY = 16
"""The work of a request is the mean of about so many, the newest counting most."""
LEAST_SECONDS = 0.0001
"""What every request takes beside its model."""
LONGEST = 8.0
"""One request counts as at most so many times the mean: a single large one must not close the door."""

ALWAYS = 2
"""So many requests for each thread are never too much: one that runs and one that comes next."""

BEYOND = 1.5
"""A key that has less than its part is let in up to so much of the limits: the others make room."""

_LIMIT_S = WAITING_TIME.value / 1000


@dataclass(slots=True)
class _Endpoint:
    """What the requests to one endpoint take."""

    seconds: float


@dataclass(slots=True)
class _Caller:
    """The requests of one key that are in work."""

    requests: int = 0


@dataclass(slots=True)
class Place:
    """A request in work. ``spent`` is for what it took of a thread, in seconds, once that is known."""

    endpoint: _Endpoint
    caller: _Caller
    seconds: float
    spent: float = 0.0


@dataclass(slots=True)
class Load:
    """The work in one worker, whose model threads are ``width``.

    ``refused`` counts those that were turned away. Several threads change the numbers without a lock:
    the interpreter lets another thread in at calls and loops only, and there are none between the
    lines that belong together. Whenever nothing is in work, counting begins anew.
    """

    width: int = 1
    requests: int = 0
    refused: int = 0
    seconds: float = 0.0
    _busy: int = 0
    _endpoints: dict[str, _Endpoint] = field(default_factory=dict)
    _callers: dict[Hashable, _Caller] = field(default_factory=dict)

    def enter(self, endpoint: str, key: Hashable, expected: float) -> Place:
        """Count a request in; ``expected`` are its seconds where nothing is known of its endpoint yet.

        ``key`` tells callers apart. Raises Turned (503) when too much is ahead of it.
        """
        known = self._endpoints.get(endpoint)
        if known is None:
            known = self._endpoints[endpoint] = _Endpoint(expected + LEAST_SECONDS)
        caller = self._callers.get(key)
        if caller is None:
            caller = self._callers[key] = _Caller()
        if caller.requests and self._is_full(known.seconds, caller.requests):
            self.refused += 1
            raise Turned(
                503, "The server has more to do than it can do soon; try again.", RETRY, reason="overload"
            )
        if not caller.requests:
            self._busy += 1
        caller.requests += 1
        self.requests += 1
        self.seconds += known.seconds
        return Place(known, caller, known.seconds)

    def _is_full(self, seconds: float, mine: int) -> bool:
        few = self.requests < ALWAYS * self.width
        ahead = 0.0 if few else self.seconds / self.width / _LIMIT_S
        crowd = max(ahead, self.requests / REQUESTS.value)
        if self._busy == 1:
            return self.requests >= REQUESTS.value or ahead > 1.0
        share = min(REQUESTS.value, _LIMIT_S * self.width / seconds) / self._busy
        return crowd > (0.5 if mine >= share else BEYOND)

    def leave(self, place: Place) -> None:
        """Count it out, and learn what it took."""
        place.caller.requests -= 1
        if not place.caller.requests:
            self._busy -= 1
        self.requests -= 1
        self.seconds -= place.seconds
        if not self.requests:
            self.seconds, self._busy = 0.0, 0
        if place.spent:
            endpoint = place.endpoint
            spent = min(place.spent + LEAST_SECONDS, LONGEST * endpoint.seconds)
            endpoint.seconds += (spent - endpoint.seconds) / MEMORY
