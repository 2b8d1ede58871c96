"""The straight way of a request: admission, routing, codec, engine, recorder, answer.

Called by :mod:`gatewright.serving.protocol`, on the event loop, without a task for each request: what
can be decided from the head is decided before the body is read. Every answer that is not a
prediction is small JSON; every error is ``{"error": "<sentence>"}`` and names nothing but what the
caller sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from threading import get_ident
from time import perf_counter, perf_counter_ns
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from gatewright.kernel.errors import Refusal
from gatewright.serving.admission import (
    BINARY_LENGTH,
    BINARY_TYPE,
    Admitted,
    Turned,
    authenticate,
    check_content,
    check_form,
    check_host,
    subject_of,
)
from gatewright.serving.answering import RETRY, Answering, Predicted, not_recorded
from gatewright.serving.codec import Asked
from gatewright.serving.metrics import CONTENT_TYPE as METRICS_TYPE
from gatewright.serving.overload import Place
from gatewright.serving.plans import Plans
from gatewright.serving.protocol import Request
from gatewright.serving.routing import LIVE, Ask, Route, Served, Table, find
from gatewright.serving.seen import METRICS_PATH

if TYPE_CHECKING:
    from gatewright.serving.traces import Span

INLINE_BYTES = 65_536
"""A longer body is decoded in a thread, so that the event loop stays free."""
THREADS = 2

_encode = msgspec.json.Encoder().encode

Record: TypeAlias = Callable[[Predicted, Callable[[str | None], None]], None]


@dataclass(slots=True)
class _Admission:
    """A prediction that was let in; kept as the request's state until it is answered."""

    route: Route
    pinned: Served | None
    caller: Admitted
    place: Place
    subject: str | None
    header: int | None
    began: int
    span: Span | None


class App:
    """Answers requests; ``hosts`` are the names it answers for. Use it on the event loop only.

    ``scrape`` gives the metrics, for those who know the secret for them.
    """

    def __init__(
        self,
        *,
        plans: Plans,
        answering: Answering,
        hosts: frozenset[str],
        report: Callable[[Refusal], None],
        scrape: Callable[[], bytes] = bytes,
    ) -> None:
        self._scrape = scrape
        self._seen = answering.seen
        self._plans = plans
        self._answering = answering
        self._hosts = hosts
        self._report = report
        self._thread = get_ident()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="predict")

    # What the protocol calls.

    def open(self, request: Request) -> None:
        """Admit a request by its head, or answer it."""
        try:
            self._open(request)
        except Turned as turned:
            self._turn(request, turned)
        except Exception as error:  # noqa: BLE001 - a fault of ours must be an answer and a report, never a trace
            self._fail(request, error)

    def run(self, request: Request) -> None:
        """Answer a request whose body is whole."""
        try:
            self._run(request)
        except Turned as turned:
            self._turn(request, turned)
        except Exception as error:  # noqa: BLE001 - see above
            self._fail(request, error)

    def abandon(self, request: Request) -> None:
        """Forget a request whose body will not come."""
        self._leave(request)

    # One answer.

    def _turn(self, request: Request, turned: Turned) -> None:
        admission: _Admission | None = request.state
        self._leave(request)
        target = self._plans.table.targets.get(request.path)
        endpoint = "" if target is None or target.route is None else target.route.endpoint
        turned = self._seen.turned(turned, request.headers, request.peer, endpoint)
        if admission is not None and admission.span is not None:
            self._seen.traced(admission.span, turned.status, endpoint, reason=turned.reason)
        request.answer(turned.status, _encode({"error": turned.sentence}), extra=turned.headers)

    def _fail(self, request: Request, error: BaseException) -> None:
        with suppress(Exception):  # nobody may be there to hear it; the caller is to hear something
            self._report(Refusal(code="serving.fault", what=f"A request failed: {type(error).__name__}."))
        self._turn(request, Turned(500, "The server failed to answer.", reason="fault"))

    def _leave(self, request: Request) -> None:
        admission: _Admission | None = request.state
        if admission is not None:
            request.state = None
            self._answering.leave(admission.place)

    def _open(self, request: Request) -> None:
        if request.doubled is not None:
            raise Turned(
                400,
                f"The header {request.doubled.decode('ascii', 'replace')} comes more than once.",
                ((b"connection", b"close"),),
            )
        headers = request.headers
        check_host(headers, self._hosts)
        path, method = request.path, request.method
        if path == LIVE:
            if method != "GET":
                raise Turned(405, "This path takes GET only.", ((b"allow", b"GET"),))
            request.answer(200, b'{"live":true}')
            return
        if path == METRICS_PATH and self._seen.may_scrape(headers):
            if method != "GET":
                raise Turned(405, "This path takes GET only.", ((b"allow", b"GET"),))
            request.answer(200, self._scrape(), METRICS_TYPE)
            return
        table = self._plans.table
        callers = authenticate(headers, table.callers)
        target, caller = find(table, path, method, callers)
        route = target.route
        if target.ask is not Ask.INFER or route is None:
            request.answer(200, self._tell(table, target.ask, route, caller))
            return
        header = check_content(headers)
        subject = subject_of(headers)
        span = self._seen.trace(headers)
        place = self._answering.enter(route, caller)
        request.state = _Admission(
            route, target.pinned, caller, place, subject, header, perf_counter_ns(), span
        )

    def _tell(self, table: Table, ask: Ask, route: Route | None, caller: Admitted) -> bytes:
        """Answers about the server and its models."""
        if ask is Ask.SERVER:
            return _encode(table.server_metadata)
        if ask is Ask.MODEL and route is not None:
            return route.metadata_for(caller.id)
        closed = route is not None and bool(route.closed)
        if closed or not self._answering.recorder.healthy or not table.routes:
            raise Turned(503, "The server is not ready to predict.", RETRY)
        if route is None:
            return b'{"ready":true}'
        return _encode({"name": route.endpoint, "ready": True})

    def _run(self, request: Request) -> None:
        admission: _Admission = request.state
        check_form(request.headers, request.body)
        loop = asyncio.get_running_loop()
        if len(request.body) <= INLINE_BYTES:
            self._begin(request, admission, loop, self._answering.record)
        else:
            self._threads.submit(self._begin_aside, request, admission, loop)

    def _begin_aside(self, request: Request, admission: _Admission, loop: asyncio.AbstractEventLoop) -> None:
        """Answer it from a thread."""
        try:
            self._begin(request, admission, loop, self._answering.record_soon)
        except Exception as error:  # noqa: BLE001 - the loop sees to it
            loop.call_soon_threadsafe(self._end, request, error)

    def _begin(
        self, request: Request, admission: _Admission, loop: asyncio.AbstractEventLoop, record: Record
    ) -> None:
        """Decode and run; where the model's threads are to run it, they go on with it."""
        begun = perf_counter()
        asked = self._read(admission, request.body)
        admission.place.spent = perf_counter() - begun
        found = self._answering.begin(
            admission.route,
            admission.caller,
            asked,
            admission.pinned,
            partial(self._came, request, admission, asked, loop),
            on_loop=record == self._answering.record,
        )
        if found is not None:
            self._record(request, admission, asked, found, record)

    def _came(
        self,
        request: Request,
        admission: _Admission,
        asked: Asked,
        loop: asyncio.AbstractEventLoop,
        found: Predicted | Exception,
    ) -> None:
        """Go on with what the model answered, in its thread or on the loop."""
        if isinstance(found, Exception):
            loop.call_soon_threadsafe(self._end, request, found)
            return
        try:
            here = get_ident() == self._thread
            record = self._answering.record if here else self._answering.record_soon
            self._record(request, admission, asked, found, record)
        except Exception as error:  # noqa: BLE001 - the loop sees to it
            loop.call_soon_threadsafe(self._end, request, error)

    def _end(self, request: Request, error: Exception) -> None:
        """Answer what a thread could not."""
        if isinstance(error, Turned):
            self._turn(request, error)
        else:
            self._fail(request, error)

    def _read(self, admission: _Admission, body: bytes) -> Asked:
        """What is asked; raises Turned."""
        codec = admission.route.champion.release.codec
        asked = codec.read(body, admission.header)
        if admission.subject is not None:
            if asked.subject not in (None, admission.subject):
                raise Turned(400, "Header and body name different subjects.")
            asked.subject = admission.subject
        return asked

    def _record(
        self, request: Request, admission: _Admission, asked: Asked, found: Predicted, record: Record
    ) -> None:
        """Encode, and ask for the record; the answer goes when it is durable. On whatever thread."""
        begun = perf_counter()
        codec = found.served.release.codec
        if asked.binary:
            outputs, data = codec.write_binary(found.arrays, found.places, asked.binary)
        else:
            outputs, data = codec.write(found.arrays, found.places), b""
        admission.place.spent += found.seconds + perf_counter() - begun

        def then(token: str | None) -> None:
            if token is None:
                self._turn(request, not_recorded())
                return
            self._leave(request)
            echo = b"" if asked.id is None else b',"id":' + _encode(asked.id)
            body = b'%b%b,"parameters":{"receipt":"%b"},"outputs":%b}' % (
                found.served.answer_head,
                echo,
                token.encode(),
                outputs,
            )
            echoed = self._seen.echo(request.headers)
            if data:
                length = (BINARY_LENGTH, b"%d" % len(body))
                request.answer(200, body + data, BINARY_TYPE, (length, *echoed))
            else:
                request.answer(200, body, extra=echoed)
            self._seen.answered(found.served.label, perf_counter_ns() - admission.began)
            if admission.span is not None:
                self._seen.traced_answer(admission.span, found.served.label, token)

        record(found, then)

    def close(self) -> None:
        """End the threads, once no request is in work."""
        self._threads.shutdown()
        self._answering.close()
