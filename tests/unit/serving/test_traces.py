from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from gatewright.kernel.errors import Misuse, Refusal
from gatewright.serving import traces as module
from gatewright.serving.traces import ASKED_IN_A_SECOND, Traces

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


class Collector:
    """An OTLP collector on the loopback, of the test: the spans that it was sent."""

    def __init__(self, status: int = 200) -> None:
        self.spans: list[Any] = []
        self.kinds: set[str | None] = set()
        outer = self

        class Answer(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                outer.kinds.add(self.headers["content-type"])
                found = ExportTraceServiceRequest.FromString(body)
                outer.spans += [
                    span
                    for resource in found.resource_spans
                    for scope in resource.scope_spans
                    for span in scope.spans
                ]
                self.send_response(status)
                if status == 302:
                    self.send_header("location", "http://127.0.0.1:9/elsewhere")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.server = HTTPServer(("127.0.0.1", 0), Answer)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1/traces"


@contextmanager
def collecting(status: int = 200) -> Iterator[Collector]:
    """A collector while a block runs."""
    found = Collector(status)
    thread = threading.Thread(target=found.server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield found
    finally:
        found.server.shutdown()
        thread.join()
        found.server.server_close()


def facts_of(span: Any) -> dict[str, Any]:
    """The attributes of a span."""
    return {
        each.key: each.value.string_value or each.value.int_value for each in span.attributes
    }  # neither an empty text nor a zero is sent here


def make(url: str = "http://127.0.0.1:9/v1/traces", **values: Any) -> Traces:
    """Traces whose reports are not looked at."""
    return Traces(url, **{"report": lambda _refusal: None, **values})


def test_spans_reach_the_collector_of_the_owner() -> None:
    """What is handed over arrives as OTLP with its ids, times and facts; an error is marked."""
    with collecting() as collector:
        traces = make(collector.url, one_in=1)
        traces.start()
        good, bad = traces.begin(None), traces.begin(f"00-{TRACE}-{PARENT}-01".encode())
        assert good is not None
        assert bad is not None
        traces.end(good, 200, {"gatewright.endpoint": "loans", "http.response.status_code": 200})
        traces.end(bad, 503, {"gatewright.endpoint": "loans"})
        traces.close()

    first, second = collector.spans
    assert {"application/x-protobuf"} == collector.kinds
    assert {"gatewright.endpoint": "loans", "http.response.status_code": 200} == facts_of(first)
    assert (b"", 16, 8) == (first.parent_span_id, len(first.trace_id), len(first.span_id))
    assert 0 < first.start_time_unix_nano <= first.end_time_unix_nano
    assert (TRACE, PARENT) == (second.trace_id.hex(), second.parent_span_id.hex())
    assert (0, 2) == (first.status.code, second.status.code)
    assert (2, 0) == (traces.sent, traces.dropped)


def test_one_in_so_many_is_traced() -> None:
    """Of a thousand requests that nobody asked to trace, as many are as the owner said."""
    traces = make(one_in=50)
    assert 20 == sum(traces.begin(None) is not None for _ in range(1_000))


def test_callers_may_ask_for_a_few_traces_only() -> None:
    """Whoever sets the sampled flag on every request is traced at a bounded rate, and not otherwise sampled."""
    now = 5.0
    traces = make(one_in=1, clock=lambda: now)
    asked = f"00-{TRACE}-{PARENT}-01".encode()

    assert ASKED_IN_A_SECOND == sum(traces.begin(asked) is not None for _ in range(500))
    now += 1
    assert traces.begin(asked) is not None
    assert traces.begin(f"00-{TRACE}-{PARENT}-00".encode()) is None


@pytest.mark.parametrize(
    "header",
    [
        "", "00", f"00-{TRACE}-{PARENT}", f"ff-{TRACE}-{PARENT}-01", f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01", f"00-{TRACE.upper()}-{PARENT}-01", f"00-{TRACE}-{PARENT}-01-more",
        f"00-{TRACE[:-1]}-{PARENT}-01", f"0x-{TRACE}-{PARENT}-01", "\xff" * 55, "-" * 5_000,
    ],
)  # fmt: skip
def test_what_the_standard_would_not_write_is_no_parent(header: str) -> None:
    """A header that is not W3C's is as if there were none: the request is a root, if it is sampled."""
    span = make(one_in=1).begin(header.encode("latin-1"))

    assert span is not None
    assert (b"", False) == (span.parent, span.trace.hex() == TRACE)


def test_a_later_version_of_the_header_is_read_as_the_first() -> None:
    """Of a higher version the parts that are known are used, as the standard asks."""
    span = make().begin(f"01-{TRACE}-{PARENT}-01-later".encode())

    assert span is not None
    assert PARENT == span.parent.hex()


def test_the_queue_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spans that do not fit are dropped and counted."""
    monkeypatch.setattr(module, "QUEUE", 3)
    traces = make(one_in=1)
    for _ in range(5):
        span = traces.begin(None)
        assert span is not None
        traces.end(span, 200, {})

    assert 2 == traces.dropped


@pytest.mark.parametrize("status", [302, 400, 503])
def test_a_collector_that_does_not_take_spans_is_told_of_once(status: int) -> None:
    """They are dropped and counted, nothing is tried twice, no redirect is followed, and the owner hears of it."""
    said: list[Refusal] = []
    with collecting(status) as collector:
        traces = make(collector.url, one_in=1, report=said.append)
        for _ in range(3):
            span = traces.begin(None)
            assert span is not None
            traces.end(span, 200, {})
            traces._send()

    assert (3, 0, 3) == (traces.dropped, traces.sent, len(collector.spans))
    assert ["serving.traces"] == [each.code for each in said]


def test_the_environment_s_proxy_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spans go where the owner said, whatever a variable of the environment says."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with collecting() as collector:
        traces = make(collector.url, one_in=1)
        span = traces.begin(None)
        assert span is not None
        traces.end(span, 200, {})
        traces._send()

    assert (1, 1) == (traces.sent, len(collector.spans))


@pytest.mark.parametrize(
    "url", ["", "collector:4318", "ftp://host/", "http://", "http://user:word@host/", "http://host:x/"]
)
def test_an_address_that_is_none_is_refused(url: str) -> None:
    """Only HTTP and HTTPS addresses without a user's name are taken."""
    with pytest.raises(Misuse) as caught:
        make(url)
    assert "serving.traces-url" == caught.value.code
