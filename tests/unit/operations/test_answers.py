"""Saved answers and requests: read strictly, and compared as the server encoded them."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewright.kernel.errors import BadInput
from gatewright.models.signature import DataType, ModelSignature, Task, TensorSpec
from gatewright.models.tensors import array_of, dtype_of, encode_arrays, settled
from gatewright.operations.answers import inputs_are, outputs_encoding, request_in, saved_in
from gatewright.serving.admission import Turned
from gatewright.serving.codec import Codec

VALUES = st.one_of(
    st.tuples(st.just(DataType.FP32), st.floats(width=32, allow_nan=False, allow_infinity=False)),
    st.tuples(st.just(DataType.FP16), st.floats(width=16, allow_nan=False, allow_infinity=False)),
    st.tuples(st.just(DataType.BF16), st.sampled_from([0.0, -0.0, 1.5, -2.0, 3.3895313892515355e38])),
    st.tuples(st.just(DataType.FP64), st.floats(allow_nan=False, allow_infinity=False)),
    st.tuples(st.just(DataType.UINT64), st.integers(0, 2**64 - 1)),
    st.tuples(st.just(DataType.INT8), st.integers(-128, 127)),
    st.tuples(st.just(DataType.BOOL), st.booleans()),
    st.tuples(st.just(DataType.BYTES), st.text(st.characters(exclude_categories=["Cs"]), max_size=20)),
)


def _signature(*inputs: TensorSpec, outputs: tuple[TensorSpec, ...] = ()) -> ModelSignature:
    return ModelSignature(task=Task.REGRESSION, inputs=inputs, outputs=outputs)


def _spec(name: str, kind: DataType = DataType.FP32) -> TensorSpec:
    return TensorSpec(name=name, datatype=kind, shape=(-1, 1))


def _input(name: str, kind: str = "FP32", data: Any = (1, 2), shape: Any = (2, 1)) -> dict[str, Any]:
    return {"name": name, "datatype": kind, "shape": list(shape), "data": data}


def _request(*inputs: dict[str, Any]) -> bytes:
    return json.dumps({"inputs": inputs}).encode()


@given(values=st.lists(VALUES, min_size=1, max_size=4))
@settings(max_examples=60, deadline=None)
def test_outputs_encode_as_the_server_committed_to_them(values: list[tuple[DataType, Any]]) -> None:
    """What the codec writes as JSON and commits to as bytes is the same, for every data type."""
    specs = tuple(_spec(f"o{place}", kind) for place, (kind, _) in enumerate(values))
    codec = Codec(_signature(outputs=specs))
    arrays = [np.array([[value]], dtype_of(kind)) for kind, value in values]
    places = tuple(range(len(arrays)))[::-1]
    shown = [arrays[place] for place in places]
    committed = codec.outputs_encoding(shown, places)
    for binary in (frozenset[int](), frozenset(places[::2]), frozenset(places)):
        outputs, data = codec.write_binary(shown, places, binary)
        answer = saved_in(b'{"parameters":{"receipt":"gwr1.x"},"outputs":%b}' % outputs + data).answer
        assert answer is not None
        assert committed == outputs_encoding(answer)


BITS = {DataType.FP16: "<u2", DataType.BF16: "<u2", DataType.FP32: "<u4", DataType.FP64: "<u8"}
NUMBERS = st.sampled_from([kind for kind in DataType if kind not in (DataType.BOOL, DataType.BYTES)])


@given(sent=NUMBERS, signed=NUMBERS, bits=st.lists(st.integers(0, 2**64 - 1), min_size=2, max_size=2))
@settings(max_examples=200, deadline=None)
def test_a_saved_binary_request_is_the_committed_one(
    sent: DataType, signed: DataType, bits: list[int]
) -> None:
    """Whatever numbers of whatever type the server took from binary data, its saved bytes are found to be the inputs."""
    size = np.dtype(BITS.get(sent) or dtype_of(sent)).itemsize
    raw = b"".join(each.to_bytes(8, "little")[:size] for each in bits)
    tensor = {"name": "a", "datatype": sent, "shape": [2, 1], "parameters": {"binary_data_size": len(raw)}}
    head = json.dumps({"inputs": [tensor]}).encode() + b"\n"
    signature = _signature(_spec("a", signed))
    codec = Codec(signature)
    try:
        taken = codec.read(head + raw, len(head)).inputs
    except Turned:
        return
    committed = codec.inputs_encoding(taken)
    for known in (signature, None):
        assert inputs_are(request_in(head + raw), known, committed.__eq__) is True
        other = bytes([raw[0] ^ 1]) + raw[1:]
        if settled(array_of(sent, (2,), raw)).tobytes() != settled(array_of(sent, (2,), other)).tobytes():
            same = inputs_are(request_in(head + other), known, committed.__eq__)
            assert same is _is_same(codec, head + other, len(head), committed)


def _is_same(codec: Codec, body: bytes, header: int, committed: bytes) -> bool:
    """Whether another request means the same: narrowing can make two numbers one."""
    try:
        return codec.inputs_encoding(codec.read(body, header).inputs) == committed
    except Turned:
        return False


def test_an_output_that_is_no_number_is_verified_in_its_binary_answer() -> None:
    """NaN and infinity are answered as binary data only, and their receipt holds."""
    codec = Codec(_signature(outputs=(_spec("a"),)))
    found = [settled(np.array([[np.nan], [-np.inf]], np.float32))]
    outputs, data = codec.write_binary(found, (0,), frozenset({0}))
    answer = saved_in(b'{"parameters":{"receipt":"gwr1.x"},"outputs":%b}' % outputs + data).answer
    assert answer is not None
    assert codec.outputs_encoding(found, (0,)) == outputs_encoding(answer)


def _committed(tensor: dict[str, Any], tail: bytes) -> bytes:
    """What an answer with this output and these bytes behind it says was committed to."""
    answer = {"parameters": {"receipt": "gwr1.x"}, "outputs": [tensor]}
    return outputs_encoding(saved_in(json.dumps(answer).encode() + tail).answer or {})


@pytest.mark.parametrize(
    ("change", "tail"),
    [
        ({}, bytes(3)),
        ({}, bytes(5)),
        ({}, b""),
        ({"parameters": {"binary_data_size": -4}}, b""),
        ({"parameters": {"binary_data_size": True}}, bytes(1)),
        ({"parameters": {"binary_data_size": 2**70}}, bytes(4)),
        ({"data": [1]}, bytes(4)),
        ({"shape": [2, 1]}, bytes(4)),
        ({"datatype": "FP64"}, bytes(4)),
    ],
)
def test_binary_data_that_does_not_add_up_is_bad_input(change: dict[str, Any], tail: bytes) -> None:
    """A saved message whose parts do not fit one another is never taken for another one."""
    tensor = {"name": "a", "datatype": "FP32", "shape": [1, 1], "parameters": {"binary_data_size": 4}}
    assert _committed(tensor, bytes(4)).endswith(bytes(4))
    with pytest.raises(BadInput):
        _committed(tensor | change, tail)


@pytest.mark.parametrize(
    "outputs",
    [
        None, {}, [3], [{}], [_input("a", "FP31")], [_input("a", data=[1])], [_input("a", data="12")],
        [_input("a", shape=(-2, -1))], [_input("a", shape=(True, 2))], [_input("a", data=[[1, 2]])],
        [_input("a", data=[True, 2])], [_input("a", data=[None, 2])], [_input("a", "INT8", [1, 128])],
        [_input("a", "INT8", [1, 0.5])], [_input("a", "BYTES", [1, "b"])], [_input("a", "BOOL", [1, 0])],
        [_input("a"), _input("a")], [_input("a", shape=[1] * 9)], [_input("a", data=[[[1]], [[2]]])],
    ],
)  # fmt: skip
def test_what_no_server_answers_is_bad_input(outputs: object) -> None:
    """Tensors that do not fit their own shape and datatype are never taken for others."""
    with pytest.raises(BadInput):
        outputs_encoding({"outputs": outputs})


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"inputs": NaN}', b'{"inputs": [], "inputs": []}'])
def test_what_is_no_request_is_bad_input(content: bytes) -> None:
    """A request is one JSON object with one list of inputs."""
    with pytest.raises(BadInput):
        request_in(content)


@pytest.mark.parametrize("kind", ["FP16", "FP32", "FP64", "INT32", "UINT8"])
@pytest.mark.parametrize("signed", [DataType.FP32, DataType.FP64])
def test_inputs_are_found_as_the_signature_has_them(kind: str, signed: DataType) -> None:
    """Sent in another order and another type, the inputs are the committed ones, with the signature or without."""
    signature = _signature(_spec("a", signed), _spec("b", signed))
    body = _request(_input("b", kind, [3, 4]), _input("a", kind, [1, 2]))
    codec = Codec(signature)
    committed = codec.inputs_encoding(codec.read(body).inputs)
    sent = request_in(body)
    for known in (signature, None):
        assert inputs_are(sent, known, committed.__eq__) is True
        assert inputs_are(request_in(_request(_input("a", kind, [1, 5]))), known, committed.__eq__) is False


@pytest.mark.parametrize("signed", [DataType.FP32, DataType.FP64])
def test_a_missing_cell_is_the_one_that_was_committed_to(signed: DataType) -> None:
    """A null among floats of a request is NaN, as the server took it; among whole numbers it is nothing."""
    signature = _signature(_spec("a", signed))
    body = _request(_input("a", "FP32", [None, 2.5]))
    codec = Codec(signature)
    committed = codec.inputs_encoding(codec.read(body).inputs)
    for known in (signature, None):
        assert inputs_are(request_in(body), known, committed.__eq__) is True
        assert (
            inputs_are(request_in(_request(_input("a", "FP32", [1, 2.5]))), known, committed.__eq__) is False
        )
        assert (
            inputs_are(request_in(_request(_input("a", "INT32", [None, 2]))), known, committed.__eq__)
            is False
        )


def test_many_inputs_need_the_signature() -> None:
    """With more than two inputs a mismatch is not claimed without the signature; the order as sent is tried."""
    names = ("a", "b", "c")
    signature = _signature(*map(_spec, names))
    value = np.array([[1], [2]], "f4")
    committed = encode_arrays([(name, value) for name in names])
    in_order, turned = (
        request_in(_request(*map(_input, names))),
        request_in(_request(*map(_input, names[::-1]))),
    )
    assert inputs_are(in_order, None, committed.__eq__) is True
    assert inputs_are(turned, None, committed.__eq__) is None
    assert inputs_are(turned, signature, committed.__eq__) is True
    assert inputs_are(turned[:2], signature, committed.__eq__) is False


def test_an_integer_that_loses_digits_is_not_the_input() -> None:
    """An integer is a float only where no digit is lost, as the server has it."""
    sent = request_in(_request(_input("a", "INT64", [2**53 + 1, 1])))
    rounded = encode_arrays([("a", np.array([[2.0**53], [1.0]]))])
    assert inputs_are(sent, _signature(_spec("a", DataType.FP64)), rounded.__eq__) is False


@pytest.mark.parametrize("end", [b"", b"\r\n"])
def test_the_head_of_a_binary_answer_still_holds_its_receipt(end: bytes) -> None:
    """JSON saved without the binary data after it: the receipt is there, and that the outputs are not is known."""
    tensor = {"name": "a", "datatype": "FP32", "shape": [2], "parameters": {"binary_data_size": 8}}
    head = json.dumps({"parameters": {"receipt": "gwr1.x"}, "outputs": [tensor]}).encode()
    saved = saved_in(head + end)
    assert ("gwr1.x", True) == (saved.token, saved.head_only)
    assert not saved_in(head + bytes(8)).head_only
    with pytest.raises(BadInput, match=r"operations.no-receipt|no receipt"):
        saved_in(head + bytes(4))


def test_the_head_of_a_binary_request_says_what_is_missing() -> None:
    """A request saved without its binary data cannot be compared, and the next step is to save all of it."""
    tensor = {"name": "a", "datatype": "FP32", "shape": [2], "parameters": {"binary_data_size": 8}}
    with pytest.raises(BadInput) as caught:
        request_in(json.dumps({"inputs": [tensor]}).encode())
    assert "operations.binary-data-missing" == caught.value.code
