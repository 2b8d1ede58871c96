"""Making and opening a witness's folder, the keys that are named to it, and where it may be served."""

from __future__ import annotations

from pathlib import Path

import pytest

from gatewright.adapters.durable_files import HomeLock
from gatewright.assembly.homes import create_home
from gatewright.assembly.rotating import move_root
from gatewright.assembly.settings import Settings
from gatewright.assembly.witness_calls import drop_witness, use_witness
from gatewright.assembly.witnesses import create_witness, keys_given, open_witness, witness_place
from gatewright.kernel.errors import BadInput, GatewrightError, Misuse
from gatewright.ledger.notes import NoteKey, SignatureType
from gatewright.releases.trust import TrustRoot

NAME = "audit.example/w1"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A witness."""
    create_witness(tmp_path / "w1", NAME)
    return tmp_path / "w1"


def test_a_witness_has_two_keys_that_only_its_owner_can_read(folder: Path) -> None:
    """Ed25519 and ML-DSA-44, 0600 in 0700; the public halves lie beside them for others."""
    opened = open_witness(folder)
    kinds = (SignatureType.ED25519_COSIGNATURE, SignatureType.ML_DSA_44_COSIGNATURE)
    assert [(NAME, kind) for kind in kinds] == [(key.name, key.type) for key in opened.keys]
    assert {0o600} == {path.stat().st_mode & 0o777 for path in (folder / "keys").iterdir()}
    assert 0o700 == (folder / "keys").stat().st_mode & 0o777
    assert tuple(key.text() for key in opened.keys) == keys_given([str(folder / "witness.pub")])


def test_a_folder_that_is_there_is_left_alone(folder: Path, tmp_path: Path) -> None:
    """Neither a witness nor anything else is replaced, and nothing is left beside it."""
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    (tmp_path / "empty").mkdir()
    for place in (folder, tmp_path / "empty"):
        with pytest.raises(Misuse, match="is there already"):
            create_witness(place, NAME)
    assert before == {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert {"w1", "empty"} == {path.name for path in tmp_path.iterdir()}


def test_the_keys_are_encrypted_where_a_passphrase_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a passphrase the folder opens only with it."""
    monkeypatch.setenv("GATEWRIGHT_PASSPHRASE", "open the witness")
    create_witness(tmp_path / "w1", NAME)
    assert 2 == len(open_witness(tmp_path / "w1").keys)
    monkeypatch.delenv("GATEWRIGHT_PASSPHRASE")
    with pytest.raises(Misuse, match="encrypted"):
        open_witness(tmp_path / "w1")


def test_a_second_process_is_refused(folder: Path) -> None:
    """Whoever holds the folder keeps every other server out, at once."""
    with (
        HomeLock(folder / "lock"),
        pytest.raises(Misuse) as refused,
        witness_place(folder, host="127.0.0.1", port=0),
    ):
        pass
    assert "assembly.witness-served" == refused.value.code


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])  # noqa: S104 - what is refused
def test_beyond_the_loopback_there_is_no_plain_text(folder: Path, host: str) -> None:
    """Without a certificate, or words about what ends TLS, only this machine is served."""
    with pytest.raises(Misuse) as refused, witness_place(folder, host=host, port=0):
        pass
    assert "assembly.witness-certificate" == refused.value.code


def test_the_address_is_told(folder: Path) -> None:
    """On the loopback it is served in plain text on the port that the system gave."""
    with witness_place(folder, host="127.0.0.1", port=0) as place:
        assert f"http://127.0.0.1:{place.listening.getsockname()[1]}" == place.url


def test_keys_are_named_by_text_file_or_trust_root(folder: Path, tmp_path: Path) -> None:
    """A key itself, a file of keys, and the log keys out of a trust.json are all taken."""
    create_home(tmp_path / "home", "ada")
    trust = TrustRoot.decode((tmp_path / "home/.gatewright/trust.json").read_bytes())
    text = open_witness(folder).keys[0].text()
    found = keys_given([text, str(folder / "witness.pub"), str(tmp_path / "home/.gatewright/trust.json")])
    assert (text, text) == found[:2]
    kinds = [SignatureType.ED25519, SignatureType.ML_DSA_44_COSIGNATURE]
    assert [(trust.origin, kind) for kind in kinds] == [
        (key.name, key.type) for key in map(NoteKey.parse, found[3:])
    ]
    (tmp_path / "bytes").write_bytes(b"\xff")
    for wrong in (str(tmp_path / "bytes"), str(tmp_path / "nowhere"), str(tmp_path)):
        with pytest.raises(GatewrightError):
            keys_given([wrong])


def test_a_home_uses_and_drops_a_witness(folder: Path, tmp_path: Path) -> None:
    """The address goes into the settings, keys and quorum into a new version of the public keys; dropped, both go."""
    root = tmp_path / "home"
    create_home(root, "ada")
    pub = str(folder / "witness.pub")
    found = use_witness(root, "http://127.0.0.1:8640/", [pub])
    assert ({NAME: "http://127.0.0.1:8640"}, 1, 2) == (dict(found.addresses), found.quorum, found.version)
    trust = TrustRoot.decode((root / ".gatewright/trust.json").read_bytes())
    assert (keys_given([pub]), 1) == (trust.witnesses, trust.quorum)
    assert found.fingerprint == trust.fingerprint().hex
    moved = use_witness(root, "https://audit.example", [pub])
    assert ({NAME: "https://audit.example"}, 2) == (dict(moved.addresses), moved.version)
    assert {NAME: "https://audit.example"} == dict(Settings.read(root).witnesses)
    gone = drop_witness(root, NAME)
    assert ({}, 0, 3) == (dict(gone.addresses), gone.quorum, gone.version)
    with pytest.raises(Misuse, match="has no witness"):
        drop_witness(root, NAME)


def test_a_home_whose_root_keys_lie_elsewhere_is_given_them(folder: Path, tmp_path: Path) -> None:
    """Without the root keys nothing changes; with the folder that holds them the witness is used."""
    root, away = tmp_path / "home", tmp_path / "safe"
    create_home(root, "ada")
    move_root(root, away)
    pub = str(folder / "witness.pub")
    with pytest.raises(Misuse, match="not in this home"):
        use_witness(root, "https://audit.example", [pub])
    assert {} == dict(Settings.read(root).witnesses)
    assert 1 == use_witness(root, "https://audit.example", [pub], root=away).quorum
    assert 0 == drop_witness(root, NAME, root=away).quorum


def test_what_are_no_keys_of_one_witness_is_refused(folder: Path, tmp_path: Path) -> None:
    """Keys of two witnesses, of a log, none, and a quorum that nobody can reach change nothing."""
    root = tmp_path / "home"
    create_home(root, "ada")
    create_witness(tmp_path / "w2", "bank.example/w2")
    pub, other = str(folder / "witness.pub"), str(tmp_path / "w2/witness.pub")
    (tmp_path / "empty").write_bytes(b"\n")
    before = {path: path.read_bytes() for path in root.rglob("*.json")}
    for keys in ([pub, other], [str(root / ".gatewright/trust.json")], [str(tmp_path / "empty")]):
        with pytest.raises((Misuse, BadInput)):
            use_witness(root, "https://audit.example", keys)
    with pytest.raises(BadInput, match="quorum of 2"):
        use_witness(root, "https://audit.example", [pub], quorum=2)
    assert before == {path: path.read_bytes() for path in root.rglob("*.json")}
    assert {} == dict(Settings.read(root).witnesses)
