from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gatewright.assembly.calling import Trust, connection_to
from gatewright.assembly.transport import answered_hosts, only_localhost, reach_of
from gatewright.kernel.errors import BadInput, Misuse
from gatewright.serving.slots import Reach

PAIR = {"tls_cert": Path("c"), "tls_key": Path("k")}
EVERYWHERE = "0.0.0.0"  # noqa: S104 - what is judged here


@pytest.mark.parametrize(
    ("host", "options", "expected"),
    [
        ("127.0.0.1", {}, Reach.LOOPBACK),
        ("::1", {}, Reach.LOOPBACK),
        ("localhost", {"tls": True}, Reach.TLS),
        ("127.0.0.1", PAIR, Reach.TLS),
        ("127.0.0.1", {"client_ca": Path("ca")}, Reach.TLS),
        (EVERYWHERE, {}, Reach.TLS),
        ("::", PAIR, Reach.TLS),
        ("10.0.0.7", {}, Reach.TLS),
        ("not-an-address", {}, Reach.TLS),
        (EVERYWHERE, {"tls_ended_by": "the mesh"}, Reach.PLAIN),
    ],
)
def test_beyond_the_loopback_traffic_is_encrypted(host: str, options: Any, expected: Reach) -> None:
    """Plain on the loopback alone, unless it is said in words what ends TLS."""
    assert expected is reach_of(host, **options)


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"tls_cert": Path("c")}, "assembly.half-a-certificate"),
        ({"tls_key": Path("k")}, "assembly.half-a-certificate"),
        ({"tls": True, "tls_ended_by": "x"}, "assembly.tls-twice"),
        ({"client_ca": Path("c"), "tls_ended_by": "x"}, "assembly.tls-twice"),
        ({"tls_ended_by": " "}, "assembly.tls-ended-by"),
        ({"tls_ended_by": "a\nb"}, "assembly.tls-ended-by"),
        ({"tls_ended_by": "x" * 121}, "assembly.tls-ended-by"),
    ],
)
def test_contradictions_are_refused(options: Any, code: str) -> None:
    """Options that do not mean one thing together are named."""
    with pytest.raises(Misuse) as caught:
        reach_of(EVERYWHERE, **options)
    assert code == caught.value.code


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("10.0.0.7", ("a", "10.0.0.7")),
        ("fe80::7", ("a", "[fe80::7]")),
        (EVERYWHERE, ("a",)),
        ("b", ("a", "b")),
    ],
)
def test_a_server_answers_for_its_own_address(host: str, expected: tuple[str, ...]) -> None:
    """One address is a name that callers may use, as a Host header writes it; every address is none."""
    assert expected == answered_hosts(host, ("a",))


@pytest.mark.parametrize("url", ["ftp://a", "a:1", "", "https://", "//a"])
def test_other_addresses_are_not_called(url: str) -> None:
    """Only http and https, with a host."""
    with pytest.raises(Misuse):
        connection_to(url, Trust(), wait_s=1)


def test_a_call_needs_readable_certificates(tmp_path: Path) -> None:
    """A file that is missing or holds none is named before anything is sent."""
    (tmp_path / "empty").write_bytes(b"")
    for path in (tmp_path / "none", tmp_path / "empty"):
        with pytest.raises(BadInput) as caught:
            connection_to("https://a", Trust(authority=path), wait_s=1)
        assert str(path) in caught.value.refusal.place


@pytest.mark.parametrize(
    ("host", "allowed", "own", "expected"),
    [
        (EVERYWHERE, (), False, "and its certificate names no other"),
        ("::", (), True, "answers only for localhost:"),
        (EVERYWHERE, ("a",), False, ""),
        ("10.0.0.7", (), False, ""),
    ],
)
def test_listening_everywhere_for_localhost_alone_is_said(
    host: str, allowed: tuple[str, ...], own: bool, expected: str
) -> None:
    """Who listens on every address and names no host is told that nobody else is answered, and what is next."""
    said = only_localhost(host, allowed, own_certificate=own)
    assert expected in said
    assert bool(expected) == ("--allow-host NAME" in said)
