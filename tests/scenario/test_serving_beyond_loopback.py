"""A home that others reach: TLS without being asked, certificates that callers can trust, and their rotation."""

from __future__ import annotations

import json
import ssl
import threading
from pathlib import Path

import httpx
import pytest

import gatewright as gw
from gatewright.kernel.errors import DependencyFailed
from scenario.conftest import NewHome
from scenario.world import FEATURES, Home, Server, ask, inside, loans, serving
from unit.serving.authority import CLIENT, Authority, Files
from unit.serving.rig import wait_for

EVERYWHERE = ("--host", "0.0.0.0", "--workers", "1")  # noqa: S104 - that this is served encrypted is the point


def port_of(server: Server) -> str:
    """Where it listens."""
    return server.url.rpartition(":")[2]


def asked(home: Home, server: Server, context: ssl.SSLContext, name: str = "localhost") -> httpx.Response:
    """One prediction by this name."""
    rows, _ = loans(1, 3)
    with httpx.Client(verify=context, headers={"Host": name}) as client:
        server = Server(process=server.process, log=server.log, url=f"https://localhost:{port_of(server)}")
        return ask(client, server, "loans", home.api_key, rows)


def test_a_home_makes_its_own_certificate(new_home: NewHome) -> None:
    """Beyond the loopback a home serves TLS 1.3 by itself; its authority's file is all that callers need."""
    home = new_home("live")
    with serving(home, *EVERYWHERE, "--allow-host", "loans.example") as server:
        said = server.log.read_text("utf-8")
        authority = home.folder / "tls-authority.pem"
        trusting = ssl.create_default_context(cafile=authority)
        answer = asked(home, server, trusting, "loans.example")
        with pytest.raises(httpx.ConnectError):
            asked(home, server, ssl.create_default_context())
        ca = ("--tls-ca", str(authority))
        probes = [
            inside(home.root, "ready", "--port", port_of(server), *more).code
            for more in (ca, (*ca, "--tls-name", "loans.example"), (*ca, "--tls-name", "other.example"), ())
        ]

    assert (200, True) == (answer.status_code, bool(answer.json()["parameters"]["receipt"]))
    assert [0, 0, 4, 4] == probes
    assert str(authority) in said
    assert 0o600 == (home.folder / "keys" / "tls-authority-p256.pem").stat().st_mode & 0o777


def test_the_python_interface_finds_and_trusts_it(new_home: NewHome) -> None:
    """Rows asked from Python over TLS: the home's own authority is trusted without being named."""
    home = new_home("live")
    with serving(home, "--tls", "--workers", "1") as server:
        rows, _ = loans(3, 3)
        frame = dict(zip(FEATURES, rows.T.tolist(), strict=True))
        answers = gw.model("loans@1", home=home.root).predict(frame, api_key=home.api_key)
        by_address = gw.model("loans@1", home=home.root).predict(
            frame, api_key=home.api_key, url=server.url, ca=home.folder / "tls-authority.pem"
        )
        assert server.url == gw.serve(home.root).url
    assert server.url.startswith("https://127.0.0.1:")
    assert (3, 3) == (len(answers.labels), len(by_address.labels))


def test_a_certificate_of_ones_own_rotates_under_load(new_home: NewHome, tmp_path: Path) -> None:
    """A new certificate serves new connections, the old connections go on, a bad one changes nothing: no request fails."""
    home, authority, files = new_home("live"), Authority(), Files(tmp_path)
    files.write(*authority.issue("localhost"))
    trusting = ssl.create_default_context(cadata=authority.pem.decode())
    failures, answered, stop = [], [], threading.Event()

    def keep_asking(server: Server, *, kept: bool) -> None:
        rows, _ = loans(1, 3)
        server = Server(process=server.process, log=server.log, url=f"https://localhost:{port_of(server)}")
        while not stop.is_set():
            with httpx.Client(verify=trusting) as client:
                while not stop.is_set():
                    try:
                        status = ask(client, server, "loans", home.api_key, rows).status_code
                        (answered if status == 200 else failures).append(str(status))
                    except httpx.HTTPError as error:
                        failures.append(repr(error))
                    if not kept:
                        break

    options = ("--tls-cert", str(files.chain), "--tls-key", str(files.key))
    with serving(home, *EVERYWHERE, *options) as server:
        threads = [
            threading.Thread(target=keep_asking, args=(server,), kwargs={"kept": k}) for k in (True, False)
        ]
        for thread in threads:
            thread.start()
        try:
            for number in (1, 2):
                files.write(*authority.issue("localhost"))
                wait_for(
                    lambda n=number: server.log.read_text("utf-8").count("A new certificate is in force") == n
                )
                files.write(b"nothing", b"nothing")
                wait_for(
                    lambda n=number: server.log.read_text("utf-8").count("certificate cannot be used") == n
                )
                before = len(answered)
                wait_for(lambda b=before: len(answered) > b + 5)
        finally:
            stop.set()
            for thread in threads:
                thread.join(60)
    assert [] == failures


def test_callers_show_certificates_where_they_are_asked_for(new_home: NewHome, tmp_path: Path) -> None:
    """With an authority for callers, who has no certificate of it is not answered, probes included."""
    home, callers = new_home("live"), Authority("Callers")
    (tmp_path / "callers.pem").write_bytes(callers.pem)
    own = tmp_path / "own.pem"
    own.touch(0o600)
    own.write_bytes(b"".join(callers.issue("probe", use=CLIENT)))
    with serving(home, "--client-ca", str(tmp_path / "callers.pem"), "--workers", "1") as server:
        ca = home.folder / "tls-authority.pem"
        trusting = ssl.create_default_context(cafile=ca)
        with pytest.raises(httpx.TransportError):
            asked(home, server, trusting)
        trusting.load_cert_chain(own)
        answer = asked(home, server, trusting)
        without, shown = (
            inside(home.root, "ready", "--port", port_of(server), "--tls-ca", str(ca), *more, "--json")
            for more in ((), ("--client-cert", str(own)))
        )
    assert 200 == answer.status_code
    assert [4, 0] == [without.code, shown.code]
    assert "--client-cert FILE" in without.said


def test_the_python_interface_shows_a_certificate_and_names_an_authority(
    new_home: NewHome, tmp_path: Path
) -> None:
    """A server of its own certificate that demands the caller's is found; what is missing is told, then given."""
    home, authority, files = new_home("live"), Authority(), Files(tmp_path)
    files.write(*authority.issue("127.0.0.1"))
    ca, (chain, key) = tmp_path / "authority.pem", authority.issue("probe", use=CLIENT)
    ca.write_bytes(authority.pem)
    certificate, its_key = tmp_path / "caller.pem", tmp_path / "caller.key"
    certificate.write_bytes(chain)
    its_key.write_bytes(key)
    rows, _ = loans(3, 3)
    frame, model = dict(zip(FEATURES, rows.T.tolist(), strict=True)), gw.model("loans", home=home.root)
    options = ("--tls-cert", str(files.chain), "--tls-key", str(files.key), "--client-ca", str(ca))
    with serving(home, *options, "--workers", "1") as server:
        codes = []
        for given in ({}, {"ca": ca}):
            with pytest.raises(DependencyFailed) as caught:
                model.predict(frame, api_key=home.api_key, **given)
            codes.append(caught.value.code)
        shown = {"ca": ca, "client_cert": (certificate, its_key)}
        answers = model.predict(frame, api_key=home.api_key, **shown)
        found = gw.serve(home.root)
        assert server.url == found.url
        assert "started elsewhere" in repr(found)
    assert ["client.unknown-server", "client.unknown-caller"] == codes
    assert 3 == len(answers.labels)


def test_plain_text_beyond_the_loopback_needs_a_word(new_home: NewHome) -> None:
    """Who says what ends TLS in front serves plain text, and log and status tell it with those words."""
    home = new_home("live")
    with serving(home, *EVERYWHERE, "--tls-ended-by", "the ingress of blue") as server:
        said = server.log.read_text("utf-8")
        live = httpx.get(f"http://127.0.0.1:{port_of(server)}/v2/health/live")
        status = json.loads((home.folder / "segments" / "serve.json").read_text("utf-8"))
        shown = inside(home.root, "status")
    assert 200 == live.status_code
    assert ("the ingress of blue", True) == (status["tls_ended_by"], status["url"].startswith("http://"))
    assert "Traffic is NOT encrypted here" in said
    assert "the ingress of blue" in said
    assert "the ingress of blue" in shown.out
