from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewright.serving import protocol
from gatewright.serving.limits import ANSWER_TIME, BODY, HEAD, HEADERS, PIPELINED
from gatewright.serving.protocol import BoundedHttp, Connections, Request
from unit.serving.rig import Rig, Running

LIVE = b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture
def server(rig: Rig) -> Iterator[Running]:
    """A worker that needs no plan here."""
    with rig.running() as found:
        yield found


def is_live(connection: socket.socket) -> bool:
    """Whether one request on this connection is answered."""
    connection.settimeout(60)
    connection.sendall(LIVE)
    found = b""
    while not found.endswith(b'{"live":true}'):
        part = connection.recv(65_536)
        if not part:
            return False
        found += part
    return found.startswith(b"HTTP/1.1 200 ")


def until_closed(connection: socket.socket) -> bytes:
    """What comes before the server closes."""
    connection.settimeout(60)
    found = b""
    while part := connection.recv(65_536):
        found += part
    return found


@pytest.mark.parametrize(
    "begun",
    [b"GET /v2", LIVE[:-2], b"POST /v2 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nx", b"\r\n"],
)
def test_what_does_not_arrive_in_time_is_closed(
    server: Running, monkeypatch: pytest.MonkeyPatch, begun: bytes
) -> None:
    """Half a request, in its head or in its body, ends with its deadline."""
    monkeypatch.setattr(protocol, "ARRIVAL_TIME", replace(protocol.ARRIVAL_TIME, value=0.2))
    monkeypatch.setattr(protocol, "IDLE_TIME", replace(protocol.IDLE_TIME, value=0.2))
    with socket.create_connection(server.address) as connection:
        connection.sendall(begun)
        until_closed(connection)


def test_a_silent_connection_is_closed(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """A caller who says nothing does not stay."""
    monkeypatch.setattr(protocol, "IDLE_TIME", replace(protocol.IDLE_TIME, value=0.2))
    with socket.create_connection(server.address) as connection:
        assert b"" == until_closed(connection)


def test_connections_are_counted(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """One connection too many is told so and closed; the others stay."""
    monkeypatch.setattr(protocol, "CONNECTIONS", replace(protocol.CONNECTIONS, value=1))
    with socket.create_connection(server.address) as first:
        assert is_live(first)
        with socket.create_connection(server.address) as second:
            assert until_closed(second).startswith(b"HTTP/1.1 503 ")
        assert is_live(first)


def test_requests_may_be_pipelined(server: Running) -> None:
    """Requests that come together are answered in order on one connection."""
    with socket.create_connection(server.address) as connection:
        connection.sendall(LIVE * 9 + LIVE.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        assert 10 == until_closed(connection).count(b'{"live":true}')


def test_what_is_not_http_is_refused_in_our_form(server: Running) -> None:
    """Bytes that are not HTTP get a JSON refusal, and the connection closes."""
    with socket.create_connection(server.address) as connection:
        connection.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(40))
        found = until_closed(connection)

    assert found.startswith(b"HTTP/1.1 400 ")
    assert found.endswith(b'{"error":"This is not a valid HTTP request."}')


@pytest.mark.parametrize("target", [b"*", b"http://localhost/v2/health/live", b"?", b"/%zz"])
def test_odd_targets_are_answered(server: Running, target: bytes) -> None:
    """Whatever stands in the request line, an answer comes and the worker lives."""
    with socket.create_connection(server.address) as connection:
        connection.sendall(
            LIVE.replace(b"/v2/health/live", target).replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
        )
        assert until_closed(connection).startswith(b"HTTP/1.1 ")


class Wire(asyncio.Transport):
    """The other end of a connection, in memory: what was written, and what the protocol asked for."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1)})
        self.written = b""
        self.closed = False
        self.reading = True

    def write(self, data: Any) -> None:
        """Keep what is written while the connection is open."""
        if not self.closed:
            self.written += bytes(data)

    def is_closing(self) -> bool:
        """Whether nothing more is written."""
        return self.closed

    def close(self) -> None:
        """End."""
        self.closed = True

    abort = close

    def pause_reading(self) -> None:
        """Stop."""
        self.reading = False

    def resume_reading(self) -> None:
        """Go on."""
        self.reading = True


class Mirror:
    """An application that answers what it was sent: method, path and body; some of it later."""

    def __init__(self, *, later: bool = False) -> None:
        self.later = later
        self.waiting: list[Request] = []
        self.opened = 0
        self.abandoned = 0
        self.refuses: Callable[[Request], bool] = lambda _: False

    def open(self, request: Request) -> None:
        """Count; refuse what is to be refused by its head."""
        self.opened += 1
        if request.doubled is not None or self.refuses(request):
            request.answer(400, b"refused")

    def run(self, request: Request) -> None:
        """Answer now, or keep for later."""
        if self.later:
            self.waiting.append(request)
        else:
            self.tell(request)

    def abandon(self, request: Request) -> None:
        """Count."""
        del request
        self.abandoned += 1

    def tell(self, request: Request) -> None:
        """The answer."""
        request.answer(200, f"{request.method} {request.path} ".encode() + request.body)


def connected(app: Mirror) -> tuple[BoundedHttp, Wire]:
    """A connection of that application."""
    made, wire = Connections(app)(), Wire()
    made.connection_made(wire)
    return made, wire


def bodies(written: bytes) -> list[bytes]:
    """The bodies of the answers, in order."""
    found = []
    while written:
        head, _, rest = written.partition(b"\r\n\r\n")
        if head.startswith(b"HTTP/1.1 100"):
            written = rest
            continue
        size = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        found.append(rest[:size])
        written = rest[size:]
    return found


def asked(path: str, body: bytes, *, chunked: bool) -> bytes:
    """A request with this body, of stated length or in chunks."""
    if not chunked:
        return f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    pieces = [body[at : at + 3] for at in range(0, len(body), 3)]
    framed = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    return f"POST {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode() + framed


@given(
    sent=st.lists(st.tuples(st.binary(max_size=20), st.booleans()), min_size=1, max_size=6),
    cuts=st.lists(st.integers(1, 40), min_size=1),
    later=st.booleans(),
    order=st.randoms(use_true_random=False),
)
def test_requests_are_answered_whole_and_in_order_however_their_bytes_come(
    sent: list[tuple[bytes, bool]], cuts: list[int], later: bool, order: Any
) -> None:
    """Cut anywhere, in chunks or not, answered now or in any later order: each gets its own answer, in order."""
    app = Mirror(later=later)
    made, wire = connected(app)
    stream = b"".join(asked(f"/{n}", body, chunked=chunked) for n, (body, chunked) in enumerate(sent))
    sizes = itertools.cycle(cuts)
    while stream:
        size = next(sizes)
        made.data_received(stream[:size])
        stream = stream[size:]
    while app.waiting:
        app.tell(app.waiting.pop(order.randrange(len(app.waiting))))

    assert [f"POST /{n} ".encode() + body for n, (body, _) in enumerate(sent)] == bodies(wire.written)
    assert not wire.closed


def test_a_refusal_by_the_head_lets_the_body_pass() -> None:
    """A request refused before its body came is answered at once, and the next one is read as it should."""
    app = Mirror()
    app.refuses = lambda request: request.path == "/no"
    made, wire = connected(app)
    made.data_received(b"POST /no HTTP/1.1\r\nContent-Length: 5\r\n\r\n")
    early = bodies(wire.written)
    made.data_received(b"12345" + asked("/yes", b"x", chunked=False))

    assert [b"refused"] == early
    assert [b"refused", b"POST /yes x"] == bodies(wire.written)


@pytest.mark.parametrize("name", [b"Host", b"AUTHORIZATION", b"content-type", b"Gatewright-Subject"])
def test_a_deciding_header_comes_once(name: bytes) -> None:
    """A second one is told to the application, which refuses; other headers may repeat."""
    made, wire = connected(Mirror())
    made.data_received(b"GET / HTTP/1.1\r\nX-A: 1\r\nX-A: 2\r\n\r\n")
    made.data_received(b"GET / HTTP/1.1\r\n" + (name + b": 1\r\n") * 2 + b"\r\n")

    assert [b"GET / ", b"refused"] == bodies(wire.written)


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_beyond_the_limit_is_cut_off(chunked: bool) -> None:
    """Whether its length was told or not, what is longer than the limit is 413, and the connection closes."""
    app = Mirror()
    made, wire = connected(app)
    how = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % (2 * BODY.value)
    made.data_received(b"POST / HTTP/1.1\r\n" + how + b"\r\n\r\n")
    piece = b"x" * 2**20
    for _ in range(BODY.value // len(piece) + 1):
        made.data_received(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)

    assert wire.written.startswith(b"HTTP/1.1 413 ")
    assert wire.closed
    assert 1 == app.abandoned


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\n" + b"X-%d: 1\r\n" * (HEADERS.value + 1) % tuple(range(HEADERS.value + 1)),
        b"GET / HTTP/1.1\r\n" + b"X-A: 1\r\n" * 4_000,
        b"GET / HTTP/1.1\r\nX-A: " + b"y" * HEAD.value,
        b"GET /" + b"y" * HEAD.value,
    ],
)
def test_a_head_beyond_the_limits_is_431(head: bytes) -> None:
    """Too many headers, one that repeats without end, and too many bytes of either kind."""
    made, wire = connected(Mirror())
    for at in range(0, len(head), 1_000):
        made.data_received(head[at : at + 1_000])
    made.data_received(b"\r\n\r\n")

    assert wire.written.startswith(b"HTTP/1.1 431 ")
    assert wire.closed


def test_requests_behind_one_another_are_bounded() -> None:
    """Beyond a number of waiting requests nothing more is read, until some are answered."""
    app = Mirror(later=True)
    made, wire = connected(app)
    count = PIPELINED.value + 2
    made.data_received(b"".join(asked(f"/{n}", b"", chunked=False) for n in range(count)))
    held = not wire.reading
    while app.waiting:
        app.tell(app.waiting.pop())

    assert held
    assert wire.reading
    assert count == len(bodies(wire.written))


def test_bytes_that_are_not_http_do_not_spoil_the_answer_before_them() -> None:
    """What was asked before the broken bytes is answered, alone, and then the connection closes."""
    app = Mirror(later=True)
    made, wire = connected(app)
    made.data_received(asked("/a", b"x", chunked=False) + b"nonsense\r\n\r\n")
    before = wire.written
    app.tell(app.waiting.pop())

    assert b"" == before
    assert [b"POST /a x"] == bodies(wire.written)
    assert wire.closed


def test_a_caller_who_leaves_is_forgotten() -> None:
    """A request that was let in and does not become whole is given up once; a late answer goes nowhere."""
    app = Mirror(later=True)
    made, wire = connected(app)
    made.data_received(asked("/a", b"x", chunked=False))
    other, _ = connected(app)
    other.data_received(b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\n12")
    for each in (made, other):
        each.connection_lost(None)
    app.tell(app.waiting.pop())

    assert 1 == app.abandoned
    assert b"" == wire.written


def test_who_does_not_read_is_not_served_on() -> None:
    """While a caller does not take its answers, its next request waits; reading again lets it go on."""
    app = Mirror()
    made, wire = connected(app)
    made.pause_writing()
    made.data_received(asked("/a", b"", chunked=False))
    before = wire.written
    made.resume_writing()

    assert b"" == before
    assert [b"POST /a "] == bodies(wire.written)


@pytest.mark.parametrize(
    ("head", "closes"),
    [
        (b"GET / HTTP/1.0\r\n\r\n", True),
        (b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", False),
        (b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n", True),
        (b"GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n", False),
    ],
)
def test_a_connection_lives_as_long_as_it_should(head: bytes, closes: bool) -> None:
    """RFC 9112 section 9.3; an upgrade that is not offered is not minded."""
    made, wire = connected(Mirror())
    made.data_received(head)

    assert [b"GET / "] == bodies(wire.written)
    assert closes == wire.closed


def test_a_caller_who_waits_for_leave_gets_it() -> None:
    """Expect: 100-continue is answered before the body, once (RFC 9110 section 10.1.1)."""
    made, wire = connected(Mirror())
    made.data_received(b"POST / HTTP/1.1\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n")
    first = wire.written
    made.data_received(b"x")

    assert b"HTTP/1.1 100 Continue\r\n\r\n" == first
    assert [b"POST / x"] == bodies(wire.written)


INNER = b"GET /inner HTTP/1.1\r\n\r\n"


@pytest.mark.parametrize(
    "head",
    [b"POST / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n", b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n"],
)
@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("step", [1, 7, 1_000])
def test_the_body_of_a_request_for_another_protocol_is_no_request(
    head: bytes, chunked: bool, step: int
) -> None:
    """What stands in a body stays one, whatever the head asks to upgrade to; the next request is read after it."""
    made, wire = connected(Mirror())
    framed = (
        b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(INNER), INNER)
        if chunked
        else b"Content-Length: %d\r\n\r\n%b" % (len(INNER), INNER)
    )
    stream = 2 * (head + framed) + LIVE
    for at in range(0, len(stream), step):
        made.data_received(stream[at : at + step])

    found = bodies(wire.written)
    assert 3 == len(found)
    assert [INNER, INNER] == [each.partition(b" ")[2].partition(b" ")[2] for each in found[:2]]


def test_many_upgrades_at_once_are_no_depth() -> None:
    """Thousands of requests that ask for another protocol, in one piece, are all answered."""
    made, wire = connected(Mirror())
    made.data_received(b"GET / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n" * 3_000)

    assert 3_000 == len(bodies(wire.written))


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/0.9\r\n",
        b"GET / HTTP/2.0\r\n",
        b"POST / HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: ,chunked\r\n",
    ],
)
def test_what_others_may_take_to_end_elsewhere_is_refused(head: bytes) -> None:
    """Versions and transfer codings on which parsers differ are 400, and nothing is read behind them."""
    app = Mirror()
    made, wire = connected(app)
    made.data_received(head + b"\r\n0\r\n\r\n" + LIVE)

    assert wire.written.startswith(b"HTTP/1.1 400 ")
    assert 1 == len(bodies(wire.written))
    assert wire.closed
    assert 0 == app.opened


def test_trailers_are_no_headers() -> None:
    """What follows a body in chunks does not become part of the head, even where the head was not looked at yet."""
    app = Mirror(later=True)
    made, _ = connected(app)
    made.data_received(asked("/a", b"x", chunked=False))
    made.data_received(
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nAuthorization: Bearer x\r\n\r\n"
    )
    app.tell(app.waiting.pop())

    assert {b"transfer-encoding": b"chunked"} == app.waiting[0].headers


@pytest.mark.parametrize("more", [b"0\r\nX: y", b"1;x"])
def test_what_goes_with_a_body_is_bounded(more: bytes) -> None:
    """A trailer or a chunk's extension without end is cut off, though the request was answered by its head."""
    app = Mirror()
    app.refuses = lambda _: True
    made, wire = connected(app)
    made.data_received(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + more)
    for _ in range(2 * HEAD.value // 1_000):
        made.data_received(b"y" * 1_000)

    assert [b"refused"] == bodies(wire.written)
    assert wire.closed


def test_a_refusal_of_a_body_does_not_overtake() -> None:
    """A body beyond the limit, behind a request in work, ends the connection after that one's own answer."""
    app = Mirror(later=True)
    made, wire = connected(app)
    made.data_received(asked("/a", b"x", chunked=False))
    made.data_received(b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % (2 * BODY.value))
    for _ in range(BODY.value // 2**20 + 1):
        made.data_received(bytes(2**20))
    before = wire.written
    app.tell(app.waiting.pop())

    assert b"" == before
    assert [b"POST /a x"] == bodies(wire.written)
    assert wire.closed


def test_a_body_behind_a_request_in_work_waits_outside() -> None:
    """The body of a request that is not let in yet is not taken into memory; after the answer it is read on."""
    app = Mirror(later=True)
    made, wire = connected(app)
    made.data_received(asked("/a", b"x", chunked=False))
    made.data_received(asked("/b", bytes(100_000), chunked=False)[:50_000])
    held = not wire.reading
    app.tell(app.waiting.pop())

    assert held
    assert wire.reading


def test_who_leaves_without_reading_is_forgotten() -> None:
    """A whole request that waits for its caller to read is given up when the connection ends."""
    app = Mirror(later=True)
    made, _ = connected(app)
    made.pause_writing()
    made.data_received(asked("/a", b"x", chunked=False))
    made.connection_lost(None)

    assert (1, 1, []) == (app.opened, app.abandoned, app.waiting)


def test_who_sends_no_more_is_still_answered() -> None:
    """A caller that closes its side after a request gets the answer; half a request behind it is given up."""
    app = Mirror(later=True)
    made, wire = connected(app)
    made.data_received(asked("/a", b"x", chunked=False) + b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\n12")
    stays = made.eof_received()
    app.tell(app.waiting.pop())
    idle, _ = connected(app)

    assert stays
    assert [b"POST /a x"] == bodies(wire.written)
    assert wire.closed
    assert not idle.eof_received()


def test_a_refused_caller_who_waits_for_leave_is_let_go() -> None:
    """Whether its body comes is not known: so nothing is read after the refusal."""
    app = Mirror()
    app.refuses = lambda _: True
    made, wire = connected(app)
    made.data_received(b"POST / HTTP/1.1\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")

    assert [b"refused"] == bodies(wire.written)
    assert wire.closed


def test_a_broken_body_after_a_refusal_gets_no_second_answer() -> None:
    """One request has one answer, also where the rest of it is not HTTP."""
    app = Mirror()
    app.refuses = lambda _: True
    made, wire = connected(app)
    made.data_received(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")

    assert [b"refused"] == bodies(wire.written)
    assert wire.closed


def test_a_close_that_nobody_takes_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that closes while its last answer is not read is cut off after the time for answers."""
    made, wire = connected(Mirror())
    made.data_received(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")
    cut: list[bool] = []
    monkeypatch.setattr(wire, "abort", lambda: cut.append(True))
    made.end_late(made._since + 1.0)
    early = list(cut)
    made.end_late(made._since + ANSWER_TIME.value + 1.0)

    assert ([], [True]) == (early, cut)
