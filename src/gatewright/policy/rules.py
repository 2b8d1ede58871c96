"""A policy as a value: the rules a report must satisfy, and who must approve.

Rules of this file: a rule looks at the *bound* of an interval, never at the point; an outcome rule
can accept ``passed`` and ``skipped`` and nothing else; a policy names what every tier needs.

Not here: reading the file (``policy_file.py``) and judging a report (``verdict.py``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol, TypeAlias

from gatewright.checks.finding import Metric, Outcome
from gatewright.kernel.canonical import Json
from gatewright.kernel.errors import BadInput
from gatewright.models.signature import Task
from gatewright.releases.judgements import Role

POLICY_FORMAT = 1
EVERY_SLICE = "*"
ACCEPTABLE = (Outcome.PASSED, Outcome.SKIPPED)
"""The outcomes that a policy may accept. ``unknown`` and ``broken`` never pass."""
ALL_TASKS = tuple(Task)
WAIVABLE = ("efficiency", "fairness", "performance", "robustness")
"""The families of checks whose rules a policy may let people waive: never data, security or privacy."""


class Tier(StrEnum):
    """How much rides on a model: ``low`` or ``high``."""

    LOW = "low"
    HIGH = "high"


class Bound(StrEnum):
    """Which end of an interval a rule looks at."""

    LOW = "low"
    HIGH = "high"


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalNeed:
    """How many distinct people must approve, and whether the owner is one of them."""

    count: int
    owner_may_approve: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeRule:
    """The named check must end with one of the accepted outcomes, for the tasks it applies to."""

    check: str
    accept: tuple[Outcome, ...]
    applies_to: tuple[Task, ...] = ALL_TASKS

    def __post_init__(self) -> None:
        if not self.accept or not set(self.accept) <= set(ACCEPTABLE):
            raise BadInput(
                "policy.accept",
                f"The rule on {self.check} accepts {', '.join(self.accept) or 'nothing'}.",
                why="A rule can accept 'passed' and 'skipped'; nothing else ever passes a gate.",
            )

    def text(self) -> str:
        """The rule as one short sentence."""
        return f"{self.check} must be {' or '.join(self.accept)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundRule:
    """An end of a metric's interval must be ``at_least`` or ``at_most`` a number.

    Exactly one of the two is given, in the metric's own unit. ``slice`` is "" for all rows, one
    slice as the report names it, or ``"*"`` for every slice. ``bound`` is the pessimistic end
    unless said otherwise: ``low`` for ``at_least``, ``high`` for ``at_most``.
    """

    check: str
    metric: str
    slice: str = ""
    at_least: float | None = None
    at_most: float | None = None
    bound: Bound | None = None
    applies_to: tuple[Task, ...] = ALL_TASKS

    def __post_init__(self) -> None:
        if (self.at_least is None) == (self.at_most is None):
            raise BadInput(
                "policy.bound",
                f"The rule on {self.metric} gives {'neither' if self.at_least is None else 'both'} "
                "of at_least and at_most.",
                next="Give exactly one of them; write two rules for a range.",
            )
        if not math.isfinite(self.limit):
            raise BadInput(
                "policy.bound",
                f"The rule on {self.metric} has the bound {self.limit}.",
                why="A bound is a finite number.",
            )

    @property
    def limit(self) -> float:
        """The number of the rule."""
        found = self.at_most if self.at_least is None else self.at_least
        assert found is not None  # noqa: S101 - exactly one is given
        return found

    @property
    def end(self) -> Bound:
        """The end of the interval that is looked at."""
        return self.bound or (Bound.LOW if self.at_most is None else Bound.HIGH)

    def observed(self, metric: Metric) -> float:
        """The end of this metric's interval."""
        return metric.low if self.end is Bound.LOW else metric.high

    def holds(self, metric: Metric) -> bool:
        """Whether the metric satisfies the rule."""
        observed = self.observed(metric)
        return observed >= self.limit if self.at_most is None else observed <= self.limit

    def text(self) -> str:
        """The rule as one short sentence."""
        where = {"": "", EVERY_SLICE: " in every slice"}.get(self.slice, f" where {self.slice}")
        words = "at least" if self.at_most is None else "at most"
        return f"{self.check}: the {self.end} bound of {self.metric}{where} must be {words} {self.limit:.12g}"


Rule: TypeAlias = OutcomeRule | BoundRule


@dataclass(frozen=True, slots=True, kw_only=True)
class WaiverLeave:
    """Leave to waive rules of one check: in which capacity, and for how many days at most.

    Raises BadInput for a check of a family that is never waived.
    """

    check: str
    by: tuple[Role, ...]
    days: int

    def __post_init__(self) -> None:
        if self.check.partition(".")[0] not in WAIVABLE or not self.by or self.days < 1:
            raise BadInput(
                "policy.waivers",
                f"Rules of {self.check} cannot be waived so.",
                why=f"Only checks of {', '.join(WAIVABLE)} can be, by somebody, for a day at least.",
            )


class KnownCheck(Protocol):
    """What a policy may say of one check. The suite of checks gives one for each of its own."""

    @property
    def metrics(self) -> Mapping[str, tuple[Task, ...]]:
        """The names of its metrics, each with the tasks it is measured for."""
        ...

    @property
    def parameters(self) -> Mapping[str, Json]:
        """Its parameters with their defaults, whose types a policy must keep."""
        ...


KnownChecks: TypeAlias = Mapping[str, KnownCheck]


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The rules, the tier of each model, what each tier needs, and parameters of checks.

    ``asynchronous`` lets an endpoint record predictions after it has answered; ``waivers`` say which
    rules people may waive, none where there are none; ``stated`` names what a dataset's datasheet must
    state at a tier. A policy without rules can be built, and denies
    everything.
    """

    title: str
    default_tier: Tier
    rules: tuple[Rule, ...]
    approvals: Mapping[Tier, ApprovalNeed]
    tiers: Mapping[str, Tier] = field(default_factory=dict)
    parameters: Mapping[str, Mapping[str, Json]] = field(default_factory=dict)
    asynchronous: bool = False
    waivers: tuple[WaiverLeave, ...] = ()
    stated: Mapping[Tier, tuple[str, ...]] = field(default_factory=dict)
    format: int = POLICY_FORMAT

    def __post_init__(self) -> None:
        for tier in Tier:
            need = self.approvals.get(tier)
            if need is None:
                raise BadInput(
                    "policy.approvals",
                    f"The policy does not say who approves at tier {tier}.",
                    next=f"Add a table [approvals.{tier}] with count and owner_may_approve.",
                    place=f"[approvals.{tier}]",
                )

    def tier_of(self, model_name: str) -> Tier:
        """The tier of the named model."""
        return self.tiers.get(model_name, self.default_tier)

    def rules_for(self, task: Task) -> tuple[Rule, ...]:
        """The rules that apply to a task, in the order of the file."""
        return tuple(rule for rule in self.rules if task in rule.applies_to)
