"""Whether a published advisory names the model, or the software it was checked with.

**Question.** Is a weakness published of what answers, or of what surrounds it?

**Method.** The advisories that were imported are matched, offline, with every distribution of this
environment and with the model version itself: its package URL and the digest of its bytes. What cannot be
decided is unknown. Nothing is asked of a network; the finding says how old the newest import is.
Source: Open Source Vulnerability format, schema 1.7, "Evaluation"; PEP 440.

**Not shown.** Weaknesses that nobody has published, advisories that were not imported, software of the
machine that is no Python distribution (the C library, the driver), and whether a weakness can be reached
in the way this environment is used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gatewright.checks.case import Case, Known
from gatewright.checks.cvss import severity_told
from gatewright.checks.finding import Finding, Metric, Outcome
from gatewright.checks.osv_matching import Match, Standing, matches
from gatewright.kernel.canonical import Json
from gatewright.kernel.errors import Misuse
from gatewright.kernel.plurals import advisories, many
from gatewright.models.signature import Task

NAME = "security.advisories"
TITLE = "Does a published advisory name the model or its software?"
METRICS: Mapping[str, tuple[Task, ...]] = {
    name: tuple(Task)
    for name in ("matching-advisories", "undecided-advisories", "let-stand-advisories", "advisories", "age")
}
SHOWN = 40
"""Most matches that the evidence names; all are counted."""
NAMED = 5
"""Most matches that the summary names."""
TEXT = 200
_JUDGED = (
    'One that does not matter here can be named in the policy: [checks."security.advisories"] '
    'with let_stand = "ID".'
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """``largest_age_days``: older knowledge than this, in days, passes nothing.

    ``let_stand``: ids or aliases of advisories, divided by spaces, that the owner has judged and lets stand; the
    finding counts and names them apart.
    """

    largest_age_days: int = 180
    let_stand: str = ""

    def __post_init__(self) -> None:
        if self.largest_age_days < 1:
            raise Misuse("checks.parameter", f"The largest age of {NAME} must be at least one day.")


def told(match: Match) -> str:
    """A match for people: ``CVE-1 (HIGH): numpy 1.0; fixed in 1.1``."""
    advisory = match.advisory
    severity = f" ({said[:TEXT]})" if (said := severity_told(advisory.severity)) else ""
    fixed = f"fixed in {', '.join(match.fixed[:NAMED])}" if match.fixed else "no fixed version is named"
    undecided = "" if match.standing is Standing.AFFECTED else "it cannot be decided whether it affects "
    return f"{advisory.id}{severity}: {undecided}{match.part}; {fixed}"


def document(match: Match) -> dict[str, Json]:
    """A match for machines."""
    advisory = match.advisory
    return {
        "advisory": advisory.id,
        "aliases": list(advisory.aliases[:NAMED]),
        "fixed": [version[:TEXT] for version in match.fixed[:NAMED]],
        "modified": advisory.modified,
        "part": match.part.name[:TEXT],
        "severity": advisory.severity[:TEXT],
        "standing": match.standing.value,
        "summary": advisory.summary[:TEXT],
        "version": match.part.version[:TEXT],
    }


def age_told(known: Known) -> str:
    """How old the knowledge is."""
    days = "today" if known.age_days == 0 else f"{known.age_days} days ago"
    return f"the newest advisory import was {days} ({advisories(known.count)})"


def run(case: Case, parameters: Parameters) -> Finding:
    """Match what the case says is installed with the advisories that it knows."""
    known = case.known
    if known is None:
        return Finding(
            check=NAME,
            outcome=Outcome.SKIPPED,
            summary="Not compared with any advisory.",
            reason="No advisories were imported into this home.",
            next="Import some: gatewright advisory import FILE",
        )
    found = matches(known.advisories, known.parts)
    counted, judged = divided(found, parameters.let_stand)
    standing = [match for match in counted if match.standing is Standing.AFFECTED]
    undecided = [match for match in counted if match.standing is Standing.UNKNOWN]
    outcome, summary, reason, advice = _answer(known, standing, undecided, judged, parameters)
    return Finding(
        check=NAME,
        outcome=outcome,
        summary=summary,
        reason=reason,
        next=advice,
        metrics=(
            Metric.exact("matching-advisories", len(standing), size=known.count),
            Metric.exact("undecided-advisories", len(undecided), size=known.count),
            Metric.exact("let-stand-advisories", _distinct(judged), size=known.count),
            Metric.exact("advisories", known.count, size=known.count),
            Metric.exact("age", known.age_days, unit="days"),
        ),
        evidence={
            "advisories": known.digest.hex,
            "imported": str(known.imported),
            "let_stand": sorted(_named(judged, parameters.let_stand))[:SHOWN],
            "matches": [document(match) for match in found[:SHOWN]],
            "parts": len(known.parts),
        },
    )


def divided(found: Sequence[Match], let_stand: str) -> tuple[tuple[Match, ...], tuple[Match, ...]]:
    """The matches that count, and those that ``let_stand`` names by id or alias: judged by the owner."""
    judged = set(let_stand.split())
    apart = tuple(match for match in found if not judged.isdisjoint(_called(match)))
    return tuple(match for match in found if judged.isdisjoint(_called(match))), apart


def judged_told(judged: Sequence[Match]) -> str:
    """What the policy lets stand: ``1 advisory names numpy 1.0 (CVE-1); the policy lets it stand``."""
    found: dict[str, list[str]] = {}
    for match in judged:
        found.setdefault(str(match.part), []).append(match.advisory.id)
    names = [f"{part} ({', '.join(ids[:NAMED])}{_rest(len(ids))})"[:TEXT] for part, ids in found.items()]
    count, parts = _distinct(judged), f"{', '.join(names[:NAMED])}{_rest(len(names))}"
    sure = all(match.standing is Standing.AFFECTED for match in judged)
    verb = ("names" if count == 1 else "name") if sure else "may be about"
    return f"{advisories(count)} {verb} {parts}; the policy lets {'it' if count == 1 else 'them'} stand"


def _rest(count: int) -> str:
    return f" and {count - NAMED:,} more" if count > NAMED else ""


def _distinct(found: Sequence[Match]) -> int:
    """How many advisories; one can name several parts."""
    return len({match.advisory.id for match in found})


def _named(judged: Sequence[Match], let_stand: str) -> set[str]:
    return {name for match in judged for name in _called(match)} & set(let_stand.split())


def _called(match: Match) -> tuple[str, ...]:
    """The id of a match's advisory, and its other names."""
    return (match.advisory.id, *match.advisory.aliases)


def _answer(
    known: Known,
    standing: Sequence[Match],
    undecided: Sequence[Match],
    judged: Sequence[Match],
    parameters: Parameters,
) -> tuple[Outcome, str, str, str]:
    """Outcome, summary, reason and advice. What the policy lets stand is told whatever the outcome."""
    age = age_told(known)
    beside = f" {judged_told(judged)}." if judged else ""
    if standing:
        verb = "names" if len(standing) == 1 else "name"
        found = (
            f"{many(len(standing), 'published advisory', 'published advisories')} {verb} what is installed"
        )
        advice = f"Install the fixed versions and check again. {_JUDGED}"
        told = f"{found} or the model itself: {_several(standing)}; {age}.{beside}"
        return Outcome.FAILED, told, "", advice
    if undecided:
        stands = "it stands" if len(undecided) == 1 else "they stand"
        summary = (
            f"Of {advisories(len(undecided))} it cannot be decided whether {stands} here; {age}.{beside}"
        )
        advice = f"Read {'it' if len(undecided) == 1 else 'them'}. {_JUDGED}"
        return Outcome.UNKNOWN, summary, f"{_several(undecided)}.", advice
    none = f"no {'other ' if judged else ''}advisory"
    if known.age_days > parameters.largest_age_days:
        reason = f"They may be {parameters.largest_age_days} days old; what was published since is not known."
        advice = "Import newer ones: gatewright advisory import FILE"
        return Outcome.UNKNOWN, f"{none.capitalize()} matches, but {age}.{beside}", reason, advice
    clear = f"{none} names the model or one of the {many(len(known.parts), 'thing')} looked up"
    if judged:
        return Outcome.PASSED, f"{judged_told(judged)}; {clear}; {age}.", "", ""
    return Outcome.PASSED, f"{clear[0].upper()}{clear[1:]}; {age}.", "", ""


def _several(found: Sequence[Match]) -> str:
    more = f"; and {len(found) - NAMED} more" if len(found) > NAMED else ""
    return "; ".join(told(match)[:TEXT] for match in found[:NAMED]) + more
