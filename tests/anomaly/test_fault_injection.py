"""The fault laboratory itself: it counts right, fails right, and finds what is not atomic."""

from __future__ import annotations

import contextlib
import errno
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from anomaly.fault_injection import FaultLab, Mode, memory_folder, unavailable
from anomaly.plain_verbs import TEXT

pytestmark = pytest.mark.skipif(bool(unavailable()), reason=unavailable() or "faults can be injected")

VERBS = "anomaly.plain_verbs"
POINTS = (
    "create draft",
    "write draft",
    "fsync draft",
    "rename final",
    "mkdir folder",
    "link copy",
    "unlink copy",
)


@pytest.fixture(scope="module")
def lab() -> Iterator[FaultLab]:
    """One laboratory for this file."""
    with (
        memory_folder() as folder,
        FaultLab(folder, preload=[VERBS], paths=[Path(__file__).parents[1]]) as made,
    ):
        yield made


@pytest.fixture(scope="module", params=["DELETE", "WAL"])
def bank(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with two accounts of 100, in each of SQLite's two journal modes."""
    home = tmp_path_factory.mktemp("bank")
    with contextlib.closing(sqlite3.connect(home / "bank.db", isolation_level=None)) as made:
        made.execute(f"PRAGMA journal_mode = {request.param}")
        made.execute("CREATE TABLE account (name TEXT, amount INTEGER)")
        made.execute("CREATE TABLE entry (data TEXT)")
        made.execute("INSERT INTO account VALUES ('left', 100), ('right', 100)")
    return home


def balances(home: Path) -> tuple[int, int, int]:
    """Both accounts and the number of entries, as a process without faults reads them."""
    with contextlib.closing(sqlite3.connect(home / "bank.db")) as made:
        assert ("ok",) == made.execute("PRAGMA integrity_check").fetchone()
        left, right = (row[0] for row in made.execute("SELECT amount FROM account ORDER BY name"))
        (entries,) = made.execute("SELECT count(*) FROM entry").fetchone()
    return left, right, entries


def test_every_change_is_a_point(lab: FaultLab) -> None:
    """Each call that changes something below the home is counted once, in order, with its path."""
    assert POINTS == lab.points(f"{VERBS}:seven_calls", None)
    assert len(POINTS) == lab.count(f"{VERBS}:seven_calls", None)


def test_what_happens_elsewhere_is_not_a_point(lab: FaultLab) -> None:
    """Writing beside the home and reading inside it are not counted."""
    assert 0 == lab.count(f"{VERBS}:nothing", None)
    assert not lab.run(f"{VERBS}:nothing", None, 1, Mode.KILL_BEFORE).fired


@pytest.mark.parametrize("mode", [Mode.EIO, Mode.ENOSPC])
def test_the_nth_call_fails(lab: FaultLab, mode: Mode) -> None:
    """At every point the verb sees the error that was asked for, and the run after the last sees none."""
    outcomes = list(lab.every(f"{VERBS}:seven_calls", None, mode))
    number = getattr(errno, mode.name)
    assert [(1, True)] * len(POINTS) == [(each.exit, f"[Errno {number}]" in each.error) for each in outcomes]
    assert 0 == lab.run(f"{VERBS}:seven_calls", None, len(POINTS) + 1, mode).exit


def test_a_short_write_is_finished_by_the_writer(lab: FaultLab) -> None:
    """A single short write is no failure: Python writes the rest."""
    outcome = lab.run(f"{VERBS}:write_whole", None, 2, Mode.SHORT_WRITE, arguments={"name": "a"})
    assert (0, True, TEXT) == (outcome.exit, outcome.fired, (outcome.home / "a").read_bytes())


def test_a_full_disk_keeps_half(lab: FaultLab) -> None:
    """A short write on a disk that stays full leaves half the bytes and an error."""
    outcome = lab.run(f"{VERBS}:write_whole", None, 2, Mode.SHORT_WRITE, sticky=True, arguments={"name": "a"})
    assert (1, TEXT[:5]) == (outcome.exit, (outcome.home / "a").read_bytes())
    assert f"[Errno {errno.ENOSPC}]" in outcome.error


@pytest.mark.parametrize(
    ("mode", "left"), [(Mode.KILL_BEFORE, b""), (Mode.KILL_TORN, TEXT[:5]), (Mode.KILL_AFTER, TEXT)]
)
def test_a_killed_process_leaves_what_it_had_written(lab: FaultLab, mode: Mode, left: bytes) -> None:
    """A process killed at its write leaves nothing, half or all of it, as asked."""
    outcome = lab.run(f"{VERBS}:write_whole", None, 2, mode, arguments={"name": "a"})
    assert (True, None, left) == (outcome.killed, outcome.exit, (outcome.home / "a").read_bytes())


def test_an_interrupt_arrives_at_the_point(lab: FaultLab) -> None:
    """Ctrl-C at any point ends the verb with 130."""
    exits = [each.exit for each in lab.every(f"{VERBS}:seven_calls", None, Mode.INTERRUPT)]
    assert [130] * len(POINTS) == exits


def test_a_refusal_keeps_its_exit_status_and_output(lab: FaultLab) -> None:
    """The exit status and the printed words of a command come back."""
    outcome = lab.run(f"{VERBS}:refuse", None, 1, Mode.EIO)
    assert (2, "no: home\n", False) == (outcome.exit, outcome.output, outcome.fired)


def test_a_verb_that_fails_undisturbed_is_told(lab: FaultLab) -> None:
    """Counting a verb that fails by itself raises instead of proving nothing."""
    with pytest.raises(RuntimeError, match="fails without any fault"):
        lab.count(f"{VERBS}:refuse", None)
    with pytest.raises(RuntimeError, match="ModuleNotFoundError"):
        lab.count("no_such_module:verb", None)


def test_a_verb_that_is_not_atomic_is_found(lab: FaultLab, tmp_path: Path) -> None:
    """Two files written one after the other are seen to disagree at some point."""
    for name in ("left", "right"):
        (tmp_path / name).write_bytes(b"old")
    found = {
        ((each.home / "left").read_bytes(), (each.home / "right").read_bytes())
        for each in lab.every(f"{VERBS}:two_files", tmp_path, Mode.KILL_BEFORE)
    }
    assert (b"new", b"old") in found


@pytest.mark.parametrize("sticky", [False, True])
@pytest.mark.parametrize("mode", [mode for mode in Mode if mode is not Mode.COUNT])
def test_a_sqlite_commit_is_atomic_at_every_point(
    lab: FaultLab, bank: Path, mode: Mode, sticky: bool
) -> None:
    """Whatever fails and wherever, the transfer has happened whole or not at all."""
    before, after = (100, 100, 0), (90, 110, 1)
    seen = set()
    for outcome in lab.every(f"{VERBS}:transfer", bank, mode, sticky=sticky):
        found = balances(outcome.home)
        assert found in {before, after}, outcome
        assert after == found or outcome.exit != 0, outcome
        seen.add(found)
    assert seen
