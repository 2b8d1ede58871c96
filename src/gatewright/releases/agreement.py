"""What stands beside a release must not contradict its root.

A verification summary says what the verdict in the root says; every rule that the verdict shows as
waived has its waiver, in time, and no other rule has one; and no revocation stands there that nobody signed.
What is beside a release and does not agree is Tampered: it was mixed up, or made to mislead.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from gatewright.kernel.canonical import JsonObject
from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import Tampered
from gatewright.releases.fields import Fields, held
from gatewright.releases.judgements import Revocation, Waiver
from gatewright.releases.manifest import POLICY, REPORT, VERDICT, ReleaseManifest
from gatewright.releases.statement import Claim, DeploymentDecision
from gatewright.releases.summaries import VerificationSummary

WAIVERS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """A claim beside a release: where, and which of the release keys that count signed it."""

    place: str
    claim: Claim
    by_one: bool
    by_both: bool


def require_agreement(
    beside: Sequence[Beside], *, manifest: ReleaseManifest, digests: Mapping[str, Digest], verdict: Fields
) -> None:
    """Raise Tampered, naming the place, for the first statement that the root contradicts.

    ``digests`` are those of the release's files, ``verdict`` is the document in it.
    """
    for one in beside:
        match one.claim:
            case VerificationSummary() | Waiver() if not one.by_both:
                raise _unsigned(one, "both release keys")
            case Revocation() if not one.by_one:
                raise _unsigned(one, "a release key")
            case VerificationSummary() as summary:
                _require_same(one.place, summary, manifest, digests, waived="waivers" in verdict.value)
            case _:
                pass
    _require_waivers([one for one in beside if isinstance(one.claim, Waiver)], verdict)
    _require_in_time(beside)


def revocation_among(claims: Iterable[Claim]) -> Revocation | None:
    """The earliest of the revocations, or None where there is none."""
    found = [claim for claim in claims if isinstance(claim, Revocation)]
    return min(found, key=lambda claim: claim.time, default=None)


def _unsigned(one: Beside, by: str) -> Tampered:
    return Tampered(
        "releases.unsigned",
        f"A statement beside the release ({type(one.claim).__name__.lower()}) is not signed by {by}.",
        why="Nobody whom the trust root names answers for it.",
        next="Ask the owner for a new export.",
        place=one.place,
    )


def _require_same(
    place: str,
    summary: VerificationSummary,
    manifest: ReleaseManifest,
    digests: Mapping[str, Digest],
    *,
    waived: bool,
) -> None:
    pairs = (
        ("resourceUri", (summary.model, summary.model_version), (manifest.name, manifest.version)),
        ("verifiedLevels", (summary.tier, summary.waived), (manifest.tier, waived)),
        ("policy", summary.policy, digests[POLICY]),
        ("inputAttestations", (summary.report, summary.verdict), (digests[REPORT], digests[VERDICT])),
    )
    for field, said, bound in pairs:
        if said != bound:
            raise Tampered(
                "releases.summary",
                "The verification summary beside the release contradicts the release.",
                why=f"Its {field} is not what the root binds.",
                next="Keep each statement beside the release that it is about.",
                place=f"{place}: {field}",
            )


def _require_waivers(waivers: Sequence[Beside], verdict: Fields) -> None:
    """The waivers that stand there are those that the verdict names, each the same in every part."""
    listed = held(VERDICT, _listed, verdict)
    wanted = [dict(one.value) for one in listed]
    for one in waivers:
        if _document(one.claim) not in wanted:
            raise Tampered(
                "releases.other-waiver",
                "A waiver beside the release is not one that the verdict in the root names.",
                place=one.place,
            )
    given = [_document(one.claim) for one in waivers]
    for index, document in enumerate(wanted):
        if document not in given:
            raise Tampered(
                "releases.no-waiver",
                "The verdict shows a rule as waived, and no waiver of it stands beside the release.",
                why=f"The rule is: {str(document.get('rule'))[:200]}.",
                next="Ask the owner for a new export.",
                place=f"{VERDICT}: waivers[{index}]",
            )


def _require_in_time(beside: Sequence[Beside]) -> None:
    """No deployment was decided after a waiver had ended."""
    ends = [one.claim.until for one in beside if isinstance(one.claim, Waiver)]
    for one in beside:
        claim = one.claim
        if isinstance(claim, DeploymentDecision) and any(end <= claim.time for end in ends):
            raise Tampered(
                "releases.waiver-over",
                "The release was deployed after a waiver that it rests on had ended.",
                why=f"The decision for {claim.endpoint} was made on {claim.time}.",
                next="Ask the owner how that came about.",
                place=one.place,
            )


def _listed(verdict: Fields) -> tuple[Fields, ...]:
    return verdict.objects("waivers", least=1, most=WAIVERS) if "waivers" in verdict.value else ()


def _document(claim: Claim) -> JsonObject:
    assert isinstance(claim, Waiver)  # noqa: S101 - the callers chose it
    return {
        "principal": claim.principal,
        "role": claim.role.value,
        "rule": claim.rule,
        "time": str(claim.time),
        "until": str(claim.until),
    }
