"""The quick pass over a log: the root of all leaves, or doubt; never more than the careful pass would say."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from gatewright.kernel.errors import Tampered
from gatewright.kernel.instants import Instant
from gatewright.ledger.records import Draft, Record
from gatewright.ledger.tiles import ENTRIES, Tile, tiles_of
from gatewright.ledger.tree import EMPTY_ROOT, leaf_hash, root_of
from gatewright.operations import log_pass
from gatewright.operations.log_folder import verify_log
from gatewright.operations.log_pass import BLOCK_LEAVES, Doubt, Reading, say_nothing, whole
from unit.operations.log_files import trust_root, write_log

SIZE = BLOCK_LEAVES + 700
"""Two blocks: a full one and a partial one."""
RECORDS = 600


def record(seq: int, ns: int) -> bytes:
    """A record of the log."""
    return Record(
        seq=seq, time=Instant(ns), draft=Draft(kind="test.made", actor="p", subject=f"n-{seq}")
    ).encode()


LEAVES = [record(seq, seq) for seq in range(RECORDS)]


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log of two blocks whose leaves are no records."""
    return write_log(tmp_path_factory.mktemp("bare"), [number.to_bytes(4, "big") for number in range(SIZE)])


@pytest.mark.parametrize("processes", [1, 2])
def test_several_processes_come_to_the_same(bare: Path, processes: int) -> None:
    """The root, and every tile counted, however many processes share the blocks; each block is told."""
    told: list[tuple[int, int]] = []
    reading = Reading(folder=bare, size=SIZE, forms=False)
    passed = whole(reading, lambda done, of: told.append((done, of)), processes=processes)
    assert root_of([leaf_hash(number.to_bytes(4, "big")) for number in range(SIZE)]) == passed.root
    assert sum(tile.level != ENTRIES for tile in tiles_of(SIZE)) == passed.tiles
    assert [(BLOCK_LEAVES, SIZE), (SIZE, SIZE)] == told


@pytest.mark.parametrize(
    "tile", [Tile(level=0, index=1), Tile(level=1, index=0, width=2), Tile(level=ENTRIES, index=2, width=88)]
)
def test_a_changed_file_is_doubt(tmp_path: Path, tile: Tile) -> None:
    """A byte of any file, or a file that is gone, or longer or shorter."""
    place = write_log(tmp_path, LEAVES) / tile.path()
    content = place.read_bytes()
    place.unlink()
    for changed in (None, content[:-1] + bytes((content[-1] ^ 1,)), content[:-1], content + b"x"):
        if changed is not None:
            place.write_bytes(changed)
        with pytest.raises(Doubt):
            whole(Reading(folder=tmp_path, size=RECORDS), say_nothing)
    place.write_bytes(content)
    assert whole(Reading(folder=tmp_path, size=RECORDS), say_nothing).root


def test_what_another_process_doubts_is_doubt(bare: Path, tmp_path: Path) -> None:
    """A changed tile of the second block, which another process reads."""
    folder = tmp_path / "log"
    shutil.copytree(bare, folder, copy_function=lambda one, other: Path(other).hardlink_to(one))
    place = folder / Tile(level=0, index=257).path()
    content = place.read_bytes()
    place.unlink()
    place.write_bytes(bytes(len(content)))
    with pytest.raises(Doubt):
        whole(Reading(folder=folder, size=SIZE, forms=False), say_nothing, processes=2)


def test_a_log_without_records_has_the_empty_root(tmp_path: Path) -> None:
    """Nothing to read, and nothing to doubt."""
    assert EMPTY_ROOT == whole(Reading(folder=tmp_path, size=0), say_nothing).root


@pytest.mark.parametrize(
    "leaves",
    [
        [*LEAVES[:-1], b"{}"],
        [*LEAVES[:300], record(301, 300), *LEAVES[301:]],
        [*LEAVES[:300], record(300, 298), *LEAVES[301:]],
        [*LEAVES[:255], record(255, 10**18), *LEAVES[256:]],
        [*LEAVES[:300], LEAVES[300].replace(b'"v":1', b'"v": 1'), *LEAVES[301:]],
        [*LEAVES[:300], LEAVES[300].replace(b'"v":1', b'"v":true'), *LEAVES[301:]],
    ],
)
def test_records_that_do_not_hold_are_doubt(tmp_path: Path, leaves: list[bytes]) -> None:
    """An unreadable record, another number, a time that goes back, another form; the careful pass says which."""
    folder = write_log(tmp_path, leaves)
    with pytest.raises(Doubt):
        whole(Reading(folder=folder, size=RECORDS), say_nothing)
    with pytest.raises(Tampered) as caught:
        verify_log(folder, trust_root())
    assert caught.value.refusal.place.startswith("record ")


def test_time_going_back_between_blocks_is_doubt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last record of one block is compared with the first of the next."""
    monkeypatch.setattr(log_pass, "BLOCK_BUNDLES", 1)
    monkeypatch.setattr(log_pass, "BLOCK_LEAVES", 256)
    folder = write_log(tmp_path, [*LEAVES[:255], record(255, 10**18), *LEAVES[256:]])
    with pytest.raises(Doubt):
        whole(Reading(folder=folder, size=RECORDS), say_nothing)


def test_processes_that_cannot_start_are_doubt(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without room for further processes the careful pass does the work."""
    monkeypatch.setattr(log_pass.sys, "executable", "/nowhere/python")
    with pytest.raises(Doubt):
        whole(Reading(folder=bare, size=SIZE, forms=False), say_nothing, processes=2)
