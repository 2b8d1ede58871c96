from __future__ import annotations

import asyncio
import inspect
from collections.abc import MutableMapping
from hashlib import sha256
from typing import Any

import pytest

from gatewright.serving import admission
from gatewright.serving.admission import (
    LOOPBACK_HOSTS,
    Admitted,
    Turned,
    authenticate,
    check_content,
    check_form,
    check_host,
    is_loopback,
    read_body,
    read_headers,
)
from gatewright.serving.limits import BODY, KEY

KNOWN = tuple(
    Admitted(digest=sha256(secret).digest(), id=secret.decode(), endpoint="tumour")
    for secret in (b"one", b"two")
)


def status_of(check: Any, *values: Any) -> int:
    """The status with which a step turns a request away."""
    with pytest.raises(Turned) as caught:
        check(*values)
    return caught.value.status


@pytest.mark.parametrize("host", [b"localhost", b"LOCALHOST:8080", b"127.0.0.1:1", b"[::1]", b"[::1]:80"])
def test_names_of_the_loopback_are_answered(host: bytes) -> None:
    """The worker answers for the loopback's names, with or without a port."""
    check_host({b"host": host}, LOOPBACK_HOSTS)


@pytest.mark.parametrize(
    "host", [b"evil.example", b"", b"localhost.evil.example", b"localhost:x", b"127.0.0.1:80:80", b"\xff"]
)
def test_other_names_are_misdirected(host: bytes) -> None:
    """A host that is not on the list is answered with 421."""
    assert 421 == status_of(check_host, {b"host": host}, LOOPBACK_HOSTS)


def test_a_key_admits_and_names_its_caller() -> None:
    """A known key gives its admission, whatever the case of the scheme."""
    assert ("two",) == tuple(each.id for each in authenticate({b"authorization": b"bearer two"}, KNOWN))


@pytest.mark.parametrize(
    "value",
    [b"", b"Bearer", b"Bearer ", b"Bearer three", b"Basic one", b"one", b"Bearer " + b"x" * (KEY.value + 1)],
)
def test_other_keys_do_not_admit(value: bytes) -> None:
    """No key, an unknown key and another scheme are all the same 401."""
    assert 401 == status_of(authenticate, {b"authorization": value}, KNOWN)


def test_keys_are_compared_hashed_and_in_constant_time() -> None:
    """The secret is hashed, and every known digest is compared with compare_digest, without an early end."""
    source = inspect.getsource(authenticate)

    assert "hmac.compare_digest(each.digest, digest)" in source
    assert "sha256(" in source
    assert not any(word in source for word in ("break", "next(", "any(", "=="))
    assert "==" not in inspect.getsource(admission.Admitted)


def test_deciding_headers_come_once() -> None:
    """A second Host, key or length is refused; other headers may repeat."""
    assert {b"a": b"2"} == read_headers([(b"a", b"1"), (b"a", b"2")])
    for name in (b"host", b"authorization", b"content-length", b"transfer-encoding"):
        assert 400 == status_of(read_headers, [(name, b"1"), (name, b"1")])


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({b"content-type": b"application/python-pickle", b"content-length": b"1"}, 415),
        ({b"content-type": b"application/json", b"content-encoding": b"gzip", b"content-length": b"1"}, 415),
        ({b"payload-container": b"x", b"content-length": b"1"}, 415),
        ({b"content-type": b"application/octet-stream", b"inference-header-content-length": b"9"}, 400),
        ({}, 411),
        ({b"content-length": b"-1"}, 400),
        ({b"content-length": b"1e3"}, 400),
        ({b"content-length": b"9" * 30}, 400),
        ({b"content-length": str(BODY.value + 1).encode()}, 413),
    ],
)
def test_the_head_alone_can_turn_a_body_away(headers: dict[bytes, bytes], status: int) -> None:
    """Type, encoding and length are judged before a byte of the body is read."""
    assert status == status_of(check_content, headers)


@pytest.mark.parametrize(
    "kind",
    [
        b"application/json",
        b"application/json; charset=utf-8",
        b"",
        b"Application/JSON",
        b"application/x-www-form-urlencoded",
    ],
)
def test_json_and_no_type_are_read(kind: bytes) -> None:
    """JSON with or without parameters is read, and so is a body without a type."""
    headers = {b"content-type": kind, b"content-length": b"2"}
    check_content(headers)
    check_form(headers, b"\n {}")


@pytest.mark.parametrize("body", [b"", b"a=1&b=2", b"\x80\x04N.", b"[1]"])
def test_a_form_is_read_only_where_it_is_json(body: bytes) -> None:
    """What curl calls a form is read when it is JSON; a real form, or anything else, is 415."""
    assert 415 == status_of(check_form, {b"content-type": b"application/x-www-form-urlencoded"}, body)


def body_of(*messages: MutableMapping[str, Any]) -> bytes:
    """What is read from these messages."""
    waiting = iter(messages)

    async def receive() -> MutableMapping[str, Any]:
        return next(waiting)

    return asyncio.run(read_body(receive))


def test_a_streamed_body_is_joined_and_bounded() -> None:
    """Parts are joined; too many are cut off at the limit; a caller who leaves is not waited for."""
    part = {"type": "http.request", "body": b"x" * 2**20, "more_body": True}

    assert b"ab" == body_of(
        {"type": "http.request", "body": b"a", "more_body": True}, {"type": "http.request", "body": b"b"}
    )
    assert 413 == status_of(body_of, *([part] * 17))
    assert 413 == status_of(body_of, {"type": "http.request", "body": b"x" * (BODY.value + 1)})
    assert 400 == status_of(body_of, {"type": "http.disconnect"})
    assert 400 == status_of(body_of, part, {"type": "http.disconnect"})


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),  # noqa: S104 - refused
        ("10.0.0.1", False),
        ("x", False),
    ],
)
def test_loopback_is_recognised(host: str, expected: bool) -> None:
    """Only addresses that never leave the machine are loopback."""
    assert expected == is_loopback(host)
