"""Reading a policy file: strict TOML, where a slip is named rather than passed over.

Rule: what is not understood is refused. A misspelt metric would otherwise be a rule that never
bites, and a misspelt key a rule that bites something else. Every refusal says where, what the
nearest good spelling is, and what to write.

The language is described in ``docs/policy.md``. Not here: which checks exist. The caller passes
them as :data:`~gatewright.policy.rules.KnownChecks`.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from gatewright.checks.finding import Outcome
from gatewright.kernel.canonical import Json
from gatewright.kernel.errors import BadInput, Misuse
from gatewright.kernel.names import parse_name
from gatewright.models.signature import Task
from gatewright.policy.recording import TABLE as RECORDING
from gatewright.policy.recording import read_recording
from gatewright.policy.rules import (
    ACCEPTABLE,
    POLICY_FORMAT,
    WAIVABLE,
    ApprovalNeed,
    Bound,
    BoundRule,
    KnownCheck,
    KnownChecks,
    OutcomeRule,
    Policy,
    Rule,
    Tier,
    WaiverLeave,
)
from gatewright.policy.stated import TABLE as DATASHEET
from gatewright.policy.stated import read_stated
from gatewright.releases.judgements import Role

POLICY_BYTES = 262_144
RULES = 500
APPROVALS = 20
"""Most people that one approval can ask for."""
WAIVER_DAYS = 365
"""Longest time for which a policy can let a rule be waived."""
TEXT_LENGTH = 500
DEFAULT_POLICY = "default_policy.toml"
"""Name of the commented default policy, kept beside this module."""

TOP_KEYS = ("approvals", "checks", "datasheet", "format", "recording", "rules", "tiers", "title", "waivers")
TIER_KEYS = ("default", "models")
APPROVAL_KEYS = ("count", "owner_may_approve")
OUTCOME_KEYS = ("accept", "applies_to", "check")
WAIVER_KEYS = ("by", "check", "days")
BOUND_KEYS = ("applies_to", "at_least", "at_most", "bound", "check", "metric", "slice")

_CODE = "policy.file"
_RULES_HEADER = re.compile(r"^[ \t]*\[\[[ \t]*[\"']?rules[\"']?[ \t]*\]\]", re.MULTILINE)


def _refuse(place: str, what: str, *, why: str = "", next: str = "") -> BadInput:  # noqa: A002 - as in errors
    return BadInput(_CODE, what, why=why, next=next, place=place)


def _try(text: str, options: Iterable[str]) -> str:
    """Say the nearest good spelling, and all of them."""
    names = sorted(options)
    if not names:
        return "It has none to set."
    near = difflib.get_close_matches(text, names, n=1, cutoff=0.4)
    first = f"Did you mean {near[0]!r}? " if near else ""
    return f"{first}Known: {', '.join(names)}."


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """A table of the file, and where it stands."""

    value: Mapping[str, Any]
    place: str

    def only(self, *keys: str) -> None:
        """Refuse a key that is none of these."""
        for key in self.value:
            if key not in keys:
                raise _refuse(self.place, f"{key[:80]!r} is not a key of this table.", next=_try(key, keys))

    def get(self, key: str, example: str) -> Any:
        """The value, or the refusal that shows what to write."""
        if key not in self.value:
            raise _refuse(self.place, f"The key {key!r} is missing.", next=f"Write for example: {example}")
        return self.value[key]

    def text(self, key: str, example: str) -> str:
        """Text that is neither empty nor long."""
        found = self.get(key, example)
        if not isinstance(found, str) or not 0 < len(found) <= TEXT_LENGTH:
            raise _refuse(
                self.place,
                f"{key} must be text of 1 to {TEXT_LENGTH} characters.",
                next=f"Write for example: {example}",
            )
        return found

    def word(self, key: str, options: Iterable[str], example: str) -> str:
        """One of the options."""
        found, known = self.text(key, example), tuple(options)
        if found not in known:
            raise _refuse(self.place, f"{found[:80]!r} is not a {key}.", next=_try(found, known))
        return found

    def words(self, key: str, options: Iterable[str], example: str) -> tuple[str, ...]:
        """A list of options, none twice and not empty."""
        found, known = self.get(key, example), tuple(options)
        if not isinstance(found, list) or not found or not all(isinstance(one, str) for one in found):
            raise _refuse(
                self.place,
                f"{key} must be a list of words, with one word at least.",
                next=f"Write for example: {example}",
            )
        for one in found:
            if one not in known:
                raise _refuse(self.place, f"{one[:80]!r} cannot stand in {key}.", next=_try(one, known))
        if len(set(found)) != len(found):
            raise _refuse(self.place, f"{key} names a word twice.", next="Name each once.")
        return tuple(found)

    def number(self, key: str) -> float | None:
        """A finite number, or None where the key is absent."""
        found = self.value.get(key)
        if found is None:
            return None
        if isinstance(found, bool) or not isinstance(found, int | float):
            raise _refuse(self.place, f"{key} must be a number.", next=f"Write for example: {key} = 0.7")
        if not abs(found) <= 1e300:  # false for NaN, infinities and integers that no float holds
            raise _refuse(
                self.place, f"{key} must be a finite number.", next=f"Write for example: {key} = 0.7"
            )
        return float(found)

    def table(self, key: str, example: str) -> _Part:
        """An inner table."""
        found = self.get(key, example)
        place = f"[{key}]" if self.place == "the top of the file" else f"{self.place[:-1]}.{key}]"
        if not isinstance(found, dict):
            raise _refuse(place, f"{key} must be a table.", next=f"Write for example: {example}")
        return _Part(value=found, place=place)


def _parse(data: bytes) -> _Part:
    """Bytes to a passive tree of plain values."""
    if len(data) > POLICY_BYTES:
        raise _refuse("", f"The policy takes {len(data):,} bytes; the limit is {POLICY_BYTES:,}.")
    try:
        return _Part(value=tomllib.loads(data.decode("utf-8")), place="the top of the file")
    except UnicodeDecodeError:
        raise _refuse("", "The policy is not UTF-8 text.", next="Save it as UTF-8.") from None
    except (ValueError, RecursionError) as error:
        raise _refuse(
            "", "The policy is not TOML.", why=str(error)[:200], next="See https://toml.io for the form."
        ) from None


def _read_tiers(part: _Part) -> tuple[Tier, dict[str, Tier]]:
    part.only(*TIER_KEYS)
    default = Tier(part.word("default", Tier, 'default = "high"'))
    if "models" not in part.value:
        return default, {}
    models = part.table("models", 'credit-scoring = "high"')
    for name in models.value:
        try:
            parse_name(name, of="model name")
        except Misuse as error:
            refusal = error.refusal
            raise _refuse(models.place, refusal.what, why=refusal.why, next=refusal.next) from None
    return default, {name: Tier(models.word(name, Tier, f'{name} = "high"')) for name in models.value}


def _read_need(approvals: _Part, tier: Tier) -> ApprovalNeed:
    part = approvals.table(tier, f"[approvals.{tier}] with count = 1 and owner_may_approve = false")
    part.only(*APPROVAL_KEYS)
    count = part.get("count", "count = 1")
    least = 1 if tier is Tier.HIGH else 0
    if isinstance(count, bool) or not isinstance(count, int) or not least <= count <= APPROVALS:
        raise _refuse(
            part.place,
            f"count must be a whole number from {least} to {APPROVALS}.",
            why="At tier high somebody always approves." if least else "",
            next="Write for example: count = 1",
        )
    owner = part.get("owner_may_approve", "owner_may_approve = false")
    if not isinstance(owner, bool):
        raise _refuse(part.place, "owner_may_approve must be true or false.")
    return ApprovalNeed(count=count, owner_may_approve=owner)


def _known_check(name: str, place: str, known: KnownChecks) -> KnownCheck:
    found = known.get(name)
    if found is None:
        raise _refuse(place, f"There is no check {name[:80]!r}.", next=_try(name, known))
    return found


def _same_kind(found: object, default: Json) -> bool:
    """Whether a parameter has the type of its default; a whole number may stand for a fraction."""
    if isinstance(found, bool) or isinstance(default, bool):
        return isinstance(found, bool) and isinstance(default, bool)
    if isinstance(default, float):
        return isinstance(found, int | float) and abs(found) <= 1e300
    if isinstance(default, list | tuple):
        return isinstance(found, list) and all(isinstance(one, str | int | float) for one in found)
    return default is None or isinstance(found, type(default))


def _read_parameters(part: _Part, known: KnownChecks) -> dict[str, dict[str, Json]]:
    read: dict[str, dict[str, Json]] = {}
    for name in part.value:
        check = _known_check(name, part.place, known)
        inner = part.table(name, f'[checks."{name}"]')
        inner.only(*check.parameters)
        for key, found in inner.value.items():
            if not _same_kind(found, check.parameters[key]):
                raise _refuse(
                    inner.place,
                    f"{key} has the wrong type.",
                    next=f"Write for example: {key} = {check.parameters[key]!r}",
                )
        read[name] = dict(inner.value)
    return read


def _read_tasks(part: _Part) -> tuple[Task, ...]:
    if "applies_to" not in part.value:
        return tuple(Task)
    return tuple(map(Task, part.words("applies_to", Task, 'applies_to = ["regression"]')))


def _read_outcome_rule(part: _Part, check: str) -> OutcomeRule:
    part.only(*OUTCOME_KEYS)
    listed = part.value["accept"]
    for never in (Outcome.FAILED, Outcome.UNKNOWN, Outcome.BROKEN):
        if isinstance(listed, list) and never in listed:
            raise _refuse(
                part.place,
                f"accept cannot contain {never.value!r}.",
                why="What failed, is unknown or broke never passes a gate.",
                next='Write accept = ["passed"], or ["passed", "skipped"].',
            )
    accept = part.words("accept", ACCEPTABLE, 'accept = ["passed"]')
    return OutcomeRule(check=check, accept=tuple(map(Outcome, accept)), applies_to=_read_tasks(part))


def _check_tasks(part: _Part, metric: str, tasks: tuple[Task, ...], measured: tuple[Task, ...]) -> None:
    """A rule may only apply where its metric is reported; elsewhere it would always deny."""
    beyond = [task.value for task in tasks if task not in measured]
    if beyond:
        words = ", ".join(f'"{task}"' for task in measured)
        raise _refuse(
            part.place,
            f"{metric} is not measured for {', '.join(beyond)}.",
            next=f"Write applies_to = [{words}], or fewer of them.",
        )


def _read_bound_rule(part: _Part, check: str, known: KnownCheck) -> BoundRule:
    part.only(*BOUND_KEYS)
    metric = part.word("metric", known.metrics, 'metric = "balanced-accuracy"')
    tasks = _read_tasks(part)
    _check_tasks(part, metric, tasks, known.metrics[metric])
    where = part.text("slice", 'slice = "*"') if "slice" in part.value else ""
    bound = part.word("bound", Bound, 'bound = "low"') if "bound" in part.value else None
    at_least, at_most = part.number("at_least"), part.number("at_most")
    if (at_least is None) == (at_most is None):
        raise _refuse(
            part.place,
            f"The rule gives {'neither' if at_least is None else 'both'} of at_least and at_most.",
            next="Give exactly one of them; write two rules for a range.",
        )
    return BoundRule(
        check=check,
        metric=metric,
        slice=where,
        at_least=at_least,
        at_most=at_most,
        bound=None if bound is None else Bound(bound),
        applies_to=tasks,
    )


def _read_rule(part: _Part, known: KnownChecks) -> Rule:
    name = part.text("check", 'check = "data.leakage"')
    check = _known_check(name, part.place, known)
    if "accept" in part.value and "metric" in part.value:
        raise _refuse(
            part.place,
            "The rule has both accept and metric.",
            next="Write two rules: one on the outcome, one on the metric.",
        )
    if "accept" in part.value:
        return _read_outcome_rule(part, name)
    part.only(*OUTCOME_KEYS, *BOUND_KEYS)
    if "metric" not in part.value:
        raise _refuse(
            part.place,
            "The rule says neither what to accept nor which metric to look at.",
            next='Write accept = ["passed"], or metric = "…" with at_least or at_most.',
        )
    return _read_bound_rule(part, name, check)


def _judges(rule: Rule) -> tuple[str, ...]:
    """What a rule judges; two rules that judge the same for the same task are duplicates."""
    match rule:
        case OutcomeRule():
            return (rule.check,)
        case BoundRule():
            way = "at_least" if rule.at_most is None else "at_most"
            return (rule.check, rule.metric, rule.slice, way, rule.end)


def _read_rules(listed: object, places: tuple[str, ...], known: KnownChecks) -> tuple[Rule, ...]:
    if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
        raise _refuse("rules", "rules must be a list of tables.", next="Begin each rule with [[rules]].")
    if not listed:
        raise _refuse(
            "rules",
            "The policy has no rules.",
            why="An empty policy would let everything through, so it is refused.",
            next='Begin with [[rules]], check = "data.leakage" and accept = ["passed"].',
        )
    if len(listed) > RULES:
        raise _refuse("rules", f"The policy has {len(listed):,} rules; the limit is {RULES}.")
    seen: dict[tuple[object, ...], str] = {}
    rules = []
    for value, place in zip(listed, places, strict=True):
        rule = _read_rule(_Part(value=value, place=place), known)
        for task in rule.applies_to:
            first = seen.setdefault((task, *_judges(rule)), place)
            if first != place:
                raise _refuse(
                    place,
                    f"The rule judges the same as {first}, for {task}.",
                    next="Keep the stricter of the two.",
                )
        rules.append(rule)
    return tuple(rules)


def _read_waivers(listed: object, known: KnownChecks) -> tuple[WaiverLeave, ...]:
    """Leave to waive: each check once, of a family that may be waived at all."""
    if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
        raise _refuse("waivers", "waivers must be a list of tables.", next="Begin each with [[waivers]].")
    found: dict[str, WaiverLeave] = {}
    for number, value in enumerate(listed, 1):
        part = _Part(value=value, place=f"[[waivers]] number {number}")
        part.only(*WAIVER_KEYS)
        check = part.text("check", 'check = "performance.slices"')
        _known_check(check, part.place, known)
        if check.partition(".")[0] not in WAIVABLE:
            raise _refuse(
                part.place,
                f"Rules of {check} cannot be waived.",
                why="What concerns data, security or privacy is mended, never waived.",
                next=f"Only checks of {', '.join(WAIVABLE)} can be named here.",
            )
        if check in found:
            raise _refuse(part.place, f"{check} is named twice.", next="Name each check once.")
        by = tuple(map(Role, part.words("by", Role, 'by = ["approver"]')))
        found[check] = WaiverLeave(check=check, by=by, days=_read_days(part))
    return tuple(found.values())


def _read_days(part: _Part) -> int:
    days = part.get("days", "days = 30")
    if isinstance(days, bool) or not isinstance(days, int) or not 1 <= days <= WAIVER_DAYS:
        raise _refuse(
            part.place,
            f"days must be a whole number from 1 to {WAIVER_DAYS}.",
            next="Write for example: days = 30",
        )
    return days


def _places(data: bytes, count: int) -> tuple[str, ...]:
    """Where each rule stands; with its line when the headers can be found one for one."""
    text = data.decode("utf-8")
    starts = [found.start() for found in _RULES_HEADER.finditer(text)]
    lines = [text.count("\n", 0, start) + 1 for start in starts]
    exact = len(lines) == count
    return tuple(
        f"[[rules]] number {index + 1}" + (f", line {lines[index]}" if exact else "")
        for index in range(count)
    )


def read_policy(data: bytes, *, known: KnownChecks) -> Policy:
    """Read a policy file, format 1. Raises BadInput that names the table and what to write."""
    top = _parse(data)
    top.only(*TOP_KEYS)
    stated = top.get("format", f"format = {POLICY_FORMAT}")
    if type(stated) is not int or stated != POLICY_FORMAT:
        raise _refuse(
            "the top of the file",
            f"The policy has format {str(stated)[:40]}; this version reads format {POLICY_FORMAT}.",
            next=f"Write format = {POLICY_FORMAT}.",
        )
    default_tier, tiers = _read_tiers(top.table("tiers", '[tiers] with default = "high"'))
    approvals = top.table("approvals", "[approvals.low] with count = 1 and owner_may_approve = true")
    approvals.only(*Tier)
    listed = top.value.get("rules", [])
    places = _places(data, len(listed) if isinstance(listed, list) else 0)
    return Policy(
        title=top.text("title", 'title = "Our house rules"'),
        default_tier=default_tier,
        tiers=tiers,
        approvals={tier: _read_need(approvals, tier) for tier in Tier},
        rules=_read_rules(listed, places, known),
        parameters=_read_parameters(top.table("checks", "[checks]"), known) if "checks" in top.value else {},
        asynchronous=RECORDING in top.value and read_recording(top.value[RECORDING]),
        waivers=_read_waivers(top.value.get("waivers", []), known),
        stated=read_stated(top.value[DATASHEET]) if DATASHEET in top.value else {},
    )
