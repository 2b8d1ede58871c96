"""Which release answers a path: one table, made when a plan is taken, looked up once per request.

The table names every path that exists, so nothing that a caller sends is ever kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from gatewright.kernel import canonical
from gatewright.kernel.canonical import JsonObject
from gatewright.kernel.digests import Digest
from gatewright.kernel.version import VERSION
from gatewright.ledger.receipts import leaf_parts
from gatewright.models.signature import ModelSignature, TensorSpec
from gatewright.serving.admission import Admitted, Turned
from gatewright.serving.codec import Codec
from gatewright.serving.engine import Engine

LIVE = "/v2/health/live"
READY = "/v2/health/ready"
SERVER = ("/v2", "/v2/")
PLATFORM = "onnxruntime_onnx"


class Ask(Enum):
    """What a path is for."""

    SERVER = "server metadata"
    READY = "readiness of the server"
    MODEL = "metadata of a model"
    MODEL_READY = "readiness of a model"
    INFER = "a prediction"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedRelease:
    """A release whose proofs hold and whose model runs."""

    root: Digest
    version: int
    signature: ModelSignature
    codec: Codec
    engine: Engine


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """An endpoint and the release that answers it.

    ``parts`` holds, for each API key's id, what the leaves of its caller share; ``answer_head``
    begins every answer.
    """

    endpoint: str
    champion: LoadedRelease
    previous: LoadedRelease | None
    parts: Mapping[str, tuple[str, str, str]]
    answer_head: bytes
    metadata: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a path leads to; ``route`` is None for the paths of the server itself."""

    ask: Ask
    route: Route | None = None

    @property
    def method(self) -> str:
        """The one method that the path takes."""
        return "POST" if self.ask is Ask.INFER else "GET"


_OWN_PATHS = {path: Target(ask=Ask.SERVER) for path in SERVER} | {READY: Target(ask=Ask.READY)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Everything a worker serves at one moment: plan ``number``, its paths, and who may call."""

    number: int = 0
    targets: Mapping[str, Target] = field(default_factory=lambda: dict(_OWN_PATHS))
    admitted: tuple[Admitted, ...] = ()
    routes: tuple[Route, ...] = ()

    @property
    def server_metadata(self) -> JsonObject:
        """Answer to ``GET /v2``; ``plan`` tells which traffic plan is in force."""
        return {"extensions": [], "name": "gatewright", "plan": self.number, "version": VERSION}


def _tensors(specs: tuple[TensorSpec, ...]) -> list[JsonObject]:
    return [{"datatype": str(spec.datatype), "name": spec.name, "shape": list(spec.shape)} for spec in specs]


def _columns(specs: tuple[TensorSpec, ...]) -> JsonObject:
    """The data columns that fill each input, in order: the protocol leaves ``parameters`` to the server."""
    return {"columns": {spec.name: list(spec.columns) for spec in specs}}


def make_route(
    endpoint: str,
    *,
    champion: LoadedRelease,
    previous: LoadedRelease | None,
    keys: tuple[str, ...],
    plan: int,
) -> Route:
    """A route; ``keys`` are the ids of the API keys that may call it."""
    return Route(
        endpoint=endpoint,
        champion=champion,
        previous=previous,
        parts={key: leaf_parts(endpoint=endpoint, key=key, plan=plan, release=champion.root) for key in keys},
        answer_head=canonical.encode({"model_name": endpoint, "model_version": str(champion.version)})[:-1],
        metadata=canonical.encode(
            {
                "inputs": _tensors(champion.signature.inputs),
                "name": endpoint,
                "outputs": _tensors(champion.signature.outputs),
                "parameters": _columns(champion.signature.inputs),
                "platform": PLATFORM,
                "versions": [str(champion.version)],
            }
        ),
    )


def make_table(number: int, routes: tuple[Route, ...], admitted: tuple[Admitted, ...]) -> Table:
    """The table of a plan."""
    targets = dict(_OWN_PATHS)
    for route in routes:
        for model in (
            f"/v2/models/{route.endpoint}",
            f"/v2/models/{route.endpoint}/versions/{route.champion.version}",
        ):
            targets[model] = Target(ask=Ask.MODEL, route=route)
            targets[f"{model}/ready"] = Target(ask=Ask.MODEL_READY, route=route)
            targets[f"{model}/infer"] = Target(ask=Ask.INFER, route=route)
    return Table(number=number, targets=targets, admitted=admitted, routes=routes)


def find(table: Table, path: str, method: str, callers: tuple[Admitted, ...]) -> tuple[Target, Admitted]:
    """The target of a path and the admission that covers it.

    A path that does not exist and a path of an endpoint that the key does not admit to give the
    same 404: a key tells its holder nothing about other endpoints.
    """
    target = table.targets.get(path)
    caller: Admitted | None = callers[0]
    if target is not None and target.route is not None:
        name = target.route.endpoint
        caller = next((each for each in callers if each.endpoint == name), None)
    if target is None or caller is None:
        raise Turned(404, "There is nothing at this path for this API key.")
    if method != target.method:
        raise Turned(405, f"This path takes {target.method} only.", ((b"allow", target.method.encode()),))
    return target, caller
