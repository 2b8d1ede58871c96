from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from gatewright.models.signature import DataType, ModelSignature, Task, TensorSpec
from gatewright.models.tensors import bf16_bits, dtype_of, encode_arrays, encode_typed, of_bf16_bits, raw_of
from gatewright.serving.admission import Turned
from gatewright.serving.codec import Codec
from gatewright.serving.frames import check_depth
from gatewright.serving.inputs import SentTensor
from gatewright.serving.limits import DEPTH, REQUEST_ID, ROWS, SUBJECT, TENSORS, TEXT
from unit.serving.rig import SIGNATURE, question

CODEC = Codec(SIGNATURE)


def signature_of(*inputs: TensorSpec) -> ModelSignature:
    """A signature with these inputs and one output of each type."""
    return ModelSignature(task=Task.REGRESSION, inputs=inputs, outputs=inputs)


def one_input(kind: DataType, columns: int = 1) -> Codec:
    """A codec whose one input is ``X``, of this type."""
    return Codec(signature_of(TensorSpec(name="X", datatype=kind, shape=(-1, columns))))


def binary(raw: bytes, codec: Codec = CODEC, **change: Any) -> np.ndarray[Any, Any]:
    """The tensor of a request whose one input came as binary data."""
    tensor = {"name": "X", "shape": [1, 3], "datatype": "FP32", "parameters": {"binary_data_size": len(raw)}}
    head = json.dumps({"inputs": [tensor | change]}).encode()
    return codec.read(head + raw, len(head)).inputs[0]


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
    texts = one_input(DataType.BYTES)
    long = question(datatype="BYTES", shape=[1, 1], data=["ä" * (TEXT.value // 2 + 1)])

    assert refusal(question() | {"outputs": [{"name": f"o{each}"} for each in range(100 * TENSORS.value)]})
    assert refusal(question() | {"id": "x" * (REQUEST_ID.value + 1)})
    assert "longer" in refusal(long, texts)
    assert "subject" in refusal(question() | {"parameters": {"subject": "ä" * (SUBJECT.value // 2 + 1)}})


def test_depth_counts_brackets_outside_texts_only() -> None:
    """Deep nesting is refused; brackets inside a text are not nesting."""
    check_depth(b'{"id":"' + b"[" * 100 + b'"}')
    check_depth(b"[" * DEPTH.value + b"]" * DEPTH.value)
    check_depth(b"[" + b"[]," * 1000 + b"[]]")
    check_depth(b'["]]",' + b"[{}]," * 1000 + b'"[["]')
    check_depth(b'["\\"",' + b"[{}]," * 1000 + b"0]")
    whole = b'[{"":' * (DEPTH.value // 2)
    check_depth(whole + b"1" + b"}]" * (DEPTH.value // 2))
    for deep in (
        b"[" * (DEPTH.value + 1),
        b"[" * (DEPTH.value + 1) + b"]" * (DEPTH.value + 1),
        whole + b"[]" + b"}]" * (DEPTH.value // 2),
        b'["[",' + whole + b"1" + b"}]" * (DEPTH.value // 2) + b',"]"]',
        b'{"a":' * 40 + b'"\\"]"',
    ):
        with pytest.raises(Turned):
            check_depth(deep)


def test_unknown_fields_are_not_looked_at() -> None:
    """A client may add fields of its own, and ask for binary answers that come as JSON."""
    body = question(extra=[{}], parameters={"x": 1}) | {"model_name": "x", "parameters": {"x": [2]}}

    assert "q-1" == CODEC.read(json.dumps(body).encode()).id


@pytest.mark.parametrize(
    ("whole", "label", "expected"),
    [
        (None, None, set()),
        (False, None, set()),
        (True, None, {0, 1}),
        (True, False, {1}),
        (None, True, {0}),
    ],
)
def test_binary_answers_are_asked_for_whole_or_by_output(
    whole: bool | None, label: bool | None, expected: set[int]
) -> None:
    """``binary_data_output`` is about all outputs, ``binary_data`` about one, which it decides."""
    body = question() | {"parameters": {"binary_data_output": whole}}
    if label is not None:
        body["outputs"] = [
            {"name": "label", "parameters": {"binary_data": label}},
            {"name": "probabilities"},
        ]

    assert expected == CODEC.read(json.dumps(body).encode()).binary


def test_the_caller_may_say_whom_a_request_is_about() -> None:
    """``parameters.subject`` is the subject; without it there is none."""
    body = question() | {"parameters": {"subject": "patient 7"}}

    assert "patient 7" == CODEC.read(json.dumps(body).encode()).subject
    assert None is CODEC.read(json.dumps(question()).encode()).subject


FLOATS = {"FP16": np.float16, "FP32": np.float32, "FP64": np.float64}
INTEGERS = {
    f"{sign}INT{bits}": np.dtype(f"{sign.lower()}int{bits}") for sign in ("", "U") for bits in (8, 16, 32, 64)
}


@pytest.mark.parametrize(("datatype", "dtype"), (FLOATS | INTEGERS).items())
@pytest.mark.parametrize("taken", [DataType.FP16, DataType.BF16, DataType.FP32, DataType.FP64])
def test_binary_numbers_of_other_types_are_cast(datatype: str, dtype: Any, taken: DataType) -> None:
    """Any number type may be sent in binary for a float tensor, and is held in the tensor's type."""
    found = binary(np.array([1, 2, 3], dtype).tobytes(), one_input(taken, 3), datatype=datatype)

    assert dtype_of(taken) == found.dtype
    assert [[1, 2, 3]] == found.tolist()


@pytest.mark.parametrize(
    ("taken", "digits"), [(DataType.FP16, 11), (DataType.BF16, 8), (DataType.FP32, 24), (DataType.FP64, 53)]
)
def test_whole_numbers_are_taken_for_floats_where_none_loses_a_digit(taken: DataType, digits: int) -> None:
    """All of so many binary digits are, and of larger ones those that end in zeros enough."""
    most = 2**digits
    for whole, held in ((most - 1, True), (-most, True), (most + 2, True), (most + 1, False)):
        raw = np.array([0, whole, 1], np.int64).tobytes()
        body = json.dumps(question(datatype="INT64", data=[0, whole, 1])).encode()
        codec = one_input(taken, 3)
        if held:
            assert [[0, whole, 1]] == binary(raw, codec, datatype="INT64").tolist()
            assert [[0, whole, 1]] == codec.read(body).inputs[0].tolist()
        else:
            assert "cannot hold" in refusal(body, codec)
            with pytest.raises(Turned, match="cannot hold"):
                binary(raw, codec, datatype="INT64")


def test_binary_bf16_is_the_upper_half_of_fp32() -> None:
    """BF16 is taken for every float type; NumPy holds its numbers as FP32."""
    raw = np.array([0x3FC0, 0xC000, 0x7F7F], "<u2").tobytes()

    assert [[1.5, -2, float.fromhex("0x1.FEp127")]] == binary(raw, datatype="BF16").tolist()
    assert [[1.5, -2, float.fromhex("0x1.FEp127")]] == binary(
        raw, one_input(DataType.BF16, 3), datatype="BF16"
    ).tolist()


@pytest.mark.parametrize("lead", [0, 1, 2, 3])
def test_binary_data_is_used_where_it_lies_when_it_lies_well(lead: int) -> None:
    """Aligned data is not copied; other data is, for a model reads what is aligned."""
    tensor = {"name": "X", "shape": [1, 3], "datatype": "FP32", "parameters": {"binary_data_size": 12}}
    head = json.dumps({"inputs": [tensor]}).encode() + b" " * lead
    body = head + np.array([1, 2, 3], np.float32).tobytes()

    found = CODEC.read(body, len(head)).inputs[0]

    assert found.flags.aligned
    assert [[1, 2, 3]] == found.tolist()
    begin = np.frombuffer(body, np.uint8).__array_interface__["data"][0] + len(head)
    assert (begin % 4 == 0) == np.shares_memory(found, np.frombuffer(body, np.uint8))


@pytest.mark.parametrize("kind", [DataType.FP16, DataType.BF16, DataType.FP32, DataType.FP64])
def test_a_binary_nan_is_a_missing_cell_in_its_one_form(kind: DataType) -> None:
    """Whatever NaN is sent, the model gets and the receipt commits to the one without sign and payload."""
    codec = one_input(kind, 3)
    raw = bytearray(raw_of(np.array([1, np.nan, 3], dtype_of(kind)), kind))
    canonical = bytes(raw)
    size = len(raw) // 3
    raw[size] |= 7
    raw[2 * size - 1] |= 0x80

    found = binary(bytes(raw), codec, datatype=kind)

    assert bytes(raw) != canonical
    assert codec.inputs_encoding([found]).endswith(canonical)
    assert [False, True, False] == np.isnan(found).tolist()[0]


@pytest.mark.parametrize(
    ("change", "raw", "kind"),
    [
        ({}, bytes(11), "FP32"),
        ({}, bytes(13), "FP32"),
        ({}, b"", "FP32"),
        ({"parameters": {"binary_data_size": 11}}, bytes(12), "FP32"),
        ({"parameters": {"binary_data_size": 13}}, bytes(12), "FP32"),
        ({"parameters": {"binary_data_size": -1}}, b"", "FP32"),
        ({"parameters": {"binary_data_size": -12}}, bytes(12), "FP32"),
        ({"parameters": {"binary_data_size": 2**64 + 12}}, bytes(12), "FP32"),
        ({"parameters": {"binary_data_size": "12"}}, bytes(12), "FP32"),
        ({"parameters": {"binary_data_size": 12.5}}, bytes(12), "FP32"),
        ({"parameters": {"binary_data_size": True}}, bytes(1), "FP32"),
        ({"parameters": {"binary_data_size": None}}, bytes(12), "FP32"),
        ({"parameters": {}}, bytes(12), "FP32"),
        ({"parameters": 7}, bytes(12), "FP32"),
        ({"data": [1, 2, 3]}, bytes(12), "FP32"),
        ({"shape": [2**62, 3]}, bytes(12), "FP32"),
        ({"shape": [-1, 3]}, bytes(12), "FP32"),
        ({"shape": [0, 3]}, b"", "FP32"),
        ({"datatype": "FP64"}, bytes(12), "FP32"),
        ({"datatype": "BYTES"}, bytes(12), "FP32"),
        ({"datatype": "BOOL"}, bytes(3), "FP32"),
        ({}, np.array([1, np.inf, 3], np.float32).tobytes(), "FP32"),
        ({"datatype": "FP64"}, np.array([1, 1e39, 3]).tobytes(), "FP32"),
        ({"datatype": "FP16"}, np.array([1, -np.inf, 3], np.float16).tobytes(), "FP32"),
        ({}, np.array([1, 3.4e38, 3], np.float32).tobytes(), "BF16"),
        ({"datatype": "INT64"}, np.array([1, 16_777_217, 3]).tobytes(), "FP32"),
        ({"datatype": "INT64"}, np.array([1, 2**63 - 1, 3]).tobytes(), "FP64"),
        ({"datatype": "INT64"}, np.array([1, -(2**53) - 1, 3]).tobytes(), "FP64"),
        ({"datatype": "UINT16"}, np.array([1, 2**11 + 1, 3], np.uint16).tobytes(), "FP16"),
        ({"datatype": "UINT16"}, np.array([1, 2**16 - 1, 3], np.uint16).tobytes(), "FP16"),
        ({"datatype": "UINT16"}, np.array([1, 2**8 + 1, 3], np.uint16).tobytes(), "BF16"),
        ({"datatype": "UINT64"}, np.array([1, 2**63, 3], np.uint64).tobytes(), "INT64"),
        ({"datatype": "INT8"}, np.array([1, -1, 3], np.int8).tobytes(), "UINT64"),
        ({"datatype": "INT64"}, np.array([1, 300, 3]).tobytes(), "UINT8"),
        ({"datatype": "BOOL"}, bytes([0, 1, 2]), "BOOL"),
        ({"datatype": "BYTES"}, bytes(11), "BYTES"),
        ({"datatype": "BYTES"}, bytes(16), "BYTES"),
        ({"datatype": "BYTES"}, b"\1\0\0\0a\1\0\0\0b\2\0\0\0c", "BYTES"),
        ({"datatype": "BYTES"}, b"\xff\xff\xff\xff" + bytes(8), "BYTES"),
        ({"datatype": "BYTES"}, b"\1\0\0\0\xff" + bytes(8), "BYTES"),
        (
            {"datatype": "BYTES"},
            bytes(8) + (TEXT.value + 1).to_bytes(4, "little") + b"a" * (TEXT.value + 1),
            "BYTES",
        ),
    ],
)
def test_binary_data_that_does_not_fit_is_refused(change: dict[str, Any], raw: bytes, kind: str) -> None:
    """Every misfit of size, type or value is a 400 with a sentence."""
    with pytest.raises(Turned) as caught:
        binary(raw, one_input(DataType(kind), 3), **change)
    assert 400 == caught.value.status
    assert caught.value.sentence


def test_the_header_must_lie_within_the_body() -> None:
    """A length beyond the body, or one that cuts the JSON, is a 400."""
    body = json.dumps(question()).encode()
    for header in (len(body) + 1, 10**19, len(body) - 1, 0):
        with pytest.raises(Turned) as caught:
            CODEC.read(body, header)
        assert 400 == caught.value.status
    assert "q-1" == CODEC.read(body, len(body)).id


def test_several_binary_inputs_stand_in_the_order_of_the_request() -> None:
    """Binary data is taken in the order of the request's inputs; JSON inputs may stand between them."""
    codec = Codec(
        signature_of(*(TensorSpec(name=name, datatype=DataType.FP32, shape=(-1, 1)) for name in "abc"))
    )
    tensor = {"shape": [1, 1], "datatype": "FP32"}
    size = {"parameters": {"binary_data_size": 4}}
    inputs = [
        tensor | size | {"name": "c"},
        tensor | {"name": "b", "data": [2]},
        tensor | size | {"name": "a"},
    ]
    head = json.dumps({"inputs": inputs}).encode()

    found = codec.read(head + np.array([3, 1], np.float32).tobytes(), len(head)).inputs

    assert [[[1]], [[2]], [[3]]] == [each.tolist() for each in found]


def test_tensors_are_taken_under_the_same_rules() -> None:
    """What comes as tensors, raw or as values, is what the same request in JSON is."""
    row = np.array([[1, np.nan, 3]], np.float32)
    said = CODEC.read(json.dumps(question(data=[1, None, 3])).encode())
    for sent in (
        SentTensor("X", "FP32", [1, 3], raw=row.tobytes()),
        SentTensor("X", "FP64", [1, 3], values=[1.0, math.nan, 3.0]),
    ):
        asked = CODEC.take([sent], ["probabilities"], request_id="q-1", subject="s")
        assert ("q-1", "s", (1,), True) == (asked.id, asked.subject, asked.outputs, asked.named)
        assert set(asked.outputs) <= asked.binary
        assert CODEC.inputs_encoding(said.inputs) == CODEC.inputs_encoding(asked.inputs)
    texts = one_input(DataType.BYTES).take([SentTensor("X", "BYTES", [1, 1], values=[b"\xc3\xbc"])])
    assert [["ü"]] == texts.inputs[0].tolist()
    assert [(0, 1)] == [CODEC.take([SentTensor("X", "FP32", [1, 3], values=[1.0] * 3)]).outputs]


@pytest.mark.parametrize(
    "sent",
    [
        [],
        [SentTensor("X", "FP32", [1, 3])],
        [SentTensor("X", "FP32", [1, 3], values=[1.0])],
        [SentTensor("X", "FP32", [1, 3], values=[1.0, math.inf, 2.0])],
        [SentTensor("X", "FP32", [2**62, 3], raw=bytes(12))],
        [SentTensor("X", "FP32", [1, 3], raw=bytes(11))],
        [SentTensor("X", "FP32", [1, 3], raw=bytes(12))] * 2,
        [SentTensor("Y", "FP32", [1, 3], raw=bytes(12))],
        [SentTensor("X", "", [1, 3], raw=bytes(12))],
    ],
)
def test_tensors_that_do_not_fit_are_refused(sent: list[SentTensor]) -> None:
    """Every misfit is a 400 with a sentence."""
    with pytest.raises(Turned) as caught:
        CODEC.take(sent)
    assert 400 == caught.value.status


def test_outputs_may_be_partly_binary() -> None:
    """Binary data follows in the order of the outputs; the others stay JSON; raw outputs are the same bytes."""
    found = [np.array([1, 0]), np.array([[0.25, 0.75], [1, np.nan]], np.float32)]

    outputs, data = CODEC.write_binary(found, (0, 1), frozenset({1}))

    label, scores = json.loads(outputs)
    assert [1, 0] == label["data"]
    assert {"binary_data_size": 16} == scores["parameters"]
    assert "data" not in scores
    assert found[1].tobytes() == data
    assert [found[0].tobytes(), data] == CODEC.raw_outputs(found, (0, 1))
    with pytest.raises(Turned):
        CODEC.write_binary(found, (0, 1), frozenset({0}))


def drawn(kind: DataType, data: st.DataObject) -> np.ndarray[Any, Any]:
    """Some rows of two values that the type holds, none of them missing."""
    strategy = arrays.from_dtype(dtype_of(kind), allow_nan=False, allow_infinity=False)
    shape = (data.draw(st.integers(1, 3)), 2)
    found = data.draw(arrays.arrays(dtype_of(kind), shape, elements=strategy))
    return np.nan_to_num(of_bf16_bits(bf16_bits(found)), posinf=1, neginf=-1) if kind == "BF16" else found


@settings(max_examples=100, deadline=None)
@given(st.sampled_from([kind for kind in DataType if kind is not DataType.BYTES]), st.data())
def test_every_type_travels_both_ways(kind: DataType, data: st.DataObject) -> None:
    """What is written, as JSON or as binary data, is read back as the same tensor and committed to as such."""
    codec = Codec(signature_of(TensorSpec(name="tensör", datatype=kind, shape=(-1, 2))))
    sent = drawn(kind, data)
    committed = encode_typed([("tensör", kind, sent)])
    assert committed == codec.outputs_encoding([sent], (0,))

    outputs, raw = codec.write_binary([sent], (0,), frozenset({0}))
    assert sent.size * (2 if kind == "BF16" else sent.itemsize) == len(raw)
    for written, tail in ((codec.write([sent], (0,)), b""), (outputs, raw)):
        head = b'{"inputs":%b}' % written
        asked = codec.read(head + tail, len(head))
        assert sent.tolist() == asked.inputs[0].tolist()
        assert committed == codec.inputs_encoding(asked.inputs)


def test_texts_travel_both_ways() -> None:
    """BYTES are strings in JSON, prefixed by their length in binary data, and committed to as UTF-8."""
    codec = one_input(DataType.BYTES)
    sent = np.array([["a"], ["ü"], [""]], np.object_)

    [written] = json.loads(codec.write([sent], (0,)))
    outputs, raw = codec.write_binary([sent], (0,), frozenset({0}))

    assert ["a", "ü", ""] == written["data"]
    assert b"\1\0\0\0a\2\0\0\0\xc3\xbc\0\0\0\0" == raw
    for body, tail in (({"inputs": [written]}, b""), ({"inputs": json.loads(outputs)}, raw)):
        head = json.dumps(body).encode()
        asked = codec.read(head + tail, len(head))
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
