"""Digests are SHA-256 and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import BadInput

# FIPS 180-4 example: SHA-256("abc").
ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_the_published_example() -> None:
    """SHA-256 of abc is the digest of the standard's example, from any kind of buffer."""
    assert [Digest(ABC)] * 3 == [
        Digest.of(b"abc"),
        Digest.of(bytearray(b"abc")),
        Digest.of(memoryview(b"abc")),
    ]


@given(st.binary(max_size=64))
def test_every_form_is_read_back(data: bytes) -> None:
    """Text with and without prefix, and raw bytes, read back as the same digest."""
    digest = Digest.of(data)
    assert [digest] * 3 == [Digest.parse(str(digest)), Digest.parse(digest.hex), Digest.from_raw(digest.raw)]
    assert 32 == len(digest.raw)
    assert digest.hex.startswith(digest.short)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ABC[:-1],
        ABC + "0",
        ABC.upper(),
        ABC + "\n",
        f"sha512:{ABC}",
        f"sha256:sha256:{ABC}",
        "g" * 64,
        "\u0663" * 64,
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    """What is not 64 lower-case hexadecimal characters is BadInput."""
    with pytest.raises(BadInput):
        Digest.parse(text)


def test_digests_sort_by_their_text() -> None:
    """Digests have an order, so that sets of them can be written one way."""
    digests = [Digest.of(bytes([number])) for number in range(9)]
    assert sorted(digests) == sorted(digests, key=str)
