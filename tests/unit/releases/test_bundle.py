"""OpenSSF Model Signing bundles, by our own code alone."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import BadInput, Tampered
from gatewright.releases.bundle import (
    BUNDLE_BYTES,
    bundle_statement,
    decode_bundle,
    decode_payload,
    encode_bundle,
    key_hint,
    root_of_resources,
    sealed_bundle,
    verify_bundle,
)
from gatewright.releases.envelope import IN_TOTO_PAYLOAD, pae
from unit.releases.workshop import LOG_KEY, RELEASE_KEY, STRANGER, MemorySigner

FILES = {"b.txt": Digest.of(b"b"), "B.txt": Digest.of(b"B"), "a.txt": Digest.of(b"a")}
KEY = RELEASE_KEY.public
_files = st.dictionaries(
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=12),
    st.binary(min_size=32, max_size=32).map(Digest.from_raw),
    min_size=1,
    max_size=5,
)


@given(_files)
@settings(max_examples=60)
def test_what_is_signed_verifies(files: dict[str, Digest]) -> None:
    """A bundle over any files verifies over those files, and gives their root."""
    bundle = decode_bundle(sealed_bundle(files, RELEASE_KEY))
    assert root_of_resources(files) == verify_bundle(bundle, files, KEY)


@given(_files)
@settings(max_examples=60)
def test_payload_round_trips(files: dict[str, Digest]) -> None:
    """The payload reads back as the files and the root it was written from."""
    signed = decode_payload(bundle_statement(files))
    assert files == signed.resources
    assert root_of_resources(files) == signed.root


def test_root_is_sha256_over_raw_digests_by_name() -> None:
    """The root is computed as the specification says, in code point order."""
    joined = b"".join(hashlib.sha256(text).digest() for text in (b"B", b"a", b"b"))
    assert hashlib.sha256(joined).hexdigest() == root_of_resources(FILES).hex


@pytest.mark.parametrize(
    ("files", "place", "word"),
    [
        ({**FILES, "b.txt": Digest.of(b"x")}, "b.txt", "not the one"),
        ({name: FILES[name] for name in ("b.txt", "a.txt")}, "B.txt", "missing"),
        ({**FILES, "c": Digest.of(b"c")}, "c", "not one of the signed"),
        ({**FILES, ".git": Digest.of(b"c")}, ".git", "not one of the signed"),
        ({"b.txt": Digest.of(b"x"), "zz": Digest.of(b"z")}, "B.txt", "missing"),
        ({}, "B.txt", "missing"),
    ],
)
def test_first_differing_file_is_named(files: dict[str, Digest], place: str, word: str) -> None:
    """A changed, missing or extra file is tampering, named by the first one in order."""
    with pytest.raises(Tampered, match=word) as caught:
        verify_bundle(decode_bundle(sealed_bundle(FILES, RELEASE_KEY)), files, KEY)
    assert place == caught.value.refusal.place


def test_another_key_is_refused_by_its_hint() -> None:
    """A bundle by another key says so before any signature is looked at."""
    with pytest.raises(Tampered, match="another key"):
        verify_bundle(decode_bundle(sealed_bundle(FILES, STRANGER)), FILES, KEY)


def test_hint_is_not_what_is_trusted() -> None:
    """A stranger's signature under the trusted key's hint does not hold."""
    payload = bundle_statement(FILES)
    forged = encode_bundle(payload, STRANGER.sign(pae(IN_TOTO_PAYLOAD, payload)), KEY)
    with pytest.raises(Tampered, match="does not hold"):
        verify_bundle(decode_bundle(forged), FILES, KEY)


def test_key_of_another_algorithm_is_refused() -> None:
    """Only a P-256 key verifies bundles."""
    with pytest.raises(BadInput, match="P-256"):
        verify_bundle(decode_bundle(sealed_bundle(FILES, RELEASE_KEY)), FILES, LOG_KEY.public)


def test_hint_is_the_digest_of_the_pem() -> None:
    """The hint is the one that model_signing writes."""
    assert hashlib.sha256(KEY.pem()).hexdigest() == key_hint(KEY)


def _resigned(change: Callable[[dict[str, Any]], object], signer: MemorySigner = RELEASE_KEY) -> bytes:
    """A bundle whose statement was changed before an honest signature."""
    value = json.loads(bundle_statement(FILES))
    change(value)
    payload = json.dumps(value).encode()
    return encode_bundle(payload, signer.sign(pae(IN_TOTO_PAYLOAD, payload)), signer.public)


def _resources(value: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = value["predicate"]["resources"]
    return found


@pytest.mark.parametrize(
    "change",
    [
        lambda v: v.update(_type="https://in-toto.io/Statement/v0.1"),
        lambda v: v.update(predicateType="https://model_signing/Digests/v0.1"),
        lambda v: v["subject"].append(v["subject"][0]),
        lambda v: v["subject"].clear(),
        lambda v: v["subject"][0]["digest"].update(sha256="0" * 64),
        lambda v: _resources(v).append(_resources(v)[0]),
        lambda v: _resources(v).reverse(),
        lambda v: _resources(v).clear(),
        lambda v: _resources(v)[0].update(algorithm="blake2b"),
        lambda v: _resources(v)[0].update(digest="x"),
        lambda v: v["predicate"]["serialization"].update(method="shards"),
        lambda v: v["predicate"]["serialization"].update(hash_type="blake3"),
        lambda v: v["predicate"]["serialization"].update(ignore_paths="x"),
        lambda v: v["predicate"].pop("serialization"),
    ],
)
def test_signed_nonsense_does_not_hold(change: Callable[[dict[str, Any]], object]) -> None:
    """Even under a good signature, a statement that contradicts itself or the format is refused."""
    with pytest.raises(Tampered):
        verify_bundle(decode_bundle(_resigned(change)), FILES, KEY)


def test_unknown_fields_are_tolerated() -> None:
    """Fields that v1.0 does not know are ignored, as the format asks."""

    def change(value: dict[str, Any]) -> None:
        value["predicate"]["model_card"] = {"x": 1}
        _resources(value)[0]["size"] = 1

    assert root_of_resources(FILES) == verify_bundle(decode_bundle(_resigned(change)), FILES, KEY)


def test_signed_ignore_paths_are_honoured() -> None:
    """Unsigned files do not count at and below the paths that the signer excluded, and only there."""
    bundle = decode_bundle(
        _resigned(lambda v: v["predicate"]["serialization"].update(ignore_paths=[".git", "m.sig"]))
    )
    more = {**FILES, ".git/config": Digest.of(b"c"), "m.sig": Digest.of(b"s")}
    assert root_of_resources(FILES) == verify_bundle(bundle, more, KEY)
    with pytest.raises(Tampered, match=r"'\.github/x' is not one"):
        verify_bundle(bundle, {**more, ".github/x": Digest.of(b"c")}, KEY)


@pytest.mark.parametrize(
    "change",
    [
        lambda v: v.update(mediaType="application/json"),
        lambda v: v.pop("mediaType"),
        lambda v: v["verificationMaterial"].pop("publicKey"),
        lambda v: v["verificationMaterial"].update(certificate={}),
        lambda v: v["verificationMaterial"].update(publicKey="x"),
        lambda v: v["dsseEnvelope"].update(payloadType="text/plain"),
        lambda v: v["dsseEnvelope"]["signatures"].clear(),
        lambda v: v["dsseEnvelope"]["signatures"].append(v["dsseEnvelope"]["signatures"][0]),
        lambda v: v["dsseEnvelope"]["signatures"][0].update(sig="*"),
        lambda v: v["dsseEnvelope"].pop("payload"),
        lambda v: v.update(dsseEnvelope=None),
    ],
)
def test_other_bundles_are_refused(change: Callable[[dict[str, Any]], object]) -> None:
    """Bundles of other kinds, without or with more than one signature, are refused when read."""
    value = json.loads(sealed_bundle(FILES, RELEASE_KEY))
    change(value)
    with pytest.raises(BadInput):
        decode_bundle(json.dumps(value).encode())


def test_bundle_without_hint_is_verified_by_the_key() -> None:
    """Older bundles without a hint are read; the key decides."""
    value = json.loads(sealed_bundle(FILES, RELEASE_KEY))
    value["verificationMaterial"]["publicKey"] = {}
    bundle = decode_bundle(json.dumps(value).encode())
    assert root_of_resources(FILES) == verify_bundle(bundle, FILES, KEY)


def test_changed_payload_does_not_hold() -> None:
    """One changed byte of the signed list breaks the signature."""
    value = json.loads(sealed_bundle(FILES, RELEASE_KEY))
    payload = base64.b64decode(value["dsseEnvelope"]["payload"]).replace(b"a.txt", b"c.txt")
    value["dsseEnvelope"]["payload"] = base64.b64encode(payload).decode()
    with pytest.raises(Tampered, match="does not hold"):
        verify_bundle(decode_bundle(json.dumps(value).encode()), FILES, KEY)


def test_too_large_bundle_is_refused() -> None:
    """Size is looked at before anything is parsed."""
    with pytest.raises(BadInput, match="limit"):
        decode_bundle(b" " * (BUNDLE_BYTES + 1))
