"""Triton's client, over HTTP and gRPC."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ml_dtypes
import numpy as np
import tritonclient.grpc as over_grpc
import tritonclient.http as over_http
from case import INPUT, Case, attempt, holds, read_case, said, same, tell

DTYPES = {"FP16": np.float16, "BF16": ml_dtypes.bfloat16, "FP32": np.float32, "FP64": np.float64}
OUTPUTS = ("label", "probabilities")


def tensor(protocol: Any, rows: Any, datatype: str = "FP32", **way: bool) -> list[Any]:
    """The one input."""
    values = np.array(rows, DTYPES[datatype])
    found = protocol.InferInput(INPUT, list(values.shape), datatype)
    found.set_data_from_numpy(values, **way)
    return [found]


def wanted(binary: Sequence[bool]) -> list[Any]:
    """Both outputs, each as binary data or as JSON."""
    return [
        over_http.InferRequestedOutput(name, binary_data=each)
        for name, each in zip(OUTPUTS, binary, strict=True)
    ]


def require(case: Case, answer: Any, *, binary: Sequence[bool] | None = None) -> None:
    """Raise unless the answer is right, and came in the way that was asked for."""
    said_ = (
        answer.get_response(as_json=True)
        if isinstance(answer, over_grpc.InferResult)
        else answer.get_response()
    )
    receipt = said_["parameters"]["receipt"]
    receipt = receipt["string_param"] if isinstance(receipt, dict) else receipt
    case.require(answer.as_numpy("label"), answer.as_numpy("probabilities"), receipt)
    same((said_["id"], said_["model_version"]), ("c-1", case.version))
    if binary is not None:
        same(["data" not in each for each in said_["outputs"]], list(binary))


def look(client: Any, case: Case) -> None:
    """Health and metadata, over either protocol."""
    header, name, version = {"headers": case.headers}, case.endpoint, case.version
    attempt("live", lambda: holds(client.is_server_live()))
    attempt("ready", lambda: holds(client.is_server_ready(**header)))
    attempt("model ready", lambda: holds(client.is_model_ready(name, **header)))
    attempt("model version ready", lambda: holds(client.is_model_ready(name, version, **header)))
    as_json = {"as_json": True} if isinstance(client, over_grpc.InferenceServerClient) else {}
    attempt(
        "server metadata",
        lambda: same(client.get_server_metadata(**header, **as_json)["name"], "gatewright"),
    )
    for what, asked in (("model metadata", ""), ("model version metadata", version)):
        attempt(
            what,
            lambda asked=asked: same(
                client.get_model_metadata(name, asked, **header, **as_json)["versions"], [version]
            ),
        )
    bad = np.zeros((1, 2))
    protocol = over_grpc if as_json else over_http
    attempt(
        "a wrong shape is refused in words",
        lambda: said(lambda: client.infer(name, tensor(protocol, bad), **header), "shape [1, 2]"),
    )
    attempt(
        "without a key: refused",
        lambda: said(lambda: client.infer(name, tensor(protocol, case.rows)), "API key"),
    )
    attempt(
        "another model: refused",
        lambda: said(
            lambda: client.infer("no-such", tensor(protocol, case.rows), **header), "for this API key"
        ),
    )


def rest(case: Case) -> None:
    """Every call of the HTTP client."""
    client = over_http.InferenceServerClient(case.rest)
    look(client, case)
    name = case.endpoint

    def infer(inputs: list[Any], outputs: list[Any] | None = None, version: str = "") -> Any:
        return client.infer(
            name, inputs, model_version=version, request_id="c-1", outputs=outputs, headers=case.headers
        )

    attempt(
        "binary tensors are declared",
        lambda: same(client.get_server_metadata(headers=case.headers)["extensions"], ["binary_tensor_data"]),
    )
    for sent in (False, True):
        for binary in ((False, False), (True, True), (True, False)):
            ways = "/".join("binary" if each else "JSON" for each in dict.fromkeys(binary))
            attempt(
                f"infer {'binary' if sent else 'JSON'} to {ways}",
                lambda sent=sent, binary=binary: require(
                    case,
                    infer(tensor(over_http, case.rows, binary_data=sent), wanted(binary)),
                    binary=binary,
                ),
            )
    attempt(
        "infer with a version, outputs not named",
        lambda: require(case, infer(tensor(over_http, case.rows), version=case.version), binary=(True, True)),
    )
    attempt("infer binary FP64", lambda: require(case, infer(tensor(over_http, case.rows, "FP64"))))
    for datatype in ("FP16", "BF16"):
        attempt(
            f"infer binary {datatype}",
            lambda datatype=datatype: same(
                infer(tensor(over_http, case.rows, datatype)).as_numpy("probabilities").shape,
                np.shape(case.probabilities),
            ),
        )
    waiting = [
        client.async_infer(name, tensor(over_http, case.rows), request_id="c-1", headers=case.headers)
        for _ in range(3)
    ]
    attempt("infer asynchronously", lambda: [require(case, each.get_result()) for each in waiting])
    client.close()


def grpc(case: Case) -> None:
    """Every call of the gRPC client that the protocol has."""
    client = over_grpc.InferenceServerClient(case.grpc)
    look(client, case)

    def infer(inputs: list[Any], **more: Any) -> Any:
        return client.infer(case.endpoint, inputs, request_id="c-1", headers=case.headers, **more)

    rows = case.rows
    attempt("infer", lambda: require(case, infer(tensor(over_grpc, rows))))
    attempt(
        "infer with a version",
        lambda: require(case, infer(tensor(over_grpc, rows), model_version=case.version)),
    )
    attempt("infer FP64", lambda: require(case, infer(tensor(over_grpc, rows, "FP64"))))
    for datatype in ("FP16", "BF16"):
        attempt(
            f"infer {datatype}",
            lambda datatype=datatype: same(
                infer(tensor(over_grpc, rows, datatype)).as_numpy("probabilities").shape,
                np.shape(case.probabilities),
            ),
        )
    chosen = [over_grpc.InferRequestedOutput("label")]
    attempt(
        "infer one output",
        lambda: same(infer(tensor(over_grpc, rows), outputs=chosen).as_numpy("probabilities"), None),
    )
    client.close()


if __name__ == "__main__":
    found = read_case()
    tell("http", "section")
    rest(found)
    tell("grpc", "section")
    if found.grpc:
        grpc(found)
    else:
        tell("everything", "skipped", "this server has no gRPC port")
