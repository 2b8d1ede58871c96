from __future__ import annotations

import math

import pytest
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st

from gatewright.serving.grpc_messages import MESSAGES

REQUEST = MESSAGES["ModelInferRequest"]
# Field 1 (model_name) "m", 3 (id) "q", 5 (inputs) of name, datatype, packed shape; 7 (raw_input_contents).
WRITTEN = bytes.fromhex("0a016d1a01712a0d0a01581204465033321a0201033a0401020304")


def test_a_request_is_written_as_the_protocol_numbers_its_fields() -> None:
    """The bytes of a request are those that the field numbers of the published file give."""
    made = REQUEST(
        model_name="m",
        id="q",
        inputs=[{"name": "X", "datatype": "FP32", "shape": [1, 3]}],
        raw_input_contents=[b"\x01\x02\x03\x04"],
    )

    assert WRITTEN == made.SerializeToString()


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        (
            "ModelInferResponse",
            {"model_name": 1, "id": 3, "parameters": 4, "outputs": 5, "raw_output_contents": 6},
        ),
        ("ModelInferRequest", {"parameters": 4, "inputs": 5, "outputs": 6, "raw_input_contents": 7}),
        ("ModelInferRequest.InferInputTensor", {"datatype": 2, "shape": 3, "parameters": 4, "contents": 5}),
        ("ModelInferRequest.InferRequestedOutputTensor", {"name": 1, "parameters": 2}),
        (
            "InferTensorContents",
            {"bool_contents": 1, "uint64_contents": 5, "fp32_contents": 6, "bytes_contents": 8},
        ),
        ("InferParameter", {"bool_param": 1, "string_param": 3, "uint64_param": 5}),
        ("ModelMetadataResponse", {"versions": 2, "platform": 3, "inputs": 4, "outputs": 5}),
        ("ServerMetadataResponse", {"name": 1, "version": 2, "extensions": 3}),
    ],
)
def test_fields_have_the_numbers_of_the_protocol(name: str, numbers: dict[str, int]) -> None:
    """Each field has the number that the published file gives it."""
    fields = MESSAGES[name].DESCRIPTOR.fields_by_name

    assert numbers == {field: fields[field].number for field in numbers}


def test_a_parameter_is_one_of_its_kinds() -> None:
    """A parameter that is set a second time forgets the first, as a choice does."""
    parameter = MESSAGES["InferParameter"](string_param="a")
    parameter.int64_param = 3

    assert "int64_param" == parameter.WhichOneof("parameter_choice")


@given(
    values=st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False)),
    texts=st.lists(st.binary(max_size=8)),
    key=st.text(max_size=5),
)
def test_what_is_written_is_read_again(values: list[float], texts: list[bytes], key: str) -> None:
    """Contents and parameters come back as they went, in the wire form and in text."""
    made = REQUEST(
        inputs=[{"name": "X", "contents": {"fp32_contents": values, "bytes_contents": texts}}],
    )
    made.parameters[key].double_param = math.pi
    read = REQUEST.FromString(made.SerializeToString())

    assert made == read == text_format.Parse(text_format.MessageToString(made), REQUEST())
