"""The protocol, as clients that this project did not write speak it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from contract.every_type import model_of, signature_of, values_of
from gatewright.ledger.receipts import Receipt, commit, verify_receipt
from gatewright.models.signature import DataType
from gatewright.models.tensors import FLOATS, raw_of
from gatewright.operations.answers import inputs_are, outputs_encoding, request_in, saved_in
from unit.serving.rig import Rig, Running, error_of, question


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A worker with version 1 live."""
    rig = Rig(tmp_path_factory.mktemp("protocol"))
    rig.publish(rig.plan(1, rig.make_release(1)))
    with rig.running() as found:
        yield found


@pytest.fixture(scope="module")
def client(server: Running) -> Iterator[triton.InferenceServerClient]:
    """Triton's own client, over HTTP."""
    found = triton.InferenceServerClient(server.url.removeprefix("http://"))
    yield found
    found.close()


@pytest.fixture
def key(server: Running) -> dict[str, str]:
    """The header that admits."""
    return {"Authorization": f"Bearer {server.rig.secret}"}


def inputs(*, binary: bool) -> list[triton.InferInput]:
    """Two rows."""
    tensor = triton.InferInput("X", [2, 3], "FP32")
    tensor.set_data_from_numpy(np.array([[1, 2, 3], [-1, -2, -3]], np.float32), binary_data=binary)
    return [tensor]


def test_tritonclient_reads_health_and_metadata(
    client: triton.InferenceServerClient, key: dict[str, str]
) -> None:
    """Triton's client finds server and model live, ready and described."""
    assert client.is_server_live()
    assert client.is_server_ready(headers=key)
    assert client.is_model_ready("tumour", headers=key)
    assert client.is_model_ready("tumour", "1", headers=key)
    assert not client.is_model_ready("other", headers=key)
    assert "gatewright" == client.get_server_metadata(headers=key)["name"]
    assert ["1"] == client.get_model_metadata("tumour", headers=key)["versions"]


@pytest.mark.parametrize("version", ["", "1"])
def test_tritonclient_predicts_with_json_tensors(
    server: Running, client: triton.InferenceServerClient, key: dict[str, str], version: str
) -> None:
    """Triton's client sends JSON and reads binary outputs, which it asks for unasked, and the receipt holds."""
    answer = client.infer("tumour", inputs(binary=False), version, request_id="t-1", headers=key)

    assert [1, 0] == answer.as_numpy("label").tolist()
    assert (2, 2) == answer.as_numpy("probabilities").shape
    said = answer.get_response()
    assert ("t-1", "1") == (said["id"], said["model_version"])
    assert (
        "t-1"
        == verify_receipt(Receipt.parse(said["parameters"]["receipt"]), server.rig.worker.public).request
    )


def test_tritonclient_chooses_outputs(client: triton.InferenceServerClient, key: dict[str, str]) -> None:
    """Only the outputs that are asked for come back."""
    wanted = [triton.InferRequestedOutput("probabilities", binary_data=False)]

    answer = client.infer("tumour", inputs(binary=False), outputs=wanted, headers=key)

    assert answer.as_numpy("label") is None
    assert answer.as_numpy("probabilities") is not None


@pytest.mark.parametrize("version", ["", "1"])
def test_tritonclient_predicts_with_binary_tensors(
    server: Running, client: triton.InferenceServerClient, key: dict[str, str], version: str
) -> None:
    """Its default, binary data both ways, gives what JSON gives, with a receipt that holds."""
    answer = client.infer("tumour", inputs(binary=True), version, request_id="t-2", headers=key)
    sent = {key: value for key, value in key.items() if key == "Authorization"}
    plain = client.infer(
        "tumour",
        inputs(binary=False),
        outputs=[triton.InferRequestedOutput(name, binary_data=False) for name in ("label", "probabilities")],
        headers=sent,
    )

    said = answer.get_response()
    assert [{"binary_data_size": 16}] * 2 == [each["parameters"] for each in said["outputs"]]
    for name in ("label", "probabilities"):
        assert answer.as_numpy(name).dtype == plain.as_numpy(name).dtype
        assert answer.as_numpy(name).tolist() == plain.as_numpy(name).tolist()
    receipt = verify_receipt(Receipt.parse(said["parameters"]["receipt"]), server.rig.worker.public)
    assert "t-2" == receipt.request


def test_each_output_may_come_as_json_or_binary(
    client: triton.InferenceServerClient, key: dict[str, str]
) -> None:
    """One answer may hold both kinds, in the order asked for."""
    wanted = [
        triton.InferRequestedOutput("probabilities", binary_data=True),
        triton.InferRequestedOutput("label", binary_data=False),
    ]

    said = client.infer("tumour", inputs(binary=True), outputs=wanted, headers=key)

    assert ["probabilities", "label"] == [each["name"] for each in said.get_response()["outputs"]]
    assert [1, 0] == said.get_output("label")["data"]
    assert (2, 2) == said.as_numpy("probabilities").shape


ALL_BUT_ONE = tuple(kind for kind in DataType if kind is not DataType.BF16)


@pytest.fixture(scope="module", params=[ALL_BUT_ONE, (DataType.BF16,)], ids=["most", "BF16"])
def kinds(request: pytest.FixtureRequest) -> tuple[DataType, ...]:
    """The types of one model; ONNX Runtime's Python takes BF16 and texts in ways that do not go together."""
    found: tuple[DataType, ...] = request.param
    return found


@pytest.fixture(scope="module")
def identities(kinds: tuple[DataType, ...], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A worker with a model that gives back tensors of these types."""
    rig = Rig(tmp_path_factory.mktemp("types"))
    release = rig.make_release(1, model=model_of(kinds), signature=signature_of(kinds))
    rig.publish(rig.plan(1, release))
    with rig.running() as found:
        yield found


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "json"])
def test_every_data_type_travels_through_the_model(
    identities: Running, kinds: tuple[DataType, ...], binary: bool
) -> None:
    """The edges of every type come back from the model as they went in; Triton's client sends two as binary only."""
    tensors = []
    for kind in kinds:
        tensor = triton.InferInput(f"in {kind}", [2, 2], kind)
        values = values_of(kind).astype(ml_dtypes.bfloat16) if kind is DataType.BF16 else values_of(kind)
        without_json = kind in (DataType.FP16, DataType.BF16)
        tensor.set_data_from_numpy(values, binary_data=binary or without_json)
        tensors.append(tensor)
    wanted = [triton.InferRequestedOutput(f"out {kind}", binary_data=binary) for kind in kinds]
    client = triton.InferenceServerClient(identities.url.removeprefix("http://"))
    headers = {"Authorization": f"Bearer {identities.rig.secret}"}

    answer = client.infer("tumour", tensors, outputs=wanted, headers=headers)

    client.close()
    for kind in kinds:
        expected = values_of(kind).ravel().tolist()
        if binary:
            assert expected == answer.as_numpy(f"out {kind}").ravel().tolist()
        else:
            said = [each.decode() for each in expected] if kind is DataType.BYTES else expected
            assert said == answer.get_output(f"out {kind}")["data"]


def test_a_saved_binary_answer_is_verified_with_its_request(
    identities: Running, kinds: tuple[DataType, ...]
) -> None:
    """Bodies as they were sent and answered, NaN among them, are what the receipt commits to."""
    arrays = {kind: values_of(kind) for kind in kinds}
    for kind in FLOATS & set(kinds):
        arrays[kind][0, 0] = np.nan
    raws = {kind: raw_of(array, kind) for kind, array in arrays.items()}
    tensors = [
        {
            "name": f"in {kind}",
            "shape": [2, 2],
            "datatype": kind,
            "parameters": {"binary_data_size": len(raw)},
        }
        for kind, raw in raws.items()
    ]
    head = json.dumps({"parameters": {"binary_data_output": True}, "inputs": tensors}).encode()
    body = head + b"".join(raws.values())
    length = {"inference-header-content-length": str(len(head))}

    answer = identities.client.post(
        "/v2/models/tumour/infer", content=body, headers=length | {"content-type": "application/octet-stream"}
    )

    assert (200, "application/octet-stream") == (answer.status_code, answer.headers["content-type"])
    end = int(answer.headers["inference-header-content-length"])
    assert body[len(head) :] == answer.content[end:]
    saved = saved_in(answer.content)
    held = Receipt.parse(saved.token)
    record = verify_receipt(held, identities.rig.worker.public)
    assert commit(held.output_salt, outputs_encoding(saved.answer or {})) == record.output
    assert inputs_are(
        request_in(body),
        signature_of(kinds),
        lambda encoding: commit(held.input_salt, encoding) == record.input,
    )


def test_what_json_cannot_hold_is_answered_as_binary_data_only(
    identities: Running, kinds: tuple[DataType, ...]
) -> None:
    """A model's NaN is a 500 in JSON."""
    values: dict[str, list[Any]] = {kind: [None, 1] for kind in FLOATS}
    values |= {"BYTES": ["a", "b"], "BOOL": [True, False]}
    tensors = [
        {"name": f"in {kind}", "shape": [1, 2], "datatype": kind, "data": values.get(kind, [1, 2])}
        for kind in kinds
    ]
    path = "/v2/models/tumour/infer"
    binary = {"inputs": tensors, "parameters": {"binary_data_output": True}}

    assert "not a finite number" in error_of(identities.client.post(path, json={"inputs": tensors}))
    assert 200 == identities.client.post(path, json=binary).status_code


def test_tritonclient_reads_refusals(client: triton.InferenceServerClient, key: dict[str, str]) -> None:
    """A refusal reaches the caller as the client's own error, with our sentence."""
    tensor = triton.InferInput("X", [1, 2], "FP32")
    tensor.set_data_from_numpy(np.zeros((1, 2), np.float32), binary_data=False)

    with pytest.raises(InferenceServerException) as caught:
        client.infer("tumour", [tensor], headers=key)
    assert "'radius', 'texture', 'area'" in caught.value.message()
    with pytest.raises(InferenceServerException) as caught:
        client.infer("tumour", inputs(binary=False))
    assert "401" == caught.value.status()


def test_a_plain_client_may_add_fields_and_leave_out_the_type(server: Running) -> None:
    """Unknown fields and a missing Content-Type are accepted, and nested data too."""
    body = question(data=[[1, 2, 3]]) | {"model_name": "tumour", "parameters": {"anything": 1}}
    request = server.client.build_request("POST", "/v2/models/tumour/infer", json=body)
    del request.headers["content-type"]

    answer = server.client.send(request)

    assert (200, "application/json") == (answer.status_code, answer.headers["content-type"])


@pytest.mark.parametrize(
    ("length", "status"),
    [("3", 400), ("9999", 400), ("-1", 400), ("1e1", 400), ("", 400), ("9" * 21, 400), (None, 415)],
)
def test_a_binary_request_says_where_its_json_ends(server: Running, length: str | None, status: int) -> None:
    """Without a length that fits, octets are turned away in the protocol's form."""
    headers = {"content-type": "application/octet-stream"}
    if length is not None:
        headers["inference-header-content-length"] = length

    answer = server.client.post("/v2/models/tumour/infer", content=b"{}" + bytes(12), headers=headers)

    assert status == answer.status_code
    assert error_of(answer)


def test_the_binary_extension_is_declared(server: Running) -> None:
    """The server's metadata names what it offers beyond the protocol's core."""
    assert ["binary_tensor_data"] == server.client.get("/v2").json()["extensions"]


def test_a_subject_is_named_once(server: Running) -> None:
    """Header and parameter may name one subject, not two."""
    for named, status in (("patient 7", 200), ("patient 8", 400)):
        body = question() | {"parameters": {"subject": named}}
        answer = server.client.post(
            "/v2/models/tumour/infer", json=body, headers={"gatewright-subject": "patient 7"}
        )
        assert status == answer.status_code


def test_errors_have_the_form_of_the_protocol(server: Running) -> None:
    """Every refusal is JSON with one sentence, under the right status."""
    asked = {
        404: ("GET", "/v2/models/other", {}),
        405: ("GET", "/v2/models/tumour/infer", {}),
        415: ("POST", "/v2/models/tumour/infer", {"content-type": "text/plain"}),
        421: ("GET", "/v2", {"host": "evil.example"}),
    }
    for status, (method, path, headers) in asked.items():
        answer = server.client.request(method, path, headers=headers)
        assert status == answer.status_code
        assert error_of(answer).endswith(".")
