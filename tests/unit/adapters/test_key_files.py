"""Private keys in files: made whole, kept private, never overwritten."""

from __future__ import annotations

import base64
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from gatewright.adapters.key_files import HomeKey, KeyFolder, KeySigner
from gatewright.kernel import canonical
from gatewright.kernel.errors import DependencyFailed, GatewrightError, Misuse
from gatewright.kernel.instants import Instant
from gatewright.ports import Signer
from gatewright.releases.keys import Algorithm

PASSPHRASE = b"a long passphrase"
PEM = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def made(folder: Path, passphrase: bytes | None = None) -> KeyFolder:
    """A new key folder."""
    keys = KeyFolder(folder=folder / "keys", passphrase=passphrase)
    keys.create()
    return keys


def again(keys: KeyFolder, passphrase: bytes | None = None) -> KeyFolder:
    """The same folder, opened afresh."""
    return KeyFolder(folder=keys.folder, passphrase=passphrase)


@pytest.fixture
def plain(tmp_path: Path) -> KeyFolder:
    """A key folder without a passphrase."""
    return made(tmp_path)


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> KeyFolder:
    """A key folder under a passphrase, with a person in it; tests only read it."""
    keys = made(tmp_path_factory.mktemp("sealed"), PASSPHRASE)
    keys.create_person("ada")
    return keys


def refused(call: Callable[[], object]) -> GatewrightError:
    """The misuse that a call ends in."""
    with pytest.raises(Misuse) as caught:
        call()
    return caught.value


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        (HomeKey.RELEASE, Algorithm.ECDSA_P256),
        (HomeKey.RELEASE_PQ, Algorithm.ML_DSA_65),
        (HomeKey.LOG, Algorithm.ED25519),
        (HomeKey.WORKER, Algorithm.ED25519),
    ],
)
def test_each_home_key_signs(plain: KeyFolder, key: HomeKey, algorithm: Algorithm) -> None:
    """Every home key signs with its algorithm, and is the same key when the home is opened again."""
    signer: Signer = plain.signer(key)
    assert algorithm is signer.public.algorithm
    assert again(plain).signer(key).public.verifies(signer.sign(b"m"), b"m")


def test_named_keys_are_the_home_keys(plain: KeyFolder) -> None:
    """The named signers and the trust root are those of the files."""
    trust = plain.trust("o", Instant(0))
    assert trust.release_keys == (plain.release.public, plain.release_pq.public)
    assert trust.log == plain.log.public == plain.signer(HomeKey.LOG).public
    assert plain.worker.public == plain.signer(HomeKey.WORKER).public
    assert trust.log_pq == plain.log_pq.public
    assert trust.root_keys == (plain.signer(HomeKey.ROOT).public, plain.signer(HomeKey.ROOT_PQ).public)
    assert 7 == len({plain.signer(key).public.id for key in HomeKey})


def test_people_have_their_own_keys(plain: KeyFolder) -> None:
    """People's keys are made by name, listed by name, and made only once."""
    assert () == plain.people()
    ben, ada = plain.create_person("ben"), plain.create_person("ada")
    assert ("ada", "ben") == plain.people()
    assert ada == plain.person("ada").public == again(plain).create_person("ada")
    assert ada != ben
    assert Algorithm.ECDSA_P256 is ada.algorithm


@pytest.mark.parametrize("name", ["../release", "Ada", "", "a/b", "."])
def test_names_of_people_are_names(plain: KeyFolder, name: str) -> None:
    """A person's name cannot lead out of the folder."""
    assert "kernel.name" == refused(lambda: plain.create_person(name)).code
    assert "kernel.name" == refused(lambda: plain.person(name)).code


def test_missing_person_is_a_clear_refusal(plain: KeyFolder) -> None:
    """A person without a key is refused with what to do."""
    error = refused(lambda: plain.person("nobody"))
    assert "keys.missing" == error.code
    assert "gatewright user add" in error.refusal.next


@pytest.mark.parametrize("passphrase", [None, PASSPHRASE])
def test_data_key_has_32_random_bytes(tmp_path: Path, passphrase: bytes | None) -> None:
    """The data key has 32 bytes, stays the same, and differs between homes."""
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    one, two = made(tmp_path / "one", passphrase), made(tmp_path / "two", passphrase)
    assert 32 == len(one.data_key())
    assert one.data_key() == again(one, passphrase).data_key() != two.data_key()


def test_modes_are_private_whatever_the_umask(tmp_path: Path) -> None:
    """Files are 0600 and folders 0700 even under a careless umask."""
    before = os.umask(0)
    try:
        keys = made(tmp_path)
        keys.create_person("ada")
    finally:
        os.umask(before)
    found = [keys.folder, *keys.folder.rglob("*")]
    assert 11 == len(found)
    for path in found:
        assert (0o700 if path.is_dir() else 0o600) == stat.S_IMODE(path.stat().st_mode), path


def test_keys_are_never_overwritten(plain: KeyFolder) -> None:
    """Making keys again is refused, and every file stays as it was."""
    before = {path: path.read_bytes() for path in plain.folder.iterdir()}
    assert "keys.exists" == refused(plain.create).code
    assert before == {path: path.read_bytes() for path in plain.folder.iterdir()}


@pytest.mark.parametrize("name", ["release-p256.pem", "data.key"])
def test_one_existing_key_stops_all_making(tmp_path: Path, name: str) -> None:
    """Where one key lies already, even as a dangling link, no other is made."""
    folder = tmp_path / "keys"
    folder.mkdir(mode=0o700)
    (folder / name).symlink_to("nowhere")
    assert "keys.exists" == refused(KeyFolder(folder=folder).create).code
    assert [folder / name] == list(folder.iterdir())


def test_no_draft_is_left_behind(plain: KeyFolder) -> None:
    """Making keys leaves the keys and nothing else in the folder."""
    expected = {"data.key", *(f"{key}.pem" for key in HomeKey)}
    assert expected == {path.name for path in plain.folder.iterdir()}


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o610, 0o601])
def test_file_open_to_others_is_not_used(plain: KeyFolder, mode: int) -> None:
    """A key file with any permission for others is refused with the command that closes it."""
    path = plain.folder / "release-p256.pem"
    path.chmod(mode)
    error = refused(lambda: again(plain).release)
    assert "keys.readable-by-others" == error.code
    assert f"Run: chmod 600 {path}" == error.refusal.next


def test_folder_open_to_others_is_not_used(plain: KeyFolder) -> None:
    """A key folder with any permission for others is refused with the command that closes it."""
    plain.folder.chmod(0o750)
    error = refused(lambda: again(plain).log)
    assert f"Run: chmod 700 {plain.folder}" == error.refusal.next


def test_symbolic_links_are_not_followed(plain: KeyFolder) -> None:
    """A key that is a symbolic link is refused, even when it leads to a good key."""
    path = plain.folder / "log-ed25519.pem"
    path.rename(plain.folder / "elsewhere.pem")
    path.symlink_to(plain.folder / "elsewhere.pem")
    assert "keys.symlink" == refused(lambda: again(plain).log).code


def test_linked_folder_is_not_followed(plain: KeyFolder, tmp_path: Path) -> None:
    """A key folder that is a symbolic link is refused."""
    link = tmp_path / "link"
    link.symlink_to(plain.folder)
    assert "keys.folder" == refused(lambda: KeyFolder(folder=link).log).code


def test_what_is_no_file_is_not_read(plain: KeyFolder) -> None:
    """A pipe or a folder in the place of a key is refused and never waited for."""
    path = plain.folder / "log-ed25519.pem"
    path.unlink()
    os.mkfifo(path, 0o600)
    assert "keys.not-a-key" == refused(lambda: again(plain).log).code
    path.unlink()
    path.mkdir(mode=0o700)
    assert "keys.not-a-key" == refused(lambda: again(plain).log).code


def test_unwritable_place_is_a_failed_dependency(tmp_path: Path) -> None:
    """Where the folder cannot be made, the failure is the disk's and is said to be."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DependencyFailed):
        KeyFolder(folder=tmp_path / "file" / "keys").create()


def _replace(path: Path, data: bytes) -> None:
    path.unlink()
    path.write_bytes(data)
    path.chmod(0o600)


@pytest.mark.parametrize(
    "private",
    [ec.generate_private_key(ec.SECP384R1()), rsa.generate_private_key(65537, 2048)],
    ids=["p384", "rsa"],
)
def test_foreign_algorithm_is_refused(
    plain: KeyFolder, private: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
) -> None:
    """A key of an algorithm that is not in use is refused."""
    _replace(plain.folder / "release-p256.pem", private.private_bytes(*PEM))
    assert "keys.wrong-algorithm" == refused(lambda: again(plain).release).code


def test_misplaced_algorithm_is_refused(plain: KeyFolder) -> None:
    """An Ed25519 key in the place of the P-256 key is refused."""
    _replace(plain.folder / "release-p256.pem", (plain.folder / "log-ed25519.pem").read_bytes())
    assert "keys.wrong-algorithm" == refused(lambda: again(plain).release).code


@pytest.mark.parametrize("data", [b"", b"x", b"-----BEGIN PRIVATE KEY-----\n", b"\xff" * 70_000])
def test_damaged_files_are_refused(plain: KeyFolder, data: bytes) -> None:
    """An empty, cut, binary or huge file is refused as no key."""
    _replace(plain.folder / "release-p256.pem", data)
    _replace(plain.folder / "data.key", data)
    assert "keys.not-a-key" == refused(lambda: again(plain).release).code
    assert "keys.not-a-key" == refused(again(plain).data_key).code


def test_missing_passphrase_is_asked_for(sealed: KeyFolder) -> None:
    """An encrypted home without a passphrase says how to give one."""
    error = refused(lambda: again(sealed).release)
    assert "keys.passphrase-needed" == error.code
    assert "GATEWRIGHT_PASSPHRASE_FILE" in error.refusal.next


def test_wrong_passphrase_is_said_so(sealed: KeyFolder) -> None:
    """A wrong passphrase opens neither a signing key nor the data key."""
    wrong = again(sealed, b"another")
    for call in (lambda: wrong.release, wrong.data_key, lambda: wrong.person("ada")):
        assert "keys.wrong-passphrase" == refused(call).code


def test_passphrase_for_plain_files_is_refused(plain: KeyFolder) -> None:
    """A passphrase given to a home without one is refused: it would protect nothing."""
    assert "keys.not-encrypted" == refused(lambda: again(plain, PASSPHRASE).release).code


def test_empty_passphrase_is_refused(tmp_path: Path) -> None:
    """An empty passphrase is a mistake, not a choice."""
    assert "keys.empty-passphrase" == refused(lambda: KeyFolder(folder=tmp_path, passphrase=b"")).code


def test_sealed_home_signs_with_its_passphrase(sealed: KeyFolder) -> None:
    """With the passphrase every key of an encrypted home works, and is the one that was made."""
    opened = again(sealed, PASSPHRASE)
    for mine, theirs in (
        (sealed.release, opened.release),
        (sealed.release_pq, opened.release_pq),
        (sealed.person("ada"), opened.person("ada")),
    ):
        assert mine.public.verifies(theirs.sign(b"m"), b"m")
    assert sealed.data_key() == opened.data_key()


def _forms(secret: bytes) -> tuple[bytes, ...]:
    """A secret as it might lie in a file: raw, hexadecimal, and base64 at each alignment."""
    shifted = [base64.b64encode(b"\0" * pad + secret)[4:-4] for pad in range(3)]
    return (secret, secret.hex().encode(), secret.hex().upper().encode(), *shifted)


def _secret(signer: KeySigner) -> bytes:
    """The bytes that make up a private key: the scalar, or the seed."""
    private = signer._private
    if isinstance(private, ec.EllipticCurvePrivateKey):
        return private.private_numbers().private_value.to_bytes(32, "big")
    return private.private_bytes(
        serialization.Encoding.Raw, serialization.PrivateFormat.Raw, serialization.NoEncryption()
    )


def _secrets(keys: KeyFolder, *people: str) -> list[bytes]:
    signers = [*(keys.signer(key) for key in HomeKey), *(keys.person(name) for name in people)]
    return [*map(_secret, signers), keys.data_key()]


def _found(keys: KeyFolder, *people: str) -> int:
    """How many of the home's secrets can be read off its files."""
    content = b"".join(
        path.read_bytes().replace(b"\n", b"") for path in sorted(keys.folder.rglob("*")) if path.is_file()
    )
    return sum(any(form in content for form in _forms(secret)) for secret in _secrets(keys, *people))


def test_a_thief_of_the_disk_finds_no_key(sealed: KeyFolder) -> None:
    """No file of an encrypted home holds key material in the clear, nor is any of it PEM."""
    assert 0 == _found(sealed, "ada")
    assert not [path for path in sealed.folder.rglob("*") if path.is_file() and b"BEGIN" in path.read_bytes()]


def test_the_search_for_keys_finds_them_where_they_are(plain: KeyFolder) -> None:
    """The same search finds every secret of a home without a passphrase: it can fail."""
    assert 8 == _found(plain)


@pytest.mark.parametrize(
    "name", ["n", "r", "p", "format", "kdf", "cipher", "purpose", "salt", "nonce", "data"]
)
def test_changed_sealed_file_is_refused(sealed: KeyFolder, tmp_path: Path, name: str) -> None:
    """Any changed field of a sealed file is refused: it can be neither weakened nor exchanged."""
    folder = tmp_path / "keys"
    folder.mkdir(mode=0o700)
    value = canonical.decode((sealed.folder / "log-ed25519.pem").read_bytes())
    old = value[name]
    if isinstance(old, int):
        value[name] = 1 if old != 1 else 2
    else:
        value[name] = ("B" if old[0] == "A" else "A") + old[1:]
    path = folder / "log-ed25519.pem"
    path.write_bytes(canonical.encode(value))
    path.chmod(0o600)
    code = refused(lambda: KeyFolder(folder=folder, passphrase=PASSPHRASE).log).code
    assert ("keys.wrong-passphrase" if name in {"salt", "nonce", "data"} else "keys.not-a-key") == code


def test_sealed_files_cannot_be_exchanged(sealed: KeyFolder, tmp_path: Path) -> None:
    """A sealed key in the place of another of the same algorithm is refused."""
    folder = tmp_path / "keys"
    folder.mkdir(mode=0o700)
    path = folder / "log-ed25519.pem"
    path.write_bytes((sealed.folder / "worker-ed25519.pem").read_bytes())
    path.chmod(0o600)
    assert "keys.not-a-key" == refused(lambda: KeyFolder(folder=folder, passphrase=PASSPHRASE).log).code


def test_secrets_are_not_shown(sealed: KeyFolder) -> None:
    """Neither the folder nor a signer shows a secret when it is printed."""
    shown = repr(sealed) + repr(sealed.release)
    assert "passphrase" not in shown
    assert "rivate" not in shown
