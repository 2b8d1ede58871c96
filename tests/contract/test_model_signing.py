"""OpenSSF Model Signing, in both directions, with the public ``model_signing`` tool as the judge.

Source of the tool: sigstore/model-transparency, release 1.1.1.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import Tampered
from gatewright.releases.bundle import decode_bundle, root_of_resources, sealed_bundle, verify_bundle
from unit.releases.workshop import RELEASE_KEY, STRANGER, MemorySigner, digests, made

HONEST = made()
# No setting of ours leaks in; whatever would reach for the network finds a closed door.
ENVIRONMENT = {
    "HTTPS_PROXY": "http://127.0.0.1:9",
    "HTTP_PROXY": "http://127.0.0.1:9",
    "NO_PROXY": "",
    "PATH": "/usr/bin:/bin",
}
SECONDS = 60


def model_signing(*arguments: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the public tool."""
    return subprocess.run(
        [sys.executable, "-m", "model_signing", *map(str, arguments)],
        capture_output=True,
        check=False,
        cwd=folder,
        env={**ENVIRONMENT, "HOME": str(folder)},
        text=True,
        timeout=SECONDS,
    )


def judged(folder: Path, key: MemorySigner = RELEASE_KEY) -> int:
    """Exit status of the tool's verification of ``folder/release``."""
    (folder / "key.pub").write_bytes(key.public.pem())
    arguments = ("release", "--signature", "model.sig", "--public_key", "key.pub")
    return model_signing("verify", "key", *arguments, folder=folder).returncode


def write_key(folder: Path, key: MemorySigner) -> None:
    """Write a private key where the tool can read it."""
    pem = key.private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "key.pem").write_bytes(pem)


def write_files(folder: Path, files: dict[str, bytes]) -> None:
    """Write files below ``folder/release``."""
    for name, data in files.items():
        place = folder / "release" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    """A release that we made and signed, with its bundle beside it."""
    write_files(tmp_path, dict(HONEST.files))
    (tmp_path / "model.sig").write_bytes(HONEST.bundle)
    return tmp_path


def test_the_tool_accepts_our_bundle(ours: Path) -> None:
    """The public tool verifies what we signed."""
    assert 0 == judged(ours)


@pytest.mark.parametrize("name", ["model.onnx", "verdict.json"])
def test_the_tool_refuses_a_changed_byte(ours: Path, name: str) -> None:
    """The public tool refuses our release with one byte changed."""
    changed = bytearray(HONEST.files[name])
    changed[len(changed) // 2] ^= 1
    (ours / "release" / name).write_bytes(changed)
    assert 1 == judged(ours)


def test_the_tool_refuses_an_extra_file(ours: Path) -> None:
    """The public tool refuses our release with one file more."""
    (ours / "release" / "extra.bin").write_bytes(b"x")
    assert 1 == judged(ours)


def test_the_tool_refuses_a_missing_file(ours: Path) -> None:
    """The public tool refuses our release with one file fewer."""
    (ours / "release" / "report.json").unlink()
    assert 1 == judged(ours)


def test_the_tool_refuses_another_key(ours: Path) -> None:
    """The public tool refuses our release under another public key."""
    assert 1 == judged(ours, STRANGER)


THEIRS = {
    "model.onnx": b"model",
    "a/b.txt": b"b",
    "a.txt": b"a",
    "Z.txt": b"z",
    "é.txt": b"e",
    ".gitignore": b"x",
}
COUNTED = {name: data for name, data in THEIRS.items() if name != ".gitignore"}


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A bundle that the public tool made over nested, oddly sorted and ignored files."""
    folder = tmp_path_factory.mktemp("theirs")
    write_files(folder, THEIRS)
    write_key(folder, RELEASE_KEY)
    arguments = ("release", "--signature", "model.sig", "--private_key", "key.pem")
    done = model_signing("sign", "key", *arguments, folder=folder)
    assert 0 == done.returncode, done.stderr
    return (folder / "model.sig").read_bytes()


@pytest.mark.parametrize("files", [THEIRS, COUNTED], ids=["with-ignored", "without-ignored"])
def test_we_accept_the_tools_bundle(theirs: bytes, files: dict[str, bytes]) -> None:
    """We verify what the public tool signed, whether or not the ignored file is handed in."""
    verify_bundle(decode_bundle(theirs), digests(files), RELEASE_KEY.public)


@pytest.mark.parametrize("name", sorted(COUNTED))
def test_we_refuse_a_changed_file_under_the_tools_bundle(theirs: bytes, name: str) -> None:
    """We refuse any changed file under the public tool's bundle, and name it."""
    with pytest.raises(Tampered) as caught:
        verify_bundle(decode_bundle(theirs), digests({**COUNTED, name: b"changed"}), RELEASE_KEY.public)
    assert name == caught.value.refusal.place


def test_we_refuse_an_extra_file_under_the_tools_bundle(theirs: bytes) -> None:
    """We refuse one file more under the public tool's bundle."""
    with pytest.raises(Tampered, match="not one of the signed files"):
        verify_bundle(decode_bundle(theirs), digests({**COUNTED, "b/x": b"x"}), RELEASE_KEY.public)


def test_both_compute_the_same_root(tmp_path: Path) -> None:
    """For the flat names of a release, the tool's subject digest is our root."""
    write_files(tmp_path, dict(HONEST.files))
    write_key(tmp_path, RELEASE_KEY)
    arguments = ("release", "--signature", "model.sig", "--private_key", "key.pem")
    assert 0 == model_signing("sign", "key", *arguments, folder=tmp_path).returncode
    bundle = decode_bundle((tmp_path / "model.sig").read_bytes())
    files = digests(HONEST.files)
    assert root_of_resources(files) == verify_bundle(bundle, files, RELEASE_KEY.public)


def test_the_tool_reads_names_outside_ascii(tmp_path: Path) -> None:
    """A bundle of ours over nested names outside ASCII is accepted by the public tool."""
    files = {"d/é.bin": b"e", "d/a.bin": b"a", "B": b"b"}
    write_files(tmp_path, files)
    signed = sealed_bundle({name: Digest.of(data) for name, data in files.items()}, RELEASE_KEY)
    (tmp_path / "model.sig").write_bytes(signed)
    assert 0 == judged(tmp_path)
