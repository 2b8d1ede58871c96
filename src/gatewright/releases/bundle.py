"""OpenSSF Model Signing v1.0 bundles, signed with a P-256 key: written and verified.

A bundle is a Sigstore bundle v0.3 whose DSSE envelope holds an in-toto statement. Its predicate
lists every file with its SHA-256; its one subject carries the **root**: SHA-256 over the raw
digests in the order of the list, which is by name. The public ``model_signing verify key`` accepts
what :func:`encode_bundle` writes, and :func:`verify_bundle` accepts what ``model_signing sign key`` writes.

Strict on what matters (one signature, one subject, every file once, SHA-256 only); tolerant, as
the protocols ask, of fields that v1.0 does not know.

Source: ossf/model-signing-spec ``spec/v1.0.md``; sigstore/protobuf-specs ``sigstore_bundle.proto``.

Not here: certificates, Sigstore identities, sharded serialisation, BLAKE digests: refused by name.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from gatewright.kernel import canonical
from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import BadInput, Tampered
from gatewright.releases.envelope import IN_TOTO_PAYLOAD, SIGNATURE_BYTES, TYPE_LENGTH, SigningKey, pae
from gatewright.releases.fields import Fields, held
from gatewright.releases.in_toto import RELEASE_SUBJECT, STATEMENT_TYPE
from gatewright.releases.keys import Algorithm, PublicKey

MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
PREDICATE_TYPE = "https://model_signing/signature/v1.0"
HASH = "sha256"
METHOD = "files"

BUNDLE_BYTES = 16_777_216
BUNDLE_PAYLOAD_BYTES = 8_388_608
BUNDLE_RESOURCES = 65_536
IGNORED_PATHS = 1_024

_CODE = "releases.bundle"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A bundle as read: the signed bytes and the one signature over them. Nothing is verified yet.

    ``hint`` is the SHA-256 of the signer's public key in PEM, or empty in older bundles.
    """

    payload: bytes
    signature: bytes
    hint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedFiles:
    """What a bundle's payload says: the root, each file's digest, and paths that do not count."""

    root: Digest
    resources: Mapping[str, Digest]
    ignored: tuple[str, ...] = ()


def _root(digests: Iterable[Digest]) -> Digest:
    return Digest(hashlib.sha256(b"".join(digest.raw for digest in digests)).hexdigest())


def root_of_resources(resources: Mapping[str, Digest]) -> Digest:
    """Root of a release: SHA-256 over the raw digests of its files, by name in code point order."""
    return _root(resources[name] for name in sorted(resources))


def bundle_statement(resources: Mapping[str, Digest], *, name: str = RELEASE_SUBJECT) -> bytes:
    """Build the payload that a bundle signs; ``pae(IN_TOTO_PAYLOAD, …)`` of it goes to the signer."""
    return canonical.encode(
        {
            "_type": STATEMENT_TYPE,
            "predicate": {
                "resources": [
                    {"algorithm": HASH, "digest": resources[path].hex, "name": path}
                    for path in sorted(resources)
                ],
                "serialization": {"allow_symlinks": False, "hash_type": HASH, "method": METHOD},
            },
            "predicateType": PREDICATE_TYPE,
            "subject": [{"digest": {HASH: root_of_resources(resources).hex}, "name": name}],
        }
    )


def key_hint(key: PublicKey) -> str:
    """Hint by which a bundle names its key: SHA-256 of the PEM form, in hexadecimal."""
    return Digest.of(key.pem()).hex


def encode_bundle(payload: bytes, signature: bytes, key: PublicKey) -> bytes:
    """Write a bundle around a signed payload."""
    return canonical.encode(
        {
            "dsseEnvelope": {
                "payload": base64.b64encode(payload).decode(),
                "payloadType": IN_TOTO_PAYLOAD,
                "signatures": [{"keyid": "", "sig": base64.b64encode(signature).decode()}],
            },
            "mediaType": MEDIA_TYPE,
            "verificationMaterial": {"publicKey": {"hint": key_hint(key)}, "tlogEntries": []},
        }
    )


def sealed_bundle(resources: Mapping[str, Digest], signer: SigningKey) -> bytes:
    """Sign the files' digests with a P-256 key and write the bundle."""
    payload = bundle_statement(resources)
    return encode_bundle(payload, signer.sign(pae(IN_TOTO_PAYLOAD, payload)), signer.public)


def decode_bundle(data: bytes) -> Bundle:
    """Read a bundle that a key signed; raises BadInput for every other kind."""
    if len(data) > BUNDLE_BYTES:
        raise BadInput(_CODE, f"The bundle takes {len(data):,} bytes; the limit is {BUNDLE_BYTES:,}.")
    fields = Fields.read(canonical.decode_any(data), of="the bundle", code=_CODE)
    fields.constant("mediaType", MEDIA_TYPE)
    material = fields.object("verificationMaterial")
    if "publicKey" not in material.value or {"certificate", "x509CertificateChain"} & set(material.value):
        raise BadInput(
            _CODE,
            "The bundle was not signed with a plain key.",
            why="Certificates and Sigstore identities are not read here.",
            next="Sign with 'model_signing sign key' and a P-256 key.",
            place="verificationMaterial",
        )
    envelope = fields.object("dsseEnvelope")
    envelope.constant("payloadType", IN_TOTO_PAYLOAD)
    (signature,) = envelope.objects("signatures", least=1, most=1)
    key = material.object("publicKey")
    return Bundle(
        payload=envelope.base64("payload", most=BUNDLE_PAYLOAD_BYTES),
        signature=signature.base64("sig", most=SIGNATURE_BYTES),
        hint=key.text("hint", most=TYPE_LENGTH) if key.value.get("hint") is not None else "",
    )


def _serialisation(fields: Fields) -> tuple[str, ...]:
    fields.constant("method", METHOD)
    fields.constant("hash_type", HASH)
    ignored = fields.value.get("ignore_paths", [])
    if (
        not isinstance(ignored, list)
        or len(ignored) > IGNORED_PATHS
        or not all(isinstance(path, str) for path in ignored)
    ):
        raise fields.refuse("ignore_paths", f"a list of at most {IGNORED_PATHS:,} paths")
    return tuple(ignored)


def decode_payload(payload: bytes) -> SignedFiles:
    """Read what a bundle signs; raises BadInput where it contradicts itself."""
    fields = Fields.read(canonical.decode_any(payload), of="the bundle's statement", code=_CODE)
    fields.constant("_type", STATEMENT_TYPE)
    fields.constant("predicateType", PREDICATE_TYPE)
    (subject,) = fields.objects("subject", least=1, most=1)
    predicate = fields.object("predicate")
    ignored = _serialisation(predicate.object("serialization"))
    listed: dict[str, Digest] = {}
    for resource in predicate.objects("resources", least=1, most=BUNDLE_RESOURCES):
        resource.constant("algorithm", HASH)
        name = resource.text("name")
        if name in listed:
            raise BadInput(_CODE, f"The bundle lists {name[:120]!r} twice.", place=name[:120])
        listed[name] = resource.digest("digest")
    root = subject.object("digest").digest(HASH)
    if root != _root(listed.values()):
        raise BadInput(
            _CODE, "The bundle's subject is not the digest of the files that it lists.", place="subject"
        )
    return SignedFiles(root=root, resources=listed, ignored=ignored)


def _is_under(name: str, paths: Iterable[str]) -> bool:
    return any(name == path or name.startswith(f"{path}/") for path in paths)


def _compare(signed: SignedFiles, resources: Mapping[str, Digest]) -> None:
    """Raise Tampered at the first file, by name, that is changed, missing or extra."""
    for name in sorted(set(signed.resources) | set(resources)):
        if name not in resources:
            what = f"The file {name[:120]!r} is missing."
        elif name not in signed.resources:
            if _is_under(name, signed.ignored):
                continue
            what = f"The file {name[:120]!r} is not one of the signed files."
        elif resources[name] != signed.resources[name]:
            what = f"The file {name[:120]!r} is not the one that was signed."
        else:
            continue
        raise Tampered(
            "releases.files",
            what,
            why="A signature speaks of exactly the files it was made over.",
            next="Fetch the folder again from where it was signed.",
            place=name[:120],
        )


def made_by(bundle: Bundle, key: PublicKey) -> bool:
    """Whether a bundle says, or where it names no key shows, that this P-256 key signed it."""
    if bundle.hint:
        return bundle.hint == key_hint(key)
    return key.verifies(bundle.signature, pae(IN_TOTO_PAYLOAD, bundle.payload))


def verify_bundle(bundle: Bundle, resources: Mapping[str, Digest], key: PublicKey) -> Digest:
    """Return the root, once the key's signature holds over exactly these files.

    The signature is checked before the signed bytes are read. Raises :class:`Tampered`; where files
    differ, its place is the first one by name.
    """
    if key.algorithm is not Algorithm.ECDSA_P256:
        raise BadInput(_CODE, f"Bundles are verified with a P-256 key, not {key.algorithm}.")
    if bundle.hint and bundle.hint != key_hint(key):
        raise Tampered(
            "releases.other-key",
            "The bundle was signed with another key than the trusted one.",
            why="Keys rotate: the one you trust may be newer or older than this evidence.",
            next="Give the owner's whole folder with trust.json and trust/, or the export's own beside the "
            "fingerprint that you know: gatewright verify FOLDER --trust FOLDER --fingerprint FINGERPRINT",
            place="verificationMaterial",
        )
    if not key.verifies(bundle.signature, pae(IN_TOTO_PAYLOAD, bundle.payload)):
        raise Tampered(
            "releases.signature",
            "The bundle's signature does not hold.",
            why="The list of files or the signature was changed after signing, or another key signed it.",
            place="dsseEnvelope",
        )
    signed = held("dsseEnvelope", decode_payload, bundle.payload)
    _compare(signed, resources)
    return signed.root
