"""KServe's clients, REST and gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
from case import INPUT, Case, attempt, holds, read_case, said, same, tell
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.protocol.infer_type import RequestedOutput


def request(
    case: Case, *, binary: bool, answer: bool | None = None, columns: int | None = None
) -> InferRequest:
    """The rows; ``answer`` asks for binary outputs or JSON, None leaves it to the server."""
    values = np.array(case.rows, np.float32)[:, :columns]
    tensor = InferInput(INPUT, list(values.shape), "FP32")
    tensor.set_data_from_numpy(values, binary_data=binary)
    outputs = [RequestedOutput(name) for name in ("label", "probabilities")]
    return InferRequest(
        case.endpoint,
        [tensor],
        request_id="c-1",
        parameters=None if answer is None else {"binary_data_output": answer},
        request_outputs=None if answer is None else outputs,
    )


def require(case: Case, answer: Any) -> None:
    """Raise unless the answer is right."""
    outputs = {each.name: each.as_numpy() for each in answer.outputs}
    receipt = answer.parameters["receipt"]
    receipt = getattr(receipt, "string_param", receipt)
    case.require(outputs["label"], outputs["probabilities"], receipt)
    same((answer.id, answer.model_name), ("c-1", case.endpoint))


def rest(case: Case, run: Callable[[Awaitable[Any]], Any]) -> None:
    """Every call of the REST client."""
    client = InferenceRESTClient(RESTConfig(protocol="v2"))
    url, name = f"http://{case.rest}", case.endpoint
    attempt("live", lambda: holds(run(client.is_server_live(url))))
    attempt("ready", lambda: holds(run(client.is_server_ready(url, headers=case.headers))))
    attempt("model ready", lambda: holds(run(client.is_model_ready(url, name, headers=case.headers))))

    def infer(asked: InferRequest, **headers: str) -> Any:
        return run(client.infer(url, asked, model_name=name, headers=headers or case.headers))

    for binary in (False, True):
        for answer in (None, False, True):
            back = {None: "what the server gives", False: "JSON", True: "binary"}[answer]
            attempt(
                f"infer {'binary' if binary else 'JSON'} to {back}",
                lambda binary=binary, answer=answer: require(
                    case, infer(request(case, binary=binary, answer=answer))
                ),
            )
    attempt(
        "a wrong shape is refused in words",
        lambda: said(lambda: infer(request(case, binary=True, columns=2)), "shape [2, 2]", "400"),
    )
    attempt(
        "without a key: refused",
        lambda: said(lambda: infer(request(case, binary=False), accept="*/*"), "API key", "401"),
    )
    run(client.close())


def grpc(case: Case, run: Callable[[Awaitable[Any]], Any]) -> None:
    """Every call of the gRPC client."""

    async def opened() -> InferenceGRPCClient:
        return InferenceGRPCClient(case.grpc)

    client = run(opened())
    key = tuple(case.headers.items())
    attempt("live", lambda: holds(run(client.is_server_live())))
    attempt("ready", lambda: holds(run(client.is_server_ready(headers=key))))
    attempt("model ready", lambda: holds(run(client.is_model_ready(case.endpoint, headers=key))))
    for binary in (True, False):
        attempt(
            f"infer {'raw' if binary else 'typed'} contents",
            lambda binary=binary: require(case, run(client.infer(request(case, binary=binary), headers=key))),
        )
    attempt(
        "a wrong shape is refused in words",
        lambda: said(
            lambda: run(client.infer(request(case, binary=True, columns=2), headers=key)),
            "shape [2, 2]",
            "INVALID_ARGUMENT",
        ),
    )
    attempt(
        "without a key: refused",
        lambda: said(lambda: run(client.infer(request(case, binary=True))), "UNAUTHENTICATED"),
    )
    run(client.close())


if __name__ == "__main__":
    found = read_case()
    with asyncio.Runner() as runner:
        tell("REST", "section")
        rest(found, runner.run)
        tell("gRPC", "section")
        if found.grpc:
            grpc(found, runner.run)
        else:
            tell("everything", "skipped", "this server has no gRPC port")
