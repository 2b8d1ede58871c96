"""OpenSSF Model Signing, in both directions, with the public ``model_signing`` tool as the judge.

Source of the tool: sigstore/model-transparency, release 1.1.1.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from model_signing import hashing, signing, verifying

from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import BadInput, GatewrightError, Tampered
from gatewright.releases.bundle import (
    bundle_statement,
    decode_bundle,
    encode_bundle,
    root_of_resources,
    sealed_bundle,
    verify_bundle,
)
from gatewright.releases.envelope import IN_TOTO_PAYLOAD, pae
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


# ---- the library, where the tool has no option or takes long ------------------------------------------


def signed_by_them(folder: Path, config: hashing.Config, key: MemorySigner = RELEASE_KEY) -> bytes:
    """A bundle that the public library makes over ``folder/release``."""
    write_key(folder, key)
    signer = signing.Config().use_elliptic_key_signer(private_key=folder / "key.pem")
    signer.set_hashing_config(config).sign(folder / "release", folder / "model.sig")
    return (folder / "model.sig").read_bytes()


def they_accept(folder: Path, bundle: bytes, key: MemorySigner = RELEASE_KEY) -> bool:
    """Whether the public library accepts a bundle over ``folder/release``."""
    (folder / "model.sig").write_bytes(bundle)
    (folder / "key.pub").write_bytes(key.public.pem())
    verifier = verifying.Config().use_elliptic_key_verifier(public_key=folder / "key.pub")
    try:
        verifier.verify(folder / "release", folder / "model.sig")
    except (ValueError, KeyError, TypeError):
        return False
    return True


def we_accept(folder: Path, bundle: bytes, key: MemorySigner = RELEASE_KEY) -> bool:
    """Whether we do."""
    release = folder / "release"
    files = {
        path.relative_to(release).as_posix(): Digest.of(path.read_bytes())
        for path in release.rglob("*")
        if path.is_file()
    }
    try:
        verify_bundle(decode_bundle(bundle), files, key.public)
    except GatewrightError:
        return False
    return True


def test_paths_that_they_ignore_do_not_count_here(tmp_path: Path) -> None:
    """A file and a folder that the signer left out may change; any other file may not."""
    write_files(tmp_path, {**THEIRS, "notes.md": b"n", "logs/today.txt": b"l"})
    config = hashing.Config().set_ignored_paths(paths=["notes.md", "logs"])
    bundle = signed_by_them(tmp_path, config)
    assert (True, True) == (they_accept(tmp_path, bundle), we_accept(tmp_path, bundle))
    write_files(tmp_path, {"notes.md": b"other", "logs/tomorrow.txt": b"more"})
    assert (True, True) == (they_accept(tmp_path, bundle), we_accept(tmp_path, bundle))
    write_files(tmp_path, {"notes.md.txt": b"beside"})
    assert (False, False) == (they_accept(tmp_path, bundle), we_accept(tmp_path, bundle))


@pytest.mark.parametrize("algorithm", ["blake2", "shards"])
def test_other_hashes_are_refused_by_name(tmp_path: Path, algorithm: str) -> None:
    """A bundle over BLAKE2 digests or over shards is refused with the field that says so."""
    write_files(tmp_path, THEIRS)
    config = hashing.Config()
    if algorithm == "shards":
        config.use_shard_serialization()
    else:
        config.use_file_serialization(hashing_algorithm="blake2")
    bundle = signed_by_them(tmp_path, config)
    with pytest.raises(Tampered) as caught:
        verify_bundle(decode_bundle(bundle), digests(THEIRS), RELEASE_KEY.public)
    assert any(word in caught.value.refusal.place for word in ("hash_type", "method"))


def test_keys_on_other_curves_are_refused(tmp_path: Path) -> None:
    """A P-384 key, which the public tool takes, is no key here; the bundle is not verified by another."""
    write_files(tmp_path, THEIRS)
    other = ec.generate_private_key(ec.SECP384R1())
    bundle = signed_by_them(tmp_path, hashing.Config(), MemorySigner(other))
    with pytest.raises(BadInput):
        _ = MemorySigner(other).public
    assert not we_accept(tmp_path, bundle)


def _reordered(payload: Any) -> None:
    payload["predicate"]["resources"].reverse()


def _changed_digest(payload: Any) -> None:
    payload["predicate"]["resources"][0]["digest"] = "00" * 32


def _extra(payload: Any) -> None:
    payload["predicate"]["resources"].append({**payload["predicate"]["resources"][0], "name": "zz"})


def _missing(payload: Any) -> None:
    del payload["predicate"]["resources"][0]


def _other_subject(payload: Any) -> None:
    payload["subject"][0]["digest"]["sha256"] = "00" * 32


def _two_subjects(payload: Any) -> None:
    payload["subject"] *= 2


def _no_resources(payload: Any) -> None:
    payload["predicate"]["resources"] = []


def _other_type(payload: Any) -> None:
    payload["predicateType"] = "https://model_signing/signature/v9.9"


def _other_hash(payload: Any) -> None:
    payload["predicate"]["serialization"]["hash_type"] = "blake2b"


def _other_method(payload: Any) -> None:
    payload["predicate"]["serialization"]["method"] = "shards"


CHANGES = (
    _reordered, _changed_digest, _extra, _missing, _other_subject, _two_subjects, _no_resources, _other_type,
    _other_hash, _other_method,
)  # fmt: skip


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_what_the_real_key_signed_wrongly_is_refused_by_both(
    ours: Path, change: Callable[[Any], None]
) -> None:
    """A statement that contradicts itself or the files is refused by both, though the real key signed it."""
    payload = json.loads(bundle_statement(digests(HONEST.files)))
    change(payload)
    content = json.dumps(payload).encode()
    bundle = encode_bundle(content, RELEASE_KEY.sign(pae(IN_TOTO_PAYLOAD, content)), RELEASE_KEY.public)
    assert (False, False) == (they_accept(ours, bundle), we_accept(ours, bundle))


def test_a_payload_written_in_another_way_is_accepted_by_both(ours: Path) -> None:
    """Spaces and the order of keys are nobody's business: the signature covers the bytes as they are."""
    content = json.dumps(json.loads(bundle_statement(digests(HONEST.files))), indent=3).encode()
    bundle = encode_bundle(content, RELEASE_KEY.sign(pae(IN_TOTO_PAYLOAD, content)), RELEASE_KEY.public)
    assert (True, True) == (they_accept(ours, bundle), we_accept(ours, bundle))


def test_a_file_listed_twice_is_refused_here(ours: Path) -> None:
    """One name with two digests is refused, also where the library takes the last of them."""
    payload = json.loads(bundle_statement(digests(HONEST.files)))
    payload["predicate"]["resources"].append(payload["predicate"]["resources"][0])
    content = json.dumps(payload).encode()
    bundle = encode_bundle(content, RELEASE_KEY.sign(pae(IN_TOTO_PAYLOAD, content)), RELEASE_KEY.public)
    assert not we_accept(ours, bundle)
