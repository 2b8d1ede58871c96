"""Changes of a plan that put no release anywhere, and so need no leave: less traffic, limits, keys, time.

Each gives the next plan, or a refusal that says why it cannot be. The laws are those of ``deployment.py``.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from gatewright.deployments.deployment import (
    PLAN_LIFETIME,
    Beside,
    Change,
    endpoint_of,
    experiment_of,
    next_plan,
)
from gatewright.deployments.plan import ApiKey, EndpointPlan, Recording, Shown, TrafficPlan
from gatewright.deployments.transitions import (
    EXPERIMENT,
    FALLBACK,
    LINE,
    RUNNING,
    SHADOW,
    Companion,
    Event,
    Experiment,
    Running,
    State,
)
from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import Refusal
from gatewright.kernel.instants import Instant


def leave(plan: TrafficPlan, endpoint: str, beside: Beside, now: Instant) -> TrafficPlan | Refusal:
    """Take away the canary, all arms, the shadow or the fallback."""
    found = endpoint_of(plan, endpoint)
    if isinstance(found, Refusal):
        return found
    after, changed = _left(found, beside)
    return after if isinstance(after, Refusal) else next_plan(plan, changed, now)


def _left(found: EndpointPlan, beside: Beside) -> tuple[object, EndpointPlan]:
    match beside:
        case Beside.SHADOW:
            return SHADOW.after(_companion(found.shadow), Event.LEFT), replace(found, shadow=None)
        case Beside.FALLBACK:
            return FALLBACK.after(_companion(found.fallback), Event.LEFT), replace(found, fallback=None)
        case Beside.CANARY | Beside.ARMS:
            present = found.canary is not None if beside is Beside.CANARY else bool(found.arms)
            state = experiment_of(found) if present else Experiment.NONE
            return EXPERIMENT.after(state, Event.LEFT), replace(found, canary=None, arms=())


def _companion(release: object) -> Companion:
    return Companion.ABSENT if release is None else Companion.PRESENT


def stop(plan: TrafficPlan, endpoint: str, now: Instant) -> TrafficPlan | Refusal:
    """The kill switch: every request of the endpoint is refused from this plan on."""
    return _switched(plan, endpoint, Event.STOPPED, now)


def resume(plan: TrafficPlan, endpoint: str, now: Instant) -> TrafficPlan | Refusal:
    """Let a stopped endpoint answer again."""
    return _switched(plan, endpoint, Event.RESUMED, now)


def _switched(plan: TrafficPlan, endpoint: str, event: Event, now: Instant) -> TrafficPlan | Refusal:
    found = endpoint_of(plan, endpoint)
    if isinstance(found, Refusal):
        return found
    after = RUNNING.after(Running.STOPPED if found.stopped else Running.RUNNING, event)
    if isinstance(after, Refusal):
        return after
    return next_plan(plan, replace(found, stopped=after is Running.STOPPED), now)


def withdraw(plan: TrafficPlan, endpoint: str, now: Instant, *, state: State) -> Change | Refusal:
    """Take the whole endpoint out of the plan, its keys with it."""
    found, after = endpoint_of(plan, endpoint), LINE.after(state, Event.WITHDRAWN)
    if isinstance(found, Refusal):
        return found
    if isinstance(after, Refusal):
        return after
    return Change(plan=next_plan(plan, None, now, without=found.endpoint), state=after)


def limit(
    plan: TrafficPlan,
    endpoint: str,
    now: Instant,
    *,
    rate: int | None = None,
    recording: Recording | None = None,
) -> TrafficPlan | Refusal:
    """Set what is given: requests in a second over all callers (0: no bound), and when records are made.

    Raises BadInput for a rate that no plan holds.
    """
    found = endpoint_of(plan, endpoint)
    if isinstance(found, Refusal):
        return found
    changed = replace(
        found,
        rate=found.rate if rate is None else rate,
        recording=found.recording if recording is None else recording,
    )
    return _unless_same(plan, found, changed, now)


def limit_key(
    plan: TrafficPlan,
    endpoint: str,
    key: str,
    now: Instant,
    *,
    rate: int | None = None,
    quota: int | None = None,
    shown: Shown | None = None,
) -> TrafficPlan | Refusal:
    """Set what is given for one API key: requests in a second, requests in a day, what its answers show.

    Raises BadInput for numbers that no plan holds.
    """
    found = endpoint_of(plan, endpoint)
    if isinstance(found, Refusal):
        return found
    known = key_of(found, key)
    if isinstance(known, Refusal):
        return known
    changed = replace(
        known,
        rate=known.rate if rate is None else rate,
        quota=known.quota if quota is None else quota,
        shown=known.shown if shown is None else shown,
    )
    keys = tuple(changed if each is known else each for each in found.keys)
    return _unless_same(plan, found, replace(found, keys=keys), now)


def _unless_same(
    plan: TrafficPlan, before: EndpointPlan, changed: EndpointPlan, now: Instant
) -> TrafficPlan | Refusal:
    if before != changed:
        return next_plan(plan, changed, now)
    return Refusal(
        code="deployments.nothing-changed",
        what=f"Endpoint {before.endpoint} has these limits already.",
        next="'gatewright status' shows them.",
    )


def add_key(plan: TrafficPlan, endpoint: str, key: ApiKey, now: Instant) -> TrafficPlan | Refusal:
    """Let one more key call the endpoint; raises BadInput where it has as many as a plan holds."""
    found = endpoint_of(plan, endpoint)
    if isinstance(found, Refusal):
        return found
    return next_plan(plan, replace(found, keys=(*found.keys, key)), now)


def revoke_key(plan: TrafficPlan, endpoint: str, key: str, now: Instant) -> TrafficPlan | Refusal:
    """Let a key call the endpoint no more; the last one may go, too."""
    found = endpoint_of(plan, endpoint)
    if isinstance(found, Refusal):
        return found
    known = key_of(found, key)
    if isinstance(known, Refusal):
        return known
    keys = tuple(each for each in found.keys if each is not known)
    return next_plan(plan, replace(found, keys=keys), now)


def key_of(found: EndpointPlan, key: str) -> ApiKey | Refusal:
    """The key of an endpoint by its id, or the refusal that says there is none."""
    for each in found.keys:
        if each.id == key:
            return each
    return Refusal(
        code="deployments.no-key",
        what=f"Endpoint {found.endpoint} has no API key {key[:80]!r}.",
        next=f"List them: gatewright key list {found.endpoint}",
    )


def renewed(plan: TrafficPlan, now: Instant, *, lifetime: int = PLAN_LIFETIME) -> TrafficPlan:
    """The same content under the next number, good for ``lifetime`` nanoseconds from now."""
    return replace(plan, number=plan.number + 1, issued=now, expires=Instant(now.ns + lifetime))


def ages(plan: TrafficPlan, now: Instant) -> bool:
    """Whether less than half of a plan's life is left, or it never had an end (format 1)."""
    return plan.expires is None or plan.expires.ns - now.ns < PLAN_LIFETIME // 2


def as_allowed(plan: TrafficPlan, endpoint: str, allowing: Collection[Digest]) -> TrafficPlan:
    """The plan with durable recording where a release answers whose root is not in ``allowing``.

    Asynchronous recording is the policy's to allow, for every release of the endpoint that may answer.
    """
    changed = tuple(
        replace(found, recording=Recording.DURABLE)
        if found.endpoint == endpoint and any(each.root not in allowing for each in found.answering())
        else found
        for found in plan.endpoints
    )
    return replace(plan, endpoints=changed)
