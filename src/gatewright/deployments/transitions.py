"""The life of an endpoint, as one table.

Rule 1: every state, every event and every change from one to another stands in this file. What
is not in :data:`TRANSITIONS` cannot happen, and says why.

Rule 2: a rollback is one step and its own inverse. It swaps the champion with the release before
it; a second one puts back the release that was rolled back. There is no third release to reach.

Rule 3: a withdrawn endpoint's name stays its own: what is deployed there later begins again
without a predecessor, so that nobody rolls back past a withdrawal.

The diagram in ``docs/deployments.md`` is drawn from the table by :func:`diagram`.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from gatewright.kernel.errors import Refusal


class State(StrEnum):
    """Where an endpoint is in its life."""

    EMPTY = "empty"
    FIRST = "first"
    LIVE = "live"
    ROLLED_BACK = "rolled-back"
    WITHDRAWN = "withdrawn"


class Event(StrEnum):
    """What can happen to an endpoint."""

    DEPLOYED = "deployed"
    ROLLED_BACK = "rolled-back"
    WITHDRAWN = "withdrawn"


MEANING: Mapping[State, str] = MappingProxyType(
    {
        State.EMPTY: "nothing was ever deployed",
        State.FIRST: "a release answers; none stands behind it",
        State.LIVE: "a release answers; the one before it is warm",
        State.ROLLED_BACK: "the release before answers again; the other is warm",
        State.WITHDRAWN: "nothing answers",
    }
)

TRANSITIONS: Mapping[tuple[State, Event], State] = MappingProxyType(
    {
        (State.EMPTY, Event.DEPLOYED): State.FIRST,
        (State.FIRST, Event.DEPLOYED): State.LIVE,
        (State.FIRST, Event.WITHDRAWN): State.WITHDRAWN,
        (State.LIVE, Event.DEPLOYED): State.LIVE,
        (State.LIVE, Event.ROLLED_BACK): State.ROLLED_BACK,
        (State.LIVE, Event.WITHDRAWN): State.WITHDRAWN,
        (State.ROLLED_BACK, Event.DEPLOYED): State.LIVE,
        (State.ROLLED_BACK, Event.ROLLED_BACK): State.LIVE,
        (State.ROLLED_BACK, Event.WITHDRAWN): State.WITHDRAWN,
        (State.WITHDRAWN, Event.DEPLOYED): State.FIRST,
    }
)

_CANNOT: Mapping[Event, str] = MappingProxyType(
    {
        Event.DEPLOYED: "Nothing can be deployed here.",
        Event.ROLLED_BACK: "There is no release to go back to.",
        Event.WITHDRAWN: "There is nothing to withdraw.",
    }
)

_NEXT: Mapping[Event, str] = MappingProxyType(
    {
        Event.DEPLOYED: "",
        Event.ROLLED_BACK: "Deploy a release that is known to be good.",
        Event.WITHDRAWN: "Nothing needs to be done.",
    }
)


def next_state(state: State, event: Event) -> State | Refusal:
    """The state after the event, or why it cannot happen in this state."""
    after = TRANSITIONS.get((state, event))
    if after is not None:
        return after
    return Refusal(
        code="deployments.transition",
        what=_CANNOT[event],
        why=f"The endpoint is in the state {state.value!r}: {MEANING[state]}.",
        next=_NEXT[event],
    )


def _node(state: State) -> str:
    return state.name.lower()


def diagram() -> str:
    """The table as a Mermaid state diagram, without the fence; ends with a newline."""
    names = [f'    state "{state}: {MEANING[state]}" as {_node(state)}' for state in State]
    arrows = [
        f"    {_node(before)} --> {_node(after)}: {event}" for (before, event), after in TRANSITIONS.items()
    ]
    return "\n".join(["stateDiagram-v2", *names, f"    [*] --> {_node(State.EMPTY)}", *arrows, ""])
