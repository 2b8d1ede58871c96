"""Counters that the workers of one home share: a small mapped file, ``segments/board``.

Every worker has two rows of cells of eight bytes: one that only its event loop writes, and one for
its other threads, under a lock. So no cell ever has two writers; everybody may read everything, and
the sum over all rows is the home's. What a worker counted stays when it ends or is killed: its
replacement goes on in the same rows. The file is not evidence, and nothing in it decides what is
believed; one of another form is put aside for a new one.

How to use it, once at start and whenever a plan is taken::

    board = Board.open(folder / BOARD_FILE, slot)
    answered = board.series("answers_total{endpoint=loans}")   # the same index in every worker
    cells = board.cells                                        # this worker's row

and then for each request, on the event loop alone::

    cells[answered] += 1              # or board.add(answered); board.add_from_thread elsewhere
    board.total(answered)             # over all workers: about a microsecond

A series of floating-point numbers is written with ``board.floats[index] += 0.25`` and read with
``board.total_float``. A gauge (how many are in work now) begins at 0 with each worker.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkstemp

from gatewright.kernel.errors import Refused
from gatewright.serving.limits import WORKERS

BOARD_FILE = "board"
SLOTS = WORKERS.value
SERIES = 2_048
NAME_BYTES = 248
_MAGIC = b"gatewright board 1\n"
_HEAD = 4_096
_ENTRY = struct.Struct(f"<B7x{NAME_BYTES}s")
_ROWS = 2 * SLOTS
_CELL = 8
_CELLS_AT = _HEAD + SERIES * _ENTRY.size
SIZE = _CELLS_AT + _ROWS * SERIES * _CELL
_FREE, _COUNTER, _GAUGE = range(3)
CELL_MASK = 2**64 - 1
"""A cell that a writer of the disk set to its greatest value begins anew, as a counter may."""


class Board:
    """The rows of one worker, and the sums over all; see the module. Make it with :meth:`open`.

    ``cells`` are the row of the event loop as unsigned 64-bit integers, ``floats`` the same memory as
    64-bit floating-point numbers; a series is one or the other, not both.
    """

    def __init__(self, memory: mmap.mmap, handle: int | None, slot: int) -> None:
        if not 0 <= slot < SLOTS:
            raise ValueError(slot)
        self._memory = memory
        self._handle = handle
        self._lock = threading.Lock()
        self._naming = threading.RLock()
        every = memoryview(memory)[_CELLS_AT:]
        self._all = every.cast("Q")
        self._all_floats = every.cast("d")
        first = 2 * slot * SERIES
        self.cells = self._all[first : first + SERIES]
        self.floats = self._all_floats[first : first + SERIES]
        self._thread_cells = self._all[first + SERIES : first + 2 * SERIES]
        self._thread_floats = self._all_floats[first + SERIES : first + 2 * SERIES]
        self._places: dict[str, int] = {}
        self._gauges: set[int] = set()
        self._read_names()
        self.clear_gauges(slot)

    @classmethod
    def open(cls, path: Path, slot: int) -> Board:
        """The board at ``path``, made anew where there is none or it has another form.

        Raises OSError where the file cannot be had; :meth:`alone` is what is left then.
        """
        while True:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX)
                if os.fstat(handle).st_ino != path.stat().st_ino:
                    continue  # somebody put a new one in its place meanwhile
                if _is_board(handle):
                    memory = mmap.mmap(handle, SIZE)
                    kept, handle = handle, -1
                    fcntl.flock(kept, fcntl.LOCK_UN)
                    return cls(memory, kept, slot)
                _put_new(path)
            finally:
                if handle >= 0:
                    os.close(handle)

    @classmethod
    def alone(cls, slot: int) -> Board:
        """A board that nobody shares, for a worker whose disk has no room for one."""
        return cls(mmap.mmap(-1, SIZE), None, slot)

    def series(self, name: str, *, gauge: bool = False) -> int:
        """The index of ``name``, the same in every worker; a new series begins at 0. From any thread.

        Raises Refused for a name of more than ``NAME_BYTES`` bytes and for more than ``SERIES`` names.
        """
        found = self._places.get(name)
        if found is not None:
            return found
        raw = name.encode()
        if not raw or len(raw) > NAME_BYTES or b"\0" in raw:
            raise Refused(
                "serving.board-name",
                "A counter cannot have this name.",
                why=f"It is empty, holds a NUL, or has more than {NAME_BYTES} bytes.",
            )
        with self._naming:  # the lock of the file is the process's: it keeps no thread of it out
            if self._handle is not None:
                fcntl.flock(self._handle, fcntl.LOCK_EX)
            try:
                self._read_names()
                return self._places[name] if name in self._places else self._take(raw, gauge=gauge)
            finally:
                if self._handle is not None:
                    fcntl.flock(self._handle, fcntl.LOCK_UN)

    def _take(self, raw: bytes, *, gauge: bool) -> int:
        place = len(self._places)
        if place == SERIES:
            raise Refused(
                "serving.board-full",
                f"The workers count {SERIES} series already.",
                why="Each endpoint, version and key of every plan so far has series of its own.",
                next=f"Stop the server, remove the file '{BOARD_FILE}' beside its segments, and start it.",
            )
        at = _HEAD + place * _ENTRY.size
        self._memory[at + 8 : at + _ENTRY.size] = raw.ljust(NAME_BYTES, b"\0")
        self._memory[at] = _GAUGE if gauge else _COUNTER  # last: half an entry is a free one
        self._read_names()
        return place

    def _read_names(self) -> None:
        """Learn the entries that were taken since."""
        for place, kind, name in _entries(self._memory, len(self._places)):
            self._places[name if name not in self._places else f"{name} ({place})"] = place
            if kind == _GAUGE:
                self._gauges.add(place)

    def add(self, index: int, value: int = 1) -> None:
        """Count; on the event loop of the worker alone."""
        self.cells[index] = self.cells[index] + value & CELL_MASK

    def add_from_thread(self, index: int, value: int = 1) -> None:
        """Count, on any other thread."""
        with self._lock:
            self._thread_cells[index] = self._thread_cells[index] + value & CELL_MASK

    def add_float_from_thread(self, index: int, value: float) -> None:
        """Count with a fraction, on any other thread; on the event loop write to ``floats``."""
        with self._lock:
            self._thread_floats[index] += value

    def total(self, index: int) -> int:
        """The sum of a series over all workers."""
        return sum(self._all[index::SERIES])

    def total_float(self, index: int) -> float:
        """The sum of a series of floating-point numbers over all workers."""
        return sum(self._all_floats[index::SERIES])

    def names(self) -> dict[str, int]:
        """Every series and its index, those that other workers made included."""
        with self._naming:
            self._read_names()
            return dict(self._places)

    def clear_gauges(self, slot: int) -> None:
        """Set the gauges of a worker that does not run to 0."""
        for row in (2 * slot, 2 * slot + 1):
            for index in self._gauges:
                self._all[row * SERIES + index] = 0

    def close(self) -> None:
        """Let go of the file; nothing may be counted afterwards."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


def read_sums(path: Path) -> dict[str, int]:
    """Every series of a board and its sum, for those who only look; empty where there is no board.

    Series of whole numbers: one of floating-point numbers reads as nonsense.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return {}
    try:
        content = os.pread(handle, SIZE, 0) if _is_board(handle) else b""
    except OSError:
        content = b""
    finally:
        os.close(handle)
    if len(content) != SIZE:
        return {}
    cells = memoryview(content)[_CELLS_AT:].cast("Q")
    return {name: sum(cells[place::SERIES]) for place, _, name in _entries(content, 0)}


def _entries(memory: mmap.mmap | bytes, first: int) -> Iterator[tuple[int, int, str]]:
    """Place, kind and name of the series from place ``first`` on; they are taken one after the other."""
    for place in range(first, SERIES):
        kind, raw = _ENTRY.unpack_from(memory, _HEAD + place * _ENTRY.size)
        if kind == _FREE:
            return
        yield place, kind, raw.rstrip(b"\0").decode("utf-8", "replace")


def _is_board(handle: int) -> bool:
    return os.fstat(handle).st_size == SIZE and os.pread(handle, len(_MAGIC), 0) == _MAGIC


def _put_new(path: Path) -> None:
    """Put an empty board at ``path``; its room is taken at once, for a mapped hole on a full disk kills."""
    handle, part = mkstemp(prefix=BOARD_FILE + ".", suffix=".part", dir=path.parent)
    try:
        os.posix_fallocate(handle, 0, SIZE)
        os.pwrite(handle, _MAGIC, 0)
        Path(part).rename(path)
    except OSError:
        Path(part).unlink()
        raise
    finally:
        os.close(handle)
