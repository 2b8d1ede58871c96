"""The client generated from the protocol's OpenAPI document: the strictest reader of answers."""

from __future__ import annotations

from typing import Any

import httpx
from case import INPUT, Case, attempt, read_case, said, same, tell
from open_inference.openapi.client import InferenceRequest, OpenInferenceClient


def client_of(case: Case, headers: dict[str, str]) -> OpenInferenceClient:
    """A client that sends these headers."""
    return OpenInferenceClient(base_url=f"http://{case.rest}", httpx_client=httpx.Client(headers=headers))


def request(case: Case, *, nested: bool, columns: int | None = None) -> InferenceRequest:
    """The rows."""
    rows = [row[:columns] for row in case.rows]
    data: Any = rows if nested else [each for row in rows for each in row]
    tensor = {"name": INPUT, "shape": [len(rows), len(rows[0])], "datatype": "FP32", "data": data}
    return InferenceRequest(id="c-1", inputs=[tensor])


def require(case: Case, answer: Any) -> None:
    """Raise unless the answer is right."""
    outputs = {each.name: each for each in answer.outputs}
    flat = outputs["probabilities"].data.__root__
    width = outputs["probabilities"].shape[1]
    rows = [flat[at : at + width] for at in range(0, len(flat), width)]
    parameters = answer.parameters
    receipt = parameters["receipt"] if isinstance(parameters, dict) else parameters.__root__["receipt"]
    case.require(outputs["label"].data.__root__, rows, receipt)
    same((answer.id, answer.model_name, answer.model_version), ("c-1", case.endpoint, case.version))


def rest(case: Case) -> None:
    """Every call."""
    client, name, version = client_of(case, case.headers), case.endpoint, case.version
    attempt("live", lambda: same(client.check_server_liveness(), None))
    attempt("ready", lambda: same(client.check_server_readiness(), None))
    attempt("model ready", lambda: same(client.check_model_readiness(name), None))
    attempt("model version ready", lambda: same(client.check_model_version_readiness(name, version), None))
    attempt("server metadata", lambda: same(client.read_server_metadata().name, "gatewright"))
    attempt("model metadata", lambda: same(client.read_model_metadata(name).versions, [version]))
    attempt(
        "model version metadata",
        lambda: same(client.read_model_version_metadata(name, version).inputs[0].name, INPUT),
    )
    for nested in (False, True):
        form = "nested" if nested else "flat"
        asked = request(case, nested=nested)
        attempt(f"infer {form}", lambda asked=asked: require(case, client.model_infer(name, request=asked)))
        attempt(
            f"infer {form}, with a version",
            lambda asked=asked: require(case, client.model_version_infer(name, version, request=asked)),
        )
    bad, good = request(case, nested=True, columns=2), request(case, nested=True)
    attempt(
        "a wrong shape is refused in words",
        lambda: said(lambda: client.model_infer(name, request=bad), "400", "shape [2, 2]"),
    )
    attempt(
        "another model: refused", lambda: said(lambda: client.model_infer("no-such", request=good), "404")
    )
    stranger = client_of(case, {})
    attempt("without a key: refused", lambda: said(lambda: stranger.model_infer(name, request=good), "401"))


if __name__ == "__main__":
    tell("REST", "section")
    rest(read_case())
