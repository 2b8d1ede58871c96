from __future__ import annotations

import pytest

from gatewright.serving.framing import Malformed, check_framing, framing_of, path_of


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (b"/v2?x=1", "/v2"),
        (b"http://localhost/v2?x", "/v2"),
        (b"//other/v2", "//other/v2"),
        (b"*", "*"),
        (b"localhost:80", ""),
        (b"http://localhost", ""),
    ],
)
def test_the_path_of_every_form_of_target(target: bytes, path: str) -> None:
    """Origin and absolute form give a path, without the query; a form without one gives none."""
    assert path == path_of(target)


@pytest.mark.parametrize("coding", [b"gzip", b"gzip, chunked", b",chunked", b"identity"])
def test_only_chunks_are_known(coding: bytes) -> None:
    """Any other coding, and chunks that are named in a roundabout way, are malformed."""
    check_framing({b"transfer-encoding": b"Chunked"}, "1.1", doubled=False)
    with pytest.raises(Malformed):
        check_framing({b"transfer-encoding": coding}, "1.1", doubled=False)


@pytest.mark.parametrize("version", ["0.9", "1.2", "2.0"])
def test_only_two_versions_are_known(version: str) -> None:
    """HTTP/1.0 and HTTP/1.1, the former without transfer codings."""
    check_framing({}, "1.0", doubled=True)
    with pytest.raises(Malformed):
        check_framing({}, version, doubled=False)
    with pytest.raises(Malformed):
        check_framing({b"transfer-encoding": b"chunked"}, "1.0", doubled=False)


def test_an_old_caller_waits_for_no_leave() -> None:
    """Expect says nothing under HTTP/1.0 (RFC 9110 section 10.1.1)."""
    headers = {b"expect": b"100-continue"}
    check_framing(headers, "1.0", doubled=False)

    assert {} == headers


def test_what_says_where_a_body_ends() -> None:
    """A length, or chunks; nothing for no body."""
    found = [framing_of(each) for each in ({b"content-length": b"3"}, {b"transfer-encoding": b"chunked"}, {})]

    assert [b"content-length: 3", b"transfer-encoding: chunked", b""] == found
