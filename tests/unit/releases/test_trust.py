"""The trust root."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gatewright.kernel import canonical
from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import BadInput
from gatewright.releases.trust import TRUST_BYTES, TrustRoot
from unit.releases.workshop import LOG_KEY, RELEASE_KEY, STRANGER, TRUST


def test_round_trip() -> None:
    """A trust root reads back as itself."""
    assert TRUST == TrustRoot.decode(TRUST.encode())


def test_fingerprint_is_that_of_the_file() -> None:
    """The fingerprint is the digest of the bytes, so any tool can compute it."""
    assert Digest.of(TRUST.encode()) == TRUST.fingerprint()


def test_fingerprint_depends_on_every_key_and_the_origin() -> None:
    """Another origin or key gives another fingerprint."""
    one = replace(TRUST, release=STRANGER.public)
    two = replace(TRUST, origin="gatewright/other")
    assert 3 == len({TRUST.fingerprint(), one.fingerprint(), two.fingerprint()})


@pytest.mark.parametrize("place", ["release", "release_pq", "log"])
def test_each_place_wants_its_algorithm(place: str) -> None:
    """A key of another algorithm in any place is refused."""
    wrong = LOG_KEY.public if place != "log" else RELEASE_KEY.public
    changes: dict[str, Any] = {place: wrong}
    with pytest.raises(BadInput, match="key must be"):
        replace(TRUST, **changes)


@pytest.mark.parametrize(
    "fields", [{"format": 2}, {"origin": ""}, {"origin": "x" * 257}, {"keys": {}}, {"a": 1}]
)
def test_bad_fields_are_refused(fields: dict[str, object]) -> None:
    """Unknown formats, fields and empty origins are refused."""
    value = {**canonical.decode(TRUST.encode()), **fields}
    with pytest.raises(BadInput):
        TrustRoot.decode(canonical.encode(value))


def test_too_large_trust_root_is_refused() -> None:
    """Size is looked at before anything is parsed."""
    with pytest.raises(BadInput, match="bytes"):
        TrustRoot.decode(b" " * (TRUST_BYTES + 1))
