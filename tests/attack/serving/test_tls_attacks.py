"""SV-19: what must not get through on the TLS port; the worker answers the next good call after each."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from OpenSSL import SSL

from unit.serving.authority import CLIENT, SERVER, Authority
from unit.serving.rig import Rig, Running

CALLERS = Authority("Callers")
SERVERS = Authority("Servers")
LIVE = b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"


@dataclass
class Guarded:
    """A worker with TLS, and the context of a caller who is let in."""

    running: Running
    trusting: ssl.SSLContext
    folder: Path

    def context(self, chain: bytes = b"", key: bytes = b"") -> ssl.SSLContext:
        """A caller that trusts the server, with this certificate of its own."""
        found = ssl.create_default_context(cadata=SERVERS.pem.decode())
        if chain:
            path = self.folder / "caller.pem"
            path.touch(0o600)
            path.write_bytes(chain + key)
            found.load_cert_chain(path)
        return found

    def answer(self, context: ssl.SSLContext, name: str = "localhost", request: bytes = LIVE) -> bytes:
        """What comes back until the request's answer is whole, or the connection ends."""
        line = socket.create_connection(self.running.address, timeout=60)
        with context.wrap_socket(line, server_hostname=name) as encrypted:
            encrypted.sendall(request)
            found = b""
            while not found.endswith(b"}") and (part := encrypted.recv(65_536)):
                found += part
            return found

    def raw(self, data: bytes) -> bytes:
        """What the port says to these bytes before it closes."""
        found = b""
        with socket.create_connection(self.running.address, timeout=60) as line:
            try:
                line.sendall(data)
                while part := line.recv(65_536):
                    found += part
            except ConnectionResetError:
                pass
        return found


def serving(folder: Path, client_ca: bytes | None) -> Iterator[Guarded]:
    """A worker with one endpoint, until the tests are over."""
    rig = Rig(folder)
    rig.publish(rig.plan(1, rig.make_release(1)))
    identity = SERVERS.identity("localhost", "127.0.0.1", client_ca=client_ca)
    found = Guarded(running=None, trusting=None, folder=folder)  # type: ignore[arg-type]
    found.trusting = found.context(*(CALLERS.issue("caller", use=CLIENT) if client_ca else ()))
    once = [identity]
    with rig.running(identity=lambda: once.pop() if once else None, verify=found.trusting) as running:
        found.running = running
        yield found


@pytest.fixture(scope="module")
def open_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """A worker with TLS that asks callers for no certificate."""
    yield from serving(tmp_path_factory.mktemp("open"), None)


@pytest.fixture(scope="module")
def mutual(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """A worker with TLS that asks for one."""
    yield from serving(tmp_path_factory.mktemp("mutual"), CALLERS.pem)


@pytest.fixture(autouse=True)
def still_alive(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whatever was tried, the next good call is answered, over TLS 1.3."""
    yield
    for name in {"open_server", "mutual"} & set(request.fixturenames):
        assert request.getfixturevalue(name).running.infer().status_code == 200


@pytest.mark.parametrize(
    "version", [SSL.TLS1_VERSION, SSL.TLS1_1_VERSION, SSL.TLS1_2_VERSION], ids=["1.0", "1.1", "1.2"]
)
def test_sv19_older_versions_are_refused(open_server: Guarded, version: int) -> None:
    """TLS 1.0, 1.1 and 1.2 get an alert, whatever ciphers they bring."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_cipher_list(b"ALL:@SECLEVEL=0")
    context.set_min_proto_version(version)
    context.set_max_proto_version(version)
    with socket.create_connection(open_server.running.address, timeout=None) as line:
        caller = SSL.Connection(context, line)
        caller.set_connect_state()
        with pytest.raises(SSL.Error) as caught:
            caller.do_handshake()
    assert "protocol version" in str(caught.value)


@pytest.mark.parametrize(
    "said",
    [
        LIVE,
        b"GET /v2 HTTP/1.0\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"SSH-2.0-x\r\n",
        b"\x80\x2e\x01\x03\x01",
    ],
)
def test_sv19_plain_text_gets_no_answer_and_no_redirect(open_server: Guarded, said: bytes) -> None:
    """Plain bytes on the TLS port are closed: no status, no Location, nothing of HTTP."""
    found = open_server.raw(said)
    assert b"HTTP" not in found
    assert len(found) <= 7


def test_sv19_another_protocol_inside_tls_is_refused(open_server: Guarded) -> None:
    """A caller that speaks only other protocols is told so in the handshake; one that speaks HTTP/1.1, too, is answered."""
    context = open_server.context()
    context.set_alpn_protocols(["h2", "smtp"])
    with pytest.raises(ssl.SSLError):
        open_server.answer(context)
    context.set_alpn_protocols(["h2", "http/1.1"])
    assert open_server.answer(context).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("host", [b"elsewhere.example", b"localhost.elsewhere.example", b""])
def test_sv19_the_host_list_stands_behind_tls(open_server: Guarded, host: bytes) -> None:
    """A good handshake for one name does not open another: the request's own host is judged, as in plain text."""
    found = open_server.answer(open_server.trusting, request=LIVE.replace(b"localhost", host))
    assert found.startswith(b"HTTP/1.1 421 ")


def test_sv19_another_server_name_shows_the_same_certificate(open_server: Guarded) -> None:
    """A name that the server does not have fails in the caller's own check: nothing is made up for it."""
    with pytest.raises(ssl.SSLCertVerificationError):
        open_server.answer(open_server.trusting, name="elsewhere.example")


@pytest.mark.parametrize("cut", [1, 5, 6, 200, 900])
def test_sv19_a_hello_that_stops_costs_nothing(open_server: Guarded, cut: int) -> None:
    """Half a handshake, however long, is forgotten with its connection."""
    caller = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD))
    caller.set_connect_state()
    with pytest.raises(SSL.WantReadError):
        caller.do_handshake()
    hello = caller.bio_read(65_536)
    with socket.create_connection(open_server.running.address, timeout=60) as line:
        line.sendall(hello[:cut])


def test_sv19_a_cut_answer_or_request_takes_nothing_with_it(open_server: Guarded) -> None:
    """Connections that end in the middle, without TLS's own end, are only gone."""
    for size in (1, 20, len(LIVE) - 1, len(LIVE)):
        line = socket.create_connection(open_server.running.address, timeout=60)
        encrypted = open_server.trusting.wrap_socket(line, server_hostname="localhost")
        encrypted.sendall(LIVE[:size])
        socket.socket(fileno=encrypted.detach()).close()


def _expired() -> tuple[bytes, bytes]:
    return CALLERS.issue("caller", use=CLIENT, start=timedelta(days=-9), end=timedelta(days=-1))


def _not_yet() -> tuple[bytes, bytes]:
    return CALLERS.issue("caller", use=CLIENT, start=timedelta(days=1), end=timedelta(days=9))


WRONG: list[tuple[str, Callable[[], Any]]] = [
    ("none", lambda: ()),
    ("expired", _expired),
    ("not yet", _not_yet),
    ("unknown authority", lambda: Authority("Strangers").issue("caller", use=CLIENT)),
    ("authority of the same name", lambda: Authority("Callers").issue("caller", use=CLIENT)),
    ("the server's authority", lambda: SERVERS.issue("caller", use=CLIENT)),
    ("for servers only", lambda: CALLERS.issue("caller", use=SERVER)),
]


@pytest.mark.parametrize(("kind", "made"), WRONG, ids=[kind for kind, _ in WRONG])
def test_sv19_wrong_certificates_of_callers_are_refused(
    mutual: Guarded, kind: str, made: Callable[[], Any]
) -> None:
    """Without the right certificate nothing of HTTP is ever answered."""
    del kind
    with pytest.raises(OSError, match=r"alert|reset|EOF|closed"):
        assert b"" != mutual.answer(mutual.context(*made()))


def test_sv19_a_certificate_is_not_a_key(mutual: Guarded) -> None:
    """A caller with a good certificate still needs an API key."""
    ready = LIVE.replace(b"live", b"ready")
    assert mutual.answer(mutual.trusting, request=ready).startswith(b"HTTP/1.1 401 ")
