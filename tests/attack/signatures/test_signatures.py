"""Replays of published attacks on signed evidence.

- AU-04, CVE-2024-51746 (gitsign): the wrong one of two valid proofs is presented.
- AU-05, CVE-2024-55655 (sigstore-python), CVE-2026-48791 (sigstore-java): unsigned time is trusted.
- AU-06, CVE-2026-44309 (gitsign): two parsers read one signed text differently.
- AU-07, CVE-2026-44310 (gitsign): zero signatures or zero certificates.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from gatewright.kernel import canonical
from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import BadInput, Tampered
from gatewright.releases.envelope import (
    IN_TOTO_PAYLOAD,
    Envelope,
    EnvelopeSignature,
    pae,
    require,
    sealed,
    verify,
)
from gatewright.releases.keys import PublicKey
from gatewright.releases.manifest import MODEL
from gatewright.releases.statement import Countersignature, encode_claim, sealed_claim
from gatewright.releases.verification import require_deployable, verify_release
from unit.releases.workshop import (
    ENDPOINT,
    LOG_KEY,
    RELEASE_KEY,
    RELEASE_PQ_KEY,
    SIGNERS,
    STRANGER,
    TRUST,
    Made,
    made,
    sealed_bytes,
)

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551

ONE, TWO = made(b"first model"), made(b"second model")
KEYS = (RELEASE_KEY.public, RELEASE_PQ_KEY.public)
GOOD = sealed_claim(Countersignature(root=ONE.root), SIGNERS)


def deploy(release: Made, *decisions: bytes) -> None:
    """Verify a release and find its decision, as a worker does."""
    found = verify_release(
        resources=release.files, bundle=release.bundle, statements=release.statements, trust=TRUST
    )
    require_deployable(found, decisions, TRUST, ENDPOINT)


def refusal(call: Callable[[], object]) -> str:
    """The code of the refusal that a call ends in."""
    with pytest.raises((Tampered, BadInput)) as caught:
        call()
    return caught.value.code


def test_the_honest_release_is_accepted() -> None:
    """What the attacks below start from is accepted as it is."""
    deploy(ONE, sealed_bytes(ONE.decision()))
    require(GOOD, KEYS)


# AU-04: evidence about one thing presented for another


def test_au04_bundle_of_another_release() -> None:
    """The valid bundle of another release by the same key does not carry this one."""
    assert "releases.files" == refusal(lambda: deploy(replace(ONE, bundle=TWO.bundle)))


def test_au04_countersignature_of_another_release_in_its_place() -> None:
    """The valid countersignature of another release by the same key does not stand in."""
    assert "releases.other-root" == refusal(lambda: deploy(replace(ONE, statements=TWO.statements)))


def test_au04_statement_about_another_root_copied_beside() -> None:
    """A valid statement about another release beside the right ones is noticed, not skipped."""
    assert "releases.other-root" == refusal(lambda: deploy(ONE.beside(sealed_bytes(TWO.decision()))))


def test_au04_decision_about_another_root() -> None:
    """The valid deployment decision about another release does not deploy this one."""
    assert "releases.other-root" == refusal(lambda: deploy(ONE, sealed_bytes(TWO.decision())))


def test_au04_signature_from_another_statement() -> None:
    """Signatures lifted from one statement do not hold over another by the same keys."""
    other = sealed_claim(Countersignature(root=TWO.root), SIGNERS)
    assert "releases.signature" == refusal(lambda: verify(replace(GOOD, signatures=other.signatures), KEYS))


def test_au04_whole_bundle_with_the_files_of_another() -> None:
    """The files of one release under the bundle and statements of another name the first changed file."""
    mixed = replace(ONE, files=TWO.files)
    with pytest.raises(Tampered) as caught:
        deploy(mixed)
    assert MODEL == caught.value.refusal.place


# AU-05: what is not signed says nothing


def test_au05_time_beside_the_signed_payload_is_refused() -> None:
    """A time added to the envelope, outside what is signed, is refused."""
    value = canonical.decode(GOOD.encode())
    value["time"] = "2020-01-01T00:00:00Z"
    assert "releases.envelope" == refusal(lambda: Envelope.decode(canonical.encode(value)))


def test_au05_changed_time_of_a_decision_does_not_hold() -> None:
    """The time of a decision is signed: changed, the signatures do not hold."""
    envelope = Envelope.decode(sealed_bytes(ONE.decision()))
    payload = envelope.payload.replace(b"2026-03-03", b"2020-03-03")
    assert payload != envelope.payload
    moved = replace(envelope, payload=payload).encode()
    assert "releases.signature" == refusal(lambda: deploy(ONE, moved))


def test_au05_log_entries_in_a_bundle_are_not_evidence() -> None:
    """An unverified transparency entry put into the bundle neither helps nor changes what is returned."""
    value = json.loads(ONE.bundle)
    value["verificationMaterial"]["tlogEntries"] = [{"integratedTime": "1"}]
    found = [
        verify_release(resources=ONE.files, bundle=bundle, statements=ONE.statements, trust=TRUST)
        for bundle in (ONE.bundle, json.dumps(value).encode())
    ]
    assert found[0] == found[1]


# AU-06: one text, one reading


def _text(payload: bytes, change: Callable[[str], str]) -> bytes:
    changed = change(payload.decode()).encode()
    assert changed != payload
    return changed


REWRITINGS: dict[str, Callable[[str], str]] = {
    "duplicate key": lambda text: text.replace("{", '{"predicate":{},', 1),
    "re-ordered": lambda text: json.dumps(dict(reversed(json.loads(text).items())), separators=(",", ":")),
    "spaces": lambda text: text.replace(":", ": ", 1),
    "escaped": lambda text: text.replace("urn:", "\\u0075rn:", 1),
    "line end": lambda text: text + "\n",
    "byte order mark": lambda text: "\ufeff" + text,
    "extra field": lambda text: text.replace("{", '{"$":1,', 1),
    "second text": lambda text: text + text,
}


@pytest.mark.parametrize("name", sorted(REWRITINGS))
def test_au06_rewritten_payload_under_the_old_signatures(name: str) -> None:
    """The same claim in other bytes does not hold under the signatures over the first bytes."""
    moved = replace(GOOD, payload=_text(GOOD.payload, REWRITINGS[name]))
    assert "releases.signature" == refusal(lambda: require(moved, KEYS))


@pytest.mark.parametrize("name", sorted(REWRITINGS))
def test_au06_rewritten_payload_signed_anew(name: str) -> None:
    """Even honestly signed, a payload that is not in its one form is not read."""
    payload = _text(encode_claim(ONE.decision()), REWRITINGS[name])
    data = sealed(IN_TOTO_PAYLOAD, payload, SIGNERS).encode()
    assert refusal(lambda: deploy(ONE, data)) in {
        "kernel.json",
        "kernel.json-duplicate-key",
        "kernel.json-not-canonical",
        "releases.statement",
    }


@pytest.mark.parametrize("name", ["duplicate key", "spaces", "line end", "byte order mark", "second text"])
def test_au06_rewritten_envelope(name: str) -> None:
    """An envelope in other bytes is refused: one envelope has one digest."""
    data = _text(GOOD.encode(), REWRITINGS[name])
    assert refusal(lambda: Envelope.decode(data)).startswith("kernel.json")


@pytest.mark.parametrize("field", ["payload", "dsseEnvelope", "mediaType"])
def test_au06_duplicate_key_in_a_bundle(field: str) -> None:
    """A bundle that names a field twice is refused, whichever a parser would take."""
    text = ONE.bundle.decode().replace(f'"{field}":', f'"{field}":"x","{field}":', 1).encode()
    assert "kernel.json-duplicate-key" == refusal(lambda: deploy(replace(ONE, bundle=text)))


def _respelt(text: str) -> list[str]:
    """Other spellings that a lenient base64 reader takes for the same bytes."""
    found = [text + "\n", " " + text, text[:4] + "\r\n" + text[4:], text + "====", text + "\t"]
    found.append(text.replace("+", "-").replace("/", "_"))
    found.append(text.rstrip("="))
    if text.endswith("="):
        body, pad = text.rstrip("="), text[len(text.rstrip("=")) :]
        found.append(body[:-1] + ALPHABET[ALPHABET.index(body[-1]) + 1] + pad)  # unused bits set
    return [spelling for spelling in found if spelling != text]


def _respelt_envelopes() -> list[bytes]:
    value = canonical.decode(GOOD.encode())
    first, second = value["signatures"]
    payloads = [{**value, "payload": spelling} for spelling in _respelt(value["payload"])]
    signatures = [
        {**value, "signatures": [{**first, "sig": spelling}, second]} for spelling in _respelt(first["sig"])
    ]
    return [canonical.encode(spelt) for spelt in (*payloads, *signatures)]


def test_au06_base64_has_one_spelling() -> None:
    """Every other base64 spelling of payload or signature is refused."""
    spelt = _respelt_envelopes()
    assert 10 < len(spelt)
    assert {"releases.envelope"} == {refusal(partial(Envelope.decode, data)) for data in spelt}


def test_au06_payload_type_cannot_be_swapped() -> None:
    """A payload signed as one type does not hold as another."""
    note = sealed("text/plain", GOOD.payload, SIGNERS)
    assert "releases.signature" == refusal(lambda: require(replace(note, payload_type=IN_TOTO_PAYLOAD), KEYS))


def test_au06_statement_signed_as_another_type_is_not_a_statement() -> None:
    """A payload honestly signed under another type is not read as a statement."""
    data = sealed("text/plain", encode_claim(ONE.decision()), SIGNERS).encode()
    assert "releases.payload-type" == refusal(lambda: deploy(ONE, data))


def test_au06_signature_over_the_bare_payload() -> None:
    """A signature over the payload without its type (no PAE) does not hold."""
    bare = EnvelopeSignature(key_id=RELEASE_KEY.public.id, signature=RELEASE_KEY.sign(GOOD.payload))
    assert "releases.signature" == refusal(lambda: verify(replace(GOOD, signatures=(bare,)), KEYS))


def test_au06_bundle_signature_does_not_sign_a_statement() -> None:
    """The bundle's signature, lifted into a statement's envelope, carries no claim."""
    value: dict[str, Any] = json.loads(ONE.bundle)["dsseEnvelope"]
    lifted = Envelope(
        payload_type=IN_TOTO_PAYLOAD,
        payload=base64.b64decode(value["payload"]),
        signatures=(
            EnvelopeSignature(
                key_id=RELEASE_KEY.public.id, signature=base64.b64decode(value["signatures"][0]["sig"])
            ),
        ),
    )
    assert (RELEASE_KEY.public,) == verify(lifted, KEYS)
    assert "releases.predicate-type" == refusal(lambda: deploy(ONE, lifted.encode()))


# AU-07: nothing is not something


def test_au07_envelope_without_signatures() -> None:
    """An envelope without signatures is refused when read, and counts for nothing when built."""
    empty = replace(GOOD, signatures=())
    assert "releases.envelope" == refusal(lambda: Envelope.decode(empty.encode()))
    assert () == verify(empty, KEYS)
    assert "releases.unsigned" == refusal(lambda: require(empty, KEYS))


@pytest.mark.parametrize("signature", [b"", b"\0", b"\0" * 64, b"\0" * 3309, encode_dss_signature(0, 0)])
@pytest.mark.parametrize("key", [*KEYS, LOG_KEY.public], ids=lambda key: str(key.algorithm))
def test_au07_empty_and_zero_signatures(key: PublicKey, signature: bytes) -> None:
    """Empty and all-zero signatures hold for no algorithm."""
    assert not key.verifies(signature, b"message")
    assert not key.verifies(signature, b"")


def test_au07_no_required_keys() -> None:
    """An empty threshold does not make an envelope signed."""
    assert "releases.unsigned" == refusal(lambda: require(GOOD, ()))


def test_au07_bundle_without_signatures() -> None:
    """A bundle whose list of signatures is empty is refused."""
    value = json.loads(ONE.bundle)
    value["dsseEnvelope"]["signatures"] = []
    assert "releases.bundle" == refusal(lambda: deploy(replace(ONE, bundle=json.dumps(value).encode())))


def test_au07_release_without_statements() -> None:
    """A release without statements has no countersignature, and is refused."""
    assert "releases.no-countersignature" == refusal(lambda: deploy(replace(ONE, statements=())))


# Keys taken for one another


@pytest.mark.parametrize(
    ("signer", "named"),
    [
        (LOG_KEY, RELEASE_KEY),
        (RELEASE_KEY, RELEASE_PQ_KEY),
        (RELEASE_PQ_KEY, LOG_KEY),
        (STRANGER, RELEASE_KEY),
    ],
)
def test_key_confusion(signer: Any, named: Any) -> None:
    """A good signature by one key, under the id of another of any algorithm, does not hold."""
    forged = EnvelopeSignature(
        key_id=named.public.id, signature=signer.sign(pae(GOOD.payload_type, GOOD.payload))
    )
    moved = replace(GOOD, signatures=(forged,))
    assert "releases.signature" == refusal(lambda: verify(moved, (named.public,)))


def test_log_key_is_no_release_key() -> None:
    """What the log key signs is no countersignature and no decision."""
    logged = sealed_bytes(Countersignature(root=ONE.root), LOG_KEY)
    assert "releases.no-countersignature" == refusal(lambda: deploy(replace(ONE, statements=(logged,))))
    assert "releases.no-decision" == refusal(lambda: deploy(ONE, sealed_bytes(ONE.decision(), LOG_KEY)))


def test_second_signature_of_one_key_is_not_a_second_key() -> None:
    """The other valid ECDSA signature, (r, n - s), counts as the same key."""
    (first,) = sealed(IN_TOTO_PAYLOAD, GOOD.payload, (RELEASE_KEY,)).signatures
    r, s = decode_dss_signature(first.signature)
    second = replace(first, signature=encode_dss_signature(r, P256_ORDER - s))
    doubled = replace(GOOD, signatures=(first, second))
    assert (RELEASE_KEY.public,) == verify(doubled, KEYS)
    assert "releases.unsigned" == refusal(lambda: require(doubled, KEYS))


def test_signature_over_another_root_by_the_right_keys() -> None:
    """Both release keys on a claim about a digest that is no release of ours carry nothing here."""
    stray = sealed_bytes(Countersignature(root=Digest.of(b"stray")))
    assert "releases.other-root" == refusal(lambda: deploy(replace(ONE, statements=(stray,))))
