"""Binary tensors made to be read beyond their end, at the wrong place, or slowly."""

from __future__ import annotations

import json
import socket
import time
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewright.models.signature import DataType, ModelSignature, Task, TensorSpec
from gatewright.serving.admission import Turned
from gatewright.serving.codec import Codec
from gatewright.serving.limits import BODY, ELEMENTS, ROWS, TENSORS
from unit.serving.rig import SIGNATURE, Running, error_of

HUNG_S = 300.0
"""Looking again and again at megabytes takes hours; a slow machine takes seconds."""
PATH = "/v2/models/tumour/infer"
ROW = np.array([1, 2, 3], np.float32).tobytes()


def tensor(**change: Any) -> dict[str, Any]:
    """A good binary input of one row, with some fields changed."""
    good = {"name": "X", "shape": [1, 3], "datatype": "FP32", "parameters": {"binary_data_size": 12}}
    return good | change


def sized(size: Any) -> dict[str, Any]:
    """An input that declares so many bytes."""
    return tensor(parameters={"binary_data_size": size})


def send(
    server: Running, inputs: Any, data: bytes, header: int | str | None = None, **more: Any
) -> httpx.Response:
    """A binary request whose JSON header ends where it should, or where it is said to."""
    head = json.dumps({"inputs": inputs} | more).encode()
    headers = {"inference-header-content-length": str(len(head) if header is None else header)}
    return server.client.post(PATH, content=head + data, headers=headers)


@pytest.mark.parametrize(
    ("inputs", "data"),
    [
        ([tensor()], ROW[:-1]),
        ([tensor()], ROW + b"\0"),
        ([tensor()], b""),
        ([sized(11)], ROW[:-1]),
        ([sized(16)], ROW + bytes(4)),
        ([sized(2**64 + 12)], ROW),
        ([sized(2**32 + 12)], ROW),
        ([sized(-12)], ROW),
        ([sized(2**63)], ROW),
        ([sized(10**400)], ROW),
        ([sized(1.2e1)], ROW),
        ([tensor(shape=[2**62, 3])], ROW),
        ([tensor(shape=[2**64 + 1, 3])], ROW),
        ([tensor(shape=[-1, -3])], ROW),
        ([tensor(shape=[1, 3] + [1] * 63)], ROW),
        ([tensor(shape=[ROWS.value + 1, 3])], ROW),
        ([tensor(datatype="FP64")], ROW),
        ([tensor(datatype="fp32")], ROW),
        ([tensor(), tensor()], ROW * 2),
        ([tensor(), sized(-12)], ROW),
        ([tensor(), tensor(name="Y")], ROW * 2),
        ([tensor(data=[1, 2, 3])], ROW),
        ([tensor(parameters={"shared_memory_region": "r", "binary_data_size": 12})], ROW),
        ([], ROW),
        (None, ROW),
    ],
)  # fmt: skip
def test_sv03_sv05_sizes_that_do_not_add_up(server: Running, inputs: Any, data: bytes) -> None:
    """SV-03, SV-05: shapes, sizes and what really came are compared as whole numbers, or it is a 400."""
    answer = send(server, inputs, data)
    assert 400 == answer.status_code
    assert error_of(answer).endswith(".")


@pytest.mark.parametrize("header", [0, 1, 10**6, 2**64, 2**70, "-1", "0x10", "1_0", "٣", "1 0", "+9"])
def test_sv03_a_header_length_that_does_not_fit(server: Running, header: int | str) -> None:
    """SV-03: a JSON header that is said to end elsewhere is a 400, whatever the number."""
    said = str(header).encode()
    head = json.dumps({"inputs": [tensor()]}).encode()
    answer = server.client.post(PATH, content=head + ROW, headers={"inference-header-content-length": said})
    assert 400 == answer.status_code


def test_sv03_a_hundred_thousand_binary_outputs(server: Running) -> None:
    """SV-03: names of outputs are counted before they are looked up."""
    names = [{"name": "label", "parameters": {"binary_data": True}}] * 100 * TENSORS.value
    answer = send(server, [tensor()], ROW, outputs=names)
    assert 400 == answer.status_code


def test_sv11_the_header_length_comes_once(server: Running) -> None:
    """SV-11: two places at which the JSON might end are none."""
    head = json.dumps({"inputs": [tensor()]}).encode()
    lines = [
        f"POST {PATH} HTTP/1.1", "Host: localhost", f"Authorization: Bearer {server.rig.secret}", "Connection: close",
        f"Inference-Header-Content-Length: {len(head)}", f"Inference-Header-Content-Length: {len(head) - 1}",
        f"Content-Length: {len(head) + len(ROW)}", "", "",
    ]  # fmt: skip
    with socket.create_connection(server.address, 60) as connection:
        connection.sendall("\r\n".join(lines).encode() + head + ROW)
        assert b" 400 " in connection.recv(65_536).partition(b"\r\n")[0]


@pytest.mark.parametrize("index", [-1, 2**31, 2**63 - 1])
def test_sv14_numbers_out_of_range_are_validated(server: Running, index: int) -> None:
    """SV-14: an integer that its tensor cannot hold, or that loses digits, is a 400."""
    data = np.array([1, 2, index], np.int64).tobytes()
    answer = send(server, [tensor(datatype="INT64", parameters={"binary_data_size": 24})], data)
    assert (200 if index in (-1, 2**31) else 400) == answer.status_code
    assert (
        400 == send(server, [tensor(datatype="INT8", parameters={"binary_data_size": 24})], data).status_code
    )


@pytest.mark.parametrize("encoding", ["gzip", "gzip, gzip", "zstd"])
def test_sv17_compressed_binary_bodies_are_not_expanded(server: Running, encoding: str) -> None:
    """SV-17: binary data is taken as it is or not at all."""
    head = json.dumps({"inputs": [tensor()]}).encode()
    headers = {"inference-header-content-length": str(len(head)), "content-encoding": encoding}
    assert 415 == server.client.post(PATH, content=head + ROW, headers=headers).status_code


def test_sv18_a_body_full_of_empty_texts_costs_time_in_proportion() -> None:
    """SV-18: millions of elements are walked once; one more than the limit is not begun."""
    spec = TensorSpec(name="X", datatype=DataType.BYTES, shape=(-1, -1))
    codec = Codec(ModelSignature(task=Task.REGRESSION, inputs=(spec,), outputs=(spec,)))
    columns = BODY.value // 32
    begun = time.process_time()
    for shape, expected in (([1, columns], None), ([1, columns + 1], 400), ([1, ELEMENTS.value + 1], 400)):
        size = 4 * columns
        head = json.dumps(
            {"inputs": [tensor(datatype="BYTES", shape=shape, parameters={"binary_data_size": size})]}
        ).encode()
        try:
            codec.read(head + bytes(size), len(head))
            status = None
        except Turned as turned:
            status = turned.status
        assert expected == status
    assert time.process_time() - begun < HUNG_S


GOOD = json.dumps({"id": "q", "inputs": [tensor()], "parameters": {"binary_data_output": True}}).encode()


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, len(GOOD) + 15), st.integers(0, 3), st.binary(max_size=3)), max_size=4),
    st.integers(-3, 20),
)
def test_whatever_is_changed_it_is_an_answer_or_a_sentence(
    changes: list[tuple[int, int, bytes]], beyond: int
) -> None:
    """Law: bytes taken away, put in or changed anywhere give a request that fits, or a 400; never a fault."""
    body = GOOD + ROW
    for at, gone, put in changes:
        body = body[:at] + put + body[at + gone :]
    header, status, found = max(0, len(GOOD) + beyond), 200, None
    try:
        found = Codec(SIGNATURE).read(body, header)
    except Turned as turned:
        status = turned.status
    assert status == (400 if found is None else 200)
    assert found is None or ((1, 3) == found.inputs[0].shape and not np.isinf(found.inputs[0]).any())
