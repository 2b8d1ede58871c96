"""A log as static files: written, grown, verified; every kind of tampering is named by its first record."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from gatewright.adapters.log_signing import HeadSigning
from gatewright.adapters.sqlite_ledger import SqliteLedger
from gatewright.assembly.homes import open_home
from gatewright.kernel.errors import BadInput, Misuse, Tampered
from gatewright.kernel.instants import Instant
from gatewright.ledger.checkpoints import checkpoint_text, note_with_signature
from gatewright.ledger.records import Draft
from gatewright.ledger.tiles import ENTRIES, Tile, Tiling, bundle_of, read_bundle, tiles_of
from gatewright.ledger.tree import leaf_hash
from gatewright.operations.home import Home
from gatewright.operations.log_export import export
from gatewright.operations.log_folder import Kept, read_kept, verify_log
from gatewright.releases.trust import Era, TrustRoot
from gatewright.testing.signers import QuantumSafeSeedSigner, SeedSigner

LOG, LOG_PQ = SeedSigner("log"), QuantumSafeSeedSigner("log")
SIZE = 600
"""Two full tiles and a partial one."""


def drafts(count: int, word: str = "n") -> list[Draft]:
    """Records that nothing follows from."""
    return [Draft(kind="test.made", actor="p", subject=f"{word}-{number}") for number in range(count)]


def with_ledger(fresh: Home, path: Path) -> Home:
    """A home whose ledger is one of test records, signed by a key that these tests hold."""
    archive = SqliteLedger(path, signer=LOG, signer_pq=LOG_PQ, origin=fresh.origin, project=lambda _: ())
    trust = replace(fresh.trust, log=LOG.public, log_pq=LOG_PQ.public)
    return replace(fresh, archive=archive, trust=trust)  # type: ignore[arg-type]


@pytest.fixture
def home(fresh: Home, tmp_path: Path) -> Home:
    """A home with an empty ledger."""
    return with_ledger(fresh, tmp_path / "ledger.db")


def grow(home: Home, count: int, word: str = "n") -> None:
    """Append test records."""
    home.archive.append(drafts(count, word), Instant(1_772_546_700 * 10**9))


@pytest.fixture
def grown(home: Home, tmp_path: Path) -> Path:
    """The exported log of ``home``, 600 records."""
    grow(home, SIZE)
    return export(home, tmp_path / "log").folder


@pytest.fixture(scope="module")
def template(fresh_template: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrustRoot]:
    """An exported log of 600 records, made once, and the public keys it holds under."""
    place = tmp_path_factory.mktemp("log")
    shutil.copytree(fresh_template, place / "home")
    with open_home(place / "home") as opened:
        home = with_ledger(opened, place / "ledger.db")
        grow(home, SIZE)
        return export(home, place / "log").folder, home.trust


@pytest.fixture
def log(template: tuple[Path, TrustRoot], tmp_path: Path) -> Path:
    """A copy of that log."""
    return Path(shutil.copytree(template[0], tmp_path / "log"))


@pytest.fixture
def trust(template: tuple[Path, TrustRoot]) -> TrustRoot:
    """The public keys of that log."""
    return template[1]


def files(folder: Path) -> set[str]:
    """The files of a folder, by path."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def wanted(size: int) -> set[str]:
    """The files that a log of ``size`` records has."""
    return {tile.path() for tile in tiles_of(size)} | {"checkpoint", "trust.json"}


def named(folder: Path, trust: TrustRoot) -> tuple[str, str]:
    """Code and place of what is wrong with a log."""
    with pytest.raises(Tampered) as caught:
        verify_log(folder, trust)
    return caught.value.code, caught.value.refusal.place.partition(" (")[0]


def rebuilt(folder: Path, leaves: list[bytes], trust: TrustRoot, *, sign: bool) -> None:
    """Write a whole log over a folder: what somebody does who wants it to look untouched."""
    shutil.rmtree(folder / "tile")
    tiling, content = Tiling(), {}
    for index, start in enumerate(range(0, len(leaves), 256)):
        group = leaves[start : start + 256]
        content[Tile(level=ENTRIES, index=index, width=len(group))] = bundle_of(group)
        content |= dict(tiling.add([leaf_hash(leaf) for leaf in group]))
    for tile, data in (content | dict(tiling.edge())).items():
        (folder / tile.path()).parent.mkdir(parents=True, exist_ok=True)
        (folder / tile.path()).write_bytes(data)
    if sign:
        signing = HeadSigning(origin=trust.origin, signer=LOG, signer_pq=LOG_PQ)
        (folder / "checkpoint").write_bytes(signing.note(len(leaves), tiling.root(), Instant(0)))


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 600])
def test_an_exported_log_holds(home: Home, tmp_path: Path, size: int) -> None:
    """The folder has exactly the standard's files, and verifies with nothing but the public keys."""
    grow(home, size)
    made = export(home, tmp_path / "log")
    assert (size, 0) == (made.records, made.before)
    assert wanted(size) == files(made.folder)
    assert len(wanted(size)) == made.written
    found = verify_log(made.folder, home.trust)
    assert ("log", size, made.root.hex()) == (found.kind, found.facts["records"], found.facts["root"])


def test_a_log_grows_by_new_files(home: Home, tmp_path: Path) -> None:
    """Later exports add to the folder, rewrite no tile, replace partial tiles by full ones, and extend what was kept."""
    folder = tmp_path / "log"
    kept: list[Kept] = []
    before: dict[str, int] = {}
    for count in (0, 1, 200, 54, 1, 1, 300, 0):
        grow(home, count)
        made = export(home, folder)
        found = {name: (folder / name).stat().st_ino for name in files(folder)}
        assert {
            name: number for name, number in before.items() if name in found and name != "checkpoint"
        } == {name: found[name] for name in before if name in found and name != "checkpoint"}
        assert all(".p/" in name for name in before.keys() - found.keys())
        assert wanted(made.records) <= found.keys()
        kept.append(read_kept(folder))
        assert len(kept) == verify_log(folder, home.trust, kept=kept).facts["kept"]
        before = found
    assert not {name for name in before if name.startswith("tile/0/000.p")}


def test_an_interrupted_export_is_completed(home: Home, grown: Path) -> None:
    """Tiles ahead of the checkpoint are named; the next export takes them as they are, and all holds."""
    before = (grown / "checkpoint").read_bytes()
    grow(home, 100)
    export(home, grown)
    (grown / "checkpoint").write_bytes(before)
    assert ("operations.log-longer", f"record {SIZE}") == named(grown, home.trust)
    (grown / "tile" / "0" / ".002.abc.part").write_bytes(b"half")
    assert SIZE + 100 == export(home, grown).records
    assert SIZE + 100 == verify_log(grown, home.trust).facts["records"]


def test_a_folder_that_is_no_beginning_is_left_alone(home: Home, grown: Path, tmp_path: Path) -> None:
    """An export of another history, of a longer log or of another home is refused and stays as it was."""
    other = SqliteLedger(
        tmp_path / "other.db", signer=LOG, signer_pq=LOG_PQ, origin=home.origin, project=lambda _: ()
    )
    forked = replace(home, archive=other)  # type: ignore[arg-type]
    before = {name: (grown / name).read_bytes() for name in files(grown)}
    for count in (10, SIZE, 1):  # shorter, as long, longer
        grow(forked, count, "fork")
        with pytest.raises(Tampered) as caught:
            export(forked, grown)
        assert "operations.log-not-a-beginning" == caught.value.code
    with pytest.raises(Tampered, match="belongs to the log"):
        export(_other(home, tmp_path), grown)
    assert before == {name: (grown / name).read_bytes() for name in files(grown)}
    other.close()


def _other(home: Home, tmp_path: Path) -> Home:
    """A home with the same key under another name."""
    ledger = SqliteLedger(
        tmp_path / "another.db",
        signer=LOG,
        signer_pq=LOG_PQ,
        origin="gatewright/other",
        project=lambda _: (),
    )
    trust = replace(home.trust, origin="gatewright/other")
    return replace(home, origin=trust.origin, trust=trust, archive=ledger)  # type: ignore[arg-type]


def flip(path: Path, at: int) -> None:
    """One bit of a file."""
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(bytes(data))


def leaves_in(folder: Path) -> list[bytes]:
    """Every entry of an exported log of 600 records."""
    return [
        leaf
        for index, width in ((0, 256), (1, 256), (2, 88))
        for leaf in read_bundle(
            (folder / Tile(level=ENTRIES, index=index, width=width).path()).read_bytes(), width
        )
    ]


CHANGED = {
    "a record": ("tile/entries/001", 3_000, "ledger.record-changed", "record 270"),
    "the length of a record": ("tile/entries/001", 1, "ledger.record-changed", "record 256"),
    "a leaf hash": ("tile/0/001", 32 * 7 + 5, "ledger.stored-hash-changed", "record 263"),
    "the edge": ("tile/0/002.p/88", 32 * 87, "ledger.stored-hash-changed", "record 599"),
    "an upper hash": ("tile/1/000.p/2", 33, "operations.log-tile-changed", "records 256 to 511"),
    "the root": ("checkpoint", 40, "ledger.note-signature", ""),
}


@pytest.mark.parametrize("what", CHANGED)
def test_one_flipped_bit_is_named(trust: TrustRoot, log: Path, what: str) -> None:
    """A changed record, hash or head is told by the record where it lies, and which of the two was changed."""
    name, at, code, place = CHANGED[what]
    if what == "a record":
        at, place = _within(log, 270), "record 270"
    flip(log / name, at)
    assert (code, place) == named(log, trust)


def _within(folder: Path, index: int) -> int:
    """A position inside record ``index`` of the second bundle."""
    before = leaves_in(folder)[256:index]
    return sum(len(leaf) + 2 for leaf in before) + 30


@pytest.mark.parametrize(
    ("name", "code", "place"),
    [
        ("tile/entries/001", "operations.log-entries", "record 256"),
        ("tile/entries/002.p/88", "operations.log-entries", "record 512"),
        ("tile/0/001", "operations.log-tile-missing", "record 256"),
        ("tile/1/000.p/2", "operations.log-tile-missing", "records 0 to 255"),
    ],
)
def test_a_missing_file_is_named(trust: TrustRoot, log: Path, name: str, code: str, place: str) -> None:
    """A file that was taken away is told, with the first record that it held."""
    (log / name).unlink()
    assert (code, place) == named(log, trust)


@pytest.mark.parametrize("cut", [1, 40, 5_000])
def test_a_bundle_cut_short_is_named(trust: TrustRoot, log: Path, cut: int) -> None:
    """A bundle without its end is told by the first record that is not whole."""
    place = log / "tile/entries/002.p/88"
    data = place.read_bytes()
    place.write_bytes(data[:-cut])
    whole, lengths = 512, [len(leaf) + 2 for leaf in leaves_of(data)]
    rest = len(data) - cut
    for length in lengths:
        if rest < length:
            break
        rest -= length
        whole += 1
    assert ("operations.log-entries", f"record {whole}") == named(log, trust)


def leaves_of(data: bytes) -> tuple[bytes, ...]:
    """The 88 leaves of the last bundle."""
    return read_bundle(data, 88)


@pytest.mark.parametrize("name", ["tile/0/002.p/89", "tile/0/002", "tile/entries/003.p/1", "tile/2/000.p/1"])
def test_a_tile_beyond_the_checkpoint_is_named(trust: TrustRoot, log: Path, name: str) -> None:
    """An over-long partial tile, or one more tile, is not covered by the signature: it is told."""
    (log / name).parent.mkdir(parents=True, exist_ok=True)
    (log / name).write_bytes(bytes(32) * 89)
    assert "operations.log-longer" == named(log, trust)[0]


def test_an_earlier_partial_tile_must_agree(trust: TrustRoot, log: Path) -> None:
    """Partial tiles and bundles of earlier exports are held against the records, too."""
    leaves = leaves_in(log)
    for name, good in (
        ("tile/0/002.p/3", b"".join(map(leaf_hash, leaves[512:515]))),
        ("tile/entries/002.p/3", bundle_of(leaves[512:515])),
    ):
        (log / name).write_bytes(good)
        assert SIZE == verify_log(log, trust).facts["records"]
        flip(log / name, len(good) - 1)
        assert ("operations.log-tile-changed", "record 514") == named(log, trust)
        (log / name).unlink()


@pytest.mark.parametrize("name", ["tile/0/note.txt", "tile/index.html", "tile/0/0", "tile/entries/000.p/999"])
def test_strangers_among_the_tiles_are_named(trust: TrustRoot, log: Path, name: str) -> None:
    """A file below ``tile/`` that is no tile is told by its name; one beside it does not matter."""
    (log / "README").write_text("of the web server")
    verify_log(log, trust)
    (log / name).parent.mkdir(exist_ok=True)
    (log / name).write_text("?")
    assert ("operations.not-a-tile", name) == named(log, trust)


def test_links_and_pipes_are_not_followed(trust: TrustRoot, log: Path) -> None:
    """A tile that is a link to somewhere else, or a pipe that nobody fills, is no tile."""
    place = log / "tile/0/000"
    place.rename(log / "elsewhere")
    place.symlink_to(log / "elsewhere")
    assert "operations.not-a-tile" == named(log, trust)[0]
    place.unlink()
    os.mkfifo(place)
    assert "operations.not-a-tile" == named(log, trust)[0]


def test_an_enormous_tile_is_not_read(trust: TrustRoot, log: Path) -> None:
    """A tile or bundle longer than any can be does not hold, and is not loaded whole."""
    for name, code in (
        ("tile/0/001", "operations.log-tile-changed"),
        ("tile/entries/001", "operations.log-entries"),
    ):
        with (log / name).open("ab") as file:
            file.truncate(2**34)
        assert (code, "record 256") == named(log, trust)


@pytest.mark.parametrize("content", [b"", b"not a note", b"\xff" * 100, b"x" * 2_000_000])
def test_a_checkpoint_that_is_none_is_evidence_that_does_not_hold(
    trust: TrustRoot, log: Path, content: bytes
) -> None:
    """Whatever stands in the place of the checkpoint, the answer is that the log does not hold."""
    (log / "checkpoint").write_bytes(content)
    assert "checkpoint" == named(log, trust)[1]


def test_a_log_of_other_keys_or_another_name_is_refused(trust: TrustRoot, log: Path) -> None:
    """Only the log's own key, under its own name, makes a checkpoint that is believed."""
    stranger = replace(trust, log=SeedSigner("stranger").public)
    assert "releases.head-unsigned" == named(log, stranger)[0]
    assert "ledger.origin" == named(log, replace(trust, origin="gatewright/other"))[0]


def test_forgeries_by_who_writes_the_folder(trust: TrustRoot, log: Path) -> None:
    """Without the key, whatever is rebuilt does not add up: a dropped, swapped, repeated or replaced record."""
    leaves = leaves_in(log)
    swapped = [*leaves[:300], leaves[301], leaves[300], *leaves[302:]]
    for forged, code, place in (
        (leaves[:-1], "operations.log-entries", "record 512"),
        ([*leaves[:300], *leaves[301:]], "ledger.sequence", "record 300"),
        (swapped, "ledger.sequence", "record 300"),
        ([*leaves[:301], leaves[300], *leaves[301:-1]], "ledger.sequence", "record 301"),
        ([*leaves[:300], leaves[300].replace(b"n-300", b"x-300"), *leaves[301:]], "ledger.root", ""),
    ):
        rebuilt(log, forged, trust, sign=False)
        found = named(log, trust)
        assert (code, place or f"checkpoint of {SIZE} records") == found


def test_forgeries_by_who_holds_the_key(trust: TrustRoot, log: Path) -> None:
    """A history that was rebuilt and signed holds in itself; a checkpoint kept from before convicts it."""
    kept = read_kept(log)
    leaves = leaves_in(log)
    other = [*leaves[:300], leaves[300].replace(b"n-300", b"x-300"), *leaves[301:]]
    for forged, code in ((other, "operations.log-forked"), (leaves[:500], "operations.log-rolled-back")):
        rebuilt(log, forged, trust, sign=True)
        assert len(forged) == verify_log(log, trust).facts["records"]
        with pytest.raises(Tampered) as caught:
            verify_log(log, trust, kept=[kept])
        assert code == caught.value.code
    rebuilt(log, leaves, trust, sign=True)
    assert 1 == verify_log(log, trust, kept=[kept]).facts["kept"]


def placed(log: Path, trust: TrustRoot, *kept: Kept) -> tuple[str, str]:
    """Code and place of what a log does not extend."""
    with pytest.raises(Tampered) as caught:
        verify_log(log, trust, kept=kept)
    return caught.value.code, caught.value.refusal.place.partition(" (")[0]


def test_what_was_kept_tells_where(trust: TrustRoot, log: Path, tmp_path: Path) -> None:
    """Checkpoints name the records between them, a copy of the log the record; a damaged copy is as a checkpoint."""
    leaves = leaves_in(log)
    copy = Path(shutil.copytree(log, tmp_path / "copy"))
    notes = {}
    for size in (100, 290, 310, SIZE):
        rebuilt(log, leaves[:size], trust, sign=True)
        notes[size] = Kept(note=read_kept(log).note)
    other = [*leaves[:300], leaves[300].replace(b"n-300", b"x-300"), *leaves[301:]]
    rebuilt(log, other, trust, sign=True)
    forked = "operations.log-forked"
    assert (forked, "records 0 to 599") == placed(log, trust, notes[SIZE])
    assert (forked, "records 290 to 309") == placed(
        log, trust, *(notes[size] for size in (310, 100, SIZE, 290))
    )
    assert (forked, "record 300") == placed(log, trust, read_kept(copy))
    shorter = other[:400]
    rebuilt(log, shorter, trust, sign=True)
    assert (forked, "record 300") == placed(log, trust, read_kept(copy))
    rebuilt(log, leaves[:400], trust, sign=True)
    for kept in (notes[SIZE], read_kept(copy)):
        assert ("operations.log-rolled-back", "record 400") == placed(log, trust, kept)
    rebuilt(log, other, trust, sign=True)
    (copy / "tile/0/001").write_bytes(b"spoiled")
    assert (forked, "records 0 to 599") == placed(log, trust, read_kept(copy))


def test_a_checkpoint_of_revoked_keys_convicts_nobody(trust: TrustRoot, log: Path) -> None:
    """Whoever took revoked log keys can sign any checkpoint: kept, it is not compared; beside the log it is no evidence."""
    thief, thief_pq = SeedSigner("thief"), QuantumSafeSeedSigner("thief")
    era = Era(
        origin=trust.origin,
        release=trust.release,
        release_pq=trust.release_pq,
        log=thief.public,
        log_pq=thief_pq.public,
        until=Instant(10**18),
        records=400,
        revoked=("log",),
    )
    after = replace(trust, past=(era,), version=2)
    for size in (7, 4_000):
        note = HeadSigning(origin=trust.origin, signer=thief, signer_pq=thief_pq).note(
            size, bytes(32), Instant(10**18)
        )
        with pytest.raises(Misuse) as caught:
            verify_log(log, after, kept=[Kept(note=note)])
        assert "operations.kept-revoked" == caught.value.code
        (log / "witnessed").write_bytes(note)
        assert SIZE == verify_log(log, after).facts["records"]
        (log / "witnessed").unlink()


def test_kept_checkpoints_are_read_strictly(trust: TrustRoot, log: Path, tmp_path: Path) -> None:
    """A kept checkpoint that is malformed is BadInput, one that is not there Misuse, one of other keys Tampered."""
    with pytest.raises(BadInput):
        verify_log(log, trust, kept=[Kept(note=b"nonsense")])
    for place in (tmp_path, tmp_path / "none"):
        with pytest.raises(Misuse):
            read_kept(place)
    text = checkpoint_text(trust.origin, 1, bytes(32))
    other = SeedSigner("other")
    with pytest.raises(Tampered):
        verify_log(
            log,
            trust,
            kept=[Kept(note=note_with_signature(text, trust.origin, other.public, other.sign(text)))],
        )


def test_nothing_is_exported_from_a_ledger_that_does_not_hold(home: Home, tmp_path: Path) -> None:
    """Where the records do not add up to the signed head, no folder is written."""
    grow(home, 3)
    short = replace(home, archive=_Short(home))  # type: ignore[arg-type]
    with pytest.raises(Tampered, match="do not add up"):
        export(short, tmp_path / "log")
    assert not (tmp_path / "log").exists()


class _Short:
    """A ledger that lost its last record."""

    def __init__(self, home: Home) -> None:
        self.checkpoint = home.archive.checkpoint
        self._leaves = home.archive.leaves

    def leaves(self, start: int = 0, stop: int | None = None) -> Iterable[bytes]:
        """All but the last."""
        return self._leaves(start, (stop or 1) - 1)
