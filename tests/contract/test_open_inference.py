"""The protocol, as clients that this project did not write speak it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from gatewright.ledger.receipts import Receipt, verify_receipt
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
    """Triton's client reads the answer, asked for as binary and given as JSON, and its receipt holds."""
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


def test_tritonclient_is_told_to_send_json(client: triton.InferenceServerClient, key: dict[str, str]) -> None:
    """Its binary default is a 400 that says what to do instead."""
    with pytest.raises(InferenceServerException) as caught:
        client.infer("tumour", inputs(binary=True), headers=key)
    assert "400" == caught.value.status()
    assert "binary_data=False" in caught.value.message()


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


def test_the_binary_extension_of_other_clients_is_refused_kindly(server: Running) -> None:
    """Octet streams with a JSON head are a 400 that says what to do instead."""
    headers = {"content-type": "application/octet-stream", "inference-header-content-length": "10"}

    answer = server.client.post("/v2/models/tumour/infer", content=b"{}" + bytes(12), headers=headers)

    assert 400 == answer.status_code
    assert "JSON" in error_of(answer)


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
