"""Which release answers a path: one table, made when a plan is taken, looked up once per request.

The table names every path that exists, so nothing that a caller sends is ever kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum

from gatewright.deployments.plan import ApiKey, Recording
from gatewright.kernel import canonical
from gatewright.kernel.canonical import JsonObject
from gatewright.kernel.digests import Digest
from gatewright.kernel.instants import Instant
from gatewright.kernel.version import VERSION
from gatewright.ledger.receipts import leaf_parts
from gatewright.models.signature import ModelSignature, TensorSpec
from gatewright.serving.admission import Admitted, Callers, Turned, by_digest
from gatewright.serving.allowances import Allowance
from gatewright.serving.breaker import Breaker
from gatewright.serving.codec import Codec
from gatewright.serving.engine import Engine
from gatewright.serving.minimising import View

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
    """A release whose proofs hold and whose model runs.

    ``tails`` are the shapes of its outputs behind their rows, None where the rows are not free.
    """

    root: Digest
    version: int
    signature: ModelSignature
    codec: Codec
    engine: Engine
    tails: tuple[tuple[int, ...] | None, ...] = field(init=False)

    def __post_init__(self) -> None:
        shapes = [spec.shape for spec in self.signature.outputs]
        free = self.signature.inputs[0].shape[:1] == (-1,)
        tails = tuple(shape[1:] if free and shape[:1] == (-1,) else None for shape in shapes)
        object.__setattr__(self, "tails", tails)


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A release in its place on an endpoint.

    ``place`` is ``champion``, ``canary``, ``shadow``, ``fallback``, or the name of an arm; ``parts``
    holds, for each API key's id, what the leaves of its caller share; ``answer_head`` begins every
    answer. ``instead`` is the release that answers where this one fails, None where nothing stands in
    for it; ``breaker`` counts its failures then. ``promised``: answers go once their record is signed,
    before it is on the disk. ``label`` names it to those who count: endpoint, place
    and version.
    """

    place: str
    release: LoadedRelease
    parts: Mapping[str, tuple[str, str, str]]
    answer_head: bytes
    promised: bool = False
    instead: Served | None = None
    breaker: Breaker | None = None
    label: str = ""


@dataclass(slots=True, kw_only=True)
class Tally:
    """What became of the copies for a shadow; it outlives a plan that keeps the shadow.

    ``seen`` copies were made, ``dropped`` did not fit into the queue, at ``failed`` the shadow failed;
    the others ``agreed`` or ``differed`` and are recorded, or were ``unrecorded``. ``apart`` is the
    largest distance of two numbers that should be the same.
    """

    seen: int = 0
    dropped: int = 0
    agreed: int = 0
    differed: int = 0
    failed: int = 0
    unrecorded: int = 0
    apart: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """An endpoint and the releases that answer it; all but ``previous`` have one signature.

    ``portions`` are the canary or the arms, each with its share of the traffic in thousandths; the
    champion takes the rest; ``points`` says for each thousandth which release has it, and is empty where
    the champion has all. ``sticky`` says that the shares are of subjects, not of requests. ``keys`` are
    the callers by id, with their limits; ``views`` what those of them are shown that do not see
    everything. ``closed`` is a sentence where nothing is answered: stopped, or expired. ``number`` is
    that of the plan; ``tally`` counts what the shadow did; ``allowances`` counts, by key id, for the
    callers that are bounded at all.
    """

    endpoint: str
    champion: Served
    previous: LoadedRelease | None = None
    portions: tuple[tuple[Served, int], ...] = ()
    sticky: bool = False
    shadow: Served | None = None
    fallback: Served | None = None
    stopped: bool = False
    rate: int = 0
    recording: Recording = Recording.DURABLE
    keys: Mapping[str, ApiKey] = field(default_factory=dict)
    metadata: bytes = b""
    number: int = 0
    points: tuple[Served, ...] = ()
    views: Mapping[str, View] = field(default_factory=dict)
    closed: str = ""
    tally: Tally = field(default_factory=Tally)
    allowances: Mapping[str, Allowance] = field(default_factory=dict)

    def metadata_for(self, key: str) -> bytes:
        """What the caller with the API key of this id is told about the model."""
        view = self.views.get(key)
        return self.metadata if view is None else view.metadata

    @property
    def simple(self) -> bool:
        """Whether one release answers every caller in full, and no other stands beside it."""
        return not (self.portions or self.views or self.shadow or self.fallback)

    def served(self) -> tuple[Served, ...]:
        """Every release that may answer or be mirrored to, the champion first."""
        others = (*(each for each, _ in self.portions), self.shadow, self.fallback)
        return (self.champion, *(each for each in others if each is not None))


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a path leads to.

    ``route`` is None for the paths of the server itself; ``pinned`` is the release that a path with a
    version asks for, None where the traffic plan chooses.
    """

    ask: Ask
    route: Route | None = None
    pinned: Served | None = None

    @property
    def method(self) -> str:
        """The one method that the path takes."""
        return "POST" if self.ask is Ask.INFER else "GET"


_OWN_PATHS = {path: Target(ask=Ask.SERVER) for path in SERVER} | {READY: Target(ask=Ask.READY)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Everything a worker serves at one moment: plan ``number``, its paths, and who may call.

    ``callers`` are those ``admitted``, by the digest of their key.
    """

    number: int = 0
    targets: Mapping[str, Target] = field(default_factory=lambda: dict(_OWN_PATHS))
    admitted: tuple[Admitted, ...] = ()
    callers: Callers = field(default_factory=dict)
    routes: tuple[Route, ...] = ()
    expires: Instant | None = None

    @property
    def server_metadata(self) -> JsonObject:
        """Answer to ``GET /v2``; ``plan`` tells which traffic plan is in force."""
        return {
            "extensions": ["binary_tensor_data"],
            "name": "gatewright",
            "plan": self.number,
            "version": VERSION,
        }


def _tensors(specs: tuple[TensorSpec, ...]) -> list[JsonObject]:
    return [{"datatype": str(spec.datatype), "name": spec.name, "shape": list(spec.shape)} for spec in specs]


def _columns(specs: tuple[TensorSpec, ...]) -> JsonObject:
    """The data columns that fill each input, in order: the protocol leaves ``parameters`` to the server."""
    return {"columns": {spec.name: list(spec.columns) for spec in specs}}


def serve_as(
    place: str, release: LoadedRelease, *, endpoint: str, keys: Iterable[str], plan: int, recording: str
) -> Served:
    """A release in a place; ``keys`` are the ids of the API keys that may call the endpoint."""
    return Served(
        place=place,
        release=release,
        parts={
            key: leaf_parts(endpoint=endpoint, key=key, plan=plan, release=release.root, recording=recording)
            for key in keys
        },
        answer_head=canonical.encode({"model_name": endpoint, "model_version": str(release.version)})[:-1],
        promised=recording == Recording.ASYNCHRONOUS,
        label=f"{endpoint}/{place}/{release.version}",
    )


def model_metadata(
    endpoint: str, champion: LoadedRelease, versions: Sequence[int], seen: Sequence[int] | None = None
) -> bytes:
    """What the protocol tells about a model; ``versions`` are those that a path can ask for.

    ``seen`` are the places of the outputs that a caller is shown, None for all.
    """
    outputs = champion.signature.outputs
    shown = outputs if seen is None else tuple(outputs[place] for place in seen)
    return canonical.encode(
        {
            "inputs": _tensors(champion.signature.inputs),
            "name": endpoint,
            "outputs": _tensors(shown),
            "parameters": _columns(champion.signature.inputs),
            "platform": PLATFORM,
            "versions": [str(version) for version in versions],
        }
    )


def make_table(
    number: int,
    routes: tuple[Route, ...],
    admitted: tuple[Admitted, ...],
    expires: Instant | None = None,
) -> Table:
    """The table of a plan."""
    targets = dict(_OWN_PATHS)
    for route in routes:
        model = f"/v2/models/{route.endpoint}"
        asked: list[tuple[str, Served | None]] = [(model, None)]
        asked += [(f"{model}/versions/{each.release.version}", each) for each in reversed(answering(route))]
        for path, pinned in asked:
            targets[path] = Target(ask=Ask.MODEL, route=route, pinned=pinned)
            targets[f"{path}/ready"] = Target(ask=Ask.MODEL_READY, route=route, pinned=pinned)
            targets[f"{path}/infer"] = Target(ask=Ask.INFER, route=route, pinned=pinned)
    return Table(
        number=number,
        targets=targets,
        admitted=admitted,
        callers=by_digest(admitted),
        routes=routes,
        expires=expires,
    )


def stop_route(route: Route) -> Route:
    """The route where its owner lets nothing be answered; its releases stay loaded."""
    return replace(route, stopped=True, closed=f"The endpoint {route.endpoint} was stopped by its owner.")


def close_table(table: Table, sentence: str) -> Table:
    """The table with the same paths, callers and number, where every endpoint answers 503 with a sentence."""
    closed = tuple(replace(route, closed=sentence) for route in table.routes)
    made = make_table(table.number, closed, table.admitted, table.expires)
    return replace(made, routes=())


def answering(route: Route) -> tuple[Served, ...]:
    """The releases that a caller may ask for by version: the champion and those that share its traffic."""
    return (route.champion, *(each for each, _ in route.portions))


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
