from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewright.kernel.errors import Refusal
from gatewright.models.signature import ModelSignature, Task
from gatewright.serving import shadow as module
from gatewright.serving.codec import Asked
from gatewright.serving.limits import SHADOW_BYTES, SHADOW_WAITING
from gatewright.serving.recorder import Recorder
from gatewright.serving.routing import Route
from gatewright.serving.segment_files import SegmentFiles
from gatewright.serving.shadow import TOLERANCE, Mirrored, Shadow, compare
from unit.serving.rig import SIGNATURE, WAIT_S, Rig
from unit.serving.routes import ref, route_of

ROW = np.array([[1.0, 2.0, 3.0]], np.float32)
ANSWER = [np.array([1]), np.array([[0.25, 0.75]], np.float32)]
REGRESSION = replace(SIGNATURE, task=Task.REGRESSION, label_output="label", scores_output="", classes=())


class Held:
    """An engine that says when it is entered, and waits to be let go."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.go = threading.Event()

    def run(self, inputs: Any, outputs: Any) -> list[Any]:
        """Wait, then answer."""
        del inputs, outputs
        self.entered.set()
        assert self.go.wait(WAIT_S)
        return ANSWER


def idle(rig: Rig, said: list[Refusal]) -> Shadow:
    """A shadow over a recorder that was not started: each prediction of the shadow fails at its record."""
    recorder = Recorder(
        disk=SegmentFiles(rig.segments),
        signer=rig.worker,
        home_key=rig.data_key,
        clock=rig.clock,
        report=said.append,
    )
    return Shadow(recorder, said.append)


def copy_of(route: Route, rows: int = 1) -> Mirrored:
    """A request and its answer."""
    return Mirrored(route, "key-1", Asked(None, (np.repeat(ROW, rows, axis=0),), (0, 1)), ANSWER)


def held() -> tuple[Route, Held]:
    """A route whose shadow waits to be let go."""
    engine = Held()
    return route_of(ref(1), shadow=ref(8), engines={8: engine}), engine


def test_a_full_queue_drops_and_counts(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the shadow is busy as many copies wait as may; the others are dropped, and closing drops the rest."""
    monkeypatch.setattr(module, "SHADOW_WAITING", replace(SHADOW_WAITING, value=4))
    said: list[Refusal] = []
    shadow, (route, engine) = idle(rig, said), held()
    shadow.offer(copy_of(route), "token")
    assert engine.entered.wait(WAIT_S)
    for _ in range(10):
        shadow.offer(copy_of(route), "token")
    dropped = route.tally.dropped
    closing = threading.Thread(target=shadow.close)
    closing.start()
    engine.go.set()
    closing.join(WAIT_S)
    shadow.offer(copy_of(route), "token")

    tally = route.tally
    assert (6, 12, False) == (dropped, tally.seen, closing.is_alive())
    assert tally.seen == tally.dropped + tally.failed
    assert ["serving.shadow-failed"] == [refusal.code for refusal in said]


def test_copies_are_bounded_by_bytes(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Large inputs fill the queue before their number does."""
    monkeypatch.setattr(module, "SHADOW_BYTES", replace(SHADOW_BYTES, value=30 * ROW.nbytes))
    shadow, (route, engine) = idle(rig, []), held()
    shadow.offer(copy_of(route, 31), "token")
    assert not engine.entered.is_set()
    shadow.offer(copy_of(route, 20), "token")
    assert engine.entered.wait(WAIT_S)
    for _ in range(3):
        shadow.offer(copy_of(route, 20), "token")
    dropped = route.tally.dropped
    engine.go.set()
    shadow.close()

    assert 3 == dropped


def test_without_copies_there_is_no_thread(rig: Rig) -> None:
    """A worker without a shadow pays nothing for one, and closing it is nothing."""
    before = threading.active_count()
    shadow = idle(rig, [])
    shadow.close()

    assert before == threading.active_count()


def test_only_a_recorded_answer_is_mirrored(rig: Rig) -> None:
    """The answer goes first; where it had no record, there is no copy either."""
    shadow, (route, engine) = idle(rig, []), held()
    engine.go.set()
    told: list[str | None] = []
    for token in (None, "token"):
        shadow.after(copy_of(route), told.append)(token)
    shadow.close()

    assert ([None, "token"], 1) == (told, route.tally.seen)


SCORES = st.lists(st.floats(0, 1, width=32), min_size=2, max_size=2)


@settings(max_examples=60, deadline=None)
@given(SCORES, SCORES)
def test_scores_agree_where_their_greatest_do(one: list[float], other: list[float]) -> None:
    """Without the label the class of the greatest score decides; the distance is the largest of all scores."""
    agrees, apart = compare(SIGNATURE, (1,), [np.array([one], np.float32)], [np.array([other], np.float32)])

    assert (np.argmax(one) == np.argmax(other)) == agrees
    assert max(abs(a - b) for a, b in zip(one, other, strict=True)) == pytest.approx(apart)


@pytest.mark.parametrize(
    ("signature", "places", "one", "other", "expected"),
    [
        (SIGNATURE, (0, 1), [np.array([1]), np.array([[0.4, 0.6]])], [np.array([1]), np.array([[0.1, 0.9]])], (True, 0.3)),
        (SIGNATURE, (1, 0), [np.array([[0.4, 0.6]]), np.array([1])], [np.array([[0.4, 0.6]]), np.array([0])], (False, 0)),
        (REGRESSION, (0,), [np.array([1000.0])], [np.array([1000.9])], (True, 0.9)),
        (REGRESSION, (0,), [np.array([1000.0])], [np.array([1001.1])], (False, 1.1)),
        (REGRESSION, (0,), [np.array([np.inf])], [np.array([1.0])], (False, 0)),
        (REGRESSION, (0,), [np.array([np.inf, np.nan])], [np.array([np.inf, np.nan])], (True, 0)),
        (REGRESSION, (0,), [np.array([1.0, 2.0])], [np.array([1.0])], (False, 0)),
    ],
)  # fmt: skip
def test_what_agrees(
    signature: ModelSignature,
    places: tuple[int, ...],
    one: list[Any],
    other: list[Any],
    expected: tuple[bool, float],
) -> None:
    """Labels must be equal; values may differ by one part in a thousand; other shapes never agree."""
    agrees, apart = compare(signature, places, one, other)

    assert (expected[0], pytest.approx(expected[1])) == (agrees, apart)
    assert 1e-3 == TOLERANCE
