"""What dead workers left is recorded before anything else is.

A receipt promises that its prediction will be in the log, and a log that goes on for more than a day
without it has broken the promise. So whoever opens a home to record something first seals the segments
that killed workers left open, as the next worker would, and records those that wait.
"""

from __future__ import annotations

import sys

from gatewright.kernel.errors import Misuse, Refusal
from gatewright.operations.collect import Collected, collect
from gatewright.operations.home import Home
from gatewright.operations.waiting import WORKER_FOLDER, open_segments, sealed


def take_in(home: Home) -> Collected:
    """Seal and record what waits; called inside ``exclusive()``. Segments of workers that run are left to them."""
    if open_segments(home.segments):
        _seal(home)
    rounds = []
    while sealed(home.segments):
        rounds.append(collect(home))
        if not rounds[-1].segments:  # what is left does not hold
            break
    return together(rounds)


def together(rounds: list[Collected]) -> Collected:
    """What several rounds took in, and each problem once."""
    return Collected(
        segments=sum(each.segments for each in rounds),
        predictions=sum(each.predictions for each in rounds),
        problems=tuple(dict.fromkeys(problem for each in rounds for problem in each.problems)),
    )


def _seal(home: Home) -> None:
    """Seal every open segment, unless a server runs: it has the lock, and its workers do so."""
    from gatewright.serving.composing import Composer  # noqa: PLC0415 - only where a worker was killed
    from gatewright.serving.leftovers import recover  # noqa: PLC0415
    from gatewright.serving.segment_files import SegmentFiles, WorkerLock  # noqa: PLC0415

    try:
        lock = WorkerLock(home.segments)
    except Misuse:
        return
    try:
        composer = Composer(home.keys.worker, b"", home.now)  # seals, and begins no segment of its own
        for folder in (home.segments, *sorted(home.segments.glob(f"{WORKER_FOLDER}*"))):
            recover(SegmentFiles(folder), composer, _say)
    finally:
        lock.release()


def _say(refusal: Refusal) -> None:
    sys.stderr.write(f"{refusal.sentence()}\n")
