"""Stored formats are read for ever: samples written when each was published, and refusals of newer ones.

The samples are of a home that was made for this and thrown away; its keys protect nothing.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path

import pytest

from gatewright.adapters.key_files import HomeKey, KeyFolder
from gatewright.adapters.local_blobs import LocalBlobs
from gatewright.deployments.plan import read_plan
from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import GatewrightError, Tampered
from gatewright.ledger.records import Record
from gatewright.ledger.segments import open_payload, scan, unwrap_key, verify_segment
from gatewright.operations.verify import certified_workers
from gatewright.releases.heads import open_head
from gatewright.releases.trust import TrustRoot

FROZEN = Path(__file__).parents[1] / "frozen"
CONTENT = b"frozen content"


def sample(name: str) -> bytes:
    """The bytes of a sample."""
    return base64.b64decode((FROZEN / f"{name}.b64").read_text("ascii"))


def data_key() -> bytes:
    """The data key of the home that was thrown away."""
    return bytes.fromhex((FROZEN / "data-key.hex").read_text("ascii"))


@pytest.fixture(scope="module")
def trust() -> TrustRoot:
    """Trust root, format 2."""
    return TrustRoot.decode(sample("trust-2"))


def test_trust_root_2(trust: TrustRoot) -> None:
    """It is read, and written again byte for byte."""
    assert sample("trust-2") == trust.encode()


def test_record_1() -> None:
    """It is read, and written again byte for byte."""
    assert sample("record-1") == Record.decode(sample("record-1")).encode()


def test_checkpoint(trust: TrustRoot) -> None:
    """The head of a log, signed by both of its keys, is believed."""
    head = open_head(sample("checkpoint-2"), trust).checkpoint
    assert (trust.origin, Record.decode(sample("record-1")).seq + 1) == (head.origin, head.size)


def test_traffic_plan_2(trust: TrustRoot) -> None:
    """A plan in its envelope is believed."""
    assert ["tiny"] == [str(one.endpoint) for one in read_plan(sample("plan-2"), trust).endpoints]


def test_segment_1_and_worker_certificate(trust: TrustRoot) -> None:
    """A sealed segment verifies by its worker's certificate, and its payloads open."""
    found = scan(sample("segment-1"))
    verify_segment(found, certified_workers(trust, [sample("worker-key-1")]))
    key = unwrap_key(data_key(), found.header)
    payloads = [
        open_payload(key, seq, leaf, text)
        for seq, (leaf, text) in enumerate(zip(found.leaves, found.ciphertexts, strict=True))
    ]
    assert 3 == len(payloads)


def test_blob_1(tmp_path: Path) -> None:
    """An encrypted content opens with its data key, and with no other."""
    store = LocalBlobs(tmp_path, data_key())
    place = store.path_of(Digest.of(CONTENT))
    place.parent.mkdir()
    place.write_bytes(sample("blob-1"))
    assert CONTENT == store.get(Digest.of(CONTENT))
    with pytest.raises(Tampered):
        LocalBlobs(tmp_path, bytes(32)).get(Digest.of(CONTENT))


def test_sealed_key_file_1(tmp_path: Path) -> None:
    """A private key that a passphrase protects opens."""
    folder = tmp_path / "keys"
    folder.mkdir(mode=0o700)
    (folder / f"{HomeKey.LOG}.pem").write_bytes(sample("key-file-1"))
    (folder / f"{HomeKey.LOG}.pem").chmod(0o600)
    keys = KeyFolder(folder=folder, passphrase=b"frozen")
    assert "0fe55f0c40a03e0a6c51cc37e99af96b" == keys.signer(HomeKey.LOG).public.id


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("trust-2", b'"format":2', b'"format":3'),
        ("record-1", b'"v":1', b'"v":2'),
        ("segment-1", b"GWSEGv1\n", b"GWSEGv2\n"),
        ("blob-1", b"GWBLOB\x00\x01", b"GWBLOB\x00\x02"),
        ("key-file-1", b'"format":1', b'"format":2'),
    ],
)
def test_a_newer_version_is_refused(tmp_path: Path, name: str, old: bytes, new: bytes) -> None:
    """No reader takes a later version for the one that it knows."""
    data = sample(name).replace(old, new, 1)
    assert data != sample(name)
    blob = LocalBlobs(tmp_path, data_key()).path_of(Digest.of(CONTENT))
    blob.parent.mkdir()
    blob.write_bytes(data)
    (tmp_path / "keys").mkdir(mode=0o700)
    (tmp_path / "keys" / f"{HomeKey.LOG}.pem").write_bytes(data)
    (tmp_path / "keys" / f"{HomeKey.LOG}.pem").chmod(0o600)
    keys = KeyFolder(folder=tmp_path / "keys", passphrase=b"frozen")
    readers: dict[str, Callable[[], object]] = {
        "trust-2": lambda: TrustRoot.decode(data),
        "record-1": lambda: Record.decode(data),
        "segment-1": lambda: scan(data),
        "blob-1": lambda: LocalBlobs(tmp_path, data_key()).get(Digest.of(CONTENT)),
        "key-file-1": lambda: keys.signer(HomeKey.LOG),
    }
    with pytest.raises(GatewrightError):
        readers[name]()
