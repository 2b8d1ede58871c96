"""Requests that wait for one model, joined where that is faster and changes no answer.

Nobody waits for company: a request runs as soon as a thread is free, together with those that came
while all threads were busy. Whether and how far requests may be joined was found out when the model
was loaded: see :mod:`gatewright.serving.engine`.

Callers do not meet. A joined run that fails is run again, each request by itself, and each has its
own answer or its own error.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from queue import SimpleQueue
from time import perf_counter, thread_time
from typing import TypeAlias

import numpy as np

from gatewright.serving.codec import Array

Run: TypeAlias = Callable[[Sequence[Array], Sequence[int]], list[Array]]
Outcome: TypeAlias = list[Array] | Exception
"""The outputs of a run, or what it raised."""
Ended: TypeAlias = Callable[[Outcome], None]
MEMORY = 16
"""The time of a request is the mean of about so many, the newest counting most."""

CONTENDED = 2.0
"""A run counts as at most so many times its processor time: who is turned away and asks again at once
takes that from the runs, which must not look like slower models and turn more away."""


def cores() -> int:
    """How many cores this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


class Threads:
    """The threads of a worker that run models; they begin with the first piece of work.

    ``number`` of them: one for each core that the process may use.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self._work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._starting = threading.Lock()
        self._threads: list[threading.Thread] = []

    def do(self, work: Callable[[], None]) -> None:
        """Have it done soon, in the order of asking; what ``work`` raises is lost. From any thread."""
        if not self._threads:
            self._start()
        self._work.put(work)

    def _start(self) -> None:
        with self._starting:
            if not self._threads:
                names = [f"model-{place}" for place in range(self.number)]
                self._threads = [
                    threading.Thread(target=self._loop, name=name, daemon=True) for name in names
                ]
                for thread in self._threads:
                    thread.start()

    def _loop(self) -> None:
        while (work := self._work.get()) is not None:
            with suppress(Exception):  # a thread that ended would take the others' answers with it
                work()

    def close(self) -> None:
        """End, after all that was asked before."""
        for _ in self._threads:
            self._work.put(None)
        for thread in self._threads:
            thread.join()


@dataclass(slots=True)
class _Waiting:
    """One request; ``ended`` takes its outputs, or what the model raised for it."""

    inputs: Sequence[Array]
    outputs: tuple[int, ...]
    ended: Ended

    @property
    def rows(self) -> int:
        return len(self.inputs[0])

    def end(self, outcome: Outcome) -> None:
        with suppress(Exception):  # the next one's answer does not depend on what becomes of this one
            self.ended(outcome)


class Lane:
    """The line in front of one model.

    ``run`` runs it; one run takes at most ``rows`` rows of joined requests, and none are joined where
    that is 1. ``seconds`` is what a request took of a thread's time lately; it begins with the time
    of one row. ``joined_runs`` counts the runs of more than one request that gave their answers, and
    ``joined_requests`` the requests in them.
    """

    def __init__(self, run: Run, *, rows: int, seconds: float) -> None:
        self._run = run
        self._rows = rows
        self._line: deque[_Waiting] = deque()
        self._lock = threading.Lock()
        self.seconds = seconds
        self.joined_runs = 0
        self.joined_requests = 0

    def begin(
        self, inputs: Sequence[Array], outputs: tuple[int, ...], threads: Threads, ended: Ended
    ) -> None:
        """Stand in line; ``ended`` is called once, by one of the threads. From any thread."""
        with self._lock:
            self._line.append(_Waiting(inputs, outputs, ended))
        threads.do(self._work)  # once for each request: a thread that finds it taken goes on at once

    def _work(self) -> None:
        taken = self._take()
        if not taken:
            return
        begun, used = perf_counter(), thread_time()
        outcomes = self._together(taken) if len(taken) > 1 else None
        if outcomes is None:
            outcomes = [self._alone(waiting) for waiting in taken]
        else:
            with self._lock:  # several threads work for one line
                self.joined_runs += 1
                self.joined_requests += len(taken)
        spent = min(perf_counter() - begun, CONTENDED * (thread_time() - used)) / len(taken)
        self.seconds += (spent - self.seconds) * min(1.0, len(taken) / MEMORY)
        for waiting, outcome in zip(taken, outcomes, strict=True):
            waiting.end(outcome)

    def _take(self) -> list[_Waiting]:
        """The first in line, and those behind it that may go with it."""
        with self._lock:
            if not self._line:
                return []
            taken = [self._line.popleft()]
            if self._rows > 1:
                room = self._rows - taken[0].rows
                while self._line and self._line[0].outputs == taken[0].outputs:
                    room -= self._line[0].rows
                    if room < 0:
                        break
                    taken.append(self._line.popleft())
        return taken

    def _alone(self, waiting: _Waiting) -> Outcome:
        try:
            return self._run(waiting.inputs, waiting.outputs)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer to this request alone
            return error

    def _together(self, taken: Sequence[_Waiting]) -> list[Outcome] | None:
        """What one run gave each of them; None where it failed, or did not give a row for a row."""
        try:
            joined = [np.concatenate(same) for same in zip(*(each.inputs for each in taken), strict=True)]
            found = self._run(joined, taken[0].outputs)
            if any(len(array) != len(joined[0]) for array in found):
                return None
        except Exception:  # noqa: BLE001 - whose fault it was is found out by running each alone
            return None
        outcomes: list[Outcome] = []
        start = 0
        for each in taken:
            outcomes.append([array[start : start + each.rows] for array in found])
            start += each.rows
        return outcomes
