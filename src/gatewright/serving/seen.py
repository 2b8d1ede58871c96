"""What is seen of the requests of a worker: counted, told, traced, and named by an id.

Of a request that is answered no more is done than two additions; what a refusal costs beside is less
than an answer. Counts of others (recorder, connections, breakers) are read every now and then.
"""

from __future__ import annotations

import os
import threading
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from hmac import compare_digest
from itertools import count
from time import monotonic
from typing import TYPE_CHECKING

from gatewright.kernel.errors import Refusal, Refused
from gatewright.ledger.receipts import Receipt
from gatewright.serving.addresses import Failures, Network, address_of
from gatewright.serving.admission import Headers, Turned
from gatewright.serving.board import CELL_MASK, Board
from gatewright.serving.limits import KEY, REQUEST_ID
from gatewright.serving.logs import Log, LogForm
from gatewright.serving.metrics import (
    ANSWERS,
    LATENCY_BOUNDS,
    LOG_DROPPED,
    REFUSALS,
    SPANS,
    SPANS_DROPPED,
    Metric,
    buckets,
    exposition,
    series,
)

if TYPE_CHECKING:
    from gatewright.serving.traces import Span, Traces

METRICS_PATH = "/metrics"
METRICS_KEY_BYTES = 16
"""A secret for scraping is at least this long."""
OTHERS = "(others)"
"""Where the board has no room for one more series; no endpoint's name, for it stands where none can."""
_LOST = "lost"
REASONS = {
    400: "does-not-fit", 401: "no-key", 404: "not-there", 405: "method", 411: "no-length",
    413: "too-long", 415: "not-json", 421: "host", 429: "rate", 500: "model", 503: "not-now",
}  # fmt: skip
_SAFE = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._:=+/@_"
_ID = b"x-request-id"

Header = tuple[bytes, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenSettings:
    """What the owner wants to see, and from where callers may be told apart.

    ``metrics_key`` is the SHA-256 of the secret that may scrape ``/metrics``, None where nobody may;
    ``proxies`` are the networks whose ``X-Forwarded-For`` is believed; ``traces`` makes what sends
    traces, told whom to report to, where there is a collector: a worker without one does not load it.
    """

    log: LogForm = LogForm.TEXT
    metrics_key: bytes | None = None
    proxies: tuple[Network, ...] = ()
    traces: Callable[[Callable[[Refusal], None]], Traces] | None = None


Counted = Iterable[tuple[str, int]]
"""Series of the board, and how far something has counted since it was made."""


class Seen:
    """Sees for one worker. All but :meth:`pull` and :meth:`answered` may be called from any thread."""

    def __init__(
        self,
        board: Board,
        log: Log,
        settings: SeenSettings | None = None,
        *,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        settings = settings or SeenSettings()
        self._board = board
        self._cells = board.cells
        self._log = log
        self._traces = None if settings.traces is None else settings.traces(log.refusal)
        self._proxies = settings.proxies
        self._metrics_key = settings.metrics_key
        self._failures = Failures(clock)
        self._naming = threading.Lock()
        self._answers: dict[str, tuple[int, ...]] = {}
        self._places: dict[str, int] = {}
        self._last: dict[str, int] = {}
        self._ids = count(1)
        self._prefix = os.urandom(6).hex()
        self._other_answers = tuple(
            map(board.series, buckets(ANSWERS, endpoint=OTHERS, place=OTHERS, version=OTHERS))
        )
        self._other = board.series(series(REFUSALS, endpoint=OTHERS, status=OTHERS, reason=OTHERS))
        self._lost = board.series(_LOST)

    @classmethod
    def alone(cls) -> Seen:
        """One that nobody looks at: for a plane that is put together without a worker."""
        return cls(Board.alone(0), Log(lambda _line: None))

    def start(self) -> None:
        """Begin to send traces, where there are any."""
        if self._traces is not None:
            self._traces.start()

    def close(self) -> None:
        """Send the traces that wait, for a bounded time."""
        if self._traces is not None:
            self._traces.close()

    # Of each request.

    def trace(self, headers: Headers) -> Span | None:
        """A span for a request that is sampled; None for the others, and where nothing is traced."""
        return None if self._traces is None else self._traces.begin(headers.get(b"traceparent"))

    def traced(self, span: Span, status: int, endpoint: str, **facts: str | int) -> None:
        """Hand over the span of a request that came to its end."""
        if self._traces is not None:
            told = {f"gatewright.{name}": fact for name, fact in facts.items()}
            self._traces.end(
                span,
                status,
                {"http.response.status_code": status, "gatewright.endpoint": endpoint, **told},
            )

    def traced_answer(self, span: Span, label: str, token: str) -> None:
        """Hand over the span of a prediction that was answered with this receipt."""
        endpoint, place, version = label.split("/")
        self.traced(span, 200, endpoint, place=place, version=version, receipt=Receipt.parse(token).id)

    def answered(self, label: str, nanoseconds: int) -> None:
        """Count an answer of the release with this label (:attr:`Served.label`); on the event loop."""
        places = self._answers.get(label) or self._place(label)
        cells = self._cells
        place, total = places[bisect_left(LATENCY_BOUNDS, nanoseconds)], places[-1]
        cells[place] = cells[place] + 1 & CELL_MASK
        cells[total] = cells[total] + nanoseconds & CELL_MASK

    def _place(self, label: str) -> tuple[int, ...]:
        endpoint, place, version = label.split("/")
        with self._naming:
            try:
                found = tuple(
                    map(self._board.series, buckets(ANSWERS, endpoint=endpoint, place=place, version=version))
                )
            except Refused:
                found = self._other_answers
            self._answers[label] = found
        return found

    def echo(self, headers: Headers) -> tuple[Header, ...]:
        """The header that answers ``X-Request-Id``; none to a caller that sent none."""
        return ((_ID, self._id(headers)),) if _ID in headers else ()

    def _id(self, headers: Headers) -> bytes:
        """The caller's id for its request, or one of ours for none and for one that is not safe to tell."""
        given = headers.get(_ID)
        if given and len(given) <= REQUEST_ID.value and not given.translate(None, _SAFE):
            return given
        return f"{self._prefix}-{next(self._ids)}".encode()

    # Of each refusal.

    def turned(self, turned: Turned, headers: Headers, peer: str, endpoint: str = "") -> Turned:
        """Count and tell a refusal; gives it back as it is to be answered, with an id.

        One more wrong key from an address in penalty becomes a 429.
        """
        if turned.status == 401 and b"authorization" in headers:
            turned = self._failed(
                turned, address_of(peer, headers.get(b"x-forwarded-for", b""), self._proxies)
            )
        reason = turned.reason or REASONS.get(turned.status, "other")
        self._count(series(REFUSALS, endpoint=endpoint, status=str(turned.status), reason=reason))
        id_ = self._id(headers)
        self._log.turned(status=turned.status, reason=reason, endpoint=endpoint, request=id_.decode())
        return Turned(turned.status, turned.sentence, (*turned.headers, (_ID, id_)), reason=reason)

    def _failed(self, turned: Turned, address: str) -> Turned:
        wait = self._failures.add(address)
        if not wait:
            return turned
        return Turned(
            429,
            "Too many wrong API keys came from this address; a right one is answered.",
            (*turned.headers, (b"retry-after", b"%d" % wait)),
            reason="wrong-keys",
        )

    def _count(self, name: str) -> None:
        place = self._places.get(name)
        if place is None:
            with self._naming:
                try:
                    place = self._board.series(name)
                except Refused:
                    place = self._other
                self._places[name] = place
        self._board.add_from_thread(place)

    # For those who look.

    def may_scrape(self, headers: Headers) -> bool:
        """Whether a request for ``METRICS_PATH`` has the secret; raises Turned (401) for a wrong one.

        Where no secret was set, the path is like any other.
        """
        if self._metrics_key is None:
            return False
        scheme, _, secret = headers.get(b"authorization", b"").partition(b" ")
        digest = sha256(secret.strip()[: KEY.value + 1]).digest()
        if scheme.lower() == b"bearer" and compare_digest(digest, self._metrics_key):
            return True
        raise Turned(401, "The secret for scraping is needed.", ((b"www-authenticate", b"Bearer"),))

    def pull(self, counters: Counted, gauges: Mapping[str, int]) -> None:
        """Bring the board up to date with what others counted, and with what is so now; on the event loop."""
        own = [(LOG_DROPPED.name, self._log.dropped)]
        if self._traces is not None:
            own += [(SPANS.name, self._traces.sent), (SPANS_DROPPED.name, self._traces.dropped)]
        for name, value in (*own, *counters):
            last = self._last.get(name, 0)
            self._last[name] = value
            self._board.add(self._known(name), value - last if value >= last else value)
        for name, value in gauges.items():
            self._cells[self._known(name, gauge=True)] = value

    def _known(self, name: str, *, gauge: bool = False) -> int:
        """Where a series stands; one that has no room is counted where nobody looks."""
        place = self._places.get(name)
        if place is None:
            with self._naming:
                try:
                    place = self._board.series(name, gauge=gauge)
                except Refused:
                    place = self._lost
                self._places[name] = place
        return place

    def scrape(self, own: Mapping[Metric, float]) -> bytes:
        """The metrics of all workers; ``own`` are those that only this one knows."""
        names = self._board.names()
        return exposition({name: self._board.total(place) for name, place in names.items()}, own)
