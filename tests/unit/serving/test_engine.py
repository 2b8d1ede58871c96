from __future__ import annotations

from dataclasses import replace
from queue import SimpleQueue

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from gatewright.kernel.errors import BadInput
from gatewright.models.signature import DataType, ModelSignature, Task, TensorSpec
from gatewright.models.tensors import bf16_bits
from gatewright.serving.batching import Outcome, Threads
from gatewright.serving.engine import Engine, Way, way_of
from unit.serving.rig import SIGNATURE, WAIT_S, linear_model

US = 1e-6
BF16 = TensorProto.BFLOAT16


def graph_of(nodes: list[object], kind: int, shape: list[object], *weights: object) -> bytes:
    """A model from X to Y, both of one type and shape."""
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("X", kind, shape)],
        [helper.make_tensor_value_info("Y", kind, shape)],
        list(weights),
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(made.SerializeToString())


def signature_of(datatype: DataType, shape: tuple[int, ...]) -> ModelSignature:
    """From X to Y, both of one type and shape."""
    return ModelSignature(
        task=Task.REGRESSION,
        inputs=(TensorSpec(name="X", datatype=datatype, shape=shape),),
        outputs=(TensorSpec(name="Y", datatype=datatype, shape=shape),),
        label_output="Y",
    )


def test_a_model_runs_from_memory() -> None:
    """Outputs come in the order asked, from inputs in the signature's order."""
    engine = Engine(linear_model(1.0), SIGNATURE)

    [scores, label] = engine.run([np.ones((2, 3), np.float32)], (1, 0))

    assert [1, 1] == label.tolist()
    assert (2, 2) == scores.shape


def test_a_run_is_what_onnx_runtime_says() -> None:
    """The quicker way of calling gives what the documented one gives, to the bit."""
    engine = Engine(linear_model(0.3), SIGNATURE)
    rows = np.random.default_rng(1).standard_normal((5, 3)).astype(np.float32)

    expected = onnxruntime.InferenceSession(linear_model(0.3)).run(["label", "probabilities"], {"X": rows})

    assert [each.tobytes() for each in expected] == [each.tobytes() for each in engine.run([rows], (0, 1))]


def test_a_run_in_threads_gives_the_same() -> None:
    """``begin`` hands over what ``run`` returns, and what it raises."""
    engine = Engine(linear_model(1.0), SIGNATURE)
    threads = Threads(1)
    came: SimpleQueue[Outcome] = SimpleQueue()
    for columns in (3, 4):
        engine.begin([np.ones((1, columns), np.float32)], (0,), threads, came.put)
    good, bad = (came.get(timeout=WAIT_S) for _ in range(2))
    threads.close()

    assert not isinstance(good, Exception)
    assert [1] == good[0].tolist()
    assert isinstance(bad, Exception)


@pytest.mark.parametrize("model", [b"", b"not a model", linear_model(1.0)[:-40]])
def test_bytes_that_are_no_model_are_refused(model: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    """What ONNX Runtime cannot load is refused at load, not at the first request, and without noise."""
    with pytest.raises(BadInput):
        Engine(model, SIGNATURE)

    assert ("", "") == capsys.readouterr()


@pytest.mark.parametrize(
    "change",
    [
        {"inputs": (TensorSpec(name="Z", datatype=DataType.FP32, shape=(-1, 3)),)},
        {"inputs": (TensorSpec(name="X", datatype=DataType.INT64, shape=(-1, 3)),)},
        {"inputs": (TensorSpec(name="X", datatype=DataType.FP32, shape=(-1, 4)),)},
        {"outputs": (TensorSpec(name="label", datatype=DataType.FP32, shape=(-1,)),)},
        {"outputs": (TensorSpec(name="label", datatype=DataType.INT64, shape=(-1, 1)),)},
        {"outputs": (TensorSpec(name="nothing", datatype=DataType.INT64, shape=(-1,)),)},
    ],
)
def test_a_model_must_do_what_its_signature_says(change: dict[str, tuple[TensorSpec, ...]]) -> None:
    """A model that does not fit its signature is refused at load."""
    with pytest.raises(BadInput):
        Engine(linear_model(1.0), replace(SIGNATURE, **change))


@pytest.mark.parametrize(
    ("times", "joinable", "expected"),
    [
        ({1: 90 * US, 2: 91 * US, 8: 92 * US}, True, (Way.INLINE, 1)),
        ({1: 400 * US, 2: 800 * US, 8: 3200 * US}, True, (Way.INLINE, 1)),
        ({1: 400 * US, 2: 420 * US, 8: 500 * US}, True, (Way.BATCHED, 8)),
        ({1: 400 * US, 2: 420 * US, 8: 500 * US}, False, (Way.INLINE, 1)),
        ({1: 501 * US}, False, (Way.THREADS, 1)),
        ({1: 5000 * US, 2: 9000 * US, 8: 39_000 * US}, True, (Way.THREADS, 1)),
        ({1: 5000 * US, 2: 6000 * US, 8: 24_000 * US, 32: 96_000 * US}, True, (Way.BATCHED, 2)),
        ({1: 5000 * US, 2: 6000 * US, 8: 20_000 * US, 32: 26_000 * US}, True, (Way.BATCHED, 8)),
        ({1: 80_000 * US, 2: 81_000 * US}, True, (Way.THREADS, 1)),
    ],
)
def test_measured_times_decide_how_a_model_is_run(
    times: dict[int, float], joinable: bool, expected: tuple[Way, int]
) -> None:
    """Inline where handing over would cost as much; joined where each row costs clearly less, and not for long."""
    assert expected == way_of(times, joinable=joinable)


def test_rows_by_themselves_may_be_joined() -> None:
    """A model that treats each row by itself is found to give the same bits alone and among others."""
    assert Engine(linear_model(1.0), SIGNATURE).joinable


def test_a_model_that_looks_across_rows_is_never_joined() -> None:
    """What a caller is answered does not depend on who else asks: rows less their common mean, say."""
    mean = helper.make_node("ReduceMean", ["X"], ["m"], axes=[0], keepdims=1)
    model = graph_of([mean, helper.make_node("Sub", ["X", "m"], ["Y"])], TensorProto.FLOAT, [None, 3])

    assert not Engine(model, signature_of(DataType.FP32, (-1, 3))).joinable


@pytest.mark.parametrize("shape", [(1, 3), (-1, -1), (3,)])
def test_only_free_rows_of_fixed_width_are_joined(shape: tuple[int, ...]) -> None:
    """A model of a fixed number of rows, or of rows of any width, is not joined: it was not probed so."""
    free = [None if size == -1 else size for size in shape]
    model = graph_of([helper.make_node("Neg", ["X"], ["Y"])], TensorProto.FLOAT, free)

    assert not Engine(model, signature_of(DataType.FP32, shape)).joinable


def test_a_model_that_does_not_take_the_probes_is_not_joined() -> None:
    """Nothing is known of a model that raises for them, so nothing is joined; zeros it must take."""
    table = numpy_helper.from_array(np.zeros(1, np.int64), "T")
    model = graph_of([helper.make_node("Gather", ["T", "X"], ["Y"])], TensorProto.INT64, [None, 2], table)

    engine = Engine(model, signature_of(DataType.INT64, (-1, 2)))

    assert not engine.joinable
    assert [[0, 0]] == engine.run([np.zeros((1, 2), np.int64)], (0,))[0].tolist()


def test_texts_go_in_and_come_out() -> None:
    """A BYTES tensor is one of texts, and its rows are joined as any other's."""
    model = graph_of([helper.make_node("Identity", ["X"], ["Y"])], TensorProto.STRING, [None, 2])
    engine = Engine(model, signature_of(DataType.BYTES, (-1, 2)))

    [found] = engine.run([np.array([["a", "grün"]], np.object_)], (0,))

    assert [["a", "grün"]] == found.tolist()
    assert engine.joinable


@pytest.mark.parametrize("values", [[[1.0, -2.5]], [[3.140625, float("inf")], [0.0, 1e-38]]])
def test_bf16_goes_in_and_comes_out(values: list[list[float]]) -> None:
    """A BF16 model is run with BF16 numbers, held here as the FP32 numbers that they mean."""
    model = graph_of([helper.make_node("Identity", ["X"], ["Y"])], BF16, [None, 2])
    engine = Engine(model, signature_of(DataType.BF16, (-1, 2)))
    given = np.array(values, np.float32)

    [found] = engine.run([given], (0,))

    assert np.float32 == found.dtype
    assert bf16_bits(given).tolist() == bf16_bits(found).tolist()


def test_a_request_of_many_rows_does_not_run_on_the_event_loop() -> None:
    """Inline is for requests of a small model that are small themselves."""
    engine = Engine(linear_model(1.0), SIGNATURE)

    assert not engine.is_quick([np.broadcast_to(np.float32(0), (2**40, 3))])


def test_the_manner_is_what_was_measured() -> None:
    """``status`` tells how a model is run and how long its runs of 1 and more rows took."""
    manner = Engine(linear_model(1.0), SIGNATURE).manner()

    assert {"joined_rows", "microseconds", "run"} == set(manner)
    assert "1" in manner["microseconds"]
