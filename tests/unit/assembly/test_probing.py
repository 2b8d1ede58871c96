"""Asking a server how it is: where, and what is there instead."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from contextlib import closing, suppress
from pathlib import Path

import pytest

from gatewright.assembly.calling import Trust
from gatewright.assembly.probing import ask, served_address
from gatewright.kernel.errors import DependencyFailed
from unit.serving.authority import Authority, Files


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"serving": True, "url": "https://10.0.0.7:8620"}, "10.0.0.7"),
        ({"serving": True, "url": "http://[fe80::7]:8620"}, "fe80::7"),
        ({"serving": False, "url": "http://10.0.0.7:8620"}, "127.0.0.1"),
        ({"serving": True, "url": None}, "127.0.0.1"),
        (["serving"], "127.0.0.1"),
        (None, "127.0.0.1"),
    ],
)
def test_the_homes_server_is_asked_where_it_listens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: object, expected: str
) -> None:
    """The address that the home's server last said, while it serves; else this machine."""
    monkeypatch.delenv("GATEWRIGHT_HOME", raising=False)
    if said is not None:
        place = tmp_path / ".gatewright" / "segments"
        place.mkdir(parents=True)
        (place / "serve.json").write_text(json.dumps(said), "utf-8")
    assert expected == served_address(tmp_path)


def _answered(context: ssl.SSLContext | None, trust: Trust | None) -> str:
    """The code with which a call to a server that speaks this TLS, or none and just closes, is refused."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection, connection.dup() as kept:
                if context is None:
                    connection.recv(1)
                    return
                try:
                    with context.wrap_socket(connection, server_side=True) as inside:
                        inside.recv(1)
                except OSError:
                    with suppress(OSError):
                        while kept.recv(65_536):  # until the caller has read the alert
                            pass

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(DependencyFailed) as caught:
            ask("127.0.0.1", listening.getsockname()[1], None, trust)
        thread.join(60)
    return caught.value.code


def test_what_is_there_instead_is_named(tmp_path: Path) -> None:
    """A server that asks for a certificate, one that is not trusted, one that just closes: each by its name."""
    authority, files, ca = Authority(), Files(tmp_path), tmp_path / "ca.pem"
    files.write(*authority.issue("localhost"))
    ca.write_bytes(authority.pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.chain, files.key)
    strict = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    strict.load_cert_chain(files.chain, files.key)
    strict.load_verify_locations(ca)
    strict.verify_mode = ssl.CERT_REQUIRED
    trust = Trust(authority=ca)

    assert "assembly.caller-certificate" == _answered(strict, trust)
    assert "assembly.not-trusted" == _answered(context, Trust(authority=ca, name="other.example"))
    assert "assembly.no-answer" == _answered(None, None)
