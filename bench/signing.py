"""Signing and verifying a large model in the OMS form, beside the hash alone and beside the public tool.

    python bench/signing.py --mib 2048

The file is hashed while it is read, as ``gatewright verify`` hashes the model of an exported release, and
signed as ``gatewright release create`` signs it. The yardstick is the hash alone over the same file
(``hashlib.file_digest``); its rounds alternate with the others, and the ratio is taken within a round.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from hashlib import file_digest, sha256
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from timing import Row, Section, timed

from gatewright.adapters.key_files import HomeKey, KeyFolder
from gatewright.operations.files import digest_file
from gatewright.releases.bundle import decode_bundle, sealed_bundle, verify_bundle

MIB = 1 << 20
ROUNDS = 5
LEAST = 0.9
"""The share of the hash's own rate that signing must reach."""


def main() -> int:
    """Measure and print; returns 1 where signing is slower than its bound."""
    reader = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    reader.add_argument("--mib", type=int, default=256, help="Size of the model.")
    reader.add_argument("--folder", type=Path, help="Where the file is made: the disk measured.")
    reader.add_argument("--json", action="store_true", help="Print one JSON document.")
    options = reader.parse_args()
    with tempfile.TemporaryDirectory(prefix="gatewright-signing-", dir=options.folder) as place:
        section = measure(Path(place), mib=options.mib)
    if options.json:
        print(json.dumps(asdict(section), indent=2))
    else:
        print(section.title)
        for row in section.rows:
            print(f"  {row.what}: {row.value:,.2f} {row.unit}{_beside(row)}")
        print(f"  ({section.note})")
    return 0 if (section.rows[2].ratio or 0) >= LEAST else 1


def _beside(row: Row) -> str:
    return "" if row.ratio is None else f", {row.ratio:.0%} {row.beside}"


def measure(folder: Path, *, mib: int = 256) -> Section:
    """The rates of signing and verifying a model of ``mib`` MiB, in GB/s."""
    model = folder / "release" / "model.onnx"
    model.parent.mkdir(parents=True, exist_ok=True)
    block = _write(model, mib)
    ways = {"hash": lambda: _hash(model), "memory": lambda: _in_memory(block, mib), **_ways(folder, model)}
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            taken[name] += timed(way, 1)
    title = f"Signing a model of {mib:,} MiB"
    rows = [_row(name, taken, mib) for name in ways]
    note = (
        f"Medians of {ROUNDS} alternating rounds, the file in the page cache, {os.cpu_count()} cores. "
        f"The bound: signing reaches {LEAST:.0%} of the bare hash's rate."
    )
    shutil.rmtree(model.parent)
    return Section(title=title, rows=rows, note=note)


def _row(name: str, taken: dict[str, list[float]], mib: int) -> Row:
    what = {
        "hash": "bare SHA-256 of the file",
        "memory": "  the same of as many bytes in memory",
        "sign": "ours: hash the file and sign the bundle",
        "verify": "ours: hash the file and verify the bundle",
        "their sign": "model_signing: sign the folder",
        "their verify": "model_signing: verify the folder",
    }[name]
    rate = mib * MIB / statistics.median(taken[name]) / 1e9
    if name == "hash":
        return Row(what=what, value=rate, unit="GB/s")
    ratio = statistics.median(a / b for a, b in zip(taken["hash"], taken[name], strict=True))
    return Row(what=what, value=rate, unit="GB/s", beside="of the bare hash", ratio=ratio)


def _write(path: Path, mib: int) -> bytes:
    block = os.urandom(MIB)
    with path.open("wb") as file:
        for number in range(mib):
            file.write(number.to_bytes(8, "big") + block[8:])
    return block


def _hash(path: Path) -> None:
    with path.open("rb") as source:
        file_digest(source, "sha256").digest()


def _in_memory(block: bytes, mib: int) -> None:
    state = sha256()
    for _ in range(mib):
        state.update(block)
    state.digest()


def _ways(folder: Path, model: Path) -> dict[str, Callable[[], object]]:
    keys = KeyFolder(folder=folder / "keys")
    keys.create()
    signer = keys.signer(HomeKey.RELEASE)
    kept: list[bytes] = []

    def sign() -> None:
        kept[:] = [sealed_bundle({model.name: digest_file(model)}, signer)]

    def verify() -> None:
        verify_bundle(decode_bundle(kept[0]), {model.name: digest_file(model)}, signer.public)

    return {"sign": sign, "verify": verify, **_public_tool(folder, model)}


def _public_tool(folder: Path, model: Path) -> dict[str, Callable[[], object]]:
    """The public tool's own way over the same folder, in this process; nothing where it is not installed."""
    try:
        from model_signing import signing, verifying  # noqa: PLC0415 - only where it is there
    except ImportError:
        return {}
    private = ec.generate_private_key(ec.SECP256R1())
    pem, public = folder / "key.pem", folder / "key.pub"
    pem.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    public.write_bytes(
        private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    said = folder / "model.sig"
    return {
        "their sign": lambda: (
            signing.Config().use_elliptic_key_signer(private_key=pem).sign(model.parent, said)
        ),
        "their verify": lambda: (
            verifying.Config().use_elliptic_key_verifier(public_key=public).verify(model.parent, said)
        ),
    }


if __name__ == "__main__":
    sys.exit(main())
