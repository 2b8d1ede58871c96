"""The witness over HTTP: https://c2sp.org/tlog-witness on our own bounded HTTP/1.1.

| request | answer |
|---|---|
| ``POST /add-checkpoint`` | 200 with cosignatures, or the status of :data:`STATUS` |
| ``GET /checkpoint/<SHA-256 of an origin>`` | the note that was cosigned last for that log |
| ``GET /health`` | 200 |

Nothing is secret and nobody logs in: a head counts by the log's signature on it. Submissions wait in
one row, so that comparing and keeping is one step; the row is bounded.
"""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from gatewright.assembly.witnesses import Place
from gatewright.kernel import canonical
from gatewright.kernel.errors import GatewrightError, Refusal, Tampered
from gatewright.ledger.witnessing import SUBMISSION_BYTES, Declined, Ground
from gatewright.operations.witness import Witness, add_checkpoint, cosigned_note
from gatewright.serving.protocol import Connections, Extra, Request

WAITING = 256
"""Most submissions that wait for their turn; further ones are told to come later."""
BACKLOG = 256
DRAIN_SECONDS = 5.0
DRAIN_STEP_SECONDS = 0.02
TEXT = b"text/plain; charset=utf-8"
SIZE_TYPE = b"text/x.tlog.size"
STATUS = {
    Ground.MALFORMED: 400,
    Ground.UNKNOWN_LOG: 404,
    Ground.UNKNOWN_KEY: 403,
    Ground.NOT_LATEST: 409,
    Ground.OTHER_ROOT: 409,
    Ground.BAD_PROOF: 422,
}
"""What each ground is in HTTP, by C2SP tlog-witness."""
BROKEN = 500
LATER = 503

_CHECKPOINT = re.compile(r"/checkpoint/([0-9a-f]{64})")
_LAST: Extra = ((b"connection", b"close"),)


class WitnessApp:
    """Answers the requests of one witness; ``tell`` is told of what an operator should know."""

    def __init__(self, witness: Witness, tell: Callable[[Refusal], None]) -> None:
        self._witness = witness
        self._tell = tell
        self._row = ThreadPoolExecutor(1, thread_name_prefix="witness")
        self._waiting = 0

    def open(self, request: Request) -> None:
        """Turn away from the head alone what cannot be answered."""
        method, path = request.method, request.path
        if path == "/add-checkpoint":
            if method != "POST":
                _say(request, 405, "Heads are submitted with POST.", ((b"allow", b"POST"), *_LAST))
                return
            length = request.headers.get(b"content-length", b"")
            if not length:
                _say(request, 411, "Say how long the request is.", _LAST)
            elif len(length) > len(str(SUBMISSION_BYTES)) or int(length) > SUBMISSION_BYTES:
                _say(request, 413, f"The request is longer than {SUBMISSION_BYTES:,} bytes.", _LAST)
        elif path != "/health" and _CHECKPOINT.fullmatch(path) is None:
            _say(request, 404, "There is nothing here.", _LAST)
        elif method not in ("GET", "HEAD"):
            _say(request, 405, "This is read with GET.", ((b"allow", b"GET, HEAD"), *_LAST))

    def run(self, request: Request) -> None:
        """Answer a whole request, in its turn."""
        if request.path == "/health":
            request.answer(200, b"ok\n", TEXT)
        elif self._waiting >= WAITING:
            _say(request, LATER, "Too many requests wait.", ((b"retry-after", b"1"),))
        else:
            self._waiting += 1
            loop = asyncio.get_running_loop()
            work = self._row.submit(self._answer, request.method, request.path, request.body)
            work.add_done_callback(lambda done: loop.call_soon_threadsafe(self._send, request, done))

    def abandon(self, request: Request) -> None:
        """Nothing was begun for a request that never came whole."""

    def close(self) -> None:
        """End, once what was begun is done."""
        self._row.shutdown(wait=True)

    def _send(self, request: Request, done: Future[tuple[int, bytes, bytes]]) -> None:
        self._waiting -= 1
        request.answer(*done.result())

    def _answer(self, method: str, path: str, body: bytes) -> tuple[int, bytes, bytes]:
        """Status, body and content type; in the thread of the row."""
        try:
            return self._submitted(body) if method == "POST" else self._asked(path)
        except GatewrightError as error:
            self._tell(error.refusal)
            return _failure(error)
        except Exception as error:  # noqa: BLE001 - nothing may be cosigned by mistake, nor the row end
            why = f"{type(error).__name__}: {str(error)[:300]}"
            self._tell(Refusal(code="http.witness-fault", what="A request was not answered.", why=why))
            return BROKEN, _sentence("Something went wrong inside the witness."), b"application/json"

    def _submitted(self, body: bytes) -> tuple[int, bytes, bytes]:
        found = add_checkpoint(self._witness, body)
        if isinstance(found, bytes):
            return 200, found, TEXT
        if found.ground in (Ground.OTHER_ROOT, Ground.BAD_PROOF):
            what = "A log showed a head that does not extend what was cosigned last."
            self._tell(Refusal(code="http.witness-declined", what=what, why=found.why))
        return _declined(found)

    def _asked(self, path: str) -> tuple[int, bytes, bytes]:
        note = cosigned_note(self._witness, path.rpartition("/")[2])
        if note is None:
            return 404, _sentence("Nothing was cosigned for such a log."), b"application/json"
        return 200, note, TEXT


def _declined(found: Declined) -> tuple[int, bytes, bytes]:
    if found.ground in (Ground.NOT_LATEST, Ground.OTHER_ROOT):
        return STATUS[found.ground], b"%d\n" % found.latest, SIZE_TYPE
    return STATUS[found.ground], _sentence(found.why), b"application/json"


def _failure(error: GatewrightError) -> tuple[int, bytes, bytes]:
    """A caller learns that there is no cosignature, and nothing of the machine."""
    if isinstance(error, Tampered):
        return BROKEN, _sentence(error.refusal.what), b"application/json"
    return LATER, _sentence("The witness could not keep the head; nothing was cosigned."), b"application/json"


def _sentence(text: str) -> bytes:
    return canonical.encode({"error": text})


def _say(request: Request, status: int, sentence: str, extra: Extra = ()) -> None:
    request.answer(status, _sentence(sentence), extra=extra)


def serve_witness(place: Place, ready: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT; ``ready`` is told the address once it is answered."""
    asyncio.run(_serve(place, ready))


async def _serve(place: Place, ready: Callable[[str], None]) -> None:
    loop = asyncio.get_running_loop()
    end = asyncio.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, end.set)
    app = WitnessApp(place.witness, place.tell)
    connections = Connections(app)
    sweeping = asyncio.create_task(connections.sweep())
    server = await loop.create_server(place.inside(connections), sock=place.listening, backlog=BACKLOG)
    try:
        ready(place.url)
        await end.wait()
        server.close()
        connections.end()
        last = loop.time() + DRAIN_SECONDS
        while connections.open and loop.time() < last:  # noqa: ASYNC110 - what ends first, they or the time
            await asyncio.sleep(DRAIN_STEP_SECONDS)
    finally:
        connections.abort()
        sweeping.cancel()
        await asyncio.gather(sweeping, return_exceptions=True)
        await loop.run_in_executor(None, app.close)
