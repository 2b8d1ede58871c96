"""The child process: what it does, what protects us from it, and how each of its ends is told."""

from __future__ import annotations

import io
import sys
from typing import Any

import numpy as np
import onnx
import polars as pl
import pytest
from onnx import TensorProto, helper, numpy_helper

from gatewright.kernel.errors import BadInput, DependencyFailed, Refused
from gatewright.models.fitting import fit_signature
from gatewright.models.signature import DataType, ModelSignature, Task, TensorSpec
from gatewright.operations import child_process, isolation
from gatewright.operations.child_protocol import (
    Job,
    Limits,
    decode_refusal,
    encode_refusal,
    pack,
    unpack,
)
from gatewright.operations.children import JOB_MODULES
from gatewright.operations.isolation import inspect_model, load_table, predict, run_isolated

FEATURES = (("a", "number"), ("b", "number"))
COLUMNS = {"a": np.array([0.0, 1.0, 2.0]), "b": np.array([1.0, 0.0, 5.0])}


def _model(*nodes: Any, initializers: tuple[Any, ...] = (), outputs: tuple[Any, ...] = ()) -> bytes:
    graph = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 2])],
        list(outputs) or [helper.make_tensor_value_info("p", TensorProto.FLOAT, [None, 2])],
        list(initializers),
    )
    imports = [helper.make_opsetid("", 17)]
    return bytes(helper.make_model(graph, opset_imports=imports, ir_version=8).SerializeToString())


SOFTMAX = helper.make_node("Softmax", ["x"], ["p"])


def _signature(model: bytes, task: Task = Task.BINARY) -> ModelSignature:
    classes = () if task is Task.REGRESSION else ("no", "yes")
    found = fit_signature(inspect_model(model), features=FEATURES, task=task, classes=classes)
    assert isinstance(found, ModelSignature)
    return found


def test_a_model_is_inspected_and_run_in_a_child() -> None:
    """The facts, the outputs and the timings come back, and the protections are said."""
    model = _model(SOFTMAX)
    found = predict(model, _signature(model), COLUMNS, samples=10)
    raw = np.exp(np.stack([COLUMNS["a"], COLUMNS["b"]], axis=1))

    assert np.allclose(raw / raw.sum(axis=1, keepdims=True), found.outputs["p"], atol=1e-6)
    assert 10 == len(found.single_row)
    assert (found.single_row > 0).all()
    assert found.peak_memory_bytes > 1_000_000
    assert "limit on file writing" in found.protections


def test_bf16_goes_in_and_comes_out_of_the_child() -> None:
    """A model of BF16 is run on the nearest numbers there, and what it answers is BF16, held as FP32."""
    kind = TensorProto.BFLOAT16
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", kind, [None, 2])],
        [helper.make_tensor_value_info("y", kind, [None, 2])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    data = bytes(model.SerializeToString())
    assert DataType.BF16 is inspect_model(data).inputs[0].datatype
    spec = TensorSpec(name="x", datatype=DataType.BF16, shape=(-1, 2), columns=("a", "b"))
    out = TensorSpec(name="y", datatype=DataType.BF16, shape=(-1, 2))
    signature = ModelSignature(task=Task.REGRESSION, inputs=(spec,), outputs=(out,))
    found = predict(data, signature, {"a": np.array([1.0, 257.0]), "b": np.array([1 / 3, -2.0])}, samples=1)

    assert [[1, 0.333984375], [256, -2]] == found.outputs["y"].tolist()


@pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is Linux only")
def test_the_limits_hold_on_linux() -> None:
    """Memory, time, files and tasks are bounded; privileges cannot be regained."""
    answer = run_isolated(Job.READ_CSV, pack([b"t", b"a\n1\n"]), limits=isolation.TABLE_LIMITS)

    assert {"no new privileges", "limit on memory", "limit on processor time", "limit on open files"} <= set(
        answer.protections
    )


def test_tables_are_read_by_content() -> None:
    """CSV and Parquet are told apart without asking the name."""
    out = io.BytesIO()
    pl.DataFrame({"a": [1, 2], "t": ["x", None]}).write_parquet(out)

    assert 2 == load_table(out.getvalue(), "data.csv").rows
    assert ["x", ""] == load_table(b"a,t\n1,x\n2,\n", "data.parquet").column("t").values.tolist()


def test_a_fault_in_data_keeps_its_place_across_the_border() -> None:
    """The child's BadInput is raised here with code and place."""
    with pytest.raises(BadInput) as caught:
        load_table(b"a,b\n1,2\n3\n", "t.csv")

    assert ("datasets.ragged", "row 2") == (caught.value.code, caught.value.refusal.place)


def test_a_refused_model_keeps_its_reason_across_the_border() -> None:
    """The child's refusal is raised here."""
    with pytest.raises(Refused) as caught:
        inspect_model(_model(helper.make_node("Evil", ["x"], ["p"], domain="com.example")))

    assert "models.custom-operator" == caught.value.code


def test_many_rows_pass_in_batches() -> None:
    """Every row is answered once and in order, whatever the batch."""
    rows = isolation.BATCH_ROWS * 2 + 1
    columns = {"a": np.arange(rows, dtype=np.float64), "b": np.zeros(rows)}
    model = _model(
        helper.make_node("Gather", ["x", "zero"], ["p"], axis=1),
        initializers=(numpy_helper.from_array(np.array([0]), "zero"),),
        outputs=(helper.make_tensor_value_info("p", TensorProto.FLOAT, [None, 1]),),
    )
    found = predict(model, _signature(model, Task.REGRESSION), columns, samples=1)

    assert np.array_equal(np.arange(rows), found.outputs["p"][:, 0])


def test_texts_go_in_and_out() -> None:
    """Text columns and text labels cross the border as they are."""
    graph = helper.make_graph(
        [helper.make_node("Identity", ["job"], ["label"])],
        "g",
        [helper.make_tensor_value_info("job", TensorProto.STRING, [None, 1])],
        [helper.make_tensor_value_info("label", TensorProto.STRING, [None, 1])],
    )
    imports = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=8).SerializeToString()
    signature = fit_signature(
        inspect_model(model), features=(("job", "text"),), task=Task.BINARY, classes=("a", "é")
    )
    assert isinstance(signature, ModelSignature)
    columns = {"job": np.array(["é", "a"], dtype=object)}

    assert [["é".encode()], [b"a"]] == predict(model, signature, columns, samples=1).outputs["label"].tolist()


def _bad_models() -> dict[str, tuple[bytes, str]]:
    one = numpy_helper.from_array(np.array(1.0, np.float32), "one")
    big = numpy_helper.from_array(np.array([2**40]), "big")
    port = helper.make_tensor_value_info("p", TensorProto.FLOAT, [None, 2])
    return {
        "logits": (_model(helper.make_node("Identity", ["x"], ["p"])), "models.not-probabilities"),
        "undefined input": (_model(helper.make_node("Log", ["m"], ["l"]), helper.make_node("Sub", ["x", "big1"], ["m"]), SOFTMAX), "models.cannot-run"),
        "not finite": (
            _model(helper.make_node("Sub", ["x", "x"], ["z"]), helper.make_node("Div", ["z", "z"], ["p"])),
            "models.not-finite",
        ),
        "wrong width": (
            _model(helper.make_node("Concat", ["x", "x"], ["p"], axis=1), outputs=(port,)),
            "models.output-shape",
        ),
        "one row": (
            _model(helper.make_node("ReduceMean", ["x"], ["p"], axes=[0]), initializers=(one,)),
            "models.cannot-run",
        ),
        "memory": (
            _model(
                helper.make_node("ConstantOfShape", ["big"], ["m"]),
                helper.make_node("ReduceSum", ["m"], ["s"], keepdims=0),
                helper.make_node("Add", ["x", "s"], ["p"]),
                initializers=(big,),
            ),
            "models.cannot-run",
        ),
    }  # fmt: skip


@pytest.mark.parametrize(
    "name", ["logits", "undefined input", "not finite", "wrong width", "one row", "memory"]
)
def test_models_that_do_not_behave_are_refused(name: str) -> None:
    """Scores that are no probabilities, wrong shapes, NaN and hunger for memory are refusals."""
    model, code = _bad_models()[name]
    with pytest.raises(Refused) as caught:
        predict(model, _signature(model), COLUMNS, samples=1)

    assert code == caught.value.code


def test_a_model_that_does_not_end_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """An endless loop ends at the time limit, as a refusal, and leaves no process."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Identity", ["v"], ["w"])],
        "b",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v", TensorProto.FLOAT, [None, 2]),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("w", TensorProto.FLOAT, [None, 2]),
        ],
    )
    model = _model(
        helper.make_node("Loop", ["", "true", "x"], ["p"], body=body),
        initializers=(numpy_helper.from_array(np.array(True), "true"),),
    )
    signature = _signature(_model(helper.make_node("Identity", ["x"], ["p"])))
    limits = Limits(memory_bytes=4 * 1024**3, seconds=3, answer_bytes=10**6, tasks=64)
    monkeypatch.setattr(isolation, "PREDICT_LIMITS", limits)
    with pytest.raises(Refused) as caught:
        predict(model, signature, COLUMNS)

    assert "models.parser-timeout" == caught.value.code


@pytest.mark.skipif(sys.platform != "linux", reason="address space limits are Linux only")
def test_a_table_beyond_the_memory_limit_is_refused() -> None:
    """A reader that wants more memory than it may have is a refusal with its own code."""
    limits = Limits(memory_bytes=300 * 1024**2, seconds=30, answer_bytes=10**9)
    data = b"a\n" + b"".join(b"%d\n" % number for number in range(2_000_000))
    with pytest.raises(Refused) as caught:
        run_isolated(Job.READ_CSV, pack([b"t", data]), limits=limits)

    assert "datasets.parser-memory" == caught.value.code


def test_an_answer_beyond_its_limit_is_not_read() -> None:
    """A child cannot flood its parent."""
    limits = Limits(memory_bytes=4 * 1024**3, seconds=30, answer_bytes=1_000)
    data = b"a\n" + b"1\n" * 300_000
    with pytest.raises(Refused) as caught:
        run_isolated(Job.READ_CSV, pack([b"t", data]), limits=limits)

    assert "datasets.parser-crash" == caught.value.code


STUBS = {
    "crash": ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "models.parser-crash"),
    "silence": ("", "models.parser-crash"),
    "noise": ("import sys; sys.stdout.write('x' * 100)", "models.parser-crash"),
    "half": ("import sys; sys.stdout.buffer.write(b'\\x02' + bytes(7) + b'[]')", "models.parser-crash"),
    "unknown answer": (
        "import sys; sys.stdout.buffer.write(b'\\x02' + bytes(7) + b'[]' + b'\\x01' + bytes(7) + b'\\x09')",
        "models.parser-crash",
    ),
    "no memory": ("import sys; sys.stderr.write('std::bad_alloc'); sys.exit(134)", "models.parser-memory"),
    "sleep": ("import time; time.sleep(60)", "models.parser-timeout"),
    "closed and alive": (
        "import os, time; os.close(1); os.close(2); time.sleep(60)",
        "models.parser-timeout",
    ),
}


@pytest.mark.parametrize("name", STUBS)
def test_every_bad_end_of_a_child_is_a_refusal(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    """Crash, silence, nonsense, hunger and sleep each have their code; none reaches the parent."""
    code_text, code = STUBS[name]
    stub = tmp_path / "python"
    stub.write_text(f"#!{sys.executable} -S\n{code_text}\n")
    stub.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(stub))
    monkeypatch.setattr(child_process, "_GRACE_SECONDS", 0.2)
    limits = Limits(memory_bytes=10**9, seconds=1, answer_bytes=1_000)
    with pytest.raises(Refused) as caught:
        run_isolated(Job.INSPECT_ONNX, b"x" * 5_000_000, limits=limits)

    assert code == caught.value.code


def test_an_interpreter_that_is_not_there_is_a_failed_dependency(monkeypatch: pytest.MonkeyPatch) -> None:
    """Our own trouble is not blamed on the file."""
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with pytest.raises(DependencyFailed):
        load_table(b"a\n1\n", "t.csv")


def test_the_child_sees_nothing_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of the parent reaches the child."""
    monkeypatch.setenv("GATEWRIGHT_SECRET", "s3cret")

    assert "GATEWRIGHT_SECRET" not in child_process._environment("/x", Job.TRAIN, 1)


def test_every_job_has_a_module() -> None:
    """The table of jobs is complete."""
    assert set(Job) == set(JOB_MODULES)


def test_frames_and_refusals_survive_the_border() -> None:
    """Laws: what is packed unpacks; an encoded refusal decodes to the same."""
    parts = [b"", b"abc", bytes(100)]
    error = BadInput("datasets.x", "What.", why="Why \ud800.", next="Next.", place="row 1")
    again = decode_refusal(encode_refusal(error))

    assert parts == unpack(pack(parts))
    assert isinstance(again, BadInput)
    assert ("datasets.x", "What.", "Why ?.") == (again.code, again.refusal.what, again.refusal.why)
    for bad in (pack(parts)[:-1], b"\0\0\0"):
        with pytest.raises(BadInput):
            unpack(bad)
    with pytest.raises(BadInput):
        decode_refusal(b'{"code":"x"}')


def test_the_parsed_model_is_the_one_that_was_given() -> None:
    """The facts are tied to the exact bytes by digest."""
    model = _model(SOFTMAX)

    assert len(model) == inspect_model(model).bytes
    assert onnx.load_from_string(model).graph.name == inspect_model(model).graph
