"""DSSE v1: an envelope that carries signed bytes and says what they are.

The signature covers the payload's exact bytes and its type, through the pre-authentication
encoding (PAE), so nothing needs to be canonical for a signature to hold. Our stored form is
canonical all the same, so that an envelope has one digest.

Laws: ``Envelope.decode(e.encode()) == e``; ``e.encode() == b`` for every ``b`` that ``decode`` takes.

Source: secure-systems-lab/dsse v1.0.0, ``protocol.md`` and ``envelope.md``.

Not here: which keys must have signed. :func:`verify` says which did; zero is the caller's refusal,
and :func:`require` is the strict form.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from gatewright.kernel import canonical
from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import BadInput, Tampered
from gatewright.releases.fields import Fields
from gatewright.releases.keys import PublicKey

IN_TOTO_PAYLOAD = "application/vnd.in-toto+json"

ENVELOPE_BYTES = 1_048_576
PAYLOAD_BYTES = 524_288
SIGNATURE_BYTES = 8_192  # ML-DSA-65 signatures take 3,309 bytes
SIGNATURES = 16
TYPE_LENGTH = 256


class SigningKey(Protocol):
    """What signs: the shape of the ``Signer`` port, which this package may not import."""

    @property
    def public(self) -> PublicKey:
        """The public half."""
        ...

    def sign(self, message: bytes) -> bytes:
        """Signature over the message, in the raw form of the algorithm."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvelopeSignature:
    """One signature over the PAE, and the id of the key that is said to have made it."""

    key_id: str
    signature: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """A payload of a type, with its signatures."""

    payload_type: str
    payload: bytes
    signatures: tuple[EnvelopeSignature, ...]

    def encode(self) -> bytes:
        """Canonical JSON of the envelope."""
        return canonical.encode(
            {
                "payload": base64.b64encode(self.payload).decode(),
                "payloadType": self.payload_type,
                "signatures": [
                    {"keyid": one.key_id, "sig": base64.b64encode(one.signature).decode()}
                    for one in self.signatures
                ],
            }
        )

    @classmethod
    def decode(cls, data: bytes) -> Envelope:
        """Read an envelope that :meth:`encode` wrote; raises BadInput for every other form."""
        if len(data) > ENVELOPE_BYTES:
            raise BadInput(
                "releases.envelope-too-large",
                f"The envelope takes {len(data):,} bytes; the limit is {ENVELOPE_BYTES:,}.",
            )
        fields = Fields.read(canonical.decode(data), of="the envelope", code="releases.envelope")
        fields.exactly("payload", "payloadType", "signatures")
        signatures = fields.objects("signatures", least=1, most=SIGNATURES)
        return cls(
            payload_type=fields.text("payloadType", most=TYPE_LENGTH),
            payload=fields.base64("payload", most=PAYLOAD_BYTES),
            signatures=tuple(
                EnvelopeSignature(
                    key_id=one.exactly("keyid", "sig").text("keyid", most=TYPE_LENGTH),
                    signature=one.base64("sig", most=SIGNATURE_BYTES),
                )
                for one in signatures
            ),
        )

    @property
    def digest(self) -> Digest:
        """Digest of the encoded envelope: the name by which other evidence refers to it."""
        return Digest.of(self.encode())


def pae(payload_type: str, payload: bytes) -> bytes:
    """Pre-authentication encoding: the bytes that a signature covers."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def sealed(payload_type: str, payload: bytes, signers: Sequence[SigningKey]) -> Envelope:
    """Sign the payload with every signer, in their order."""
    message = pae(payload_type, payload)
    return Envelope(
        payload_type=payload_type,
        payload=payload,
        signatures=tuple(
            EnvelopeSignature(key_id=signer.public.id, signature=signer.sign(message)) for signer in signers
        ),
    )


def verify(envelope: Envelope, keys: Sequence[PublicKey]) -> tuple[PublicKey, ...]:
    """Return the distinct keys, in the given order, whose signatures hold.

    A signature that names none of the keys says nothing and is passed over (DSSE, step 2 of
    verification); one that names a key and does not hold raises :class:`Tampered`.
    """
    message = pae(envelope.payload_type, envelope.payload)
    known = {key.id: key for key in keys}
    holding = set()
    for index, one in enumerate(envelope.signatures):
        key = known.get(one.key_id)
        if key is None:
            continue
        if not key.verifies(one.signature, message):
            raise Tampered(
                "releases.signature",
                f"A signature said to be by key {one.key_id} does not hold.",
                why="The signed bytes, their type or the signature were changed after signing.",
                place=f"signatures[{index}]",
            )
        holding.add(one.key_id)
    return tuple(key for key_id, key in known.items() if key_id in holding)


def require(envelope: Envelope, keys: Sequence[PublicKey]) -> None:
    """Raise :class:`Tampered` unless every one of the keys signed; no keys at all is a refusal too."""
    held = {key.id for key in verify(envelope, keys)}
    missing = [key for key in keys if key.id not in held]
    if missing or not keys:
        named = ", ".join(f"{key.id} ({key.algorithm})" for key in missing) or "any trusted key"
        raise Tampered(
            "releases.unsigned",
            f"The envelope carries no signature by {named}.",
            why="Only what every required key has signed counts.",
            place="signatures",
        )
