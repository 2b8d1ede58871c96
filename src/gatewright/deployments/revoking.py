"""Taking a revoked release out of a plan: out of every place of every endpoint, in one plan.

Laws: afterwards no running endpoint names the release anywhere; endpoints that did not name it are as
they were; the number rises by one. The tables of ``transitions.py`` say what follows where.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from gatewright.deployments.deployment import PLAN_LIFETIME, fits, without
from gatewright.deployments.plan import EndpointPlan, TrafficPlan
from gatewright.deployments.transitions import LINE, RUNNING, Event, Running, State
from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import Refusal
from gatewright.kernel.instants import Instant


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleared:
    """The next plan, and the state of each endpoint's line that named the release, by its name."""

    plan: TrafficPlan
    states: Mapping[str, State]


def clear(plan: TrafficPlan, root: Digest, states: Mapping[str, State], now: Instant) -> Cleared | None:
    """The plan without a revoked release, or None where it names it nowhere.

    ``states`` has the state of each endpoint's line. The champion gives way to the previous release, with
    the experiment and the shadow; the fallback stays where it answers alike. Where no release stands
    behind the champion the endpoint is stopped.
    """
    changed = {
        found.endpoint: _cleared(found, root, states[found.endpoint])
        for found in plan.endpoints
        if any(each.root == root for each in found.releases())
    }
    if not changed:
        return None
    endpoints = tuple(
        changed[found.endpoint][0] if found.endpoint in changed else found for found in plan.endpoints
    )
    following = TrafficPlan(
        number=plan.number + 1, issued=now, endpoints=endpoints, expires=Instant(now.ns + PLAN_LIFETIME)
    )
    return Cleared(plan=following, states={name: state for name, (_, state) in changed.items()})


def _cleared(found: EndpointPlan, root: Digest, state: State) -> tuple[EndpointPlan, State]:
    if found.champion.root != root:
        apart = without(found, root)
        if found.previous is None or found.previous.root != root:
            return apart, state
        return replace(apart, previous=None), _after(state)
    if found.previous is None:
        running = RUNNING.after(Running.STOPPED if found.stopped else Running.RUNNING, Event.REVOKED)
        bare = replace(found, canary=None, arms=(), shadow=None, fallback=None)
        return replace(bare, stopped=running is Running.STOPPED), _after(state)
    champion, other = found.previous, found.fallback
    stays = other is not None and other.root != champion.root and fits(other, champion)
    back = replace(
        found,
        champion=champion,
        previous=None,
        canary=None,
        arms=(),
        shadow=None,
        fallback=other if stays else None,
    )
    return back, _after(state)


def _after(state: State) -> State:
    after = LINE.after(state, Event.REVOKED)
    assert not isinstance(after, Refusal)  # noqa: S101 - every state in which a plan names a release has it
    return after
