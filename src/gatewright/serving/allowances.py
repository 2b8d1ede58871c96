"""How many requests a caller may make: rates and daily quotas, over all workers of a home.

The workers share a mapped file, ``segments/allowances``, with one row for each API key and each
endpoint that a plan bounds. A plan is fitted with its rows before it is taken; a request then reads
and writes a few cells. Each worker counts in a cell of its own, and the sum decides. Nothing is locked,
so workers that decide in the same instant may each let one request through.

- *Rate*: a token bucket of ``BURST``, kept as the time at which it is full again (the virtual
  scheduling form of the generic cell rate algorithm, ITU-T I.371, annex A): since when, and from which
  count, requests have come without a rest.
- *Quota*: the count of a day (UTC) begins when the first worker sees that day. A clock that goes back
  begins no day again, so nothing is given back.

What was counted survives the workers. Where the file cannot be had, each worker counts alone and says so.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from time import monotonic_ns, time

from gatewright.deployments.plan import ApiKey
from gatewright.kernel.errors import Refused
from gatewright.serving.admission import Turned
from gatewright.serving.board import SLOTS
from gatewright.serving.limits import ALLOWANCES, BURST

FILE = "allowances"
DAY = 86_400
_SECOND = 1_000_000_000
_BURST_NS = BURST.value * _SECOND
_SANE_NS = _BURST_NS + _SECOND
_MAGIC = b"gatewright allowances 1\n"
_HEAD_CELLS = 8
_NAME_CELLS = 2
_SINCE, _FROM, _DAY, _BASE, _USED = 2, 3, 4, 5, 6
_ROW_CELLS = _USED + SLOTS
_CELLS = _HEAD_CELLS + ALLOWANCES.value * _ROW_CELLS
_YEAR_DAYS = 366
"""A day further ahead than this was never begun: what stands there is no count."""
_WORD = 2**64 - 1
"""Counts wrap, as the cells do: no bytes that lie in the file can make a request fail."""
_KEPT_DAYS = 2
"""A row that no plan needs is used again when nobody can count the day it was for any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clocks:
    """Nanoseconds that never go back, the same in every worker of the machine, and seconds since 1970."""

    steady: Callable[[], int] = monotonic_ns
    wall: Callable[[], float] = time


@dataclass(frozen=True, slots=True)
class _Row:
    """Where a row stands, and what it bounds: nanoseconds a request, requests a day; 0 bounds nothing.

    ``mine`` is this worker's count, ``until`` ends the counts of those that work now, and ``left`` is
    what workers counted that are no more.
    """

    at: int
    mine: int
    until: int
    left: int
    interval: int
    quota: int


class Allowance:
    """What one API key may do at one endpoint: what its own row and that of the endpoint allow."""

    __slots__ = ("_cells", "_clocks", "_rows")

    def __init__(self, cells: memoryview[int], clocks: Clocks, rows: tuple[_Row, ...]) -> None:
        self._cells = cells
        self._clocks = clocks
        self._rows = rows

    def take(self) -> None:
        """Count one request, or raise Turned (429) with ``Retry-After`` and count nothing."""
        cells = self._cells
        now = self._clocks.steady()
        for row in self._rows:
            at = row.at
            used = (row.left + sum(cells[at + _USED : row.until])) & _WORD
            if row.interval:
                full = cells[at + _SINCE] + (used - cells[at + _FROM]) * row.interval
                if not now < full <= now + _SANE_NS:  # it was full; or the machine began anew since
                    cells[at + _SINCE] = full = now
                    cells[at + _FROM] = used
                if full + row.interval > now + _BURST_NS:
                    raise _turned("rate", "second", 1)
            if row.quota:
                self._check_day(row, used)
        for row in self._rows:
            cells[row.mine] = (cells[row.mine] + 1) & _WORD

    def _check_day(self, row: _Row, used: int) -> None:
        cells, at = self._cells, row.at
        seconds = self._clocks.wall()
        today = int(seconds // DAY)
        if not today <= cells[at + _DAY] <= today + _YEAR_DAYS:
            cells[at + _BASE] = used
            cells[at + _DAY] = today
        if used - cells[at + _BASE] >= row.quota:
            raise _turned("quota", "day", int((cells[at + _DAY] + 1) * DAY - seconds) + 1)


def _turned(reason: str, period: str, wait: int) -> Turned:
    return Turned(
        429,
        f"No more requests are allowed in this {period}.",
        ((b"retry-after", b"%d" % wait),),
        reason=reason,
    )


class Allowances:
    """The rows of one worker's home; see the module. Make it with :meth:`open`."""

    def __init__(
        self, memory: mmap.mmap, handle: int | None, slot: int, workers: int, clocks: Clocks
    ) -> None:
        self._cells = memoryview(memory).cast("Q")
        self._handle = handle
        self._slot = slot
        self._workers = max(workers, slot + 1)
        self._clocks = clocks

    @classmethod
    def open(cls, path: Path, slot: int, workers: int, clocks: Clocks | None = None) -> Allowances:
        """The file at ``path``, made where there is none; ``slot`` is one of so many workers.

        Raises OSError where it cannot be had.
        """
        while True:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX)
                if os.fstat(handle).st_ino != path.stat().st_ino:
                    continue  # somebody put a new one in its place meanwhile
                if _has_form(handle):
                    memory = mmap.mmap(handle, _CELLS * 8)
                    kept, handle = handle, -1
                    fcntl.flock(kept, fcntl.LOCK_UN)
                    return cls(memory, kept, slot, workers, clocks or Clocks())
                path.unlink()  # never cut short what another worker may have mapped
            finally:
                if handle >= 0:
                    os.close(handle)

    @classmethod
    def alone(cls, slot: int, clocks: Clocks | None = None) -> Allowances:
        """Rows that nobody shares, for a worker whose disk has no room for them."""
        return cls(mmap.mmap(-1, _CELLS * 8), None, slot, slot + 1, clocks or Clocks())

    def fit(
        self, endpoints: Iterable[tuple[str, int, Mapping[str, ApiKey]]]
    ) -> dict[str, dict[str, Allowance]]:
        """The allowances of a plan, by endpoint and key id, for the keys that are bounded at all.

        Raises Refused where there are more than ``ALLOWANCES``: such a plan cannot be kept to.
        """
        plan = [
            (endpoint, rate, [key for key in keys.values() if rate or key.rate or key.quota])
            for endpoint, rate, keys in endpoints
        ]
        wanted = {_name(endpoint) for endpoint, rate, _ in plan if rate}
        wanted |= {
            _name(endpoint, key.id) for endpoint, _, keys in plan for key in keys if key.rate or key.quota
        }
        if not wanted:
            return {}
        rows = self._rows(wanted)
        return {
            endpoint: {key.id: self._allowance(rows, endpoint, rate, key) for key in keys}
            for endpoint, rate, keys in plan
            if keys
        }

    def _allowance(self, places: Mapping[bytes, int], endpoint: str, rate: int, key: ApiKey) -> Allowance:
        rows = []
        if key.rate or key.quota:
            rows.append(self._row(places[_name(endpoint, key.id)], key.rate, key.quota))
        if rate:
            rows.append(self._row(places[_name(endpoint)], rate, 0))
        return Allowance(self._cells, self._clocks, tuple(rows))

    def _row(self, at: int, rate: int, quota: int) -> _Row:
        until = at + _USED + self._workers
        return _Row(
            at,
            at + _USED + self._slot,
            until,
            sum(self._cells[until : at + _ROW_CELLS]) & _WORD,
            _SECOND // rate if rate else 0,
            quota,
        )

    def _rows(self, wanted: set[bytes]) -> dict[bytes, int]:
        """The first cell of each row, those that are not there yet taken."""
        if self._handle is not None:
            fcntl.flock(self._handle, fcntl.LOCK_EX)
        try:
            today = int(self._clocks.wall() // DAY)
            found: dict[bytes, int] = {}
            free: list[int] = []
            for row in range(_HEAD_CELLS, _CELLS, _ROW_CELLS):
                name = self._cells[row : row + _NAME_CELLS].tobytes()
                if name in wanted:
                    found[name] = row
                elif not any(name) or self._cells[row + _DAY] + _KEPT_DAYS <= today:
                    free.append(row)
            missing = wanted - found.keys()
            if len(missing) > len(free):
                raise Refused(
                    "serving.allowances",
                    f"The plan bounds more than {ALLOWANCES.value:,} API keys and endpoints.",
                    why="A worker that cannot count what a key may do does not take the plan.",
                    next="Give fewer keys a rate or a quota, or serve the endpoints from two homes.",
                )
            for name, row in zip(sorted(missing), free, strict=False):
                self._begin(row, name, today)
                found[name] = row
            return found
        finally:
            if self._handle is not None:
                fcntl.flock(self._handle, fcntl.LOCK_UN)

    def _begin(self, row: int, name: bytes, today: int) -> None:
        """Make a row a new name's; its day is that of the plan, so that it is kept for a while."""
        cells = self._cells
        cells[row + _SINCE] = 0
        cells[row + _FROM] = cells[row + _BASE] = sum(cells[row + _USED : row + _ROW_CELLS]) & _WORD
        cells[row + _DAY] = today
        cells[row : row + _NAME_CELLS] = memoryview(name).cast("Q")

    def close(self) -> None:
        """Let go of the file."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


def _has_form(handle: int) -> bool:
    """Whether a file is one of allowances; an empty one is made one."""
    if not os.fstat(handle).st_size:
        os.posix_fallocate(handle, 0, _CELLS * 8)  # a mapped hole on a full disk kills
        os.pwrite(handle, _MAGIC, 0)
    return os.fstat(handle).st_size == _CELLS * 8 and os.pread(handle, len(_MAGIC), 0) == _MAGIC


def _name(endpoint: str, key: str = "") -> bytes:
    """Sixteen bytes that stand for an endpoint, or for a key at it."""
    return sha256(f"{endpoint}\0{key}".encode()).digest()[:16]
