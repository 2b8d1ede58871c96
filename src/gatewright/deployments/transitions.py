"""The life of an endpoint, as five small tables.

Rule 1: every state, every event and every change from one to another stands in this file. What
is not in a table cannot happen, and says why. An endpoint has a state in each of the tables at once:
the *line* of champions, the *experiment* beside the champion, the *shadow*, the *fallback*, and
whether it is *running*.

Rule 2: a rollback is one step. Under an experiment it ends the experiment, because that is what was
changed last, and the champion stays. Otherwise it swaps the champion with the release before it, and
is its own inverse. There is no third release to reach. The shadow leaves; the fallback stays, unless
it is the release that the rollback makes the champion.

Rule 3: a withdrawn endpoint's name stays its own: what is deployed there later begins again
without a predecessor, so that nobody rolls back past a withdrawal.

Rule 4: a revoked release leaves every place at once. Its experiment ends; the champion gives way to the
release before it, and then nothing stands behind that one. Where there is none the endpoint is stopped,
keeps the revoked champion's name only, and begins again with the next deployment, which does not let it
answer by itself: somebody resumes it.

The diagrams in ``docs/deployments.md`` are drawn from the tables by :meth:`Part.diagram`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Generic, TypeVar

from gatewright.kernel.errors import Refusal


class State(StrEnum):
    """Where the line of an endpoint's champions is."""

    EMPTY = "empty"
    FIRST = "first"
    LIVE = "live"
    ROLLED_BACK = "rolled-back"
    REVOKED = "revoked"
    WITHDRAWN = "withdrawn"


class Experiment(StrEnum):
    """Whether other releases share the champion's traffic."""

    NONE = "none"
    CANARY = "canary"
    ARMS = "arms"


class Companion(StrEnum):
    """Whether a shadow, or a fallback, stands beside the champion."""

    ABSENT = "absent"
    PRESENT = "present"


class Running(StrEnum):
    """Whether the endpoint answers."""

    RUNNING = "running"
    STOPPED = "stopped"


class Event(StrEnum):
    """What can happen to an endpoint."""

    DEPLOYED = "deployed"
    JOINED = "joined"
    CANARY = "canary-joined"
    ARM = "arm-joined"
    LEFT = "left"
    PROMOTED = "promoted"
    ROLLED_BACK = "rolled-back"
    STOPPED = "stopped"
    RESUMED = "resumed"
    REVOKED = "revoked"
    WITHDRAWN = "withdrawn"


S = TypeVar("S", bound=StrEnum)

_CANNOT: Mapping[Event, tuple[str, str]] = MappingProxyType(
    {
        Event.DEPLOYED: ("Nothing can be deployed here.", ""),
        Event.JOINED: ("There is no champion to stand beside.", "Deploy a release as the champion first."),
        Event.CANARY: ("A canary cannot join.", "End the experiment first: gatewright undeploy ENDPOINT --arms"),
        Event.ARM: ("An arm cannot join.", "End the canary first: gatewright undeploy ENDPOINT --canary"),
        Event.LEFT: ("There is nothing to take away.", "'gatewright status' shows what answers."),
        Event.PROMOTED: ("There is nothing to promote.", "'gatewright status' shows what answers."),
        Event.ROLLED_BACK: ("There is no release to go back to.", "Deploy a release that is known to be good."),
        Event.STOPPED: ("There is nothing to stop.", "'gatewright status' shows what answers."),
        Event.RESUMED: ("There is nothing to resume.", "'gatewright status' shows what answers."),
        Event.REVOKED: ("There is nothing to revoke.", "'gatewright status' shows what answers."),
        Event.WITHDRAWN: ("There is nothing to withdraw.", "'gatewright status' lists the endpoints."),
    }
)  # fmt: skip
"""What cannot happen, and what to do instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part(Generic[S]):
    """One table: whose states it has, and the meaning of each, the first of which is where it begins."""

    of: str
    meaning: Mapping[S, str]
    transitions: Mapping[tuple[S, Event], S]

    def after(self, state: S, event: Event) -> S | Refusal:
        """The state after the event, or why it cannot happen in this state."""
        found = self.transitions.get((state, event))
        if found is not None:
            return found
        what, next_step = _CANNOT[event]
        return Refusal(
            code="deployments.transition",
            what=what,
            why=f"The {self.of} is {state.value!r}: {self.meaning[state]}.",
            next=next_step,
        )

    def diagram(self) -> str:
        """The table as a Mermaid state diagram, without the fence; ends with a newline."""
        names = [
            f'    state "{state}: {meaning}" as {_node(state)}' for state, meaning in self.meaning.items()
        ]
        arrows = [
            f"    {_node(before)} --> {_node(after)}: {event}"
            for (before, event), after in self.transitions.items()
        ]
        return "\n".join(
            ["stateDiagram-v2", *names, f"    [*] --> {_node(next(iter(self.meaning)))}", *arrows, ""]
        )


def _node(state: StrEnum) -> str:
    return state.name.lower()


LINE: Part[State] = Part(
    of="endpoint",
    meaning=MappingProxyType(
        {
            State.EMPTY: "nothing was ever deployed",
            State.FIRST: "a release is champion; none stands behind it",
            State.LIVE: "a release is champion; the one before it is warm",
            State.ROLLED_BACK: "the release before is champion again; the other is warm",
            State.REVOKED: "the champion was revoked and none stood behind it",
            State.WITHDRAWN: "nothing answers",
        }
    ),
    transitions=MappingProxyType(
        {
            (State.EMPTY, Event.DEPLOYED): State.FIRST,
            (State.FIRST, Event.DEPLOYED): State.LIVE,
            (State.FIRST, Event.REVOKED): State.REVOKED,
            (State.FIRST, Event.WITHDRAWN): State.WITHDRAWN,
            (State.LIVE, Event.DEPLOYED): State.LIVE,
            (State.LIVE, Event.ROLLED_BACK): State.ROLLED_BACK,
            (State.LIVE, Event.REVOKED): State.FIRST,
            (State.LIVE, Event.WITHDRAWN): State.WITHDRAWN,
            (State.ROLLED_BACK, Event.DEPLOYED): State.LIVE,
            (State.ROLLED_BACK, Event.ROLLED_BACK): State.LIVE,
            (State.ROLLED_BACK, Event.REVOKED): State.FIRST,
            (State.ROLLED_BACK, Event.WITHDRAWN): State.WITHDRAWN,
            (State.REVOKED, Event.DEPLOYED): State.FIRST,
            (State.REVOKED, Event.WITHDRAWN): State.WITHDRAWN,
            (State.WITHDRAWN, Event.DEPLOYED): State.FIRST,
            **{(state, Event.JOINED): state for state in (State.FIRST, State.LIVE, State.ROLLED_BACK)},
        }
    ),
)

EXPERIMENT: Part[Experiment] = Part(
    of="experiment",
    meaning=MappingProxyType(
        {
            Experiment.NONE: "the champion takes all the traffic",
            Experiment.CANARY: "one other release takes a share of the requests",
            Experiment.ARMS: "other releases take shares of the subjects",
        }
    ),
    transitions=MappingProxyType(
        {
            (Experiment.NONE, Event.CANARY): Experiment.CANARY,
            (Experiment.NONE, Event.ARM): Experiment.ARMS,
            (Experiment.CANARY, Event.CANARY): Experiment.CANARY,
            (Experiment.ARMS, Event.ARM): Experiment.ARMS,
            **{
                (state, event): Experiment.NONE
                for state in (Experiment.CANARY, Experiment.ARMS)
                for event in (Event.LEFT, Event.PROMOTED, Event.ROLLED_BACK, Event.REVOKED, Event.WITHDRAWN)
            },
        }
    ),
)


def _companion(of: str, *ends: Event) -> Part[Companion]:
    """The table of a shadow or a fallback, which leaves at each of ``ends``."""
    return Part(
        of=of,
        meaning=MappingProxyType(
            {Companion.ABSENT: "none stands beside the champion", Companion.PRESENT: "one stands beside it"}
        ),
        transitions=MappingProxyType(
            {
                (Companion.ABSENT, Event.JOINED): Companion.PRESENT,
                (Companion.PRESENT, Event.JOINED): Companion.PRESENT,
                **{(Companion.PRESENT, event): Companion.ABSENT for event in ends},
            }
        ),
    )


SHADOW = _companion("shadow", Event.LEFT, Event.PROMOTED, Event.ROLLED_BACK, Event.REVOKED, Event.WITHDRAWN)
FALLBACK = _companion("fallback", Event.LEFT, Event.PROMOTED, Event.REVOKED, Event.WITHDRAWN)

RUNNING: Part[Running] = Part(
    of="endpoint",
    meaning=MappingProxyType(
        {Running.RUNNING: "requests are answered", Running.STOPPED: "every request is refused"}
    ),
    transitions=MappingProxyType(
        {
            (Running.RUNNING, Event.STOPPED): Running.STOPPED,
            (Running.RUNNING, Event.REVOKED): Running.STOPPED,
            (Running.STOPPED, Event.RESUMED): Running.RUNNING,
            (Running.STOPPED, Event.REVOKED): Running.STOPPED,
            (Running.STOPPED, Event.WITHDRAWN): Running.RUNNING,
        }
    ),
)

PARTS: Mapping[str, Part[State] | Part[Experiment] | Part[Companion] | Part[Running]] = MappingProxyType(
    {"line": LINE, "experiment": EXPERIMENT, "shadow": SHADOW, "fallback": FALLBACK, "running": RUNNING}
)
"""Every table, by the name of its diagram."""
