"""Comparing two model versions on the same locked test rows, and keeping what was found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gatewright.checks.answers import NoAnswers
from gatewright.checks.case import Case
from gatewright.checks.comparison import Comparison
from gatewright.checks.comparison import compare as compare_cases
from gatewright.checks.data import leakage
from gatewright.checks.finding import Outcome
from gatewright.checks.performance.shuffling import features_of
from gatewright.kernel import canonical
from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import Misuse
from gatewright.ledger.records import Draft
from gatewright.models.signature_format import decode_signature
from gatewright.operations import casework
from gatewright.operations.catalogue import (
    ComparedVersions,
    DatasetVersion,
    ModelVersion,
    body_of,
    every_live,
    read,
)
from gatewright.operations.check import newest
from gatewright.operations.data import dataset
from gatewright.operations.home import Home
from gatewright.operations.models import model
from gatewright.operations.users import owner
from gatewright.policy.verdict import Decision

COMPARISON_FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """What was recorded and found, what the policy last said of A and of B ("": not checked), and where each is live.

    ``live`` holds for A and for B the names of the endpoints that it answers on.
    """

    entry: ComparedVersions
    comparison: Comparison
    decisions: tuple[str, str]
    live: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())


def compare(
    home: Home, a: str, b: str, *, seed: int = 0, progress: Callable[[str], None] = lambda _: None
) -> Compared:
    """Ask both about the test rows of B's data set, compare the answers, and record it.

    Raises Misuse where they cannot be asked about the same rows, or answer another question.
    """
    one, other = model(home, a), model(home, b)
    data = dataset(home, other.dataset)
    _require_comparable(home, one, other, data)
    cases = []
    for version in (one, other):
        progress(f"asking {version.ref} about the test rows of {data.ref}")
        cases.append(casework.asked(home, version, data, seed=seed))
    progress("comparing the answers, row by row")
    doubts = [doubt for each, case in zip((one, other), cases, strict=True) if (doubt := _doubt(each, case))]
    decisions = _decision(home, one), _decision(home, other)
    denied = [each.ref for each, said in zip((one, other), decisions, strict=True) if said == Decision.DENY]
    found = compare_cases(cases[0], cases[1], (one.ref, other.ref), doubts, denied)
    if isinstance(found, NoAnswers):
        raise Misuse(
            "operations.no-answers", "The two cannot be compared.", why=found.reason, next=found.next
        )
    with home.exclusive():
        entry = _record(home, (one, other), data, found, seed)
    live = _endpoints(home, one), _endpoints(home, other)
    return Compared(entry=entry, comparison=found, decisions=decisions, live=live)


def load(home: Home, digest: Digest) -> Comparison:
    """The comparison that was kept under a digest."""
    return decode_comparison(home.blobs.get(digest))


def encode_comparison(comparison: Comparison) -> bytes:
    """Canonical JSON. Law: ``decode_comparison(encode_comparison(c)) == c``."""
    return canonical.encode({"comparison": body_of(comparison), "v": COMPARISON_FORMAT})


def decode_comparison(data: bytes) -> Comparison:
    """Read what :func:`encode_comparison` wrote; raises Tampered for a body that does not fit."""
    value = canonical.decode(data)
    body = (
        value.get("comparison") if isinstance(value, dict) and value.get("v") == COMPARISON_FORMAT else None
    )
    return read(Comparison, body if isinstance(body, dict) else {})


def _require_comparable(home: Home, one: ModelVersion, other: ModelVersion, data: DatasetVersion) -> None:
    if one.ref == other.ref:
        raise Misuse(
            "operations.same-version",
            f"{one.ref} is compared with itself.",
            next="Name two versions: gatewright model list",
        )
    signatures = [decode_signature(home.blobs.get(each.signature)) for each in (one, other)]
    if signatures[0].task is not signatures[1].task or signatures[0].classes != signatures[1].classes:
        raise _not_comparable(
            one, other, f"{one.ref} answers {_question(one, signatures[0].classes)}, "
            f"{other.ref} {_question(other, signatures[1].classes)}.",
        )  # fmt: skip
    have = {name for name, _ in data.features}
    lacking = [name for name in features_of(signatures[0]) if name not in have]
    if lacking:
        raise _not_comparable(
            one, other, f"{one.ref} takes the column {lacking[0][:80]!r}, which {data.ref} does not have.",
            f"For a model without {lacking[0][:80]!r}, keep the column in the frame and leave it out of the model.",
        )  # fmt: skip


def _question(version: ModelVersion, classes: tuple[str, ...]) -> str:
    return (
        f"with {', '.join(name[:40] for name in classes[:8])}"
        if classes
        else f"with values ({version.dataset})"
    )


def _not_comparable(one: ModelVersion, other: ModelVersion, why: str, advice: str = "") -> Misuse:
    return Misuse(
        "operations.not-comparable",
        f"{one.ref} and {other.ref} cannot be asked about the same test rows.",
        why=why,
        next=advice or "Compare two versions that answer the same question from the same columns.",
    )


def _doubt(version: ModelVersion, case: Case) -> str:
    """Why a version's answers on these rows prove nothing, or nothing: it must not have learned from them."""
    found = leakage.run(case, leakage.Parameters())
    if found.outcome is Outcome.PASSED:
        return ""
    return f"{version.ref}: {found.reason or found.summary}"


def _decision(home: Home, version: ModelVersion) -> str:
    found = newest(home, version)
    return "" if found is None else found.decision


def _endpoints(home: Home, version: ModelVersion) -> tuple[str, ...]:
    """The names of the endpoints that a version answers on."""
    return tuple(sorted(each.endpoint for each in every_live(home) if each.ref == version.ref))


def _record(
    home: Home,
    versions: tuple[ModelVersion, ModelVersion],
    data: DatasetVersion,
    found: Comparison,
    seed: int,
) -> ComparedVersions:
    one, other = versions
    entry = ComparedVersions(
        a=one.ref,
        b=other.ref,
        models=(one.model, other.model),
        dataset=data.ref,
        test=data.test,
        seed=seed,
        comparison=home.blobs.put(encode_comparison(found)),
        recommended=found.recommended,
    )
    draft = Draft(kind="models.compared", actor=owner(home).principal, subject=other.ref, body=body_of(entry))
    home.archive.append((draft,), home.now())
    return entry
