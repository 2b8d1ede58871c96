"""What the numbers of a network become, on graphs made by hand; no library of networks is needed."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper
from scipy.special import expit, softmax

from gatewright.client import frames, networks
from gatewright.client.networks import Said, ask_all, by_target, matrix, mute, prove_network, quiet
from gatewright.datasets.target import TargetKind
from gatewright.kernel.errors import BadInput, Refused
from gatewright.models.fitting import fit_signature
from gatewright.models.onnx_reader import inspect
from gatewright.models.outputs import labels as labels_of
from gatewright.models.outputs import scores as scores_of
from gatewright.models.signature import ModelSignature, Task

ROWS = np.random.default_rng(5).normal(size=(40, 4)).astype(np.float32)


def weights(width: int) -> NDArray[np.float32]:
    """Some weights of shape (4, width)."""
    return np.random.default_rng(width).normal(size=(4, width)).astype(np.float32)


def graph(matrix_: NDArray[Any], *last: str, inner: str = "hidden", **attributes: Any) -> ModelProto:
    """``raw = last(input @ matrix)``, as an exporter would write it."""
    names = ["input", inner, *(f"{inner}{number}" for number in range(1, len(last))), "raw"]
    nodes = [helper.make_node("MatMul", ["input", "w"], [names[1] if last else "raw"])]
    for number, operator in enumerate(last, 1):
        node = helper.make_node(operator, [names[number]], [names[number + 1]], **attributes)
        nodes.append(node)
    kind = helper.np_dtype_to_tensor_dtype(matrix_.dtype)
    made = helper.make_graph(
        nodes,
        "main_graph",
        [helper.make_tensor_value_info("input", kind, ["rows", 4])],
        [helper.make_tensor_value_info("raw", kind, None)],
        [numpy_helper.from_array(matrix_, "w")],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def run(data: bytes, rows: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Every output by its name."""
    session = onnxruntime.InferenceSession(data)
    names = [each.name for each in session.get_outputs()]
    return dict(zip(names, session.run(names, {"input": rows}), strict=True))


def prove(
    made: ModelProto, raw: NDArray[Any], classes: Sequence[Any] = (), outputs: str = ""
) -> tuple[bytes, Any, str]:
    """The proof of one graph against what the network gives."""
    return prove_network(
        np.asarray(raw, np.float64), ROWS, Said.of(outputs, tuple(classes)), [("by hand", lambda: made)]
    )


def test_logits_become_probabilities_and_names() -> None:
    """A graph that ends linearly, with named classes, gives the softmax of its logits and the best class's name."""
    logits = ROWS @ weights(3)
    data, parity, name = prove(graph(weights(3)), logits, ("low", "mid", "high"))
    found = run(data, ROWS)

    assert "by hand" == name
    assert parity.holds
    assert np.abs(softmax(logits, axis=1) - found["probabilities"]).max() < 1e-6
    assert [("low", "mid", "high")[each] for each in logits.argmax(axis=1)] == found["label"].tolist()


@given(arrays(np.float32, (5, 3), elements=st.floats(-80, 80, width=32)))
def test_the_appended_part_is_a_softmax_whatever_the_logits(logits: NDArray[np.float32]) -> None:
    """Any logits, ties and extremes among them, become what scipy's softmax makes, and the first best class."""
    made = networks._with_meaning(
        graph(np.eye(4, 3, dtype=np.float32)), 3, networks.Outputs.LOGITS, (7, 8, 9)
    )
    found = run(made, np.hstack([logits, np.zeros((5, 1), np.float32)]))
    assert np.abs(softmax(logits.astype(np.float64), axis=1) - found["probabilities"]).max() < 1e-6
    assert (logits.argmax(axis=1) + 7).tolist() == found["label"].tolist()


@pytest.mark.parametrize(("last", "outputs"), [((), "logits"), (("Sigmoid",), "probabilities")])
def test_one_column_is_the_probability_of_the_second_class(last: tuple[str, ...], outputs: str) -> None:
    """A single logit or probability becomes two probabilities, said or evident alike."""
    single = ROWS @ weights(1)
    chances = expit(single)
    raw = chances if last else single
    for said in ("", outputs):
        found = run(prove(graph(weights(1), *last), raw, ("no", "yes"), said)[0], ROWS)
        assert np.abs(np.hstack([1 - chances, chances]) - found["probabilities"]).max() < 1e-6
        assert np.where(single[:, 0] > 0, "yes", "no").tolist() == found["label"].tolist()


def test_a_value_stays_what_it_is() -> None:
    """A regression's column becomes one float of shape (rows, 1), without a label."""
    found = run(prove(graph(weights(1)), ROWS @ weights(1), outputs="value")[0], ROWS)
    assert ["value"] == list(found)
    assert np.allclose(ROWS @ weights(1), found["value"], atol=1e-6)


@pytest.mark.parametrize(
    ("width", "last", "said", "classes", "code"),
    [
        (1, (), "", (), "client.outputs-unsaid"),
        (3, ("Relu",), "", "abc", "client.outputs-unsaid"),
        (3, ("Sigmoid",), "", "abc", "client.outputs-unsaid"),
        (3, ("Softmax",), "", (), "client.classes-unsaid"),
        (3, (), "logits", (), "client.classes-unsaid"),
        (3, (), "", "ab", "client.class-count"),
        (1, (), "", "abc", "client.class-count"),
        (3, (), "value", (), "client.several-values"),
        (3, (), "probabilities", "abc", "client.not-probabilities"),
    ],
)
def test_what_is_neither_said_nor_evident_is_asked_for(
    width: int, last: tuple[str, ...], said: str, classes: str, code: str
) -> None:
    """No meaning is guessed: each doubt has its own refusal, which tells what to say."""
    with pytest.raises(BadInput) as error:
        prove(graph(weights(width), *last), ROWS @ weights(width), classes, said)
    assert code == error.value.code
    assert error.value.refusal.next


def test_reshaping_hides_no_meaning() -> None:
    """A sigmoid behind a Flatten is a probability still, and a LogSoftmax gives logits."""
    chances = expit(ROWS @ weights(1))
    assert prove(graph(weights(1), "Sigmoid", "Flatten"), chances, ("a", "b"))[1].holds
    logs = np.log(softmax(ROWS @ weights(3), axis=1))
    assert prove(graph(weights(3), "LogSoftmax"), logs, "abc")[1].holds


@pytest.mark.parametrize("classes", [("yes", "no"), ("no", "yes")])
def test_the_order_of_the_classes_is_the_networks(classes: tuple[str, str]) -> None:
    """Classes named in another order than the data's sorted one keep their own columns when the model is added."""
    data, _, _ = prove(graph(weights(2)), ROWS @ weights(2), classes)
    facts = inspect(data)
    features = tuple((name, "number") for name in "abcd")
    signature = fit_signature(facts, features=features, task=Task.BINARY, classes=("no", "yes"))  # type: ignore[arg-type]
    assert isinstance(signature, ModelSignature)
    found = run(data, ROWS)
    best = (ROWS @ weights(2)).argmax(axis=1)

    assert classes == signature.classes
    assert [classes[each] for each in best] == labels_of(signature, found).tolist()
    scores = scores_of(signature, found)
    assert scores is not None
    assert best.tolist() == scores.argmax(axis=1).tolist()


@pytest.mark.parametrize(
    ("outputs", "classes", "code"),
    [
        ("logit", (), "client.outputs"),
        ("value", ("cat", "dog"), "client.outputs"),
        ("", "cat", "client.classes"),
        ("", ("cat", "cat"), "client.classes"),
        ("", (1, "1"), "client.classes"),
        ("", (0.0, 1.0), "client.classes"),
        ("", range(networks.CLASSES + 1), "client.classes"),
    ],
)
def test_what_cannot_be_meant_is_refused(outputs: str, classes: Sequence[Any], code: str) -> None:
    """Unknown meanings, names twice, one class, too many and numbers with a fraction are refused by name."""
    with pytest.raises(BadInput) as error:
        Said.of(outputs, classes)
    assert code == error.value.code


def test_classes_are_named_as_targets_name_them() -> None:
    """Truth values are texts in small letters, NumPy's whole numbers are whole numbers."""
    assert ("false", "true") == Said.of("", [False, np.True_]).classes
    assert (3, 5) == Said.of("", np.array([3, 5])).classes


@pytest.mark.parametrize(
    ("values", "task", "outputs", "classes"),
    [
        (np.array([1, 0, 2, 1]), None, "", (0, 1, 2)),
        (np.array([1.0, 0.0, 1.0]), None, "", (0, 1)),
        (np.array([1, 2, 3]), None, "", ()),
        (np.array(["b", "a"], object), None, "", ()),
        (np.array([0.5, 1.5, 2.5]), None, "value", ()),
        (np.array([0, 1, 2]), TargetKind.REGRESSION, "value", ()),
    ],
)
def test_a_target_says_only_what_is_certain(
    values: NDArray[Any], task: TargetKind | None, outputs: str, classes: tuple[int, ...]
) -> None:
    """Classes 0, 1, 2, … are places and amounts are values; names and other numbers say nothing of an order."""
    (column,) = frames.columns_of({"target": values})
    assert (outputs, classes) == by_target(column, task, "", ())


def test_what_the_owner_says_stands() -> None:
    """What is said of outputs and classes is not replaced by what the target says."""
    (column,) = frames.columns_of({"target": np.array([0, 1])})
    assert ("logits", ("x", "y")) == by_target(column, None, "logits", ("x", "y"))


def _mean_of_all(rows: NDArray[Any]) -> NDArray[Any]:
    return rows - rows.mean(axis=0)


@pytest.mark.parametrize(
    ("ask", "rows", "code"),
    [
        (lambda rows: rows.sum(), ROWS, "client.not-batched"),
        (lambda rows: rows[:1], ROWS, "client.not-batched"),
        (lambda rows: rows, np.where(ROWS > 1, np.nan, ROWS), "client.missing-cells"),
        (lambda rows: rows / 0.0 * np.inf, ROWS, "client.not-finite"),
        (lambda rows: np.random.default_rng().normal(size=rows.shape), ROWS, "client.not-repeatable"),
        (_mean_of_all, ROWS, "client.rows-mixed"),
    ],
)
def test_networks_that_cannot_be_judged_are_refused(
    ask: Callable[[NDArray[Any]], Any], rows: NDArray[Any], code: str
) -> None:
    """Answers that are not one per row, finite, repeatable and of that row alone are refused by name."""
    with np.errstate(all="ignore"), pytest.raises(BadInput) as error:
        ask_all(ask, rows)
    assert code == error.value.code


def test_all_rows_are_asked_in_parts() -> None:
    """More rows than one part holds are answered in their order."""
    rows = np.arange(2_500, dtype=np.float32)[:, None]
    assert np.array_equal(rows, ask_all(lambda part: part, rows))


def test_the_next_exporter_is_asked_where_one_fails() -> None:
    """One that raises, one whose file intake refuses, and one that answers otherwise give way to one that is right."""

    def raises() -> ModelProto:
        raise RuntimeError("about the exporter") from ValueError("operator frob is unknown")

    custom = graph(weights(3))
    custom.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    custom.graph.node[0].domain = "com.microsoft"
    wrong = graph(weights(3) * np.float32(1.5))
    raw, said = (ROWS @ weights(3)).astype(np.float64), Said.of("logits", ("a", "b", "c"))
    failing = [("first", raises), ("second", lambda: custom)]
    right = ("fourth", lambda: graph(weights(3)))

    assert "fourth" == prove_network(raw, ROWS, said, [*failing, ("third", lambda: wrong), right])[2]
    with pytest.raises(Refused) as parity:
        prove_network(raw, ROWS, said, [*failing, ("third", lambda: wrong)])
    assert "client.parity" == parity.value.code
    with pytest.raises(BadInput) as none:
        prove_network(raw, ROWS, said, failing)
    assert "client.not-convertible" == none.value.code
    assert "first: ValueError: operator frob is unknown" in none.value.refusal.why
    assert "second: The operator 'MatMul' of the domain 'com.microsoft'" in none.value.refusal.why


def test_a_graph_for_one_number_of_rows_is_not_taken() -> None:
    """A file that answers the rows it was traced with, and no single row, gives way."""
    fixed = graph(weights(3))
    shape = numpy_helper.from_array(np.array([len(ROWS), 4]), "shape")
    fixed.graph.initializer.append(shape)
    fixed.graph.node.insert(0, helper.make_node("Reshape", ["input", "shape"], ["whole"]))
    fixed.graph.node[1].input[0] = "whole"
    with pytest.raises(BadInput) as error:
        prove(fixed, ROWS @ weights(3), "abc")
    assert "client.not-convertible" == error.value.code


def test_notes_on_the_owners_machine_are_left_out() -> None:
    """Texts and properties that exporters add, in nested graphs too, are not in the bytes."""
    made = graph(weights(3), inner="label")
    note = "/srv/ada/train.py"
    inner = helper.make_graph(
        [helper.make_node("Identity", ["input"], ["kept"], doc_string=note)], "inside", [], []
    )
    inner.output.append(helper.make_tensor_value_info("kept", TensorProto.FLOAT, None))
    inner.doc_string = note
    truth = numpy_helper.from_array(np.array([True]), "truth")
    made.graph.initializer.append(truth)
    branch = helper.make_node("If", ["truth"], ["chosen"], then_branch=inner, else_branch=inner)
    made.graph.node.insert(0, branch)
    made.graph.node[1].input[0] = "chosen"
    for held in (made, made.graph, made.graph.node[1], made.graph.input[0]):
        held.doc_string = note
        held.metadata_props.add(key="stack", value=note)

    data, parity, _ = prove(made, ROWS @ weights(3), "abc")

    assert parity.holds
    assert note.encode() not in data


def test_equal_exports_give_equal_bytes() -> None:
    """The bytes depend on the graph and its meaning alone."""
    raw = ROWS @ weights(3)
    assert prove(graph(weights(3)), raw, "abc")[0] == prove(graph(weights(3)), raw, "abc")[0]


def test_rows_are_one_matrix_of_numbers() -> None:
    """Named columns fill the matrix in their order; a column of texts is named and refused."""
    assert np.array_equal([[1, 0.5], [2, 1.5]], matrix({"n": np.array([1, 2]), "x": np.array([0.5, 1.5])}))
    with pytest.raises(BadInput) as error:
        matrix({"n": np.array([1, 2]), "region": ["north", "south"]})
    assert ("client.text-columns", True) == (error.value.code, "'region'" in error.value.refusal.what)


def test_nothing_that_libraries_say_is_heard(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Prints, logs and warnings stay inside, native ones too, and what was set before is set again."""
    before = logging.root.manager.disable
    with mute(), quiet() as warned:
        print("noise")  # noqa: T201 - what libraries do
        print("noise", file=sys.stderr)  # noqa: T201 - what libraries do
        logging.getLogger("torch.onnx").error("noise")
        warnings.warn("noise", DeprecationWarning, stacklevel=1)
        os.write(1, b"noise")
    os.write(1, b"heard")

    assert ("heard", "") == capfd.readouterr()
    assert [] == caplog.records
    assert ["noise"] == [str(each.message) for each in warned]
    assert before == logging.root.manager.disable
