"""What happens to a call: its method, its key, and for a prediction the way over the event loop.

A thread of the gRPC server holds a call. The governed way is gone on the event loop, as REST goes it,
so that what counts and chooses there needs no locks; the thread hands the call in and waits for its
receipt. What would hold up the loop (a long message, a slow model) the loop gives back, and the
waiting thread runs it. All calls that come before the loop looks wake it once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from threading import Lock
from time import monotonic, perf_counter, perf_counter_ns
from typing import Any, TypeAlias
from urllib.parse import unquote

import grpc
from google.protobuf.message import DecodeError

from gatewright.kernel.errors import Refusal
from gatewright.kernel.version import VERSION
from gatewright.models.signature import TensorSpec
from gatewright.serving.admission import Admitted, Headers, Turned, authenticate, subject_of
from gatewright.serving.answering import RETRY, Answering, Predicted, not_recorded
from gatewright.serving.app import INLINE_BYTES
from gatewright.serving.codec import Asked
from gatewright.serving.grpc_messages import MESSAGES, SERVICE
from gatewright.serving.grpc_tensors import Message, answer_of, asked_of
from gatewright.serving.limits import ARRIVAL_TIME, GRPC_ARRIVING, RECORD_TIME
from gatewright.serving.overload import Place
from gatewright.serving.plans import Plans
from gatewright.serving.routing import PLATFORM, Route, Served, Table, answering, find
from gatewright.serving.traces import Span

Context: TypeAlias = Any

WAIT_SECONDS = 2 * RECORD_TIME.value
"""After this time the recorder has long refused what it could not write."""

CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    503: grpc.StatusCode.UNAVAILABLE,
}
_KEPT = {
    name: name.encode()
    for name in ("authorization", "gatewright-subject", "traceparent", "x-forwarded-for", "x-request-id")
}
_TOLD = frozenset({b"retry-after", b"x-request-id"})
"""What of the headers of a refusal goes along with its status."""
_LIVE = MESSAGES["ServerLiveResponse"](live=True).SerializeToString()
_READY = MESSAGES["ServerReadyResponse"](ready=True).SerializeToString()
_MODEL_READY = MESSAGES["ModelReadyResponse"](ready=True).SerializeToString()
_SERVER = MESSAGES["ServerMetadataResponse"](name="gatewright", version=VERSION).SerializeToString()


@dataclass(slots=True)
class _Head:
    """What the head of a call gave: the table of that moment, and what its key admits to.

    ``endpoint`` is that of its message, once it is known that the key admits to it.
    """

    table: Table
    callers: tuple[Admitted, ...]
    headers: Headers
    endpoint: str = ""


@dataclass(slots=True)
class _Admission:
    """What a prediction that was let in is to run, and for whom; ``place`` is to be counted out."""

    route: Route
    pinned: Served | None
    caller: Admitted
    place: Place
    span: Span | None


@dataclass(slots=True)
class _Prediction:
    """A prediction on its way; ``gate`` opens when the waiting thread is to go on.

    With ``token`` it is recorded, with ``turned`` refused; with neither the thread is to run it.
    """

    head: _Head
    message: Message
    size: int
    began: int
    gate: Lock = field(default_factory=Lock)
    admission: _Admission | None = None
    found: Predicted | None = None
    token: str | None = None
    turned: Turned | None = None


def read_metadata(metadata: Iterable[tuple[str, str | bytes]]) -> dict[bytes, bytes]:
    """What admission looks at, as headers; what decides something may come only once."""
    found: dict[bytes, bytes] = {}
    for name, value in metadata:
        kept = _KEPT.get(name)
        if kept is None:
            continue
        if kept in found:
            raise Turned(400, f"The metadata {name} come more than once.")
        found[kept] = value.encode("utf-8", "replace") if isinstance(value, str) else value
    return found


def refuse(turned: Turned, context: Context) -> None:
    """End a call with the status of a refusal, and its headers as trailing metadata.

    ``grpc-retry-pushback-ms`` tells a client that tries again by itself when to (gRPC proposal A6).
    """
    told = [(name.decode(), value.decode("ascii")) for name, value in turned.headers if name in _TOLD]
    told += [("grpc-retry-pushback-ms", f"{value}000") for name, value in told if name == "retry-after"]
    context.set_trailing_metadata(told)
    context.abort(CODES.get(turned.status, grpc.StatusCode.INTERNAL), turned.sentence)


def peer_of(context: Context) -> str:
    """The address of the caller's end of the connection, without its port."""
    kind, _, rest = unquote(context.peer()).partition(":")
    return rest.rpartition(":")[0].strip("[]") if kind in {"ipv4", "ipv6"} else ""


def parsed(name: str, data: bytes) -> Message:
    """A message of the protocol, or 400."""
    try:
        return MESSAGES[name].FromString(data)
    except DecodeError:
        raise Turned(400, "The message is not one of the protocol.") from None


def find_model(head: _Head, name: str, version: str) -> tuple[Route, Served | None, Admitted]:
    """The route of a model, the release that a version pins, and the admission that covers it; or 404."""
    path = f"/v2/models/{name}/versions/{version}" if version else f"/v2/models/{name}"
    if "/" not in name and "/" not in version:
        try:
            target, caller = find(head.table, path, "GET", head.callers)
        except Turned:
            pass
        else:
            if target.route is not None:
                head.endpoint = target.route.endpoint
                return target.route, target.pinned, caller
    raise Turned(404, "There is no such model or version for this API key.")


def _tensors(specs: Sequence[TensorSpec]) -> list[Message]:
    return [{"name": each.name, "datatype": str(each.datatype), "shape": each.shape} for each in specs]


class Calls(grpc.GenericRpcHandler):
    """Leads a call to its answer; ``loop`` is the worker's."""

    def __init__(
        self,
        *,
        loop: asyncio.AbstractEventLoop,
        plans: Plans,
        answering: Answering,
        report: Callable[[Refusal], None],
    ) -> None:
        self._loop = loop
        self._plans = plans
        self._answering = answering
        self._report = report
        self._seen = answering.seen
        self._handed_in: deque[_Prediction] = deque()
        self._called = False
        self._arriving: dict[bytes, dict[Context, float]] = {}
        self._live: Any = grpc.stream_unary_rpc_method_handler(lambda _stream, _context: _LIVE)
        asks = {
            "ServerReady": self._server_ready,
            "ServerMetadata": self._server_metadata,
            "ModelReady": self._model_ready,
            "ModelMetadata": self._model_metadata,
            "ModelInfer": self._infer,
        }
        self._asks = {f"/{SERVICE}/{name}": ask for name, ask in asks.items()}

    # On the thread that takes calls.

    def service(self, handler_call_details: Any) -> Any:
        """How a call is answered, told by its head; None for a method that is not offered.

        Methods are served as if they took a stream: so they are called before any message is asked for.
        """
        method = handler_call_details.method
        ask = self._asks.get(method)
        if ask is None:
            return self._live if method == f"/{SERVICE}/ServerLive" else None
        table, headers = self._plans.table, {}
        try:
            headers = read_metadata(handler_call_details.invocation_metadata)
            head = _Head(table, authenticate(headers, table.callers), headers)
        except Exception as error:  # noqa: BLE001 - what is raised here would be answered in the library's words
            return grpc.stream_unary_rpc_method_handler(partial(self._refuse_unread, error, headers))
        return grpc.stream_unary_rpc_method_handler(partial(self._answer, ask, head))

    # On the thread that holds a call.

    def _refuse_unread(self, error: Exception, headers: Headers, stream: object, context: Context) -> None:
        del stream
        self._refuse(self._turned(error), headers, context)

    def _answer(
        self, ask: Callable[[_Head, bytes], bytes], head: _Head, stream: Iterator[bytes], context: Context
    ) -> bytes | None:
        """Answer, or end the call with a status; no text of an exception ever leaves."""
        try:
            found = ask(head, self._message(head, stream, context))
        except grpc.RpcError:  # the caller is gone
            raise
        except Exception as error:  # noqa: BLE001 - a fault of ours must be a status and a report, never a trace
            self._refuse(self._turned(error), head.headers, context, head.endpoint)
            return None
        echoed = self._seen.echo(head.headers)
        if echoed:
            context.set_trailing_metadata([(name.decode(), value.decode("ascii")) for name, value in echoed])
        return found

    def _message(self, head: _Head, stream: Iterator[bytes], context: Context) -> bytes:
        """The message of a call, waiting for it; raises Turned, and RpcError where it does not come."""
        arriving = self._arriving.setdefault(head.callers[0].digest, {})
        if len(arriving) >= GRPC_ARRIVING.value:
            raise Turned(429, f"More than {GRPC_ARRIVING.value} calls wait for their messages.", RETRY)
        arriving[context] = monotonic()
        try:
            return next(stream)
        except StopIteration:
            raise Turned(400, "The call has no message.") from None
        finally:
            del arriving[context]

    def sweep(self) -> None:
        """Cancel the calls whose messages have not come in time; called every now and then."""
        last = monotonic() - ARRIVAL_TIME.value
        for arriving in list(self._arriving.values()):
            for context, since in list(arriving.items()):
                if since < last:
                    context.cancel()

    def _refuse(self, turned: Turned, headers: Headers, context: Context, endpoint: str = "") -> None:
        refuse(self._seen.turned(turned, headers, peer_of(context), endpoint), context)

    def _turned(self, error: Exception) -> Turned:
        """What a caller is told of an exception; whatever is no refusal is reported as a fault."""
        if isinstance(error, Turned):
            return error
        self._report(Refusal(code="serving.fault", what=f"A call failed: {type(error).__name__}."))
        return Turned(500, "The server failed to answer.", reason="fault")

    def _check_ready(self, table: Table) -> None:
        if not (self._answering.recorder.healthy and table.routes):
            raise Turned(503, "The server is not ready to predict.", RETRY)

    def _server_ready(self, head: _Head, request: bytes) -> bytes:
        del request
        self._check_ready(head.table)
        return bytes(_READY)

    def _server_metadata(self, head: _Head, request: bytes) -> bytes:
        del head, request
        return bytes(_SERVER)

    def _model_ready(self, head: _Head, request: bytes) -> bytes:
        asked = parsed("ModelReadyRequest", request)
        find_model(head, asked.name, asked.version)
        self._check_ready(head.table)
        return bytes(_MODEL_READY)

    def _model_metadata(self, head: _Head, request: bytes) -> bytes:
        asked = parsed("ModelMetadataRequest", request)
        route = find_model(head, asked.name, asked.version)[0]
        signature = route.champion.release.signature
        versions = sorted({each.release.version for each in answering(route)})
        answer: bytes = MESSAGES["ModelMetadataResponse"](
            name=route.endpoint,
            versions=[str(version) for version in versions],
            platform=PLATFORM,
            inputs=_tensors(signature.inputs),
            outputs=_tensors(signature.outputs),
        ).SerializeToString()
        return answer

    def _infer(self, head: _Head, request: bytes) -> bytes:
        message = parsed("ModelInferRequest", request)
        call = _Prediction(head, message, len(request), perf_counter_ns())
        call.gate.acquire()
        self._hand_in(call)
        self._wait(call)
        if call.token is None and call.turned is None:
            self._run_here(call)
            self._hand_in(call)
            self._wait(call)
        if call.turned is not None:
            raise call.turned
        assert call.admission is not None and call.found is not None and call.token is not None  # noqa: S101, PT018
        return answer_of(call.admission.route, call.found, message.id, call.token)

    def _run_here(self, call: _Prediction) -> None:
        """Decode and run what would hold up the loop; a refusal goes to the loop too, which counts it out."""
        try:
            assert call.admission is not None  # noqa: S101 - it was let in
            admission, asked = call.admission, self._read(call, call.admission)
            call.found = self._answering.predict(admission.route, admission.caller, asked, admission.pinned)
        except Exception as error:  # noqa: BLE001 - see above
            call.turned = self._turned(error)

    def _hand_in(self, call: _Prediction) -> None:
        """Give it to the loop, from any other thread."""
        self._handed_in.append(call)
        if not self._called:  # else the loop was called already, and has not looked yet
            self._called = True
            with suppress(RuntimeError):  # the loop was closed meanwhile: nobody will open the gate
                self._loop.call_soon_threadsafe(self._take_in)

    def _wait(self, call: _Prediction) -> None:
        """Until the loop gives it back; raises Turned where it does not."""
        if not call.gate.acquire(timeout=WAIT_SECONDS):
            raise not_recorded()

    # On the event loop.

    def _take_in(self) -> None:
        self._called = False  # before the line is emptied: who comes now calls again
        while self._handed_in:
            call = self._handed_in.popleft()
            try:
                self._go_on(call)
            except Exception as error:  # noqa: BLE001 - one call's fault is not the next one's
                self._turn(call, self._turned(error))

    def _go_on(self, call: _Prediction) -> None:
        if call.turned is not None:
            raise call.turned
        if call.found is not None:
            self._record(call, call.found)
            return
        admission = call.admission = self._let_in(call)
        if call.size > INLINE_BYTES:
            call.gate.release()
            return
        asked = self._read(call, admission)
        came = partial(self._came, call)
        found = self._answering.begin(
            admission.route, admission.caller, asked, admission.pinned, came, on_loop=True
        )
        if found is not None:
            self._record(call, found)

    def _let_in(self, call: _Prediction) -> _Admission:
        message, head = call.message, call.head
        route, pinned, caller = find_model(head, message.model_name, message.model_version)
        place = self._answering.enter(route, caller)
        return _Admission(route, pinned, caller, place, self._seen.trace(head.headers))

    def _read(self, call: _Prediction, admission: _Admission) -> Asked:
        begun = perf_counter()
        codec = admission.route.champion.release.codec
        asked = asked_of(codec, call.message, subject_of(call.head.headers))
        admission.place.spent = perf_counter() - begun
        return asked

    def _came(self, call: _Prediction, found: Predicted | Exception) -> None:
        """Take what a model answered, in its thread or on the loop."""
        if isinstance(found, Exception):
            call.turned = self._turned(found)
        else:
            call.found = found
        self._hand_in(call)

    def _record(self, call: _Prediction, found: Predicted) -> None:
        assert call.admission is not None  # noqa: S101 - it was let in
        call.found = found
        call.admission.place.spent += found.seconds
        self._answering.record(found, partial(self._recorded, call))

    def _recorded(self, call: _Prediction, token: str | None) -> None:
        admission, found = call.admission, call.found
        if token is None or admission is None or found is None:
            self._turn(call, not_recorded())
            return
        self._answering.leave(admission.place)
        call.token = token
        call.gate.release()
        self._seen.answered(found.served.label, perf_counter_ns() - call.began)
        if admission.span is not None:
            self._seen.traced_answer(admission.span, found.served.label, token)

    def _turn(self, call: _Prediction, turned: Turned) -> None:
        admission = call.admission
        if admission is not None:
            self._answering.leave(admission.place)
            if admission.span is not None:
                self._seen.traced(admission.span, turned.status, admission.route.endpoint)
        call.turned = turned
        call.gate.release()
