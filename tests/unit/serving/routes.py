"""Routes without keys, files and signatures: loaded releases, and the plan of one endpoint."""

from __future__ import annotations

from typing import Any

from gatewright.deployments.plan import EndpointPlan, ReleaseRef
from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import Refusal
from gatewright.kernel.names import Name
from gatewright.serving.codec import Codec
from gatewright.serving.engine import Engine
from gatewright.serving.routing import LoadedRelease, Route
from gatewright.serving.traffic import Kept, make_route
from unit.serving.rig import SIGNATURE, api_key, linear_model

CODEC = Codec(SIGNATURE)
ENGINE = Engine(linear_model(1.0), SIGNATURE)


def ref(version: int) -> ReleaseRef:
    """A release by its version."""
    root = Digest.of(bytes([version]))
    return ReleaseRef(
        root=root, model=Name("tumour"), version=version, resources={}, bundle=root, statements=()
    )


def loaded_as(found: ReleaseRef, engine: Any = ENGINE) -> LoadedRelease:
    """The release, loaded, with an engine."""
    return LoadedRelease(
        root=found.root, version=found.version, signature=SIGNATURE, codec=CODEC, engine=engine
    )


class Clock:
    """Seconds that stand still until they are moved."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        """The time."""
        return self.seconds


def fresh(said: list[Refusal] | None = None, clock: Clock | None = None) -> Kept:
    """What a worker knows before its first plan."""
    told: list[Refusal] = [] if said is None else said
    return Kept(report=told.append, clock=clock or Clock())


def route_of(
    champion: ReleaseRef,
    *,
    endpoint: str = "tumour",
    number: int = 1,
    kept: Kept | None = None,
    engines: dict[int, Any] | None = None,
    **traffic: Any,
) -> Route:
    """The route of one endpoint; ``engines`` by version, where one is not the usual one."""
    plan = EndpointPlan(
        endpoint=Name(endpoint),
        champion=champion,
        previous=traffic.pop("previous", None),
        keys=traffic.pop("keys", (api_key("key-1", "secret"),)),
        **traffic,
    )
    loaded = {
        each.root: loaded_as(each, (engines or {}).get(each.version, ENGINE)) for each in plan.releases()
    }
    return make_route(plan, loaded, number, kept or fresh())
