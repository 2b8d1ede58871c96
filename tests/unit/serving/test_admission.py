from __future__ import annotations

import inspect
from hashlib import sha256
from typing import Any

import pytest

from gatewright.serving import admission
from gatewright.serving.admission import (
    LOOPBACK_HOSTS,
    Admitted,
    Turned,
    authenticate,
    by_digest,
    check_content,
    check_form,
    check_host,
    is_loopback,
    subject_of,
)
from gatewright.serving.limits import BODY, KEY, SUBJECT

KNOWN = tuple(
    Admitted(digest=sha256(secret).digest(), id=secret.decode(), endpoint="tumour")
    for secret in (b"one", b"two")
)
CALLERS = by_digest(KNOWN)


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
    assert ("two",) == tuple(each.id for each in authenticate({b"authorization": b"bearer two"}, CALLERS))


@pytest.mark.parametrize(
    "value",
    [b"", b"Bearer", b"Bearer ", b"Bearer three", b"Basic one", b"one", b"Bearer " + b"x" * (KEY.value + 1)],
)
def test_other_keys_do_not_admit(value: bytes) -> None:
    """No key, an unknown key and another scheme are all the same 401."""
    assert 401 == status_of(authenticate, {b"authorization": value}, CALLERS)


def test_a_key_of_several_endpoints_admits_to_all_of_them() -> None:
    """One secret that two endpoints know gives both admissions."""
    other = Admitted(digest=KNOWN[0].digest, id="one", endpoint="loans")

    found = authenticate({b"authorization": b"Bearer one"}, by_digest((*KNOWN, other)))

    assert ["tumour", "loans"] == [each.endpoint for each in found]


def test_keys_are_looked_up_hashed_and_compared_in_constant_time() -> None:
    """Only the digest of a secret is looked up, and what is found is compared with compare_digest."""
    source = inspect.getsource(authenticate)

    assert "known.get(digest, ())" in source
    assert "hmac.compare_digest(found[0].digest, digest)" in source
    assert not any(word in source for word in ("for ", "while ", "==", "startswith"))
    assert "==" not in inspect.getsource(admission.Admitted)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({b"content-type": b"application/python-pickle", b"content-length": b"1"}, 415),
        ({b"content-type": b"application/json", b"content-encoding": b"gzip", b"content-length": b"1"}, 415),
        ({b"payload-container": b"x", b"content-length": b"1"}, 415),
        ({b"content-type": b"application/octet-stream", b"content-length": b"1"}, 415),
        ({b"inference-header-content-length": b"-1", b"content-length": b"1"}, 400),
        ({b"inference-header-content-length": b"9" * 30, b"content-length": b"1"}, 400),
        ({b"inference-header-content-length": b"9", b"content-type": b"text/plain"}, 415),
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


@pytest.mark.parametrize("kind", [b"application/octet-stream", b"application/json", b""])
def test_the_head_says_where_the_json_ends(kind: bytes) -> None:
    """With its length given, octets are read, too, and clients that name no type or JSON's are."""
    headers = {b"content-type": kind, b"content-length": b"20", b"inference-header-content-length": b"9"}
    assert 9 == check_content(headers)
    assert None is check_content({b"content-length": b"20"})


@pytest.mark.parametrize("body", [b"", b"a=1&b=2", b"\x80\x04N.", b"[1]"])
def test_a_form_is_read_only_where_it_is_json(body: bytes) -> None:
    """What curl calls a form is read when it is JSON; a real form, or anything else, is 415."""
    assert 415 == status_of(check_form, {b"content-type": b"application/x-www-form-urlencoded"}, body)


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


def test_a_subject_is_read_as_utf_8() -> None:
    """The subject of a header is the text that JSON has; other bytes and too many of them are a 400."""
    header = b"gatewright-subject"
    assert [None, "", "Zoë 7"] == [
        subject_of(headers) for headers in ({}, {header: b""}, {header: "Zoë 7".encode()})
    ]
    for wrong in (b"Zo\xeb", b"s" * (SUBJECT.value + 1)):
        assert 400 == status_of(subject_of, {header: wrong})
