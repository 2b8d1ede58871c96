"""The shadow: a release that sees copies of requests, off the answering path, and answers nobody.

When a prediction has its receipt, its inputs are left in a bounded queue: that is all that the way of
an answer does. One thread takes them out, runs the shadow release, compares, and records what
the shadow said in the same segments as the answers: ``recording`` is ``shadow-agrees`` or
``shadow-differs``, ``request`` the id of the answered prediction's receipt, so that a disagreement is
evidence. A full queue drops, and counts what it drops.

The thread has no lower priority than the others: it holds the interpreter's lock while it works, and
a thread that holds the lock and gets no time would stop every answer. It holds itself back instead:
it takes a few copies at a time, waits until their records are on the disk, and then rests for as
long as that took.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from time import monotonic

import numpy as np

from gatewright.kernel.errors import Refusal
from gatewright.ledger.receipts import leaf_parts, receipt_id
from gatewright.models.signature import ModelSignature, Task
from gatewright.serving.admission import Turned
from gatewright.serving.codec import Array, Asked
from gatewright.serving.composing import Then
from gatewright.serving.limits import RECORD_TIME, SHADOW_BYTES, SHADOW_WAITING
from gatewright.serving.recorder import Recorder
from gatewright.serving.routing import Route, Tally
from gatewright.serving.traffic import checked

AGREES = "shadow-agrees"
DIFFERS = "shadow-differs"
LOOK_SECONDS = 0.005
TOGETHER = 32
"""Most shadow predictions whose records are waited for at once."""
TOLERANCE = 1e-3
"""Two values agree that differ by no more than this part of the larger one."""


@dataclass(slots=True)
class Mirrored:
    """A copy of a request of API key ``key``, and what was answered to it before any minimising."""

    route: Route
    key: str
    asked: Asked
    answered: Sequence[Array]

    @property
    def bytes(self) -> int:
        """About how much memory the copy holds."""
        return sum([array.nbytes for array in (*self.asked.inputs, *self.answered)])


class Shadow:
    """The queue and its thread, which begins with the first copy.

    ``report`` is told once, for each release and endpoint, when a shadow fails.
    """

    def __init__(self, recorder: Recorder, report: Callable[[Refusal], None]) -> None:
        self._recorder = recorder
        self._report = report
        self._waiting: deque[tuple[Mirrored, str]] = deque()
        self._came = 0  # bytes: each count is written by one thread only
        self._went = 0
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def after(self, mirrored: Mirrored, then: Then) -> Then:
        """What to call with the receipt's token: it lets the answer go, then leaves the copy."""

        def both(token: str | None) -> None:
            then(token)
            if token is not None:
                self.offer(mirrored, token)

        return both

    def offer(self, mirrored: Mirrored, token: str) -> None:
        """Leave a copy of a prediction that was recorded, on the event loop; never waits, drops when full."""
        tally, size = mirrored.route.tally, mirrored.bytes
        tally.seen += 1
        full = len(self._waiting) >= SHADOW_WAITING.value
        if full or self._came - self._went + size > SHADOW_BYTES.value or self._closing.is_set():
            tally.dropped += 1
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="shadow", daemon=True)
            self._thread.start()
        self._came += size
        self._waiting.append((mirrored, token))

    def close(self) -> None:
        """End the thread after what it has in hand; what waits is dropped. Not on the event loop."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join(RECORD_TIME.value)
        while self._waiting:
            self._waiting.popleft()[0].route.tally.dropped += 1

    # In the thread.

    def _work(self) -> None:
        worked = 0.0
        while not self._closing.wait(max(LOOK_SECONDS, worked)):
            begun = monotonic()
            settled = threading.Semaphore(0)
            count = min(len(self._waiting), TOGETHER)
            asked = sum([self._predict(*self._waiting.popleft(), settled) for _ in range(count)])
            for _ in range(asked):
                if not settled.acquire(timeout=RECORD_TIME.value):
                    break
            worked = monotonic() - begun

    def _predict(self, mirrored: Mirrored, token: str, settled: threading.Semaphore) -> bool:
        """Run the shadow on one copy and ask for its record; whether one was asked for."""
        self._went += mirrored.bytes
        route = mirrored.route
        try:
            self._ask(mirrored, token, settled)
        except Exception as error:  # noqa: BLE001 - whatever fails here has no caller, and must not end the thread
            route.tally.failed += 1
            if route.tally.failed == 1:
                refusal = Refusal(
                    code="serving.shadow-failed",
                    what=f"The shadow of endpoint {route.endpoint} failed; no answer is touched.",
                    why=error.sentence if isinstance(error, Turned) else type(error).__name__,
                    next="Its failures are counted and not reported again.",
                )
                with suppress(Exception):  # nobody may be there to hear it; the thread goes on
                    self._report(refusal)
            return False
        return True

    def _ask(self, mirrored: Mirrored, token: str, settled: threading.Semaphore) -> None:
        route, asked = mirrored.route, mirrored.asked
        assert route.shadow is not None  # noqa: S101 - only such routes are mirrored
        release = route.shadow.release
        said = checked(release, asked, release.engine.run(asked.inputs, asked.outputs))
        agrees, apart = compare(release.signature, asked.outputs, mirrored.answered, said)
        route.tally.apart = max(route.tally.apart, apart)
        self._recorder.submit_from_thread(
            leaf_parts(
                endpoint=route.endpoint,
                key=mirrored.key,
                plan=route.number,
                release=release.root,
                recording=AGREES if agrees else DIFFERS,
            ),
            receipt_id(token),
            release.codec.inputs_encoding(asked.inputs),
            release.codec.outputs_encoding(said, asked.outputs),
            partial(_count, route.tally, agrees, settled),
        )


def _count(tally: Tally, agrees: bool, settled: threading.Semaphore, token: str | None) -> None:  # noqa: FBT001 - bound above
    """On the event loop: a shadow prediction has its record, or has none."""
    if token is None:
        tally.unrecorded += 1
    elif agrees:
        tally.agreed += 1
    else:
        tally.differed += 1
    settled.release()


def compare(
    signature: ModelSignature, places: Sequence[int], answered: Sequence[Array], said: Sequence[Array]
) -> tuple[bool, float]:
    """Whether a shadow agrees with an answer, and the largest distance of two numbers in them.

    Classifiers agree that give the same labels; where the label was not asked for, the same greatest
    scores. Otherwise every output must be the same, numbers within :data:`TOLERANCE`. A classifier's
    label is no number here.
    """
    pairs = {
        signature.outputs[place].name: (one, other)
        for place, one, other in zip(places, answered, said, strict=True)
    }
    with np.errstate(invalid="ignore"):
        return _compare(signature, pairs)


def _compare(signature: ModelSignature, pairs: Mapping[str, tuple[Array, Array]]) -> tuple[bool, float]:
    classifies = signature.task is not Task.REGRESSION
    label, scores = pairs.get(signature.label_output), pairs.get(signature.scores_output)
    numbers = [pair for pair in pairs.values() if pair[0].dtype.kind == "f"]
    apart = max((_distance(*pair) for pair in numbers if not (classifies and pair is label)), default=0.0)
    if classifies and label is not None:
        return np.array_equal(*label), apart
    if classifies and scores is not None:
        one, other = scores
        return np.array_equal(one.argmax(axis=-1), other.argmax(axis=-1)), apart
    return all(_alike(*pair) for pair in pairs.values()), apart


def _distance(one: Array, other: Array) -> float:
    if one.shape != other.shape or not one.size:
        return 0.0
    apart = np.abs(one.astype(np.float64) - other.astype(np.float64))
    return float(apart[np.isfinite(apart)].max(initial=0.0))


def _alike(one: Array, other: Array) -> bool:
    if one.dtype.kind != "f" or one.shape != other.shape:
        return np.array_equal(one, other)
    apart = np.abs(one.astype(np.float64) - other.astype(np.float64))
    near = np.isfinite(apart) & (apart <= TOLERANCE * np.maximum(np.abs(one), np.abs(other)))
    return bool((near | (one == other) | (np.isnan(one) & np.isnan(other))).all())
