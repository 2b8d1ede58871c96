"""The manifest of a release."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewright.kernel import canonical
from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import BadInput
from gatewright.kernel.instants import Instant
from gatewright.releases.manifest import MANIFEST_BYTES, RESOURCES, ReleaseManifest
from unit.releases.workshop import manifest

_digests = st.binary(min_size=32, max_size=32).map(Digest.from_raw)
_names = st.from_regex(r"[a-z][a-z0-9-]{0,62}", fullmatch=True)


@given(
    st.builds(
        ReleaseManifest,
        name=_names,
        version=st.integers(1, 2**53 - 1),
        tier=_names,
        model=_digests,
        dataset=_names,
        data=st.dictionaries(_names, _digests, max_size=3),
        trained_on=st.none() | _digests,
        created=st.integers(0, 4_000_000_000 * 10**9).map(Instant),
        parent=st.none() | _digests,
        thresholds=st.dictionaries(_names, st.floats(allow_nan=False, allow_infinity=False), max_size=3),
        format=st.just(1),
    )
)
@settings(max_examples=150)
def test_round_trip(value: ReleaseManifest) -> None:
    """A manifest reads back as itself."""
    assert value == ReleaseManifest.decode(value.encode())


def test_resource_names_are_in_order() -> None:
    """The names of the resources are listed as the root takes them."""
    assert tuple(sorted(RESOURCES)) == RESOURCES
    assert 6 == len(RESOURCES)


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"extra": 1}, "extra"),
        ({"version": 0}, "version"),
        ({"version": True}, "version"),
        ({"name": "../x"}, "name"),
        ({"model": ""}, "model"),
        ({"data": {"train": "x"}}, "train"),
        ({"data": []}, ""),
        ({"parent": "x"}, "parent"),
        ({"thresholds": {"yes": True}}, "yes"),
        ({"thresholds": {"yes": "0.5"}}, "yes"),
        ({"processing": {"post": {}, "pre": {"scale": 2}}}, "scale"),
        ({"processing": {"post": {}}}, "pre"),
        ({"format": 0}, "format"),
        ({"format": True}, "format"),
        ({"format": 2}, "format"),
        ({"format": "1"}, "format"),
    ],
)
def test_bad_fields_are_refused_by_name(fields: dict[str, object], place: str) -> None:
    """A missing, unknown or ill-typed field is refused, and named."""
    value = {**canonical.decode(manifest(b"m").encode()), **fields}
    with pytest.raises(BadInput) as caught:
        ReleaseManifest.decode(canonical.encode(value))
    assert place == caught.value.refusal.place


def test_newer_format_says_so() -> None:
    """A manifest of a later format asks for a later version."""
    newer = replace(manifest(b"m"), format=2).encode()
    with pytest.raises(BadInput, match="this version reads 1"):
        ReleaseManifest.decode(newer)


def test_too_large_manifest_is_refused() -> None:
    """Size is looked at before anything is parsed."""
    with pytest.raises(BadInput, match="bytes"):
        ReleaseManifest.decode(b" " * (MANIFEST_BYTES + 1))
