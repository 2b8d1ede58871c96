"""The straight way of a request: admission, routing, codec, engine, recorder, answer.

A raw ASGI callable. Every answer that is not a prediction is small JSON; every error is
``{"error": "<sentence>"}`` and names nothing but what the caller sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import msgspec

from gatewright.kernel.errors import Refusal
from gatewright.serving.admission import (
    Admitted,
    Headers,
    Receive,
    Scope,
    Send,
    Turned,
    authenticate,
    check_content,
    check_form,
    check_host,
    read_body,
    read_headers,
)
from gatewright.serving.codec import Asked
from gatewright.serving.limits import REQUESTS
from gatewright.serving.plans import Plans
from gatewright.serving.recorder import NotRecorded, Recorder
from gatewright.serving.routing import LIVE, Ask, LoadedRelease, Route, Table, find

INLINE_BYTES = 65_536
"""A longer body is decoded, run and encoded in a thread, so that the event loop stays free."""
THREADS = 2
RETRY = ((b"retry-after", b"1"),)

_encode = msgspec.json.Encoder().encode
_JSON = (b"content-type", b"application/json")

Predicted = tuple[Asked, bytes, bytes, bytes]


def _predict(release: LoadedRelease, body: bytes) -> Predicted:
    """Decode, run, encode: what was asked, the outputs as JSON, and both encodings for the record."""
    codec = release.codec
    asked = codec.read(body)
    try:
        arrays = release.engine.run(asked.inputs, asked.outputs)
    except Exception:  # noqa: BLE001 - ONNX Runtime raises classes of its own; none of their texts may leave
        raise Turned(500, "The model could not answer these inputs.") from None
    outputs = codec.write(arrays, asked.outputs)
    return asked, outputs, codec.inputs_encoding(asked.inputs), codec.outputs_encoding(arrays, asked.outputs)


class App:
    """The data plane's one callable; ``hosts`` are the names it answers for."""

    def __init__(
        self,
        *,
        plans: Plans,
        recorder: Recorder,
        hosts: frozenset[str],
        report: Callable[[Refusal], None],
    ) -> None:
        self._plans = plans
        self._recorder = recorder
        self._hosts = hosts
        self._report = report
        self._in_work = 0
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="predict")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        status = 200
        extra: tuple[tuple[bytes, bytes], ...] = ()
        self._in_work += 1
        try:
            body = await self._answer(scope, receive)
        except Turned as turned:
            status, extra = turned.status, turned.headers
            body = _encode({"error": turned.sentence})
        except Exception as error:  # noqa: BLE001 - a fault of ours must be an answer and a report, never a trace
            status = 500
            self._report(Refusal(code="serving.fault", what=f"A request failed: {type(error).__name__}."))
            body = _encode({"error": "The server failed to answer."})
        finally:
            self._in_work -= 1
        headers = [_JSON, (b"content-length", b"%d" % len(body)), *extra]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, scope: Scope, receive: Receive) -> bytes:
        headers = read_headers(scope["headers"])
        check_host(headers, self._hosts)
        path, method = scope["path"], scope["method"]
        if path == LIVE:
            if method != "GET":
                raise Turned(405, "This path takes GET only.", ((b"allow", b"GET"),))
            return b'{"live":true}'
        table = self._plans.table
        callers = authenticate(headers, table.admitted)
        target, caller = find(table, path, method, callers)
        if target.ask is Ask.INFER and target.route is not None:
            return await self._infer(target.route, caller, headers, receive)
        return self._tell(table, target.ask, target.route)

    def _ready(self, table: Table) -> bool:
        return self._recorder.healthy and bool(table.routes)

    def _tell(self, table: Table, ask: Ask, route: Route | None) -> bytes:
        """Answers about the server and its models."""
        if ask is Ask.SERVER:
            return _encode(table.server_metadata)
        if ask is Ask.MODEL and route is not None:
            return route.metadata
        if not self._ready(table):
            raise Turned(503, "The server is not ready to predict.", RETRY)
        if route is None:
            return b'{"ready":true}'
        return _encode({"name": route.endpoint, "ready": True})

    async def _infer(self, route: Route, caller: Admitted, headers: Headers, receive: Receive) -> bytes:
        if self._in_work > REQUESTS.value:
            raise Turned(503, f"More than {REQUESTS.value} requests are in work; try again.", RETRY)
        if not self._recorder.healthy:
            raise _not_recorded()
        check_content(headers)
        body = await read_body(receive)
        check_form(headers, body)
        release = route.champion
        if release.engine.inline and len(body) <= INLINE_BYTES:
            asked, outputs, came, went = _predict(release, body)
        else:
            loop = asyncio.get_running_loop()
            asked, outputs, came, went = await loop.run_in_executor(self._threads, _predict, release, body)
        try:
            token = await self._recorder.submit(route.parts[caller.id], asked.id or "", came, went)
        except NotRecorded:
            raise _not_recorded() from None
        echo = b"" if asked.id is None else b',"id":' + _encode(asked.id)
        return b'%b%b,"parameters":{"receipt":"%b"},"outputs":%b}' % (
            route.answer_head,
            echo,
            token.encode(),
            outputs,
        )

    def close(self) -> None:
        """End the threads, once no request is in work."""
        self._threads.shutdown()


def _not_recorded() -> Turned:
    return Turned(503, "The prediction could not be recorded, so it is not given; try again.", RETRY)
