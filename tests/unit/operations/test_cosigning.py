"""A home has its newest head cosigned: what is kept, what a witness that lags, lies, forgets or is dead leads to."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gatewright.assembly.witnesses import create_witness, open_witness
from gatewright.http.witness import STATUS
from gatewright.kernel import canonical
from gatewright.kernel.errors import DependencyFailed, GatewrightError, Tampered
from gatewright.ledger.checkpoints import Note
from gatewright.ledger.notes import NoteKey, SignatureType
from gatewright.ledger.witnessing import Cosigner, Declined, cosign, response_lines
from gatewright.operations import witness
from gatewright.operations.cosigning import (
    Reply,
    cosign_newest,
    problems_told,
    witnesses,
)
from gatewright.operations.forks import FORK_FILE
from gatewright.operations.home import Home
from gatewright.operations.trust_changes import change_trust, following_version
from gatewright.operations.users import add as add_user
from gatewright.operations.witness import Witness, cosigned_note, file_name
from gatewright.operations.witnessed import (
    FOLDER,
    NEWEST,
    coverage,
    kept_notes,
    moment,
    notes_beside,
    open_kept,
    own_file,
    reached,
    require_extended,
    root_over,
    witnessed_home,
)
from gatewright.releases.heads import Head, log_keys, open_head
from gatewright.testing.signers import SeedSigner

ONE, TWO = "audit.example/w1", "bank.example/w2"


@dataclass
class Line:
    """The way to a witness in this process; ``says`` stands in for its answers, ``asked`` counts them."""

    opened: Witness
    says: Reply | None = None
    shows: bytes | None = None
    asked: list[bytes] = field(default_factory=list)

    def submit(self, body: bytes) -> Reply:
        """As over HTTP."""
        self.asked.append(body)
        if self.says is not None:
            return self.says
        found = witness.add_checkpoint(self.opened, body)
        if isinstance(found, Declined):
            status = STATUS[found.ground]
            return Reply(status=status, body=b"%d\n" % found.latest if status == 409 else found.why.encode())
        return Reply(status=200, body=found)

    def head(self, origin: str) -> bytes:
        """As over HTTP."""
        return self.shows if self.shows is not None else cosigned_note(self.opened, file_name(origin)) or b""


@dataclass
class Dead:
    """A witness that does not answer."""

    def submit(self, body: bytes) -> Reply:
        """Nothing comes."""
        raise DependencyFailed("assembly.witness-silent", f"No answer to {len(body)} bytes.")

    def head(self, origin: str) -> bytes:
        """Nothing comes."""
        raise DependencyFailed("assembly.witness-silent", f"No answer about {origin}.")


def made(home: Home, folder: Path, name: str = ONE) -> Line:
    """A witness that knows the home's log."""
    create_witness(folder, name)
    opened = open_witness(folder)
    trust = home.trust
    witness.trust(opened, tuple(key.text() for key in log_keys(trust.origin, trust.log, trust.log_pq)))
    return Line(opened)


def using(home: Home, *lines: Line, quorum: int = 1) -> Home:
    """The home with these witnesses in its trust root."""
    texts = tuple(key.text() for line in lines for key in line.opened.keys)
    return change_trust(home, following_version(home, witnesses=texts, quorum=quorum), what="witnesses")


@pytest.fixture
def line(fresh: Home, tmp_path: Path) -> Line:
    """A witness."""
    return made(fresh, tmp_path / "w1")


@pytest.fixture
def home(fresh: Home, line: Line) -> Home:
    """A home with that witness."""
    return using(fresh, line)


def newest(home: Home) -> Head:
    """The kept head."""
    return open_head((home.folder / FOLDER / NEWEST).read_bytes(), home.trust)


def verified(home: Home) -> list[str]:
    """What the verifier says of the kept heads."""
    leaves = [(leaf, None) for leaf in home.archive.leaves()]
    found = witnessed_home(notes_beside(home.folder), leaves, home.archive.checkpoint(), home.trust)
    return [one.sentence for one in found]


def test_the_newest_head_is_cosigned_and_kept(home: Home, line: Line) -> None:
    """What the witness answers holds, is kept with the log's own signatures, and is told."""
    found = cosign_newest(home, {ONE: line})
    assert (4, (ONE,), {}) == (found.size, found.cosigned, found.problems)
    assert (4, [ONE]) == (newest(home).checkpoint.size, [one.witness for one in newest(home).cosigned])
    assert Note.decode(home.archive.checkpoint()).text == Note.decode(kept(home)).text
    assert [4] == [one.size for one in witnesses(home)]
    assert verified(home)[0].startswith(f"{ONE} cosigned all 4 records, ")


def kept(home: Home) -> bytes:
    """The bytes of the newest kept note."""
    return (home.folder / FOLDER / NEWEST).read_bytes()


def test_nobody_is_asked_twice_about_one_head(home: Home, line: Line) -> None:
    """A head that is cosigned is not submitted again; the next one is, from where the witness stands."""
    for _ in range(3):
        cosign_newest(home, {ONE: line})
    assert 1 == len(line.asked)
    add_user(home, "bob")
    assert (ONE,) == cosign_newest(home, {ONE: line}).cosigned
    assert [b"old 0", b"old 4"] == [body.split(b"\n")[0] for body in line.asked]
    assert verified(home)[0].startswith(f"{ONE} cosigned all 5 records")


def test_records_after_the_cosigned_head_are_told(home: Home, line: Line) -> None:
    """What nobody saw yet convicts nobody; it is said from which record on."""
    cosign_newest(home, {ONE: line})
    add_user(home, "bob")
    assert verified(home)[0].endswith("Records from number 4 on are not witnessed yet.")


def test_a_home_whose_witness_never_answered_says_so(home: Home) -> None:
    """A dead witness is a problem that is told, and verification says that nothing is witnessed."""
    found = cosign_newest(home, {ONE: Dead()})
    assert (0, ["assembly.witness-silent"]) == (
        len(found.cosigned), [one.code for one in found.problems.values()],
    )  # fmt: skip
    assert [ONE] == list(problems_told(home.folder))
    assert [f"There is no cosignature of {ONE} here. No record is witnessed yet."] == verified(home)


def test_a_problem_that_passed_is_told_no_more(home: Home, line: Line) -> None:
    """Once the witness answers, status shows no problem."""
    cosign_newest(home, {ONE: Dead()})
    cosign_newest(home, {ONE: line})
    assert {} == problems_told(home.folder)


def test_a_witness_without_an_address_is_a_problem(home: Home) -> None:
    """The trust root names a witness, the settings no place: that is said."""
    assert ["operations.witness-address"] == [one.code for one in cosign_newest(home, {}).problems.values()]


def test_a_dead_witness_does_not_keep_the_other_from_cosigning(fresh: Home, tmp_path: Path) -> None:
    """With one of two, the head is kept with the one's cosignature; a quorum of two is told as missing."""
    one, two = made(fresh, tmp_path / "w1"), made(fresh, tmp_path / "w2", TWO)
    home = using(fresh, one, two, quorum=2)
    found = cosign_newest(home, {ONE: one, TWO: Dead()})
    assert ((ONE,), [TWO]) == (found.cosigned, list(found.problems))
    assert 0 == reached(coverage([newest(home)]), 2)
    assert "No record is witnessed yet by the 2 witnesses that are needed." in verified(home)[0]
    found = cosign_newest(home, {ONE: one, TWO: two})
    assert ((ONE, TWO), 1, 1) == (found.cosigned, len(one.asked), len(two.asked))
    assert [ONE, TWO] == [each.witness for each in newest(home).cosigned]


def test_a_head_with_a_quorum_is_not_given_up_for_a_newer_one_without(fresh: Home, tmp_path: Path) -> None:
    """The kept checkpoint stays the one that enough witnesses cosigned, until a newer one has enough."""
    one, two = made(fresh, tmp_path / "w1"), made(fresh, tmp_path / "w2", TWO)
    home = using(fresh, one, two, quorum=2)
    cosign_newest(home, {ONE: one, TWO: two})
    add_user(home, "bob")
    cosign_newest(home, {ONE: one, TWO: Dead()})
    assert 4 == newest(home).checkpoint.size
    assert [5, 4] == [each.size for each in witnesses(home)]
    cosign_newest(home, {ONE: one, TWO: two})
    assert 5 == newest(home).checkpoint.size


def test_a_home_that_lost_what_was_kept_learns_the_size_from_the_witness(home: Home, line: Line) -> None:
    """The size in a conflict is taken where this log extends that head: one more try, then cosigned."""
    cosign_newest(home, {ONE: line})
    shutil.rmtree(home.folder / FOLDER)
    add_user(home, "bob")
    assert (ONE,) == cosign_newest(home, {ONE: line}).cosigned
    assert [b"old 0", b"old 0", b"old 4"] == [body.split(b"\n")[0] for body in line.asked]


def test_asking_again_and_again_does_not_make_the_note_longer(home: Home, line: Line) -> None:
    """A home that loses a witness's own note asks again each time; the kept note stays as long as it was."""
    cosign_newest(home, {ONE: line})
    lines = Note.decode(kept(home)).signatures
    for _ in range(3):
        own_file(home.folder, ONE).unlink()
        cosign_newest(home, {ONE: line})
    assert lines == Note.decode(kept(home)).signatures


@dataclass
class Overtaken(Line):
    """A witness that another process of the same home reaches first, with a newer head."""

    overtake: Callable[[], object] | None = None

    def submit(self, body: bytes) -> Reply:
        """As over HTTP, after the other one."""
        first, self.overtake = self.overtake, None
        if first is not None:
            first()
        return super().submit(body)


def test_a_newer_head_of_the_same_log_is_no_fork(home: Home, line: Line) -> None:
    """Two processes of one home ask at once: the slower one finds a larger head that is its own, and goes on from it."""

    def overtake() -> None:
        add_user(home, "bob")
        assert (ONE,) == cosign_newest(home, {ONE: line}).cosigned

    found = cosign_newest(home, {ONE: Overtaken(line.opened, overtake=overtake)})
    assert (5, (ONE,), {}) == (found.size, found.cosigned, dict(found.problems))
    assert not (home.folder / FORK_FILE).exists()


def restored(home: Home, line: Line, tmp_path: Path) -> None:
    """Put the home back to before its last record, which the witness saw."""
    shutil.copytree(home.folder, tmp_path / "backup")
    add_user(home, "bob")
    cosign_newest(home, {ONE: line})
    home.archive.close()  # type: ignore[attr-defined]
    for name in ("ledger.db", "ledger.db-wal"):
        (home.folder / name).unlink(missing_ok=True)
        if (tmp_path / "backup" / name).exists():
            shutil.copy(tmp_path / "backup" / name, home.folder / name)


@pytest.mark.parametrize("forgets", [True, False])
def test_a_home_that_was_put_back_is_convicted_by_what_it_signed(
    home: Home, line: Line, tmp_path: Path, *, forgets: bool
) -> None:
    """A larger head, cosigned and signed by this log itself, is written down as a fork; it convicts."""
    restored(home, line, tmp_path)
    if forgets:
        shutil.rmtree(home.folder / FOLDER)
    found = cosign_newest(home, {ONE: line})
    assert ["operations.log-contradicted"] == [one.code for one in found.problems.values()]
    fact = canonical.decode((home.folder / FORK_FILE).read_bytes())
    assert (home.origin, ONE, 5) == (fact["origin"], fact["witness"], fact["size"])
    assert 5 == open_head(str(fact["checkpoint"]).encode(), home.trust).checkpoint.size
    with pytest.raises(Tampered) as convicted:
        verified(home)
    assert "operations.log-rolled-back" == convicted.value.code


LIES: dict[str, Callable[[Line], None]] = {
    "a larger size": lambda line: setattr(line, "says", Reply(status=409, body=b"900\n")),
    "a bad proof": lambda line: setattr(line, "says", Reply(status=422, body=b"no")),
    "the same size": lambda line: setattr(line, "says", Reply(status=409, body=b"4\n")),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_claim_without_a_head_proves_nothing(home: Home, line: Line, lie: str) -> None:
    """A witness that only says that it saw more raises an alarm and stops nothing."""
    cosign_newest(home, {ONE: line})
    add_user(home, "bob")
    for shows in (b"", b"nonsense", home.archive.checkpoint(), None):
        LIES[lie](line)
        line.shows = shows
        found = cosign_newest(home, {ONE: line})
        assert ["operations.witness-claim"] == [one.code for one in found.problems.values()]
    assert not (home.folder / FORK_FILE).exists()
    line.says = None
    assert (ONE,) == cosign_newest(home, {ONE: line}).cosigned


ANSWERS = {
    "unknown log": Reply(status=404, body=b"{}"),
    "unknown key": Reply(status=403, body=b"{}"),
    "broken": Reply(status=500, body=b"\xff" * 400),
    "full": Reply(status=503, body=b""),
    "no lines": Reply(status=200, body=b""),
    "something else": Reply(status=200, body=b"<html>"),
    "a stranger's line": Reply(status=200, body="\u2014 stranger AAAAAAAAAA==\n".encode()),
    "a conflict without size": Reply(status=409, body=b"much\n"),
    "a size with a zero": Reply(status=409, body=b"04\n"),
    "a redirect": Reply(status=302, body=b""),
}


@pytest.mark.parametrize("what", ANSWERS)
def test_what_is_no_cosignature_is_not_kept(home: Home, line: Line, what: str) -> None:
    """Whatever else a witness answers is a problem, and nothing is kept of it."""
    line.says = ANSWERS[what]
    found = cosign_newest(home, {ONE: line})
    assert ((), [ONE]) == (found.cosigned, list(found.problems))
    assert {} == kept_notes(home.folder)


@pytest.mark.parametrize("time", [253_402_300_800, 2**62])
def test_a_cosignature_of_the_future_is_not_kept(home: Home, time: int) -> None:
    """A witness whose time is more than a day ahead is a problem: others would judge this log by that time."""
    liar = SeedSigner("liar")
    key = NoteKey(name=ONE, type=SignatureType.ED25519_COSIGNATURE, raw=liar.public.raw())
    using_liar = change_trust(home, following_version(home, witnesses=(key.text(),), quorum=1), what="liar")
    note = Note.decode(using_liar.archive.checkpoint())
    signed = cosign(note, [Cosigner(key=key, sign=liar.sign)], time)

    class Liar(Dead):
        def submit(self, body: bytes) -> Reply:
            assert body
            return Reply(status=200, body=response_lines(signed, [key]))

    found = cosign_newest(using_liar, {ONE: Liar()})
    assert ["operations.witness-time"] == [one.code for one in found.problems.values()]
    assert {} == kept_notes(home.folder)
    assert moment(time).startswith("22")


def test_a_cosignature_for_another_head_is_not_kept(home: Home, line: Line) -> None:
    """Lines that were made for an older head do not pass for the newest."""
    cosign_newest(home, {ONE: line})
    lines = kept(home).split(b"\n\n")[1].splitlines(keepends=True)
    add_user(home, "bob")
    line.says = Reply(status=200, body=b"".join(lines[-2:]))
    found = cosign_newest(home, {ONE: line})
    assert ["ledger.note-signature"] == [one.code for one in found.problems.values()]
    assert 4 == newest(home).checkpoint.size


def test_half_a_cosignature_does_not_count(home: Home, line: Line) -> None:
    """Of a witness with two keys the Ed25519 line alone is not enough."""
    whole = witness.add_checkpoint(line.opened, submission(home))
    assert isinstance(whole, bytes)
    line.says = Reply(status=200, body=whole.splitlines(keepends=True)[0])
    assert () == cosign_newest(home, {ONE: line}).cosigned


def submission(home: Home) -> bytes:
    """The first submission of a home."""
    return b"old 0\n\n" + home.archive.checkpoint()


@pytest.mark.parametrize("name", [NEWEST, "own"])
def test_a_kept_note_that_was_changed_is_named(home: Home, line: Line, name: str) -> None:
    """A kept head that does not hold is Tampered with its place; it is asked for again."""
    cosign_newest(home, {ONE: line})
    path = own_file(home.folder, ONE) if name == "own" else home.folder / FOLDER / NEWEST
    content = path.read_bytes()
    path.write_bytes(content.replace(b"\n4\n", b"\n5\n"))
    with pytest.raises(Tampered) as refused:
        verified(home)
    assert f"{FOLDER}/{path.name}" == refused.value.refusal.place


def test_a_rewritten_log_does_not_extend_what_is_kept(home: Home, line: Line) -> None:
    """A record of another content, everything after it made again: the kept head convicts."""
    cosign_newest(home, {ONE: line})
    heads = open_kept(kept_notes(home.folder), home.trust)
    leaves = [(leaf, None) for leaf in home.archive.leaves()]
    leaves[1] = (leaves[1][0] + b" ", None)
    with pytest.raises(Tampered) as convicted:
        require_extended(heads, 5, lambda size: root_over([*leaves, leaves[0]], size))
    found = convicted.value
    assert ("operations.log-forked", "checkpoint of 4 records") == (found.code, found.refusal.place)


def test_every_error_of_a_witness_is_a_refusal(
    home: Home, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What fails on the way to one witness is that witness's problem, and raises nothing."""

    def broken(body: bytes) -> Reply:
        raise GatewrightError("test.broken", f"{len(body)} bytes went nowhere.")

    monkeypatch.setattr(line, "submit", broken)
    assert ["test.broken"] == [one.code for one in cosign_newest(home, {ONE: line}).problems.values()]
