from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import replace

import pytest

from gatewright.serving import protocol
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
