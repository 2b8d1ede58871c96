from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from gatewright.models.signature import DataType, ModelSignature, Task, TensorSpec
from gatewright.models.tensors import dtype_of, encode_arrays
from gatewright.serving.admission import Turned
from gatewright.serving.codec import Codec, check_depth
from gatewright.serving.limits import DEPTH, REQUEST_ID, ROWS, TENSORS, TEXT
from unit.serving.rig import SIGNATURE, question

CODEC = Codec(SIGNATURE)


def signature_of(*inputs: TensorSpec) -> ModelSignature:
    """A signature with these inputs and one output of each type."""
    return ModelSignature(task=Task.REGRESSION, inputs=inputs, outputs=inputs)


def read(codec: Codec = CODEC, **change: Any) -> list[Any]:
    """The first tensor of a request, as nested lists."""
    found: list[Any] = codec.read(json.dumps(question(**change)).encode()).inputs[0].tolist()
    return found


def refusal(body: Any, codec: Codec = CODEC) -> str:
    """The sentence with which a body is refused."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    with pytest.raises(Turned) as caught:
        codec.read(data)
    assert 400 == caught.value.status
    return caught.value.sentence


@pytest.mark.parametrize("data", [[1, 2, 3, 4, 5, 6], [[1, 2, 3], [4, 5, 6]], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]])
def test_flat_and_nested_data_are_the_same(data: list[Any]) -> None:
    """Row-major data may come flat or nested."""
    assert [[1, 2, 3], [4, 5, 6]] == read(shape=[2, 3], data=data)


@pytest.mark.parametrize("datatype", ["FP16", "FP32", "FP64", "INT8", "INT64", "UINT8"])
def test_numbers_of_other_types_are_cast_where_nothing_is_lost(datatype: str) -> None:
    """Any float type, and any integer type whose values fit exactly, may be sent for FP32."""
    assert [[1, 2, 3]] == read(datatype=datatype, data=[1, 2, 3])


@pytest.mark.parametrize(
    "change",
    [
        {"datatype": "BYTES", "data": ["a", "b", "c"]},
        {"datatype": "BOOL", "data": [True, False, True]},
        {"datatype": "FLOAT"},
        {"data": [1, 2]},
        {"data": [1, 2, 3, 4]},
        {"data": [[1, 2], [3]]},
        {"data": [[1, 2, 3], [4, 5, 6]]},
        {"data": [[[1, 2, 3]]]},
        {"data": []},
        {"data": None},
        {"data": [1, [None], 3]},
        {"data": [1, "NaN", 3]},
        {"datatype": "INT64", "data": [1, None, 3]},
        {"data": ["1", "2", "3"]},
        {"data": {"path": "/etc/passwd"}},
        {"data": [1, 2, 1e39]},
        {"datatype": "FP16", "data": [1, 2, 1e300]},
        {"datatype": "INT64", "data": [1, 2, 16_777_217]},
        {"datatype": "INT8", "data": [1, 2, 300]},
        {"datatype": "INT64", "data": [1, 2, 2**70]},
        {"shape": [3]},
        {"shape": [1, 2]},
        {"shape": [0, 3]},
        {"shape": [-1, 3]},
        {"shape": [1, 3, 1]},
        {"shape": [1] * 65},
        {"shape": [2**62, 3]},
        {"shape": [10**30, 3]},
        {"shape": [ROWS.value + 1, 3]},
        {"shape": "1,3"},
        {"shape": [1.5, 3]},
        {"name": 7},
        {"parameters": {"binary_data_size": 12}},
        {"parameters": {"shared_memory_region": "r"}},
    ],
)
def test_an_input_that_does_not_fit_is_refused(change: dict[str, Any]) -> None:
    """Every misfit of name, type, shape or value is a 400 with a sentence."""
    assert refusal(question(**change))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"inputs":null}',
        b'{"inputs":[null]}',
        b"\xff\xfe",
        b'{"inputs":[{"name":"X","shape":[1,3],"datatype":"FP32","data":[1,2,NaN]}]}',
        b'{"inputs":[{"name":"X","shape":[1,3],"datatype":"FP32","data":[1,2,1e999]}]}',
        b'{"inputs":[{"name":"\xff","shape":[1,3],"datatype":"FP32","data":[1,2,3]}]}',
    ],
)
def test_a_body_that_is_no_request_is_refused(body: bytes) -> None:
    """Bytes that are not an inference request are a 400."""
    assert refusal(body)


def test_missing_extra_and_repeated_inputs_are_named() -> None:
    """The refusal names the inputs that are missing or that the model does not have."""
    tensor = question()["inputs"][0]
    several = Codec(
        signature_of(
            *(TensorSpec(name=name, datatype=DataType.FP32, shape=(-1, 1)) for name in ("age", "size"))
        )
    )

    assert "Missing inputs: 'size'." == refusal(
        {"inputs": [tensor | {"name": "age", "shape": [1, 1], "data": [1]}]}, several
    )
    assert "Missing inputs: 'X'." == refusal({"inputs": []})
    assert "The model has no inputs named 'Y'." == refusal({"inputs": [tensor, tensor | {"name": "Y"}]})
    assert "An input is given twice." == refusal({"inputs": [tensor, tensor]})


def test_a_wrong_width_names_the_columns() -> None:
    """A matrix with too few columns is refused with the names of those the model takes."""
    assert (
        "The input 'X' has shape [1, 2]; the model takes [-1, 3]; its columns are 'radius', 'texture', 'area'."
        == refusal(question(shape=[1, 2], data=[1, 2]))
    )


def test_inputs_must_agree_on_the_rows() -> None:
    """Named inputs with different numbers of rows are refused."""
    specs = [TensorSpec(name=name, datatype=DataType.FP32, shape=(-1, 1)) for name in ("a", "b")]
    tensors = [
        {"name": "a", "shape": [1, 1], "datatype": "FP32", "data": [1]},
        {"name": "b", "shape": [2, 1], "datatype": "FP32", "data": [1, 2]},
    ]

    assert "rows" in refusal({"inputs": tensors}, Codec(signature_of(*specs)))


def test_outputs_can_be_chosen() -> None:
    """Requested outputs are answered in the order asked; unknown and repeated ones are refused."""
    chosen = question() | {"outputs": [{"name": "probabilities", "parameters": {"binary_data": True}}]}

    assert (1,) == CODEC.read(json.dumps(chosen).encode()).outputs
    assert (0, 1) == CODEC.read(json.dumps(question() | {"outputs": []}).encode()).outputs
    assert "no outputs named 'nothing'" in refusal(question() | {"outputs": [{"name": "nothing"}]})
    assert "twice" in refusal(question() | {"outputs": [{"name": "label"}] * 2})
    assert refusal(question() | {"outputs": [{"name": "label", "parameters": {"classification": 2}}]})


def test_limits_on_names_ids_and_texts_hold() -> None:
    """Too many tensors, too long an id and too long a text are refused."""
    texts = Codec(signature_of(TensorSpec(name="X", datatype=DataType.BYTES, shape=(-1, 1))))
    long = question(datatype="BYTES", shape=[1, 1], data=["ä" * (TEXT.value // 2 + 1)])

    assert refusal(question() | {"outputs": [{"name": f"o{each}"} for each in range(100 * TENSORS.value)]})
    assert refusal(question() | {"id": "x" * (REQUEST_ID.value + 1)})
    assert "longer" in refusal(long, texts)


def test_depth_counts_brackets_outside_texts_only() -> None:
    """Deep nesting is refused; brackets inside a text are not nesting."""
    check_depth(b'{"id":"' + b"[" * 100 + b'"}')
    check_depth(b"[" * DEPTH.value + b"]" * DEPTH.value)
    check_depth(b"[" + b"[]," * 1000 + b"[]]")
    for deep in (b"[" * (DEPTH.value + 1), b'{"a":' * 40 + b'"\\"]"'):
        with pytest.raises(Turned):
            check_depth(deep)


def test_unknown_fields_are_not_looked_at() -> None:
    """A client may add fields of its own, and ask for binary answers that come as JSON."""
    body = question(extra=[{}]) | {"model_name": "x", "parameters": {"binary_data_output": True}}

    assert "q-1" == CODEC.read(json.dumps(body).encode()).id


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([kind for kind in DataType if kind is not DataType.BYTES]), st.data())
def test_every_type_travels_both_ways(kind: DataType, data: st.DataObject) -> None:
    """What is written as JSON is read back as the same tensor, and is committed to as the model saw it."""
    spec = TensorSpec(name="tensör", datatype=kind, shape=(-1, 2))
    codec = Codec(signature_of(spec))
    shape = (data.draw(st.integers(1, 3)), 2)
    strategy = arrays.from_dtype(dtype_of(kind), allow_nan=False, allow_infinity=False)
    sent = data.draw(arrays.arrays(dtype_of(kind), shape, elements=strategy))

    [written] = json.loads(codec.write([sent], (0,)))
    asked = codec.read(json.dumps({"inputs": [written]}).encode())

    assert sent.tolist() == asked.inputs[0].tolist()
    assert encode_arrays([("tensör", sent)]) == codec.inputs_encoding(asked.inputs)
    assert encode_arrays([("tensör", sent)]) == codec.outputs_encoding([sent], (0,))


def test_texts_travel_both_ways() -> None:
    """BYTES are strings in JSON, and are committed to as UTF-8."""
    codec = Codec(signature_of(TensorSpec(name="X", datatype=DataType.BYTES, shape=(-1, 1))))
    sent = np.array([["a"], ["ü"]], np.object_)

    [written] = json.loads(codec.write([sent], (0,)))

    assert ["a", "ü"] == written["data"]
    asked = codec.read(json.dumps({"inputs": [written]}).encode())
    assert encode_arrays([("X", sent)]) == codec.inputs_encoding(asked.inputs)


def test_a_value_that_json_cannot_hold_is_not_answered() -> None:
    """An infinite or undefined output is a 500 that names the output, never a null."""
    with pytest.raises(Turned) as caught:
        CODEC.write([np.array([[np.nan, 1]], np.float32)], (1,))
    assert 500 == caught.value.status
    assert "probabilities" in caught.value.sentence


@pytest.mark.parametrize("data", [[1, None, 3], [[1, None, 3]]], ids=["flat", "nested"])
@pytest.mark.parametrize(
    ("kind", "canonical"),
    [(DataType.FP16, "007e"), (DataType.FP32, "0000c07f"), (DataType.FP64, "000000000000f87f")],
)
def test_a_null_is_a_missing_cell_and_is_committed_to_in_one_form(
    kind: DataType, canonical: str, data: list[Any]
) -> None:
    """A null becomes NaN; an offline client gets the committed bytes again, whatever NaN it holds."""
    codec = Codec(signature_of(TensorSpec(name="X", datatype=kind, shape=(-1, 3))))
    found = codec.read(json.dumps(question(data=data)).encode()).inputs[0]
    assert found.dtype == dtype_of(kind)
    assert [False, True, False] == np.isnan(found).tolist()[0]
    assert canonical == found.ravel()[1:2].tobytes().hex()
    other = np.array([[1, -np.nan, 3]], dtype_of(kind))
    other.view(np.uint8)[0, dtype_of(kind).itemsize] = 7  # a payload in its NaN
    assert other.tobytes() != found.tobytes()
    assert encode_arrays([("X", other)]) == codec.inputs_encoding([found])


@pytest.mark.parametrize(
    ("kind", "data"),
    [(DataType.INT64, [[1], [None]]), (DataType.BOOL, [True, None]), (DataType.BYTES, ["a", None])],
)
def test_a_null_in_another_type_is_refused_clearly(kind: DataType, data: list[Any]) -> None:
    """Whole numbers, truth values and texts have no missing cells, and the refusal says so."""
    codec = Codec(signature_of(TensorSpec(name="X", datatype=kind, shape=(-1, 1))))
    said = refusal(question(datatype=kind, shape=[2, 1], data=data), codec)
    assert (
        f"The input 'X' was sent as {kind}, which has no missing cells: null stands in floats only." == said
    )
