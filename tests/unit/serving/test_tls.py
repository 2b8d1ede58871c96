from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st
from OpenSSL import SSL
from OpenSSL._util import lib

from gatewright.kernel.instants import Instant
from gatewright.serving import tls
from gatewright.serving.certificates import Certificates
from gatewright.serving.protocol import Connections, Request
from gatewright.serving.tls import Handshakes, TlsConnection
from unit.serving.authority import Authority

AUTHORITY = Authority()
IDENTITY = AUTHORITY.identity()
CONTEXT = SSL.Context(SSL.TLS_CLIENT_METHOD)
PIECES = 600


class Mirror:
    """An application that answers what it was asked."""

    def open(self, request: Request) -> None:
        """Nothing is decided from the head."""

    def run(self, request: Request) -> None:
        """The method, the path and the body."""
        request.answer(200, f"{request.method} {request.path} ".encode() + request.body)

    def abandon(self, request: Request) -> None:
        """Nothing is kept."""


class Line(asyncio.Transport):
    """The network end: keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = b""
        self.closed = False
        self.aborted = False
        self.reading = True

    def write(self, data: Any) -> None:
        """Keep it."""
        self.sent += bytes(data)

    def close(self) -> None:
        """Nothing more."""
        self.closed = True

    def abort(self) -> None:
        """Nothing more, at once."""
        self.aborted = True

    def is_closing(self) -> bool:
        """Whether one of the two was called."""
        return self.closed or self.aborted

    def pause_reading(self) -> None:
        """Keep that it was asked."""
        self.reading = False

    def resume_reading(self) -> None:
        """Keep that it was asked."""
        self.reading = True

    def get_write_buffer_size(self) -> int:
        """Whatever nobody took."""
        return len(self.sent)

    def take(self) -> bytes:
        """What was written since."""
        sent, self.sent = self.sent, b""
        return sent


class Caller:
    """A client in memory, and the connection that it speaks to."""

    def __init__(
        self, handshakes: Handshakes, *, cut: Callable[[bytes], list[bytes]] = lambda data: [data]
    ) -> None:
        self.tls = SSL.Connection(CONTEXT)
        self.tls.set_connect_state()
        self.line = Line()
        self.server = handshakes()
        self.server.connection_made(self.line)
        self.cut = cut
        self.ended = False

    async def shake(self) -> None:
        """The handshake, to its end."""
        for _ in range(4):
            with suppress(SSL.WantReadError):
                self.tls.do_handshake()
            await self.flush()
            self.take()

    async def flush(self) -> None:
        """What the client has to say, in pieces; like a network, nothing is given to who does not read."""
        try:
            said = self.tls.bio_read(2**24)
        except SSL.WantReadError:
            return
        for piece in self.cut(said):
            self.server.data_received(piece)
            while not self.line.reading and not self.line.is_closing():  # noqa: ASYNC110 - turns of the loop are what is meant
                await asyncio.sleep(0)

    def take(self) -> bytes:
        """What the server said, decrypted."""
        sent = self.line.take()
        found = b""
        if sent:
            self.tls.bio_write(sent)
        try:
            while True:
                found += self.tls.recv(65_536)
        except SSL.WantReadError:
            pass
        except SSL.ZeroReturnError:
            self.ended = True
        return found


def handshakes(connections: Connections) -> Handshakes:
    """What a worker's connections share."""
    return Handshakes(Certificates(lambda: IDENTITY, clock=now, tell=lambda _: None), connections)


def now() -> Instant:
    """By this machine's clock, as the certificates."""
    return Instant(time.time_ns())


def run(story: Callable[[], Any]) -> Any:
    """Tell a story on uvloop."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(story())


def cut_at(sizes: list[int]) -> Callable[[bytes], list[bytes]]:
    """Cut into pieces of these sizes, over and over."""

    def cut(data: bytes) -> list[bytes]:
        pieces, at, turn = [], 0, 0
        while at < len(data):
            size = sizes[turn % len(sizes)]
            pieces.append(data[at : at + size])
            at, turn = at + size, turn + 1
        return pieces

    return cut


REQUESTS = st.lists(
    st.tuples(
        st.sampled_from(["/a", "/long" * 40]), st.binary(max_size=40) | st.integers(0, 60_000).map(bytes)
    ),
    min_size=1,
    max_size=5,
)


@given(
    asked=REQUESTS,
    wire=st.lists(st.integers(1, 7) | st.integers(1, 40_000), min_size=1, max_size=5),
    records=st.lists(st.integers(1, 20_000), min_size=1, max_size=4),
)
def test_any_cut_gives_the_plain_answers(
    asked: list[tuple[str, bytes]], wire: list[int], records: list[int]
) -> None:
    """However requests are cut into records, and records into segments, the answers are those of plain text."""
    said = b"".join(
        f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
        for path, body in asked
    )
    scale = max(1, len(said) // (PIECES * min(wire)))  # byte by byte where that does not take for ever

    async def story() -> tuple[bytes, bytes]:
        connections = Connections(Mirror())
        plain, line = connections(), Line()
        plain.connection_made(line)
        plain.data_received(said)
        caller = Caller(handshakes(connections), cut=cut_at([size * scale for size in wire]))
        await caller.shake()
        for piece in cut_at(records)(said):
            caller.tls.sendall(piece)
        await caller.flush()
        return line.take(), caller.take()

    plain, encrypted = run(story)
    assert plain == encrypted


async def _met(cut: Callable[[bytes], list[bytes]] | None = None, app: Any = None) -> Caller:
    """A caller whose handshake is done."""
    shared = handshakes(Connections(app or Mirror()))
    caller = Caller(shared) if cut is None else Caller(shared, cut=cut)
    await caller.shake()
    return caller


GET = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"


def test_what_is_agreed_on() -> None:
    """TLS 1.3 with the hybrid key exchange, HTTP/1.1, and no session that could be taken up again."""

    async def story() -> tuple[Any, ...]:
        caller = await _met()
        agreed = caller.tls.get_protocol_version_name(), caller.tls.get_group_name()
        session = caller.tls.get_session()
        assert session is not None
        again = Caller(caller.server._shared)
        again.tls.set_session(session)
        await again.shake()
        return *agreed, again.tls.get_group_name(), lib.SSL_session_reused(again.tls._ssl)

    assert ("TLSv1.3", "X25519MLKEM768", "X25519MLKEM768", 0) == run(story)


def test_one_step_of_a_handshake_is_done_in_a_turn_of_the_loop() -> None:
    """Of two who say hello at once, the second is served in a later turn, after what else there was to do."""

    async def story() -> list[str]:
        shared = handshakes(Connections(Mirror()))
        callers = [Caller(shared), Caller(shared)]
        order = []
        for caller in callers:
            with pytest.raises(SSL.WantReadError):
                caller.tls.do_handshake()
            caller.server.data_received(caller.tls.bio_read(65_536))
        asyncio.get_running_loop().call_soon(order.append, "an answer")
        while len(order) < 3:
            order += [f"hello {n}" for n, each in enumerate(callers) if each.line.take()]
            await asyncio.sleep(0)
        return order

    assert ["an answer", "hello 0", "hello 1"] == run(story)


def test_too_many_handshakes_end_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    """A crowd that says nothing keeps nobody out: the one who waited longest makes room, and the last gets in."""
    monkeypatch.setattr(tls, "HANDSHAKES", replace(tls.HANDSHAKES, value=2))

    async def story() -> tuple[list[bool], bytes]:
        shared = handshakes(Connections(Mirror()))
        silent = [Caller(shared) for _ in range(5)]
        last = Caller(shared)
        await last.shake()
        last.tls.sendall(GET)
        await last.flush()
        return [each.line.aborted for each in silent], last.take()

    aborted, answer = run(story)
    assert [True] * 4 + [False] == aborted
    assert answer.startswith(b"HTTP/1.1 200 ")


def test_a_handshake_has_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who does not finish in time is cut off and forgotten."""
    monkeypatch.setattr(tls, "ARRIVAL_TIME", replace(tls.ARRIVAL_TIME, value=0.01))

    async def story() -> int:
        shared = handshakes(Connections(Mirror()))
        caller = Caller(shared)
        async with asyncio.timeout(60):
            while not caller.line.aborted:  # noqa: ASYNC110 - turns of the loop are what is meant
                await asyncio.sleep(0.01)
        return len(shared)

    assert 0 == run(story)


@pytest.mark.parametrize(
    "said", [b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"\x00" * 50, b"\x16\x03\x01\xff\xff"]
)
def test_what_is_not_tls_is_closed_without_an_answer(said: bytes) -> None:
    """Plain HTTP on the port gets no answer and no redirect; other bytes get at most an alert."""

    async def story() -> Line:
        caller = Caller(handshakes(Connections(Mirror())))
        caller.server.data_received(said)
        while not caller.line.closed:  # noqa: ASYNC110 - turns of the loop are what is meant
            await asyncio.sleep(0)
        return caller.line

    sent = run(story).take()
    assert not sent or (sent[:1], len(sent)) == (b"\x15", 7)


def test_a_changed_record_ends_the_connection() -> None:
    """One flipped bit is an alert and the end, and nothing of it reaches the application."""

    async def story() -> tuple[bool, int]:
        caller = await _met()
        caller.tls.sendall(GET)
        said = bytearray(caller.tls.bio_read(65_536))
        said[-1] ^= 1
        caller.server.data_received(bytes(said))
        return caller.line.closed, len(caller.line.take())

    closed, sent = run(story)
    assert closed
    assert 0 < sent < 64


def test_both_sides_say_that_nothing_follows() -> None:
    """After ``Connection: close`` the caller gets the answer whole and TLS's own end; its own end closes, too."""

    async def story() -> tuple[bytes, bool, bool, bool]:
        caller = await _met()
        caller.tls.sendall(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        await caller.flush()
        answer = caller.take()
        other = await _met()
        other.tls.shutdown()
        await other.flush()
        return answer, caller.ended, caller.line.closed, other.line.closed

    answer, *ended = run(story)
    assert answer.endswith(b"GET /a ")
    assert [True, True, True] == ended


class Late(Mirror):
    """Answers when the test says so."""

    def __init__(self) -> None:
        self.waiting: list[Request] = []

    def run(self, request: Request) -> None:
        """Keep it."""
        self.waiting.append(request)


def test_an_answer_to_nobody_is_dropped() -> None:
    """A caller who cut the connection, without TLS's own end, takes nothing with it: a late answer goes nowhere."""

    async def story() -> tuple[int, bytes]:
        app = Late()
        caller = await _met(app=app)
        caller.tls.sendall(GET)
        await caller.flush()
        caller.server.eof_received()
        caller.server.connection_lost(None)
        app.waiting[0].answer(200, b"late")
        return len(app.waiting), caller.line.take()

    assert (1, b"") == run(story)


def test_a_caller_that_reads_nothing_is_not_answered_further() -> None:
    """While the network takes nothing, requests wait; when it does, they are answered in order."""

    async def story() -> tuple[int, int]:
        app = Late()
        caller = await _met(app=app)
        caller.server.pause_writing()
        caller.tls.sendall(GET * 3)
        await caller.flush()
        before = len(app.waiting)
        caller.server.resume_writing()
        return before, len(app.waiting)

    assert (0, 1) == run(story)


def test_requests_beyond_the_pipeline_are_not_read() -> None:
    """Who sends more than may wait is not read from until there is room, and then everything is answered."""

    async def story() -> tuple[bool, int]:
        app = Late()
        caller = await _met(app=app)
        caller.tls.sendall(GET * 40)
        caller.server.data_received(caller.tls.bio_read(65_536))
        paused = not caller.line.reading
        while app.waiting:
            app.waiting.pop(0).answer(200, b"")
        return paused, caller.take().count(b"HTTP/1.1 200 ")

    assert (True, 40) == run(story)


def test_a_long_answer_comes_whole() -> None:
    """An answer of many records, longer than one block, is what was sent."""
    body = bytes(range(256)) * 9_000

    async def story() -> bytes:
        caller = await _met()
        caller.tls.sendall(b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        await caller.flush()
        return caller.take()

    assert run(story).endswith(b"PUT / " + body)


def test_talk_that_nobody_reads_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """What TLS itself answers, as to key updates, does not pile up for a caller that reads nothing."""

    async def story() -> bool:
        caller = await _met()
        monkeypatch.setattr(tls, "UNREAD_BYTES", 10)
        caller.line.sent = b"x" * 11
        tls_of_server = caller.server.get_extra_info("ssl_object")
        tls_of_server.sendall(b"said by TLS")
        caller.tls.sendall(GET)
        first, second = cut_at([9])(caller.tls.bio_read(65_536))[:2]
        caller.server.data_received(first + second)
        return caller.line.aborted

    assert run(story)


def test_the_transport_tells_of_itself() -> None:
    """What a protocol may ask of a transport is answered from the network's end."""

    async def story() -> tuple[Any, ...]:
        caller = await _met()
        server: TlsConnection = caller.server
        open_before = server.is_closing()
        server.write(b"")
        server.close()
        server.close()
        server.write(b"too late")
        return open_before, server.is_closing(), server.get_extra_info("peername", "nobody")

    assert (False, True, "nobody") == run(story)
