"""The backup's own format: what is written is read, and nothing else is."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewright.adapters import backup_file
from gatewright.adapters.backup_file import BACKUP_FORMAT, MAGIC, BackupKey, Member, is_plain
from gatewright.adapters.local_blobs import CHUNK_BYTES, TAG_BYTES
from gatewright.kernel.canonical import JsonObject
from gatewright.kernel.errors import BadInput, GatewrightError, Misuse, Tampered

KEY = BackupKey(kind="file", secret=bytes(range(32)))
HOME: JsonObject = {"made": "2026-03-03T14:05:00Z", "records": 3}
SMALL = {"gatewright.toml": b"format = 1\n", ".gatewright/ledger.db": b"x" * 5_000, ".gatewright/empty": b""}


def packed(files: dict[str, bytes], key: BackupKey = KEY) -> bytes:
    """A backup of these files."""
    members = ((Member(path=path, mode=0o600, size=len(data)), iter((data,))) for path, data in files.items())
    return b"".join(backup_file.written(key, HOME, members))


def taken(path: Path, key: BackupKey = KEY) -> dict[str, bytes]:
    """Its files again."""
    found: dict[str, bytes] = {}

    def take(member: Member, pieces: Iterator[bytes]) -> None:
        found[member.path] = b"".join(pieces)

    with path.open("rb") as file:
        assert backup_file.read(file, lambda _kind: key, take) == HOME
    return found


@given(st.lists(st.binary(max_size=300), max_size=5))
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, contents: list[bytes]) -> None:
    """Law: reading gives back every file, byte for byte."""
    place = tmp_path_factory.mktemp("backup") / "b"
    files = {f".gatewright/{number}": content for number, content in enumerate(contents)}
    place.write_bytes(packed(files))
    assert files == taken(place)


@pytest.mark.parametrize("size", [CHUNK_BYTES - 1_000, CHUNK_BYTES, 2 * CHUNK_BYTES + 1])
def test_chunks_meet_at_any_size(tmp_path: Path, size: int) -> None:
    """Files around and beyond the size of a chunk come back whole."""
    files = {".gatewright/big": bytes(size), ".gatewright/next": b"n"}
    (tmp_path / "b").write_bytes(packed(files))
    assert files == taken(tmp_path / "b")


def test_a_passphrase_opens_what_it_closed(tmp_path: Path) -> None:
    """A backup under a passphrase opens with it, and with no other."""
    (tmp_path / "b").write_bytes(packed(SMALL, BackupKey(kind="passphrase", secret=b"correct horse")))
    assert SMALL == taken(tmp_path / "b", BackupKey(kind="passphrase", secret=b"correct horse"))
    with pytest.raises(Misuse, match="passphrase does not open"):
        taken(tmp_path / "b", BackupKey(kind="passphrase", secret=b"wrong"))


def test_another_key_file_is_named_as_such(tmp_path: Path) -> None:
    """The wrong key file is wrong use, not tampering."""
    (tmp_path / "b").write_bytes(packed(SMALL))
    with pytest.raises(Misuse, match="key file does not open"):
        taken(tmp_path / "b", BackupKey(kind="file", secret=bytes(32)))


def test_nothing_of_the_content_stands_in_plain() -> None:
    """Neither contents nor names of files can be read without the key."""
    data = packed({".gatewright/secret-name": b"secret content " * 50})
    assert b"secret" not in data


def test_every_changed_byte_is_seen(tmp_path: Path) -> None:
    """A backup with any one byte changed, or cut off anywhere, is refused."""
    data = packed(SMALL)
    place = tmp_path / "b"
    for at in [*range(400), *range(400, len(data), 37), len(data) - 1]:
        place.write_bytes(data[:at] + bytes((data[at] ^ 1,)) + data[at + 1 :])
        with pytest.raises(GatewrightError):
            taken(place)
        place.write_bytes(data[:at])
        with pytest.raises(GatewrightError):
            taken(place)


def test_chunks_cannot_be_cut_off_or_added(tmp_path: Path) -> None:
    """Leaving out the last chunk, repeating one or adding bytes behind the end is seen."""
    data = packed({".gatewright/big": bytes(3 * CHUNK_BYTES)})
    chunk = CHUNK_BYTES + TAG_BYTES
    last = len(data) % chunk
    for bad in (data[:-last], data + data[-chunk:], data + b"x", data[: -last - chunk] + data[-last:]):
        (tmp_path / "b").write_bytes(bad)
        with pytest.raises(Tampered):
            taken(tmp_path / "b")


@pytest.mark.parametrize(
    "path",
    [
        "../up",
        "/root",
        "a//b",
        "a/./b",
        ".gatewright/../../x",
        "",
        "a\x00b",
        "ä",
        "a" * 129,
        "/".join("abcdefghi"),
    ],
)
def test_a_path_that_climbs_is_refused(tmp_path: Path, path: str) -> None:
    """No name but plain ones is ever handed out, even from a backup whose key the attacker has."""
    assert not is_plain(path)
    (tmp_path / "b").write_bytes(packed({path: b"x"}))
    with pytest.raises(Tampered, match="path that no backup has"):
        taken(tmp_path / "b")


def test_a_file_cannot_stand_twice_or_claim_more_than_there_is(tmp_path: Path) -> None:
    """Two files of one name, and a size beyond the backup's own, are refused before anything is read."""
    member = Member(path="gatewright.toml", mode=0o600, size=1)
    twice = b"".join(backup_file.written(KEY, HOME, [(member, iter((b"x",))), (member, iter((b"y",)))]))
    (tmp_path / "b").write_bytes(twice)
    with pytest.raises(Tampered, match="stands twice"):
        taken(tmp_path / "b")


def test_a_file_that_changed_meanwhile_is_named() -> None:
    """More or fewer bytes than were announced end the backup."""
    member = Member(path="gatewright.toml", mode=0o600, size=5)
    with pytest.raises(Tampered, match="changed while"):
        b"".join(backup_file.written(KEY, HOME, [(member, iter((b"four",)))]))


def test_a_newer_format_is_refused_clearly(tmp_path: Path) -> None:
    """A backup of a later version asks for an upgrade; something else is no backup at all."""
    data = packed(SMALL)
    (tmp_path / "b").write_bytes(MAGIC + bytes((BACKUP_FORMAT + 1,)) + data[8:])
    with pytest.raises(Misuse, match="reads up to 1"):
        taken(tmp_path / "b")
    (tmp_path / "b").write_bytes(b"PK\x03\x04" + bytes(100))
    with pytest.raises(BadInput, match="not a backup"):
        taken(tmp_path / "b")


def test_key_files_are_private(tmp_path: Path) -> None:
    """A key file is made once, is readable by its owner only, and is refused where others can read it."""
    place = tmp_path / "key"
    backup_file.new_key_file(place)
    assert 0o600 == place.stat().st_mode & 0o777
    assert 32 == len(backup_file.read_key_file(place).secret)
    with pytest.raises(Misuse, match="exists already"):
        backup_file.new_key_file(place)
    place.chmod(0o644)
    with pytest.raises(Misuse, match="not a key file"):
        backup_file.read_key_file(place)


def test_the_frozen_backup_of_version_1_is_read(tmp_path: Path) -> None:
    """A backup that was written when the format was published opens, byte for byte."""
    data = base64.b64decode((Path(__file__).parents[2] / "frozen" / "backup-1.b64").read_text("ascii"))
    (tmp_path / "b").write_bytes(data)
    assert SMALL == taken(tmp_path / "b")
    assert "GWBACK" == data[:6].decode()
    assert 32 == len(sha256(data).digest())
