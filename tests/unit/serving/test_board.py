from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewright.kernel.errors import Refused
from gatewright.serving import board as module
from gatewright.serving.board import BOARD_FILE, NAME_BYTES, SERIES, SIZE, SLOTS, Board, read_sums


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the board lies."""
    return tmp_path / BOARD_FILE


def test_all_workers_see_one_sum(path: Path) -> None:
    """A series has one index everywhere, and its total is what all workers counted, on all their threads."""
    first, second = Board.open(path, 0), Board.open(path, SLOTS - 1)
    index = first.series("answers")
    assert index == second.series("answers")
    first.add(index)
    second.add(index, 2)
    second.cells[index] += 4
    second.add_from_thread(index, 8)

    assert (15, 15) == (first.total(index), second.total(index))
    assert 0 == first.total(first.series("others"))
    assert {"answers": 0, "others": 1} == second.names()


def test_fractions_are_summed(path: Path) -> None:
    """A series of floating-point numbers has its total in the same way."""
    first, second = Board.open(path, 0), Board.open(path, 1)
    index = first.series("seconds")
    first.floats[index] += 0.25
    second.add_float_from_thread(index, 0.5)

    assert 0.75 == second.total_float(index)


def test_counts_outlive_their_worker_and_gauges_do_not(path: Path) -> None:
    """The replacement of a worker goes on counting where it stopped; what was in work is no longer."""
    gone, other = Board.open(path, 1), Board.open(path, 0)
    answers, in_work = gone.series("answers"), gone.series("in_work", gauge=True)
    for board in (gone, other):
        board.add(answers, 5)
        board.add(in_work, 3)
    gone.add_from_thread(in_work)
    gone.close()
    Board.open(path, 1).add(answers)

    assert (11, 3) == (other.total(answers), other.total(in_work))
    other.series("in_work")
    Board.open(path, 2).clear_gauges(0)
    assert (11, 0) == (other.total(answers), other.total(in_work))


@given(st.lists(st.text(min_size=1).filter(lambda text: "\0" not in text), max_size=20))
def test_any_name_keeps_its_index(names: list[str]) -> None:
    """Names that are taken in any order, again and again, have one index each; too long ones are refused."""
    board = Board.alone(0)
    for name in names:
        if len(name.encode()) > NAME_BYTES:
            with pytest.raises(Refused):
                board.series(name)
        else:
            assert board.series(name) == board.series(name) == board.names()[name]


def test_a_full_board_refuses() -> None:
    """Beyond the table a series is refused with a code, and the others count on."""
    board = Board.alone(0)
    for number in range(SERIES):
        board.series(f"series-{number}")
    with pytest.raises(Refused) as caught:
        board.series("one too many")

    assert "serving.board-full" == caught.value.code
    assert SERIES - 1 == board.series(f"series-{SERIES - 1}")


@pytest.mark.parametrize("content", [b"", b"gatewright board 0\n", b"x" * SIZE])
def test_a_file_of_another_form_is_replaced(path: Path, content: bytes) -> None:
    """What is no board of this form is put aside for a new one; who has the old one open keeps it."""
    path.write_bytes(content)
    with path.open("rb") as old:
        board = Board.open(path, 0)
        assert content == old.read()
    board.add(board.series("answers"))

    assert 1 == Board.open(path, 1).total(0)
    assert [path] == list(path.parent.iterdir())


def test_the_room_is_taken_at_once(path: Path) -> None:
    """No hole is mapped: a count never needs room that the disk may not have."""
    Board.open(path, 0)

    assert SIZE <= path.stat().st_blocks * 512


def test_no_room_is_an_error_and_leaves_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a full disk opening fails, and no half file stays."""

    def full(_handle: int, _start: int, _size: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space"):
        Board.open(path, 0)

    assert [b""] == [each.read_bytes() for each in path.parent.iterdir()]


def test_threads_lose_no_count() -> None:
    """What several threads count at once is all there."""
    board = Board.alone(0)
    index = board.series("answers")

    def count() -> None:
        for _ in range(2_000):
            board.add_from_thread(index)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert 8_000 == board.total(index)


def test_a_worker_killed_while_it_counts_harms_nobody(path: Path) -> None:
    """Whatever moment a worker is killed at, the board stays readable and others take series."""
    script = (
        "import sys\nfrom pathlib import Path\nfrom gatewright.serving.board import Board\n"
        "board = Board.open(Path(sys.argv[1]), 1)\nprint('on', flush=True)\n"
        "for number in range(10**9):\n    board.add(board.series(f'series-{number % 500}'))\n"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert b"on\n" == process.stdout.readline()
        mine = Board.open(path, 0)
        for number in range(500):
            mine.add(mine.series(f"mine-{number}"))
        process.send_signal(signal.SIGKILL)
    mine.add(mine.series("after"))

    names = mine.names()
    assert sorted(range(len(names))) == sorted(names.values())
    assert {1} == {mine.total(index) for name, index in names.items() if name.startswith(("mine-", "after"))}


def test_threads_that_take_series_at_once_have_one_index_each(path: Path) -> None:
    """However many threads of a process name new series at the same time, no two share a place."""
    board = Board.open(path, 0)
    found: list[dict[str, int]] = []

    def take(mine: int) -> None:
        names = [f"shared-{number}" for number in range(40)] + [f"{mine}-{number}" for number in range(20)]
        found.append({name: board.series(name) for name in names})

    threads = [threading.Thread(target=take, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    names = board.names()
    assert 40 + 6 * 20 == len(names) == len(set(names.values()))
    assert all(names[name] == index for each in found for name, index in each.items())


def test_a_cell_full_of_garbage_counts_on() -> None:
    """A greatest number in a cell, from whoever could write the file, begins anew and raises nothing."""
    board = Board.alone(0)
    index = board.series("answers")
    board.cells[index] = 2**64 - 1
    board.add(index, 3)
    board._thread_cells[index] = 2**64 - 1
    board.add_from_thread(index)

    assert 2 == board.total(index)


def test_sums_are_read_without_a_slot(path: Path) -> None:
    """Who only looks takes no slot, clears no gauge and makes no file."""
    assert {} == read_sums(path)
    assert not path.exists()
    first, second = Board.open(path, 0), Board.open(path, 1)
    for board in (first, second):
        board.add(board.series("answers"), 4)
        board.cells[board.series("open", gauge=True)] = 1
    assert {"answers": 8, "open": 2} == read_sums(path) == read_sums(path)
    path.write_bytes(b"nonsense")
    assert {} == read_sums(path)
