"""The vectors that others publish for what a verifier of ours is made of; see tests/vectors/NOTICE.md."""

from __future__ import annotations

import base64
import json
import lzma
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gatewright.kernel.errors import BadInput, Tampered
from gatewright.ledger.checkpoints import Note, checkpoint_text, read_checkpoint_text
from gatewright.ledger.notes import NoteKey, signed_by
from gatewright.ledger.proofs import verify_consistency
from gatewright.ledger.tiles import Tile
from gatewright.ledger.tree import leaf_hash, verify_inclusion
from gatewright.releases.keys import PublicKey

VECTORS = Path(__file__).parents[1] / "vectors"
SIGNATURES = {"ed25519": (88, 63), "ecdsa-p256": (174, 310), "mldsa-44": (77, 103), "mldsa-65": (79, 131)}
"""Valid and invalid signatures in each set."""
IV_BYTES, TAG_BITS = 12, 128
NO_HASHES = "additional/sizes-are-equal-one-and-proof-is-empty"
GO = json.loads((VECTORS / "golang-note.json").read_text("utf-8"))


def vectors(name: str) -> Any:
    """What a packed file holds."""
    return json.loads(lzma.decompress((VECTORS / f"{name}.json.xz").read_bytes()))


def _path(proof: list[str] | None) -> list[bytes]:
    return [base64.b64decode(part) for part in proof or ()]


def test_inclusion_proofs_of_certificate_transparency() -> None:
    """98 inclusion proofs: 6 hold, 92 are spoiled in some way and do not."""
    found = {
        name: verify_inclusion(
            leaf=base64.b64decode(case["leafHash"]),
            index=case["leafIdx"],
            size=case["treeSize"],
            path=_path(case["proof"]),
            root=base64.b64decode(case["root"]),
        )
        for name, case in vectors("transparency-merkle")["inclusion"].items()
    }
    expected = {
        name: not case["wantErr"] for name, case in vectors("transparency-merkle")["inclusion"].items()
    }
    assert (98, 6) == (len(found), sum(found.values()))
    assert expected == found


def test_consistency_proofs_of_certificate_transparency() -> None:
    """98 consistency proofs: 5 hold, 92 are spoiled; of one the roots are no hashes at all, so that ours refuses it."""
    cases = vectors("transparency-merkle")["consistency"]
    found = {
        name: verify_consistency(
            first=case["size1"],
            second=case["size2"],
            first_root=base64.b64decode(case["root1"]),
            second_root=base64.b64decode(case["root2"]),
            path=_path(case["proof"]),
        )
        for name, case in cases.items()
    }
    assert (98, 5) == (len(found), sum(found.values()))
    assert {name: not case["wantErr"] and name != NO_HASHES for name, case in cases.items()} == found


def _key(group: dict[str, Any]) -> PublicKey | None:
    """The group's key, or None where ours does not read it: it has the wrong length."""
    if not isinstance(group.get("publicKeyDer"), str):
        return None
    try:
        return PublicKey.from_der(bytes.fromhex(group["publicKeyDer"]))
    except BadInput:
        return None


@pytest.mark.parametrize("name", SIGNATURES)
def test_signatures_of_wycheproof(name: str) -> None:
    """Every valid signature verifies and no invalid one; one with a context, which ours never have, is none of ours."""
    told = {"valid": 0, "invalid": 0}
    for group in vectors(f"wycheproof-{name}"):
        key = _key(group)
        for case in group["tests"]:
            holds = key is not None and key.verifies(bytes.fromhex(case["sig"]), bytes.fromhex(case["msg"]))
            ours = case["result"] == "valid" and not case.get("ctx")
            assert ours == holds, case["tcId"]
            told[case["result"]] += 1
    assert SIGNATURES[name] == (told["valid"], told["invalid"])


def test_ed25519_at_its_edges() -> None:
    """Of 914 edge cases those are taken that RFC 8032 without the cofactor takes, and whose R has its one form."""
    taken = 0
    for case in vectors("cctv-ed25519"):
        flags = set(case["flags"] or ())
        public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(case["key"]))
        key = PublicKey.from_der(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
        holds = key.verifies(bytes.fromhex(case["sig"]), case["msg"].encode())
        assert holds == (not flags & {"low_order_residue", "non_canonical_R"}), case["number"]
        taken += holds
    assert 208 == taken


def test_aes_gcm_of_wycheproof() -> None:
    """With the nonces and tags of our formats: every valid text opens and is made again; no invalid one opens."""
    told = {True: 0, False: 0}
    for group in vectors("wycheproof-aes-gcm"):
        if (group["ivSize"], group["tagSize"]) != (8 * IV_BYTES, TAG_BITS):
            continue
        for case in group["tests"]:
            key, iv, aad, plain, sealed, tag = (
                bytes.fromhex(case[part]) for part in ("key", "iv", "aad", "msg", "ct", "tag")
            )
            valid = case["result"] == "valid"
            told[valid] += 1
            if valid:
                assert sealed + tag == AESGCM(key).encrypt(iv, plain, aad)
                assert plain == AESGCM(key).decrypt(iv, sealed + tag, aad)
            else:
                with pytest.raises(InvalidTag):
                    AESGCM(key).decrypt(iv, sealed + tag, aad)
    assert min(told.values()) > 0


def test_verifier_keys_of_go() -> None:
    """The example is read; no part of it is, nor it with one letter changed, of a wrong length or another kind."""
    text = GO["keys"]["peter"]
    assert text == NoteKey.parse(text).text()
    parts = {text[start:stop] for start in range(len(text)) for stop in range(start + 1, len(text) + 1)} - {
        text
    }
    changed = {f"{text[:at]}{chr(ord(text[at]) + 1)}{text[at + 1 :]}" for at in range(len(text))}
    for bad in (*parts, *changed, *GO["bad_keys"]):
        with pytest.raises(BadInput):
            NoteKey.parse(bad)


def test_notes_of_go() -> None:
    """Signatures of known keys are believed, those of others ignored; a malformed note or a bad signature is refused."""
    peter, enoch = (NoteKey.parse(GO["keys"][name]) for name in ("peter", "enoch"))
    note = f"{GO['text']}\n{GO['peter']}{GO['enoch']}".encode()
    assert (peter,) == signed_by(note, [peter])
    assert (peter, enoch) == signed_by(note, [peter, enoch])
    assert (peter,) == signed_by(f"{GO['text']}\n{GO['peter'] * 2}{GO['enoch'] * 2}".encode(), [peter])
    for malformed in (*map(bytes.fromhex, GO["malformed"]), f"{GO['text']}\n{GO['peter'] * 101}".encode()):
        with pytest.raises(BadInput):
            Note.decode(malformed)
    with pytest.raises(Tampered):
        signed_by(bytes.fromhex(GO["invalid_signature"]), [peter])
    with pytest.raises(Tampered):
        signed_by(note, [])
    with pytest.raises(BadInput):
        signed_by(note, [enoch, enoch])


def test_checkpoints_of_go() -> None:
    """A head of the Go checksum log is written and read; a size in another form or a longer root is refused."""
    tree = GO["tree"]
    root = leaf_hash(tree["leaf"].encode())
    with pytest.raises(BadInput):  # its origin has spaces, which no key name can have
        checkpoint_text("go.sum database tree", tree["size"], root)
    found = read_checkpoint_text(tree["text"].encode())
    assert (tree["size"], root) == (found.size, found.root)
    for bad in GO["bad_trees"]:
        with pytest.raises(BadInput):
            read_checkpoint_text(bad.encode())


@pytest.mark.parametrize("path", GO["tile_paths"])
def test_tile_paths_of_go_are_not_ours(path: str) -> None:
    """Their paths name the height too; the later standard's do not, and nothing else is read."""
    with pytest.raises(BadInput):
        Tile.parse(path)
