from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from queue import SimpleQueue

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from gatewright.ledger.receipts import Receipt, matches
from gatewright.models.tensors import encode_arrays
from gatewright.serving import engine
from gatewright.serving.batching import Lane, Outcome, Threads, cores
from gatewright.serving.codec import Array
from gatewright.serving.engine import Engine, Way
from gatewright.serving.worker import STATUS_FILE
from unit.serving.rig import SIGNATURE, WAIT_S, Rig

OUTPUTS = st.sampled_from([(0,), (1,), (0, 1), (1, 0)])
ROWS = st.lists(st.integers(-1, 30), min_size=1, max_size=6)


class Refused(Exception):
    """What the model below raises for a row that is less than nothing."""


class Model:
    """Doubles and squares; each row by itself. ``runs`` are the numbers of rows of its runs."""

    def __init__(self) -> None:
        self.runs: list[int] = []

    def __call__(self, inputs: Sequence[Array], outputs: Sequence[int]) -> list[Array]:
        """Run it."""
        (values,) = inputs
        self.runs.append(len(values))
        if (values < 0).any():
            raise Refused(int(values.min()))
        return [(values * 2, values**2)[place] for place in outputs]


@contextmanager
def held(threads: Threads) -> Iterator[None]:
    """The threads busy with something else for as long as this lasts, so that requests queue up."""
    gate = threading.Event()
    for _ in range(threads.number):
        threads.do(lambda: gate.wait(WAIT_S) and None)
    try:
        yield
    finally:
        gate.set()


def answers(
    run: Callable[[Sequence[Array], Sequence[int]], list[Array]],
    asked: Sequence[tuple[Sequence[int], tuple[int, ...]]],
    *,
    rows: int,
    number: int = 1,
) -> list[Outcome]:
    """What each of the requests was answered that came while the threads were busy."""
    threads = Threads(number)
    lane = Lane(run, rows=rows, seconds=0.001)
    came: SimpleQueue[tuple[int, Outcome]] = SimpleQueue()
    try:
        with held(threads):
            for place, (values, outputs) in enumerate(asked):
                lane.begin(
                    (np.array(values, np.int64),),
                    outputs,
                    threads,
                    lambda outcome, place=place: came.put((place, outcome)),
                )
        found = dict(came.get(timeout=WAIT_S) for _ in asked)
    finally:
        threads.close()
    assert came.empty()
    return [found[place] for place in range(len(asked))]


@given(
    asked=st.lists(st.tuples(ROWS, OUTPUTS), min_size=1, max_size=20),
    rows=st.sampled_from([1, 4, 8, 1000]),
    number=st.sampled_from([1, 3]),
)
def test_everyone_gets_what_the_model_says_to_them_alone(
    asked: list[tuple[list[int], tuple[int, ...]]], rows: int, number: int
) -> None:
    """Whatever is joined with whatever, each has its own rows, or its own error, once."""
    for (values, outputs), outcome in zip(
        asked, answers(Model(), asked, rows=rows, number=number), strict=True
    ):
        if min(values) < 0:
            assert isinstance(outcome, Refused)
        else:
            assert not isinstance(outcome, Exception)
            alone = Model()((np.array(values),), outputs)
            assert [array.tolist() for array in alone] == [array.tolist() for array in outcome]


def test_what_waits_together_runs_together() -> None:
    """Requests that came while the threads were busy are joined, up to the most rows of a run."""
    model = Model()

    answers(model, [([1, 2], (0,))] * 5 + [([3], (0,))], rows=4)

    assert [4, 4, 3] == model.runs


def test_joined_runs_are_counted() -> None:
    """Runs of several requests and the requests in them are counted; a run that failed and one alone are not."""
    threads = Threads(1)
    lane = Lane(Model(), rows=4, seconds=0.001)
    with held(threads):
        for values in ([1], [2], [3, 4], [5], [-1], [6, 7, 8, 9]):
            lane.begin((np.array(values, np.int64),), (0,), threads, lambda _outcome: None)
    threads.close()

    assert (1, 3) == (lane.joined_runs, lane.joined_requests)


def test_a_request_that_is_larger_than_a_joined_run_goes_alone() -> None:
    """The most rows of a run bound what is joined, not what one caller asks for."""
    model = Model()

    answers(model, [([1] * 9, (0,)), ([2], (0,))], rows=4)

    assert [9, 1] == model.runs


def test_other_outputs_are_another_run() -> None:
    """Only requests for the same outputs are joined."""
    model = Model()

    answers(model, [([1], (0,)), ([1], (0,)), ([1], (1,))], rows=8)

    assert [2, 1] == model.runs


def test_nothing_is_joined_where_rows_are_not_the_same_alone() -> None:
    """A lane of one row runs each request by itself."""
    model = Model()

    answers(model, [([1], (0,))] * 3, rows=1)

    assert [1, 1, 1] == model.runs


def test_one_bad_request_fails_alone() -> None:
    """A joined run that fails is run again one by one: the others do not notice."""
    model = Model()

    first, second, third = answers(model, [([1], (0,)), ([-1], (0,)), ([3], (0,))], rows=8)

    assert [3, 1, 1, 1] == model.runs
    assert isinstance(second, Refused)
    assert not isinstance(first, Exception)
    assert not isinstance(third, Exception)
    assert ([2], [6]) == (first[0].tolist(), third[0].tolist())


@pytest.mark.parametrize("wrong", [lambda values: values[:1], lambda values: values.sum()])
def test_a_joined_run_that_does_not_give_row_for_row_is_not_believed(
    wrong: Callable[[Array], Array],
) -> None:
    """An output without a row for each row that went in is thrown away, and each is run alone."""

    def run(inputs: Sequence[Array], outputs: Sequence[int]) -> list[Array]:
        del outputs
        return [inputs[0] if len(inputs[0]) == 1 else np.asarray(wrong(inputs[0]))]

    found = answers(run, [([5], (0,)), ([6], (0,))], rows=8)

    assert [[5], [6]] == [outcome[0].tolist() for outcome in found if not isinstance(outcome, Exception)]


def test_who_fails_to_take_an_answer_costs_nobody_else_theirs() -> None:
    """What happens to one answer after the run is not the next one's business."""
    threads = Threads(1)
    lane = Lane(Model(), rows=8, seconds=0.001)
    came: SimpleQueue[Outcome] = SimpleQueue()

    def broken(outcome: Outcome) -> None:
        del outcome
        raise RuntimeError

    with held(threads):
        lane.begin((np.array([1]),), (0,), threads, broken)
        lane.begin((np.array([2]),), (0,), threads, came.put)
    outcome = came.get(timeout=WAIT_S)
    threads.close()

    assert not isinstance(outcome, Exception)
    assert [4] == outcome[0].tolist()


def test_one_lane_does_not_keep_another_from_the_threads() -> None:
    """Runs of two models take turns, in the order of asking."""
    threads = Threads(1)
    order: SimpleQueue[str] = SimpleQueue()
    many, one = (Lane(Model(), rows=1, seconds=0.001) for _ in range(2))
    with held(threads):
        for _ in range(3):
            many.begin((np.array([1]),), (0,), threads, lambda _: order.put("many"))
        one.begin((np.array([1]),), (0,), threads, lambda _: order.put("one"))
        many.begin((np.array([1]),), (0,), threads, lambda _: order.put("many"))
    threads.close()

    assert ["many", "many", "many", "one", "many"] == [order.get_nowait() for _ in range(5)]


def test_the_time_of_a_request_follows_what_runs_take() -> None:
    """What a request takes is known from the first one on, and is moved by those that follow."""
    threads = Threads(1)
    lane = Lane(Model(), rows=1, seconds=1000.0)
    for _ in range(3):
        lane.begin((np.array([1]),), (0,), threads, lambda _: None)
    threads.close()

    assert 0 < lane.seconds < 1000.0


def test_threads_end_when_they_never_began() -> None:
    """Closing before the first piece of work waits for nothing."""
    threads = Threads(cores())

    threads.close()

    assert threads.number >= 1


def picky_model() -> bytes:
    """ONNX: the rig's signature; probabilities by the sum of a row, and a failure where a value is 8 or more."""
    weights = [
        numpy_helper.from_array(np.zeros(8, np.float32), "table"),
        numpy_helper.from_array(np.array([[-1, 1]] * 3, np.float32), "W"),
    ]
    nodes = [
        helper.make_node("Cast", ["X"], ["places"], to=TensorProto.INT64),
        helper.make_node("Gather", ["table", "places"], ["zeros"]),
        helper.make_node("Add", ["X", "zeros"], ["checked"]),
        helper.make_node("MatMul", ["checked", "W"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["probabilities"], axis=1),
        helper.make_node("ArgMax", ["scores"], ["label"], axis=1, keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "picky",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, 3])],
        [
            helper.make_tensor_value_info("label", TensorProto.INT64, [None]),
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, 2]),
        ],
        weights,
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(made.SerializeToString())


def test_callers_that_are_joined_do_not_meet(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many at once over REST: each has the answer, the error, the id and the receipt of its own request."""
    monkeypatch.setattr(engine, "way_of", lambda *_, **__: (Way.BATCHED, 16))
    rig.publish(rig.plan(1, rig.make_release(1, model=picky_model())))
    alone = Engine(picky_model(), SIGNATURE)
    rows = [[place % 7, place % 5 + 0.25, 9.0 if place % 6 == 5 else 0.5] for place in range(48)]

    with rig.running() as running, ThreadPoolExecutor(12) as callers:

        def ask(place: int) -> httpx.Response:
            tensor = {"name": "X", "shape": [1, 3], "datatype": "FP32", "data": rows[place]}
            body = {"id": f"q-{place}", "inputs": [tensor]}
            return running.client.post("/v2/models/tumour/infer", json=body)

        answers = list(callers.map(ask, range(len(rows))))
        seen = json.loads((rig.segments / STATUS_FILE).read_text("utf-8"))

    for place, (row, answer) in enumerate(zip(rows, answers, strict=True)):
        if row[2] == 9.0:
            assert 500 == answer.status_code
            continue
        body = answer.json()
        label, scores = alone.run([np.array([row], np.float32)], (0, 1))
        receipt = Receipt.parse(body["parameters"]["receipt"])
        assert (f"q-{place}", label.tolist()) == (body["id"], body["outputs"][0]["data"])
        assert scores.ravel().tolist() == body["outputs"][1]["data"]
        assert matches(
            receipt,
            encode_arrays([("X", np.array([row], np.float32))]),
            encode_arrays([("label", label), ("probabilities", scores)]),
        )
    assert ["batched"] == [model["run"] for model in seen["models"]]
