"""Waiving a rule: openly, with leave of the policy, for a time, and never what was not measured.

Deny by default: a policy without ``[[waivers]]`` lets nothing be waived. What is ``unknown``,
``broken``, skipped or missing has no measure that could be accepted, and cannot be waived at all; nor
can rules on data, security and privacy, whatever the policy says.

A waived rule does not hold: the verdict shows it as ``waived`` with who waived it and until when, and
asks for the approval of somebody else. When the time is over nothing new is deployed with it; what is
live goes on, because an outage on a calendar date helps nobody, and ``status`` says so.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gatewright.checks.finding import Finding, Outcome
from gatewright.kernel.canonical import JsonObject
from gatewright.kernel.errors import Refusal
from gatewright.kernel.instants import Instant
from gatewright.policy.rules import Policy, Rule, WaiverLeave
from gatewright.releases.judgements import Role

DAY_NS = 86_400 * 10**9
OVER = "policy.waiver-over"


@dataclass(frozen=True, slots=True, kw_only=True)
class Waived:
    """A rule, by its sentence, that a principal waives from ``time`` until ``until``."""

    rule: str
    principal: str
    role: Role
    time: Instant
    until: Instant

    def document(self) -> JsonObject:
        """Its form inside a verdict."""
        return {
            "principal": self.principal,
            "role": self.role.value,
            "rule": self.rule,
            "time": str(self.time),
            "until": str(self.until),
        }


def is_measured(finding: Finding) -> bool:
    """Whether a check gave an answer that somebody could accept: it passed or failed."""
    return finding.outcome in (Outcome.PASSED, Outcome.FAILED)


def named_rules(rules: Iterable[Rule], name: str) -> tuple[Rule, ...]:
    """The rules that a sentence, or the name of a check, means."""
    return tuple(rule for rule in rules if name in (rule.text(), rule.check))


def _leave(policy: Policy, rule: str) -> WaiverLeave | None:
    checks = {each.check for each in policy.rules if each.text() == rule}
    return next((each for each in policy.waivers if each.check in checks), None)


def fits(policy: Policy, waived: Waived) -> bool:
    """Whether the policy gives leave for exactly this waiver."""
    return refused(policy, waived) is None


def refused(policy: Policy, waived: Waived) -> Refusal | None:
    """Why the policy gives no leave for a waiver, or None where it does."""
    leave = _leave(policy, waived.rule)
    if leave is None:
        why = "The policy names no such check under [[waivers]]: what it does not name cannot be waived."
    elif waived.role not in leave.by:
        why = f"Rules of {leave.check} may be waived by: {', '.join(leave.by)}; not by the {waived.role}."
    elif not 0 < waived.until.ns - waived.time.ns <= leave.days * DAY_NS:
        why = f"Rules of {leave.check} may be waived for {leave.days} days at most, and until a time to come."
    else:
        return None
    return Refusal(
        code="policy.not-waivable",
        what=f"This rule cannot be waived so: {waived.rule}.",
        why=why,
        next="Mend the model, or change the policy and check again.",
    )


def over(waivers: Iterable[Waived], now: Instant | None) -> Refusal | None:
    """The refusal of a deployment on a waiver whose time is over, or cannot be told; else None."""
    for each in waivers:
        if now is None or each.until <= now:
            return Refusal(
                code=OVER,
                what=f"The waiver of a rule of this release ended on {str(each.until)[:16]}.",
                why=f"It was given for: {each.rule}.",
                next="Release it again: with a model that satisfies the rule, or with a new waiver.",
            )
    return None
