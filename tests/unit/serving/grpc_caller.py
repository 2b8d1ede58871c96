"""A caller of the gRPC plane that knows nothing of the product but its messages."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np

from gatewright.serving.grpc_messages import MESSAGES, SERVICE
from unit.serving.rig import WAIT_S, Running

ROW = np.array([[1.0, 2.0, 3.0]], np.float32)


@dataclass(frozen=True, slots=True)
class Refused:
    """A status other than OK: its code, its sentence, and its trailing metadata."""

    code: grpc.StatusCode
    sentence: str
    trailing: dict[str, str]


class Caller:
    """Calls by the names of the protocol; ``secret`` is sent as the API key where there is one."""

    def __init__(self, address: str, secret: str, credentials: grpc.ChannelCredentials | None = None) -> None:
        options = [("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
        if credentials is None:
            self.channel = grpc.insecure_channel(address, options)
        else:
            self.channel = grpc.secure_channel(address, credentials, options)
        self.secret = secret

    def method(self, name: str, service: str = SERVICE) -> Any:
        """The callable of a method; requests are messages or bytes."""
        return self.channel.unary_unary(
            f"/{service}/{name}",
            request_serializer=lambda sent: sent if isinstance(sent, bytes) else sent.SerializeToString(),
        )

    def metadata(self, more: Sequence[tuple[str, str | bytes]] = ()) -> tuple[tuple[str, str | bytes], ...]:
        """The metadata of a call."""
        key = (("authorization", f"Bearer {self.secret}"),) if self.secret else ()
        return (*key, *more)

    def ask(
        self, name: str, request: Any = b"", *more: tuple[str, str | bytes], **options: Any
    ) -> Any | Refused:
        """The answer, or how it was refused."""
        try:
            answer = self.method(name)(request, metadata=self.metadata(more), timeout=WAIT_S, **options)
        except grpc.RpcError as error:
            trailing = {each.key: each.value for each in error.trailing_metadata() or ()}
            return Refused(error.code(), error.details(), trailing)
        return MESSAGES[f"{name}Response"].FromString(answer)

    def infer(self, request: Any, *more: tuple[str, str | bytes], **options: Any) -> Any | Refused:
        """The same of a prediction."""
        return self.ask("ModelInfer", request, *more, **options)

    def close(self) -> None:
        """Hang up."""
        self.channel.close()


def address_of(server: Running) -> str:
    """Where a worker answers gRPC, as its status says."""
    found = json.loads((server.rig.segments / "serve.json").read_text("utf-8"))["grpc"]
    assert isinstance(found, str)
    return found


def calling(server: Running, secret: str | None = None) -> Caller:
    """A caller of a worker, with the key of its rig."""
    return Caller(address_of(server), server.rig.secret if secret is None else secret)


def row_request(**change: Any) -> Any:
    """A request of one row, raw, with some fields changed."""
    fields: dict[str, Any] = {
        "model_name": "tumour",
        "id": "q-1",
        "inputs": [{"name": "X", "datatype": "FP32", "shape": [1, 3]}],
        "raw_input_contents": [ROW.tobytes()],
    }
    return MESSAGES["ModelInferRequest"](**(fields | change))


def tensor(**change: Any) -> dict[str, Any]:
    """The input of that row, with some fields changed."""
    return {"name": "X", "datatype": "FP32", "shape": [1, 3]} | change
