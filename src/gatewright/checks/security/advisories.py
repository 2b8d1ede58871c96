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
from gatewright.checks.finding import Finding, Metric, Outcome
from gatewright.checks.osv_matching import Match, Standing, matches
from gatewright.kernel.canonical import Json
from gatewright.kernel.errors import Misuse
from gatewright.models.signature import Task

NAME = "security.advisories"
TITLE = "Does a published advisory name the model or its software?"
METRICS: Mapping[str, tuple[Task, ...]] = {
    name: tuple(Task) for name in ("matching-advisories", "undecided-advisories", "advisories", "age")
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

    ``let_stand``: ids or aliases of advisories, divided by spaces, that the owner has judged and lets stand; they
    stay in the finding.
    """

    largest_age_days: int = 180
    let_stand: str = ""

    def __post_init__(self) -> None:
        if self.largest_age_days < 1:
            raise Misuse("checks.parameter", f"The largest age of {NAME} must be at least one day.")


def told(match: Match) -> str:
    """A match for people: ``CVE-1 (HIGH): numpy 1.0; fixed in 1.1``."""
    advisory = match.advisory
    severity = f" ({advisory.severity[:TEXT]})" if advisory.severity else ""
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
    return f"the newest advisory import was {days} ({known.count:,} advisories)"


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
    judged = set(parameters.let_stand.split())
    counted = [match for match in found if judged.isdisjoint(_called(match))]
    standing = [match for match in counted if match.standing is Standing.AFFECTED]
    undecided = [match for match in counted if match.standing is Standing.UNKNOWN]
    outcome, summary, reason, advice = _answer(known, standing, undecided, parameters)
    return Finding(
        check=NAME,
        outcome=outcome,
        summary=summary,
        reason=reason,
        next=advice,
        metrics=(
            Metric.exact("matching-advisories", len(standing), size=known.count),
            Metric.exact("undecided-advisories", len(undecided), size=known.count),
            Metric.exact("advisories", known.count, size=known.count),
            Metric.exact("age", known.age_days, unit="days"),
        ),
        evidence={
            "advisories": known.digest.hex,
            "imported": str(known.imported),
            "let_stand": sorted({name for match in found for name in _called(match)} & judged)[:SHOWN],
            "matches": [document(match) for match in found[:SHOWN]],
            "parts": len(known.parts),
        },
    )


def _called(match: Match) -> tuple[str, ...]:
    """The id of a match's advisory, and its other names."""
    return (match.advisory.id, *match.advisory.aliases)


def _answer(
    known: Known, standing: Sequence[Match], undecided: Sequence[Match], parameters: Parameters
) -> tuple[Outcome, str, str, str]:
    """Outcome, summary, reason and advice."""
    age = age_told(known)
    if standing:
        many = f"{len(standing)} published advisories name what is installed or the model itself"
        advice = f"Install the fixed versions and check again. {_JUDGED}"
        return Outcome.FAILED, f"{many}: {_several(standing)}; {age}.", "", advice
    if undecided:
        summary = f"Of {len(undecided)} advisories it cannot be decided whether they stand here; {age}."
        advice = f"Read them. {_JUDGED}"
        return Outcome.UNKNOWN, summary, f"{_several(undecided)}.", advice
    if known.age_days > parameters.largest_age_days:
        reason = f"They may be {parameters.largest_age_days} days old; what was published since is not known."
        advice = "Import newer ones: gatewright advisory import FILE"
        return Outcome.UNKNOWN, f"No advisory matches, but {age}.", reason, advice
    summary = f"No advisory names the model or one of the {len(known.parts)} things looked up; {age}."
    return Outcome.PASSED, summary, "", ""


def _several(found: Sequence[Match]) -> str:
    more = f"; and {len(found) - NAMED} more" if len(found) > NAMED else ""
    return "; ".join(told(match)[:TEXT] for match in found[:NAMED]) + more
