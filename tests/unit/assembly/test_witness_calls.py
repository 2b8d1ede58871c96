"""Calls to witnesses: which addresses are called, and that no answer can hold a home up or fill it."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from gatewright.assembly.settings import with_witnesses
from gatewright.assembly.witness_calls import HttpWitness, require_address
from gatewright.kernel.errors import DependencyFailed, Misuse
from gatewright.ledger.checkpoints import NOTE_BYTES

WAIT_S = 1.0
ENDS_S = 120.0


@pytest.mark.parametrize(
    "url",
    [
        "https://audit.example",
        "https://audit.example:8640/witness",
        "http://127.0.0.1:8640",
        "http://localhost:8640",
        "http://[::1]:8640",
        "http://10.0.0.7:8640",
        "http://192.168.1.2",
    ],
)
def test_an_address_that_may_be_called(url: str) -> None:
    """Https anywhere, plain http on this machine and in private networks; a slash at the end is dropped."""
    assert url == require_address(url + "/")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "audit.example",
        "http://audit.example",
        "http://8.8.8.8:8640",
        "http://0.0.0.0:8640",
        "http://[2606:4700::1111]:8640",
        "ftp://127.0.0.1/",
        "file:///etc/passwd",
        "https://",
        "https://user:secret@audit.example",
        "https://audit.example?key=1",
        "https://audit.example#part",
        "https://audit.example:port",
        "https://audit.example:99999",
        "https://audit example",
        "https://audit.example/\n",
        "https://" + "a" * 1_000,
    ],
)
def test_an_address_that_may_not(url: str) -> None:
    """Plain text across the open network, secrets in the address and what is no address are refused."""
    with pytest.raises(Misuse):
        require_address(url)


@contextlib.contextmanager
def server(answer: Callable[[socket.socket, threading.Event], None]) -> Iterator[str]:
    """A server on this machine that treats its one caller so; its address."""
    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            call, _ = listening.accept()
            with call, contextlib.suppress(OSError):
                answer(call, ended)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            ended.set()
            thread.join(ENDS_S)
            assert not thread.is_alive()


def silent(_: socket.socket, ended: threading.Event) -> None:
    """Say nothing."""
    ended.wait(ENDS_S)


def drip(call: socket.socket, ended: threading.Event) -> None:
    """Say a byte of a head now and then, for as long as anybody listens."""
    call.sendall(b"HTTP/1.1 200 OK\r\nx: ")
    while not ended.wait(0.05):
        call.sendall(b"y")


def drip_body(call: socket.socket, ended: threading.Event) -> None:
    """Say a byte of a body now and then."""
    call.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
    while not ended.wait(0.05):
        call.sendall(b"y")


def drip_to_the_end(call: socket.socket, ended: threading.Event) -> None:
    """Say a byte now and then of a body whose end is the connection's."""
    call.sendall(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n")
    while not ended.wait(0.05):
        call.sendall(b"y")


def flood(call: socket.socket, _: threading.Event) -> None:
    """Say more than any answer is long."""
    call.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + b"y" * (NOTE_BYTES + 2))


def nonsense(call: socket.socket, _: threading.Event) -> None:
    """Speak something else."""
    call.recv(1)
    call.sendall(b"SSH-2.0-nothing\r\n")


def hang_up(call: socket.socket, _: threading.Event) -> None:
    """Close at once."""
    call.recv(1)


@pytest.mark.parametrize("how", [silent, drip, drip_body, drip_to_the_end, flood, nonsense, hang_up])
def test_a_bad_witness_is_given_up(how: Callable[[socket.socket, threading.Event], None]) -> None:
    """Silence, drops, floods, nonsense and a closed connection all end as the same clear failure."""
    with server(how) as url, pytest.raises(DependencyFailed) as failed:
        HttpWitness(name="w1", url=url, wait_s=WAIT_S).submit(b"old 0\n\n")
    assert "assembly.witness-silent" == failed.value.code


def test_a_redirect_is_not_followed() -> None:
    """Whoever answers with another address is not obeyed: the answer is taken as it is."""
    called = []

    def redirect(call: socket.socket, _: threading.Event) -> None:
        called.append(call.recv(65_536).split(b" ")[1])
        call.sendall(b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n")

    with server(redirect) as url:
        assert 302 == HttpWitness(name="w1", url=f"{url}/below/", wait_s=60.0).submit(b"x").status
    assert [b"/below/add-checkpoint"] == called


def test_nobody_there_is_a_failure() -> None:
    """A port that nobody listens on is a witness that does not answer."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    with pytest.raises(DependencyFailed):
        HttpWitness(name="w1", url=f"http://127.0.0.1:{port}").head("log")


def test_witnesses_are_written_beside_what_stands_there() -> None:
    """Comments and everything else stay; the table is replaced as a whole, and gone when it is empty."""
    text = '# mine\nformat = 1\norigin = "log"  # here\n'
    one = with_witnesses(text, {"audit.example/w1": "https://audit.example"})
    assert text + '\n[witnesses]\n"audit.example/w1" = "https://audit.example"\n' == one
    two = with_witnesses(one, {"b": "https://b", 'a"': "https://a"})
    assert text + '\n[witnesses]\n"a\\"" = "https://a"\n"b" = "https://b"\n' == two
    assert text == with_witnesses(two, {})
