"""Passive inspection: what a model holds, and each reason for a refusal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import Refusal
from gatewright.models import limits
from gatewright.models.facts import ModelFacts, decode_facts, encode_facts
from gatewright.models.onnx_reader import inspect
from gatewright.models.signature import DataType

Build = Callable[..., onnx.ModelProto]


def _facts(model: onnx.ModelProto) -> ModelFacts:
    found = inspect(model.SerializeToString())
    assert isinstance(found, ModelFacts), found
    return found


def _refusal(model: onnx.ModelProto) -> Refusal:
    found = inspect(model.SerializeToString())
    assert isinstance(found, Refusal), found
    return found


def _weights(values: Any, name: str = "w") -> onnx.TensorProto:
    return numpy_helper.from_array(np.asarray(values), name)


def _linear(build: Build, weights: onnx.TensorProto) -> onnx.ModelProto:
    return build([helper.make_node("MatMul", ["x", "w"], ["y"])], initializers=[weights])


def test_facts_say_what_the_model_holds(build: Build) -> None:
    """Names, versions, operators, parameters, ports and the digest are read."""
    model = _linear(build, _weights(np.eye(2, dtype=np.float32)))
    facts = _facts(model)

    assert ("g", "tests", 8, 4) == (facts.graph, facts.producer, facts.ir_version, facts.parameters)
    assert {"ai.onnx": 17, "ai.onnx.ml": 3} == facts.opsets
    assert {"ai.onnx:MatMul": 1} == facts.operators
    assert ("x", DataType.FP32, (-1, 2)) == (
        facts.inputs[0].name,
        facts.inputs[0].datatype,
        facts.inputs[0].shape,
    )
    assert Digest.of(model.SerializeToString()) == facts.digest
    assert facts == decode_facts(encode_facts(facts))


def test_the_version_bounds_are_those_of_the_installed_runtime(build: Build) -> None:
    """The newest accepted versions load in ONNX Runtime; the next ones do not."""
    good = build(opsets=[("", limits.OPSET_NEWEST), ("ai.onnx.ml", limits.ML_OPSET_NEWEST)], ir_version=limits.IR_NEWEST)  # fmt: skip
    onnxruntime.InferenceSession(good.SerializeToString())
    assert isinstance(inspect(good.SerializeToString()), ModelFacts)

    for opsets, ir_version in (
        ([("", limits.OPSET_NEWEST + 1)], 8),
        ([("", 17), ("ai.onnx.ml", limits.ML_OPSET_NEWEST + 1)], 8),
        ([("", 17)], limits.IR_NEWEST + 1),
    ):
        bad = build(opsets=opsets, ir_version=ir_version)
        assert _refusal(bad).code in ("models.opset", "models.ir-version")
        with pytest.raises(Exception, match=r"(?i)opset|IR version"):
            onnxruntime.InferenceSession(bad.SerializeToString())


def test_a_custom_operator_is_refused_wherever_it_stands(build: Build) -> None:
    """Unknown domains and unknown names are refused at the top, in branches and in functions."""
    custom = helper.make_node("Evil", ["x"], ["y"], domain="com.example")
    branch = helper.make_graph([custom], "b", [], [helper.make_tensor_value_info("y", 1, None)])
    nested = helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)
    function = helper.make_function("own", "F", ["x"], ["y"], [custom], [helper.make_opsetid("", 17)])
    models = (
        build([custom], opsets=[("", 17), ("com.example", 1)]),
        build([helper.make_node("NoSuchOperator", ["x"], ["y"])]),
        build([helper.make_node("Gelu", ["x"], ["y"], domain="com.microsoft")]),
        build([nested], initializers=[_weights(np.array(True), "c")]),
        build([helper.make_node("F", ["x"], ["y"], domain="own")], functions=[function]),
    )

    assert ["models.custom-operator"] * 5 == [_refusal(model).code for model in models]


def test_functions_of_standard_operators_are_accepted(build: Build) -> None:
    """A function that the file defines from standard operators is counted and accepted."""
    body = [helper.make_node("Relu", ["x"], ["y"])]
    function = helper.make_function("own", "F", ["x"], ["y"], body, [helper.make_opsetid("", 17)])
    call = helper.make_node("F", ["x"], ["y"], domain="own")

    assert {"ai.onnx:Relu": 1, "own:F": 1} == _facts(build([call], functions=[function])).operators


def test_functions_that_call_in_a_circle_are_refused(build: Build) -> None:
    """Recursion has no end in a graph."""
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    functions = [
        helper.make_function("own", name, ["x"], ["y"], [helper.make_node(other, ["x"], ["y"], domain="own")], imports)
        for name, other in (("A", "B"), ("B", "A"))
    ]  # fmt: skip
    call = helper.make_node("A", ["x"], ["y"], domain="own")

    assert "models.function" == _refusal(build([call], functions=functions)).code


@pytest.mark.parametrize("location", ["../canary", "/etc/passwd", "a/../../canary", "weights.bin", ""])
def test_external_data_is_refused(build: Build, location: str) -> None:
    """Weights in another file are refused, whatever the path."""
    tensor = _weights(np.eye(2, dtype=np.float32))
    tensor.data_location = TensorProto.EXTERNAL
    tensor.ClearField("raw_data")
    tensor.external_data.add(key="location", value=location)

    assert "models.external-data" == _refusal(_linear(build, tensor)).code


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("kind", [np.float32, np.float64, np.float16])
def test_weights_that_are_not_finite_are_named(build: Build, bad: float, kind: Any) -> None:
    """NaN and infinity in an initialiser are refused with its name, raw or not."""
    values = np.array([[1, 2], [3, bad]], dtype=kind)
    typed = helper.make_tensor(
        "w", helper.np_dtype_to_tensor_dtype(np.dtype(kind)), (2, 2), values.ravel().tolist()
    )
    for tensor in (_weights(values), typed):
        refusal = _refusal(_linear(build, tensor))
        assert ("models.not-finite", "initialiser 'w'") == (refusal.code, refusal.place)


@pytest.mark.parametrize(
    ("values", "accepted"),
    [
        (-np.inf, True),
        (np.triu(np.full((3, 3), -np.inf, np.float32), 1), True),
        (np.inf, False),
        (np.nan, False),
        ([0.0, -np.inf, 1.0], False),
        ([0.0, -np.inf, np.nan], False),
    ],
)
def test_a_mask_of_minus_infinity_is_no_weight(build: Build, values: Any, accepted: bool) -> None:
    """Zeros and minus infinity alone are what attention masks with; beside any other number it is refused."""
    array = np.asarray(values, np.float32)
    node = helper.make_node("Constant", [], ["y"], value=_weights(array))
    for model in (build(initializers=[_weights(array)]), build([node])):
        assert accepted is isinstance(inspect(model.SerializeToString()), ModelFacts)


def test_bfloat16_weights_are_checked(build: Build) -> None:
    """The format without a NumPy type is checked by its bits."""
    for bits, accepted in ((0x3F80, True), (0x7FC0, False), (0x7F80, False)):
        tensor = TensorProto(name="w", data_type=TensorProto.BFLOAT16, dims=[1], int32_data=[bits])
        found = inspect(build(initializers=[tensor]).SerializeToString())
        assert accepted is isinstance(found, ModelFacts)


def test_constants_and_tree_thresholds_that_are_not_finite_are_refused(build: Build) -> None:
    """NaN hides neither in a Constant nor in the float attributes of a tree ensemble."""
    constant = helper.make_node("Constant", [], ["y"], value=_weights(np.array([np.nan], dtype=np.float32)))
    scaler = helper.make_node("Scaler", ["x"], ["y"], domain="ai.onnx.ml", offset=[0.0, float("nan")], scale=[1.0, 1.0])  # fmt: skip
    single = helper.make_node("Elu", ["x"], ["y"], alpha=float("inf"))

    for node in (constant, scaler, single):
        assert "models.not-finite" == _refusal(build([node])).code


def test_nan_that_marks_missing_values_is_no_weight(build: Build) -> None:
    """An imputer may say that NaN is what it replaces, and sets of categories end with one."""
    imputer = helper.make_node("Imputer", ["x"], ["y"], domain="ai.onnx.ml", imputed_value_floats=[0.0, 1.0], replaced_value_float=float("nan"))  # fmt: skip

    assert {"ai.onnx.ml:Imputer": 1} == _facts(build([imputer])).operators
    members = numpy_helper.from_array(np.array([1.0, np.nan]))
    firsts = ("tree_roots", "nodes_featureids", "nodes_truenodeids", "nodes_falsenodeids", "leaf_targetids")
    trees = helper.make_node(
        "TreeEnsemble", ["x"], ["y"], domain="ai.onnx.ml", **{name: [0] for name in firsts}, nodes_trueleafs=[1], nodes_falseleafs=[1],
        nodes_modes=numpy_helper.from_array(np.array([6], np.uint8)), leaf_weights=_weights(np.ones(1)),
        nodes_splits=_weights(np.zeros(1)), membership_values=members,
    )  # fmt: skip
    model = build([trees])
    next(each for each in model.opset_import if each.domain == "ai.onnx.ml").version = 5
    assert {"ai.onnx.ml:TreeEnsemble": 1} == _facts(model).operators


@pytest.mark.parametrize("dims", [[2, 3], [2**40, 2**40], [-1, 4], [4]])
def test_a_declared_size_must_be_held(build: Build, dims: list[int]) -> None:
    """A tensor that declares more, less or negative elements is refused without allocating."""
    tensor = _weights(np.eye(2, dtype=np.float32))
    del tensor.dims[:]
    tensor.dims.extend(dims)
    found = inspect(_linear(build, tensor).SerializeToString())

    assert isinstance(found, ModelFacts) if dims == [4] else found.code == "models.tensor-size"  # type: ignore[union-attr]


def test_four_bit_and_text_tensors_are_counted(build: Build) -> None:
    """Packed and text tensors are sized by their own rules."""
    packed = TensorProto(name="p", data_type=TensorProto.INT4, dims=[3], raw_data=b"\x01\x02")
    texts = helper.make_tensor("t", TensorProto.STRING, (2,), [b"a", b"b"])

    assert 5 == _facts(build(initializers=[packed, texts])).parameters


def test_a_sequence_output_is_refused_with_the_way_out(build: Build) -> None:
    """scikit-learn's ZipMap is refused, and the sentence says how to leave it out."""
    zipmap = helper.make_node("ZipMap", ["x"], ["y"], domain="ai.onnx.ml", classlabels_int64s=[0, 1])
    kind = helper.make_sequence_type_proto(
        helper.make_map_type_proto(TensorProto.INT64, helper.make_tensor_type_proto(TensorProto.FLOAT, []))
    )
    refusal = _refusal(build([zipmap], outputs=[helper.make_value_info("y", kind)]))

    assert "models.not-a-tensor" == refusal.code
    assert "options={'zipmap': False}" in refusal.next


def test_two_values_of_one_name_are_refused(build: Build) -> None:
    """Every value is computed once."""
    twice = [helper.make_node("Relu", ["x"], ["y"]), helper.make_node("Abs", ["x"], ["y"])]
    shadow = [helper.make_node("Relu", ["x"], ["w"]), helper.make_node("Abs", ["w"], ["y"])]
    weights = _weights(np.ones(2, dtype=np.float32))

    assert "models.duplicate-name" == _refusal(build(twice)).code
    assert "models.duplicate-name" == _refusal(build(initializers=[weights, weights])).code
    assert "models.duplicate-name" == _refusal(build(shadow, initializers=[weights])).code


def test_an_output_that_nothing_computes_is_refused(build: Build) -> None:
    """A model must compute what it declares."""
    assert "models.no-output" == _refusal(build([helper.make_node("Relu", ["x"], ["z"])])).code


def test_an_operator_with_impossible_inputs_is_refused(build: Build) -> None:
    """An operator without its inputs is refused before any runtime sees it."""
    assert "models.operator-arity" == _refusal(build([helper.make_node("Resize", [], ["y"])])).code
    upsample = build([helper.make_node("Upsample", [], ["y"])], opsets=[("", 9)])
    assert "models.operator-arity" == _refusal(upsample).code


def test_training_information_and_unknown_content_are_refused(build: Build) -> None:
    """A model for inference holds nothing else, and no bytes that the format does not know."""
    training = build()
    training.training_info.add()

    assert "models.training-info" == _refusal(training).code
    unknown = inspect(build().SerializeToString() + b"\xfa\x07\x03abc")  # field 127, three bytes
    assert isinstance(unknown, Refusal)
    assert "models.unknown-content" == unknown.code


def test_nested_graphs_are_bounded(build: Build) -> None:
    """Graphs within graphs end at a named depth."""
    output = helper.make_tensor_value_info("y", 1, None)
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [], [output])
    for _ in range(limits.GRAPH_DEPTH + 4):
        node = helper.make_node("If", ["c"], ["y"], then_branch=graph)
        graph = helper.make_graph([node], "g", [], [output])
    model = build(list(graph.node), initializers=[_weights(np.array(True), "c")])

    assert "models.too-deep" == _refusal(model).code


def test_fixed_and_missing_shapes(build: Build) -> None:
    """A port without a shape is refused, with the call that adds one."""
    model = build(outputs=[helper.make_tensor_value_info("y", TensorProto.FLOAT, None)])

    assert "infer_shapes" in _refusal(model).next


@settings(max_examples=60)
@given(st.integers(0, 250))
def test_no_prefix_of_a_model_is_accepted_or_crashes(length: int) -> None:
    """A truncated model is refused with a reason, wherever it is cut."""
    nodes = [helper.make_node("Identity", ["x"], ["y"])]
    port = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 2]) for name in "xy"]
    graph = helper.make_graph(nodes, "g" * 200, port[:1], port[1:])
    data = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    ).SerializeToString()

    assert isinstance(inspect(data), ModelFacts)
    assert isinstance(inspect(data[: min(length, len(data) - 1)]), Refusal)
