"""Traces: a sampled part of the requests, sent to the one collector that the owner named.

A span is made for one in so many requests, and for a request whose ``traceparent`` (W3C Trace Context,
level 1) says that its caller sampled it, as far as ``ASKED_IN_A_SECOND`` allows: no caller decides how
much is traced. Spans wait in a queue of fixed length and leave in batches from a thread of their own,
as OTLP over HTTP in protobuf; what does not fit, or is not taken, is dropped and counted. Nothing is
tried twice, redirects are not followed, and the environment's proxies are not used.

Only the extra ``otel`` installs what encodes spans.
"""

from __future__ import annotations

import http.client
import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic, time_ns
from typing import Any
from urllib.parse import urlsplit

from gatewright.kernel.errors import DependencyFailed, Misuse, Refusal
from gatewright.kernel.version import VERSION

QUEUE = 2_048
BATCH = 512
ASKED_IN_A_SECOND = 10
EVERY_SECONDS = 1.0
SEND_SECONDS = 5.0
ONE_IN = 1_000
_SERVER, _ERROR = 2, 2
_HEX = frozenset("0123456789abcdef")


@dataclass(slots=True)
class Span:
    """A request that is traced: ids in bytes, nanoseconds since 1970; ``parent`` is empty at a root."""

    trace: bytes
    id: bytes
    parent: bytes
    began: int


@dataclass(frozen=True, slots=True)
class _Ended:
    span: Span
    ended: int
    status: int
    facts: dict[str, str | int]


class Traces:
    """The spans of one worker, sampled ``one_in`` so many; ``sent`` and ``dropped`` count them.

    ``report`` is told once when the collector stops taking spans. Raises Misuse for a ``url`` that is
    none of HTTP, DependencyFailed where the extra is not installed.
    """

    def __init__(
        self,
        url: str,
        report: Callable[[Refusal], None],
        *,
        one_in: int = ONE_IN,
        entropy: Callable[[int], bytes] = os.urandom,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        parts = check_url(url)
        self._secure = parts.scheme == "https"
        self._host, self._port = parts.hostname or "", parts.port
        self._path = parts.path or "/v1/traces"
        self._encode = encoder()
        self._one_in = one_in
        self._left = 1 + int.from_bytes(entropy(4), "big") % one_in
        self._entropy = entropy
        self._clock = clock
        self._second = 0
        self._asked = 0
        self._report = report
        self._queue: deque[_Ended] = deque()
        self._wake = threading.Event()
        self._ending = False
        self._failed = False
        self.sent = 0
        self.dropped = 0
        self._thread = threading.Thread(target=self._work, name="traces", daemon=True)

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def begin(self, traceparent: bytes | None) -> Span | None:
        """A span where this request is sampled, else None; on any thread."""
        if traceparent is not None:
            parent = _parse(traceparent)
            if parent is not None:
                trace, above, sampled = parent
                if sampled and self._may_ask():
                    return Span(trace, self._entropy(8), above, time_ns())
                return None
        self._left -= 1
        if self._left > 0:
            return None
        self._left = self._one_in
        made = self._entropy(24)
        return Span(made[:16], made[16:], b"", time_ns())

    def end(self, span: Span, status: int, facts: dict[str, str | int]) -> None:
        """Hand a span over; ``facts`` are its attributes."""
        if len(self._queue) >= QUEUE:
            self.dropped += 1
            return
        self._queue.append(_Ended(span, time_ns(), status, facts))

    def _may_ask(self) -> bool:
        second = int(self._clock())
        if second != self._second:
            self._second, self._asked = second, 0
        self._asked += 1
        return self._asked <= ASKED_IN_A_SECOND

    def close(self) -> None:
        """Send what waits, once, and end."""
        self._ending = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(2 * SEND_SECONDS)

    # In the thread.

    def _work(self) -> None:
        while not self._ending:
            self._wake.wait(EVERY_SECONDS)
            while self._queue and not self._send():
                pass

    def _send(self) -> bool:
        """One batch; gives whether the thread should rest now: the collector did not take it."""
        batch = [self._queue.popleft() for _ in range(min(BATCH, len(self._queue)))]
        try:
            self._post(self._encode(batch))
        except (OSError, http.client.HTTPException) as error:
            self.dropped += len(batch)
            if not self._failed:
                self._failed = True
                self._report(
                    Refusal(
                        code="serving.traces",
                        what="The trace collector does not take spans; they are dropped.",
                        why=getattr(error, "strerror", None) or type(error).__name__,
                    )
                )
            return True
        self._failed = False
        self.sent += len(batch)
        return False

    def _post(self, body: bytes) -> None:
        kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
        connection = kind(self._host, self._port, timeout=SEND_SECONDS)
        try:
            connection.request("POST", self._path, body, {"content-type": "application/x-protobuf"})
            answer = connection.getresponse()
            if not 200 <= answer.status < 300:
                raise http.client.HTTPException(str(answer.status))
        finally:
            connection.close()


def check_url(url: str) -> Any:
    """The parts of a collector's address; raises Misuse for one that is none."""
    try:
        parts = urlsplit(url)
        fits = parts.scheme in {"http", "https"} and parts.hostname and not parts.username
        _ = parts.port
    except ValueError:
        fits = False
    if not fits:
        raise Misuse(
            "serving.traces-url",
            "The address of the trace collector is none.",
            next="Give an OTLP address such as http://127.0.0.1:4318/v1/traces, without a user's name.",
        )
    return parts


def _parse(traceparent: bytes) -> tuple[bytes, bytes, bool] | None:
    """Trace, parent and the sampled flag, or None for a header that the standard would not write."""
    text = traceparent[:256].decode("latin-1")
    parts = text.split("-")
    version = parts[0]
    if len(parts) < 4 or len(version) != 2 or version == "ff" or (version == "00" and len(parts) > 4):
        return None
    trace, above, flags = parts[1:4]
    if (len(trace), len(above), len(flags)) != (32, 16, 2) or not _HEX.issuperset(
        version + trace + above + flags
    ):
        return None
    if not int(trace, 16) or not int(above, 16):
        return None
    return bytes.fromhex(trace), bytes.fromhex(above), bool(int(flags, 16) & 1)


def encoder() -> Callable[[Sequence[_Ended]], bytes]:
    """Makes OTLP of spans; raises DependencyFailed where the extra is not installed."""
    try:
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (  # noqa: PLC0415 - an extra
            ExportTraceServiceRequest,
        )
    except ImportError:
        raise DependencyFailed(
            "serving.traces-missing",
            "Traces cannot be sent: OpenTelemetry is not installed.",
            next="Install the extra: pip install 'gatewright[otel]'.",
        ) from None

    def encode(batch: Sequence[_Ended]) -> bytes:
        request: Any = ExportTraceServiceRequest()
        resource = request.resource_spans.add()
        _tell(resource.resource.attributes, {"service.name": "gatewright", "service.version": VERSION})
        scope = resource.scope_spans.add()
        scope.scope.name, scope.scope.version = "gatewright.serving", VERSION
        for each in batch:
            span = scope.spans.add(
                trace_id=each.span.trace,
                span_id=each.span.id,
                parent_span_id=each.span.parent,
                name="predict",
                kind=_SERVER,
                start_time_unix_nano=each.span.began,
                end_time_unix_nano=each.ended,
            )
            if each.status >= 500:
                span.status.code = _ERROR
            _tell(span.attributes, each.facts)
        return bytes(request.SerializeToString())

    return encode


def _tell(attributes: Any, facts: dict[str, Any]) -> None:
    for name, fact in facts.items():
        added = attributes.add(key=name)
        if isinstance(fact, int):
            added.value.int_value = fact
        else:
            added.value.string_value = fact
