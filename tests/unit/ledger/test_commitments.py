"""Commitments bind a payload and its salt, and nothing can be read as another payload."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewright.kernel.errors import BadInput
from gatewright.ledger.commitments import commit, open_preimage, preimage

salts = st.binary(min_size=32, max_size=32)


@given(salts, st.binary(max_size=100))
def test_what_was_bound_is_opened(salt: bytes, payload: bytes) -> None:
    """Opening a preimage gives the salt and the payload, and its digest is the commitment."""
    opening = preimage(salt, payload)
    assert (salt, payload) == open_preimage(opening)
    assert sha256(opening).hexdigest() == commit(salt, payload).hex


def test_the_frozen_form() -> None:
    """The preimage is the domain line, the salt and the payload, as it has always been."""
    assert b"gatewright commitment v1\n" + bytes(32) + b"payload" == preimage(bytes(32), b"payload")


@given(salts, salts, st.binary(max_size=9))
def test_the_salt_hides_equal_payloads(one: bytes, other: bytes, payload: bytes) -> None:
    """Equal payloads have equal commitments only under equal salts."""
    assert (one == other) == (commit(one, payload) == commit(other, payload))


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_salt_has_32_bytes(size: int) -> None:
    """A shorter or longer salt is BadInput, so that it cannot borrow from the payload."""
    with pytest.raises(BadInput):
        commit(bytes(size), b"payload")


@pytest.mark.parametrize(
    "data", [b"", b"gatewright commitment v2\n" + bytes(40), preimage(bytes(32), b"")[:-1]]
)
def test_anything_else_opens_nothing(data: bytes) -> None:
    """Bytes of another domain, or cut short, are BadInput."""
    with pytest.raises(BadInput):
        open_preimage(data)
