"""What a policy says of a report: allow, deny or needs-approval, with every reason.

A rule that does not hold may be waived, where the policy gives leave (``waivers.py``): its reasons are
then ``waived``, openly, the verdict names each :class:`Waived` rule, and it always needs approval.

Laws: a policy without an applicable rule denies; one rule that is not satisfied denies, whatever
the others say; ``unknown``, ``broken``, a missing finding and a missing metric never satisfy a
rule; a verdict that exists agrees with its own reasons, so a stored "allow" beside a violated rule
cannot be read back; ``decode_verdict(encode_verdict(v)) == v``.

Example::

    verdict = judge(policy, report, report_digest=…, policy_digest=…, model_name=…, task=…)
    verdict.decision is Decision.DENY

Not here: counting approvals (``approvals.py``). A verdict has no truth value of its own: compare
its ``decision``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from gatewright.checks.finding import Finding, Metric, Outcome
from gatewright.checks.report import Report
from gatewright.kernel import canonical
from gatewright.kernel.canonical import JsonObject
from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import BadInput
from gatewright.models.signature import Task
from gatewright.policy.rules import ACCEPTABLE, EVERY_SLICE, BoundRule, OutcomeRule, Policy, Rule, Tier
from gatewright.policy.waivers import Waived, fits, is_measured
from gatewright.releases.fields import Fields
from gatewright.releases.in_toto import principal
from gatewright.releases.judgements import role

VERDICT_FORMAT = 1
WAIVED_FORMAT = 2
"""Format of a verdict with waived rules; one without is written in format 1."""
REASONS = 100_000
"""Most reasons of one verdict: a rule on every slice gives one for each slice."""
WHAT_LENGTH = 1_000

WAIVERS = 50
"""Most waived rules of one verdict."""

_CODE = "policy.verdict"
_FIELDS = (
    "approvals_needed",
    "decision",
    "format",
    "model",
    "owner_may_approve",
    "policy",
    "reasons",
    "report",
    "tier",
)


class Decision(StrEnum):
    """What the policy says."""

    ALLOW = "allow"
    DENY = "deny"
    NEEDS_APPROVAL = "needs-approval"


class Standing(StrEnum):
    """How a rule stands: satisfied, violated but waived, violated, or without anything to look at."""

    OK = "ok"
    WAIVED = "waived"
    VIOLATED = "violated"
    MISSING = "missing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """One rule against one finding or metric.

    ``rule`` is the rule's sentence, ``what`` what was seen; ``observed`` and ``limit`` are the
    numbers compared, None where there are none.
    """

    rule: str
    outcome: Standing
    what: str
    observed: float | None = None
    limit: float | None = None

    @property
    def holds(self) -> bool:
        """Whether the rule is satisfied."""
        return self.outcome is Standing.OK

    def sentence(self) -> str:
        """The rule and what was seen, as one sentence."""
        return f"{self.rule}; {self.what.rstrip('.')}."


_BARS = (Standing.VIOLATED, Standing.MISSING)


def _decide(reasons: tuple[Reason, ...], approvals_needed: int) -> Decision:
    if not reasons or any(reason.outcome in _BARS for reason in reasons):
        return Decision.DENY
    return Decision.NEEDS_APPROVAL if approvals_needed else Decision.ALLOW


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The decision, all its reasons, and the digests it looked at.

    ``report`` and ``policy`` are digests of the exact bytes judged and judged by; ``model`` is the
    digest of the model bytes that the report is about.
    """

    decision: Decision
    reasons: tuple[Reason, ...]
    report: Digest
    policy: Digest
    model: Digest
    tier: Tier
    approvals_needed: int
    owner_may_approve: bool
    waivers: tuple[Waived, ...] = ()

    def __post_init__(self) -> None:
        waived = [one.rule for one in self.waivers]
        marked = {one.rule for one in self.reasons if one.outcome is Standing.WAIVED}
        if len(set(waived)) != len(waived) or set(waived) != marked or (waived and not self.approvals_needed):
            raise BadInput(
                _CODE,
                "The verdict's waived rules are not those of its reasons, or need nobody's approval.",
                next="Judge the report again.",
            )
        if self.approvals_needed < 0 or self.decision is not _decide(self.reasons, self.approvals_needed):
            raise BadInput(
                _CODE,
                f"The verdict says {self.decision}, which does not follow from its reasons.",
                next="Judge the report again.",
            )

    @property
    def objections(self) -> tuple[Reason, ...]:
        """The reasons that stand against it: not satisfied and not waived."""
        return tuple(reason for reason in self.reasons if reason.outcome in _BARS)

    @property
    def format(self) -> int:
        """The format in which it is written."""
        return WAIVED_FORMAT if self.waivers else VERDICT_FORMAT


def _answers(finding: Finding) -> str:
    detail = finding.reason or finding.summary
    return (f"{finding.check} is {finding.outcome}" + (f": {detail}" if detail else ""))[:WHAT_LENGTH]


def _judge_outcome(rule: OutcomeRule, finding: Finding) -> Iterator[Reason]:
    accepted = finding.outcome in rule.accept and finding.outcome in ACCEPTABLE
    standing = Standing.OK if accepted else Standing.VIOLATED
    yield Reason(rule=rule.text(), outcome=standing, what=_answers(finding))


def _judge_metric(rule: BoundRule, metric: Metric) -> Reason:
    where = f" where {metric.slice}" if metric.slice else ""
    return Reason(
        rule=rule.text(),
        outcome=Standing.OK if rule.holds(metric) else Standing.VIOLATED,
        what=f"{metric.name}{where} is {metric.value:.6g}, interval {metric.low:.6g} to {metric.high:.6g}",
        observed=rule.observed(metric),
        limit=rule.limit,
    )


def _judge_bound(rule: BoundRule, finding: Finding) -> Iterator[Reason]:
    if finding.outcome in (Outcome.UNKNOWN, Outcome.BROKEN):
        yield Reason(rule=rule.text(), outcome=Standing.VIOLATED, what=_answers(finding), limit=rule.limit)
        return
    found = [
        metric
        for metric in finding.metrics
        if metric.name == rule.metric
        and (metric.slice if rule.slice == EVERY_SLICE else metric.slice == rule.slice)
    ]
    for metric in found:
        yield _judge_metric(rule, metric)
    if not found:
        yield Reason(
            rule=rule.text(),
            outcome=Standing.MISSING,
            what=f"the report has no such {rule.metric}; {_answers(finding)}",
            limit=rule.limit,
        )


def _judge_rule(rule: Rule, report: Report, *, waived: bool) -> Iterator[Reason]:
    """Every finding of the rule's check counts, should a report hold more than one."""
    findings = [finding for finding in report.findings if finding.check == rule.check]
    for finding in findings:
        match rule:
            case OutcomeRule():
                reasons = _judge_outcome(rule, finding)
            case BoundRule():
                reasons = _judge_bound(rule, finding)
        for reason in reasons:
            waives = waived and reason.outcome is Standing.VIOLATED and is_measured(finding)
            yield replace(reason, outcome=Standing.WAIVED) if waives else reason
    if not findings:
        yield Reason(rule=rule.text(), outcome=Standing.MISSING, what=f"{rule.check} is not in the report")


def judge(
    policy: Policy,
    report: Report,
    *,
    report_digest: Digest,
    policy_digest: Digest,
    model_name: str,
    task: Task,
    waivers: Sequence[Waived] = (),
) -> Verdict:
    """Judge a report by the rules that apply to the model's task.

    Every rule is judged even after the first violation, so that one run tells all there is to
    mend. A waiver without leave of the policy, and one of a rule that holds or was not measured, changes
    nothing. Total: any report gives a verdict.
    """
    given = {one.rule: one for one in waivers if fits(policy, one)}
    reasons = tuple(
        reason
        for rule in policy.rules_for(task)
        for reason in _judge_rule(rule, report, waived=rule.text() in given)
    )
    if not reasons:
        nothing = Reason(
            rule="a policy must have a rule that applies",
            outcome=Standing.MISSING,
            what=f"no rule of the policy applies to {task}",
        )
        reasons = (nothing,)
    tier = policy.tier_of(model_name)
    need = policy.approvals[tier]
    used = tuple(
        given[rule]
        for rule in dict.fromkeys(each.rule for each in reasons if each.outcome is Standing.WAIVED)
    )
    count = max(need.count, 1) if used else need.count
    return Verdict(
        decision=_decide(reasons, count),
        reasons=reasons,
        report=report_digest,
        policy=policy_digest,
        model=report.model,
        tier=tier,
        approvals_needed=count,
        owner_may_approve=need.owner_may_approve,
        waivers=used,
    )


def encode_verdict(verdict: Verdict) -> bytes:
    """Canonical JSON of the verdict, format 1 or, with waived rules, 2; digests are hexadecimal text."""
    reasons: list[JsonObject] = [
        {
            "limit": reason.limit,
            "observed": reason.observed,
            "outcome": reason.outcome.value,
            "rule": reason.rule,
            "what": reason.what,
        }
        for reason in verdict.reasons
    ]
    return canonical.encode(
        {
            "approvals_needed": verdict.approvals_needed,
            "decision": verdict.decision.value,
            "format": verdict.format,
            "model": verdict.model.hex,
            "owner_may_approve": verdict.owner_may_approve,
            "policy": verdict.policy.hex,
            "reasons": reasons,
            "report": verdict.report.hex,
            "tier": verdict.tier.value,
            **({"waivers": [one.document() for one in verdict.waivers]} if verdict.waivers else {}),
        }
    )


def _bad(what: str) -> BadInput:
    return BadInput(_CODE, what, next="Judge the report again.")


def _number(found: Fields, name: str) -> float | None:
    value = found.value[name]
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise found.refuse(name, "a number or null")
    return float(value)


def _flag(found: Fields, name: str) -> bool:
    value = found.value[name]
    if not isinstance(value, bool):
        raise found.refuse(name, "true or false")
    return value


def _read_reason(found: Fields) -> Reason:
    found.exactly("limit", "observed", "outcome", "rule", "what")
    return Reason(
        rule=found.text("rule"),
        outcome=Standing(found.text("outcome")),
        what=found.text("what"),
        observed=_number(found, "observed"),
        limit=_number(found, "limit"),
    )


def _read_waived(found: Fields) -> Waived:
    found.exactly("principal", "role", "rule", "time", "until")
    return Waived(
        rule=found.text("rule"),
        principal=principal(found),
        role=role(found),
        time=found.instant("time"),
        until=found.instant("until"),
    )


def decode_verdict(data: bytes) -> Verdict:
    """Read a verdict strictly.

    Raises BadInput for bytes that :func:`encode_verdict` would not write, a verdict that does not
    follow from its reasons and a newer format included.
    """
    found = Fields.read(canonical.decode(data), of="the verdict", code=_CODE)
    waives = "waivers" in found.value
    found.exactly(*_FIELDS, *(("waivers",) if waives else ()))
    found.constant("format", WAIVED_FORMAT if waives else VERDICT_FORMAT)
    try:
        return Verdict(
            decision=Decision(found.text("decision")),
            reasons=tuple(map(_read_reason, found.objects("reasons", least=1, most=REASONS))),
            report=found.digest("report"),
            policy=found.digest("policy"),
            model=found.digest("model"),
            tier=Tier(found.text("tier")),
            approvals_needed=found.whole("approvals_needed"),
            owner_may_approve=_flag(found, "owner_may_approve"),
            waivers=tuple(
                map(_read_waived, found.objects("waivers", least=1, most=WAIVERS) if waives else ())
            ),
        )
    except ValueError as error:
        raise _bad(f"A word of the verdict is not known: {str(error)[:120]}.") from None
