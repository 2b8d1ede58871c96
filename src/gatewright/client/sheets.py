"""What a model version, its check and its way to an endpoint have to say, as sheets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gatewright.checks.finding import EXACT, Finding, Metric, Outcome
from gatewright.client.display import Grid, Mark, Sheet
from gatewright.operations.catalogue import DatasetVersion, ModelVersion
from gatewright.operations.check import Checked
from gatewright.operations.ship import Shipped
from gatewright.policy.verdict import Verdict

NOTES = 4
"""Most notes of one finding that are shown."""
GROUPS = 12
"""Most rows of the table of groups."""
_PERSONAL = "fairness."
_OVERALL = "performance.metrics"
_IMPORTANCE = "performance.importance"
Steps = Sequence[tuple[str, float]]


def number(value: float) -> str:
    """A number for people: four decimals, or four digits where it is large or tiny."""
    return f"{value:.4f}" if value == 0 or 1e-3 <= abs(value) < 1e2 else f"{value:.4g}"


def model_sheet(version: ModelVersion, data: DatasetVersion, parity: str, *, new_data: bool) -> Sheet:
    """What was submitted: the bytes, the rows, and how it was compared."""
    said = parity or _recorded(version)
    proof = (
        (Mark(word="passed"), f"Parity: {said}")
        if said
        else (Mark(word="note"), "Parity was not measured: the model came as ONNX.")
    )
    known = "registered now" if new_data else "registered before"
    rows = (
        ("Data", f"{data.ref}: {data.train_rows:,} rows to train on, {data.test_rows:,} locked; {known}"),
        ("Task", data.target_kind + (f": {', '.join(data.classes)}" if data.classes else "")),
        ("Features", f"{len(data.features)}: {', '.join(name for name, _ in data.features)}"),
        ("Sensitive columns", ", ".join(data.sensitive) or "none declared"),
        ("Model", f"{version.bytes:,} bytes, sha256 {version.model.short}…"),
        *((("Recipe", f"sha256 {version.recipe.short}…, seed {version.seed}"),) if version.recipe else ()),
    )
    return Sheet(
        title=version.ref,
        lead=(proof,),
        grids=(Grid(caption="What was submitted", headings=("what", "value"), rows=rows),),
        next=(".check() judges it, .ship() takes it to an endpoint",),
    )


def _recorded(version: ModelVersion) -> str:
    """What the record holds of the comparison that was made when the version was submitted."""
    numbers = version.parity
    if not {"rows", "labels_differ", "largest"} <= set(numbers):
        return ""
    rows, differ = int(numbers["rows"]), int(numbers["labels_differ"])
    return f"{rows - differ:,} of {rows:,} rows got the same answer; the largest difference was {numbers['largest']:.2g}."


def check_sheet(checked: Checked, sensitive: tuple[str, ...], steps: Steps = ()) -> Sheet:
    """Findings, numbers with intervals, and what the policy says of them."""
    findings = checked.report.findings
    return Sheet(
        title=f"{checked.entry.ref} is checked",
        lead=(_judged(checked.verdict, findings),),
        grids=tuple(
            grid
            for grid in (_objections(checked.verdict), _findings(findings), _numbers(findings))
            if grid.rows
        )
        + _groups(findings, sensitive)
        + _importances(findings),
        notes=(*_notes(findings), *_times(steps)),
        next=_next(checked, findings),
    )


def shipped_sheet(shipped: Shipped, steps: Steps, *, has_key: bool) -> Sheet:
    """What each step made."""
    entry = shipped.deployed.entry
    warm = f"; {entry.previous_ref} stays warm for a rollback" if entry.previous_ref else ""
    key = "kept in this process and nowhere else: .api_key" if has_key else "one that was made before"
    held = sum(reason.holds for reason in shipped.checked.verdict.reasons)
    rows = (
        ("Checked", f"{held} rules of the policy hold"),
        ("Released", f"root {shipped.release.root.short}…, tier {shipped.release.tier}, signed"),
        ("Live", f"endpoint {entry.endpoint}, plan {entry.plan_number}{warm}"),
        ("API key", key),
    )
    return Sheet(
        title=f"{entry.ref} is shipped",
        lead=((Mark(word="live"), f"{entry.ref} answers on endpoint {entry.endpoint}."),),
        grids=(Grid(caption="The way", headings=("step", "result"), rows=rows),),
        notes=(*_failed(shipped.checked.report.findings), *_times(steps)),
        next=(
            "gw.serve() starts the server here; .predict(rows) asks it",
            f"A key for other callers: gatewright key add {entry.endpoint} --name me",
            f"A call that it answers: gatewright example {entry.endpoint}",
        ),
    )


def _failed(findings: Iterable[Finding]) -> tuple[str, ...]:
    return tuple(
        f"{one.check} failed: .check() says more" for one in findings if one.outcome is Outcome.FAILED
    )


def _doubted(findings: Iterable[Finding]) -> str:
    """How many checks did not pass, or nothing."""
    outcomes = [one.outcome for one in findings]
    failed = outcomes.count(Outcome.FAILED)
    said = [f"{failed} {'check' if failed == 1 else 'checks'} failed"] if failed else []
    others = ((each, outcomes.count(each)) for each in (Outcome.UNKNOWN, Outcome.BROKEN))
    said += [f"{count} {'is' if count == 1 else 'are'} {each.value}" for each, count in others if count]
    return ", ".join(said)


def _judged(verdict: Verdict, findings: Sequence[Finding]) -> tuple[Mark, str]:
    objections = len(verdict.objections)
    if objections:
        do = "does" if objections == 1 else "do"
        return Mark(
            word="denied"
        ), f"{objections} of the policy's {len(verdict.reasons)} rules {do} not hold."
    need = verdict.approvals_needed
    who = ", which the owner may give" if verdict.owner_may_approve and need == 1 else ""
    plural = "approval" if need == 1 else "approvals"
    waived = len(verdict.waivers)
    were = f" {waived} {'does not hold and was' if waived == 1 else 'do not hold and were'} waived."
    hold = f"All {len(verdict.reasons)} rules of the policy hold."
    if waived:
        hold = f"The policy lets it through.{were}"
    doubted = _doubted(findings)
    word = f"allowed; {doubted}, see below." if doubted else "allowed"
    return Mark(word=word), f"{hold} Tier {verdict.tier}: {need} {plural} needed{who}."


def _objections(verdict: Verdict) -> Grid:
    return Grid(
        caption="Why the policy denies it",
        headings=("rule", "stands", "what was seen"),
        rows=tuple((one.rule, Mark(word=one.outcome.value), one.what) for one in verdict.objections),
    )


def _findings(findings: Iterable[Finding]) -> Grid:
    return Grid(
        caption="Findings",
        headings=("check", "outcome", "what was found"),
        rows=tuple((one.check, Mark(word=one.outcome.value), one.reason or one.summary) for one in findings),
    )


def _numbers(findings: Iterable[Finding]) -> Grid:
    metrics = [
        metric
        for finding in findings
        if finding.check == _OVERALL
        for metric in finding.metrics
        if not metric.slice and metric.method != EXACT
    ]
    return Grid(
        caption="Numbers on the locked test rows",
        headings=("metric", "value", "interval", "rows"),
        rows=tuple(_row(metric.name, metric) for metric in metrics),
        right=("value", "interval", "rows"),
    )


def _row(name: str, metric: Metric) -> tuple[str, str, str, str]:
    interval = f"{number(metric.low)} to {number(metric.high)}"
    return name, number(metric.value), interval, f"{metric.size:,}"


def _groups(findings: Iterable[Finding], sensitive: tuple[str, ...]) -> tuple[Grid, ...]:
    """How declared groups fare: one table for each check that tells of them."""
    grids = []
    for finding in findings:
        metrics = [
            metric
            for metric in finding.metrics
            if metric.method != EXACT
            and metric.slice.partition("=")[0] in sensitive
            and ("=" in metric.slice or finding.check.startswith(_PERSONAL))
        ]
        if metrics and (finding.check.startswith(_PERSONAL) or finding.outcome is Outcome.FAILED):
            grids.append(
                Grid(
                    caption=f"Groups ({finding.check})"
                    + (f", the first {GROUPS} of {len(metrics)} numbers" if len(metrics) > GROUPS else ""),
                    headings=("group", "metric", "value", "interval", "rows"),
                    rows=tuple((metric.slice, *_row(metric.name, metric)) for metric in metrics[:GROUPS]),
                    right=("value", "interval", "rows"),
                )
            )
    return tuple(grids)


def _importances(findings: Iterable[Finding]) -> tuple[Grid, ...]:
    """What the answers rest on most, where that is doubted."""
    return tuple(
        Grid(
            caption=f"The largest importances ({finding.check})",
            headings=("feature", "metric", "value", "interval", "rows"),
            rows=tuple(
                (metric.slice, *_row(metric.name, metric))
                for metric in sorted(finding.metrics, key=lambda each: -each.value)
                if metric.name == "importance"
            )[:NOTES],
            right=("value", "interval", "rows"),
        )
        for finding in findings
        if finding.check == _IMPORTANCE and finding.outcome is Outcome.FAILED
    )


def _notes(findings: Iterable[Finding]) -> tuple[str, ...]:
    said = []
    for finding in findings:
        notes = finding.evidence.get("notes")
        said += [f"{finding.check}: {note}" for note in (notes[:NOTES] if isinstance(notes, list) else [])]
    return tuple(said)


def _times(steps: Steps) -> tuple[str, ...]:
    if not steps:
        return ()
    total = sum(seconds for _, seconds in steps)
    slow = sorted(steps, key=lambda step: -step[1])[:NOTES]
    return (f"It took {total:.1f} s; longest: {', '.join(f'{what} {s:.1f} s' for what, s in slow)}.",)


def _next(checked: Checked, findings: Iterable[Finding]) -> tuple[str, ...]:
    ship = () if checked.verdict.objections else (f".ship() takes {checked.entry.ref} to an endpoint",)
    doubtful = {Outcome.FAILED, Outcome.UNKNOWN, Outcome.BROKEN}
    advice = (f"{one.check}: {one.next}" for one in findings if one.next and one.outcome in doubtful)
    return (*ship, *advice)
