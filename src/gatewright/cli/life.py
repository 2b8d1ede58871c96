"""``check``, ``ship``, ``approve``: from a candidate to a release that may go live."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gatewright.cli import options
from gatewright.kernel.plurals import many

if TYPE_CHECKING:
    from gatewright.checks.finding import Finding
    from gatewright.operations.check import Checked
    from gatewright.operations.home import Home

SHOWN = 6
"""Most notes and rows of one finding that are shown to people."""

Subject = Annotated[str, typer.Argument(help="NAME or NAME@VERSION.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (check, ship, approve):
        app.command()(command)


def check(
    model: Subject,
    last: Annotated[bool, typer.Option("--last", help="Show the newest report; run nothing.")] = False,
    policy: options.Policy = None,
    seed: options.Seed = 0,
    junit: Annotated[
        Path | None, typer.Option("--junit", help="Write the findings and rules as JUnit XML, too.")
    ] = None,
    sarif: Annotated[
        Path | None, typer.Option("--sarif", help="Write the findings and rules as SARIF 2.1.0, too.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option("--report", help="Write what --json prints into a file, too.")
    ] = None,
    json: options.Json = False,
) -> int:
    """Check a model version and let the policy judge the report.

    Exit code 1 when the policy denies it; the files are written all the same.

    Example: gatewright check loans@2 --junit check.xml --sarif check.sarif
    """
    from gatewright.cli import show
    from gatewright.operations import check as checking
    from gatewright.operations import reporting

    targets = reporting.Targets(junit=junit, sarif=sarif, json=report)
    with options.home_beside_others() as home:
        if last:
            checked = checking.last(home, model)
        else:
            checked = checking.check(
                home, model, policy_file=policy, seed=seed, progress=options.quiet if json else show.progress
            )
        reporting.write(home, targets, checked)
        made = () if json else tuple(_made_of_it(home, checked.entry.ref))
    if json:
        show.as_json(reporting.document(checked))
    else:
        tell_check(checked)
        for sentence in made:
            show.line(sentence, style="yellow")
        if not checked.verdict.objections:
            show.hint(f"Next: gatewright ship {checked.entry.ref}")
    return 1 if checked.entry.decision == "deny" else 0


def _made_of_it(home: Home, ref: str) -> Iterator[str]:
    """What became of a version beyond its check: releases that a waiver let through, and those revoked."""
    from gatewright.operations.catalogue import RevokedRelease, WaiverEntry, every
    from gatewright.operations.users import named

    for waived in every(home, "waivers", WaiverEntry):
        if waived.ref == ref:
            yield (
                f"Release {waived.root.short} of it was made with a rule waived until {waived.until[:10]} by "
                f"{named(home, waived.principal)}: {waived.rule}."
            )
    for gone in every(home, "revocations", RevokedRelease):
        if gone.ref == ref:
            yield f"Release {gone.root.short} of it is revoked ({gone.reason})."


def ship(
    model: Subject,
    to: Annotated[str, typer.Option("--to", help="Endpoint (default: named like the model).")] = "",
    policy: options.Policy = None,
    seed: options.Seed = 0,
    json: options.Json = False,
) -> None:
    """Check, release, approve and deploy in one go.

    Approves where the policy lets one person; run again, it goes on where it stopped.

    Example: gatewright ship loans@2
    """
    from gatewright.cli import show
    from gatewright.cli.traffic import plain_changed, tell_deployed
    from gatewright.operations import reporting
    from gatewright.operations.ship import ship as run

    with options.home_beside_others() as home:
        shipped = run(
            home,
            model,
            endpoint=to,
            policy_file=policy,
            seed=seed,
            progress=options.quiet if json else show.progress,
        )
    if json:
        show.as_json(
            {
                "check": reporting.document(shipped.checked),
                "root": shipped.release.root.hex,
                **plain_changed(shipped.deployed),
            }
        )
        return
    tell_check(shipped.checked)
    show.done(f"{shipped.release.ref} is released as {shipped.release.root} and approved.")
    tell_deployed(shipped.deployed)


def approve(
    release: Annotated[str, typer.Argument(help="Release: NAME, NAME@VERSION or the beginning of its root.")],
    as_: Annotated[
        str, typer.Option("--as", help="Who approves (default: the owner, where nobody else may).")
    ] = "",
    comment: Annotated[str, typer.Option(help="What they want to have said; kept encrypted.")] = "",
    json: options.Json = False,
) -> None:
    """Sign a person's approval of a release with their own key.

    Example: gatewright approve loans@2 --as grace
    """
    from gatewright.cli import show
    from gatewright.operations import approve as approving
    from gatewright.operations.catalogue import body_of, find_live
    from gatewright.operations.released import release as find
    from gatewright.operations.users import named

    with options.home() as home:
        entry = approving.approve(home, release, name=as_, comment=comment)
        found = find(home, entry.root.hex)
        standing = approving.standing(home, found)
        name = named(home, entry.principal)
        live = find_live(home, entry.ref.partition("@")[0])
    counted = len(standing.counted)
    beside = "" if live is None else f"   Beside {live.ref}, not in its place: add --canary 10%"
    if json:
        show.as_json({**body_of(entry), "counted": counted, "needed": found.approvals_needed})
        return
    show.done(f"{name} signed an approval of {entry.ref} ({entry.root.hex[:12]}) as {entry.role}.")
    for ignored in standing.ignored:
        if ignored.approval.key_id == entry.key:
            why = ignored.reason.replace(entry.principal, name)
            show.line(f"  It does not count: {why}.", style="yellow")
    count = "counts" if counted == 1 else "count"
    show.line(f"  {counted} of {many(found.approvals_needed, 'approval')} {count} now.")
    if counted >= found.approvals_needed:
        show.hint(f"Next: gatewright deploy {entry.ref}{beside}")


def number(value: float) -> str:
    """A metric's value for people: four decimals, or four digits where it is large or tiny."""
    return f"{value:.4f}" if value == 0 or 1e-3 <= abs(value) < 1e2 else f"{value:.4g}"


def tell_check(checked: Checked) -> None:
    """Show findings, numbers and reasons to people."""
    from gatewright.cli import show
    from gatewright.cli.show import escape

    findings = checked.report.findings
    show.table(
        ("check", "outcome", "what was found"),
        ((f.check, show.mark(f.outcome.value), escape(f.reason or f.summary)) for f in findings),
        title=checked.entry.ref,
    )
    overall = [m for f in findings if f.check == "performance.metrics" for m in f.metrics if not m.slice]
    if overall:
        show.table(
            ("metric", "value", "95 % interval", "rows"),
            (
                (m.name, number(m.value), f"{number(m.low)} – {number(m.high)}", f"{m.size:,}")
                for m in overall
            ),
            right=("value", "95 % interval", "rows"),
        )
    _tell_details(findings)
    verdict = checked.verdict
    rules = len({reason.rule for reason in verdict.reasons})  # one on every slice gives several reasons
    if not verdict.objections:
        need = verdict.approvals_needed
        who = " (the owner may give it)" if verdict.owner_may_approve and need == 1 else ""
        show.out.print(
            f"{_held(rules, len(verdict.waivers))} Tier {verdict.tier}: {many(need, 'approval')} needed{who}."
        )
    else:
        count = len({reason.rule for reason in verdict.objections})
        do = "does" if count == 1 else "do"
        show.out.print(
            f"[red]✗[/] The policy denies it: {count} of {many(rules, 'rule')} for this task {do} not hold."
        )
    ends = {waived.rule: str(waived.until)[:10] for waived in verdict.waivers}
    for reason in verdict.reasons:
        if reason in verdict.objections:
            show.out.print(f"    {escape(reason.rule)}, but {escape(reason.what)}")
        elif not reason.holds:
            show.line(
                f"    Waived until {ends[reason.rule]}: {reason.rule}, but {reason.what}", style="yellow"
            )
    for finding in findings:
        if finding.next and finding.outcome.value in {"failed", "unknown"}:
            show.hint(finding.next)


def _held(rules: int, waived: int) -> str:
    """That the policy lets it through: its rules hold, or do not and were waived."""
    if not waived:
        return f"[green]✓[/] The policy's {many(rules, 'rule')} for this task {'holds' if rules == 1 else 'hold'}."
    do, were = ("does", "was") if waived == 1 else ("do", "were")
    return (
        f"[yellow]…[/] {waived} of the policy's {many(rules, 'rule')} for this task {do} not hold, and {were} "
        "waived: whoever waived cannot approve."
    )


def _tell_details(findings: Sequence[Finding]) -> None:
    """Notes, and the first rows that a finding names; ``--json`` has them all."""
    from gatewright.cli import show

    for finding in findings:
        notes, rows = finding.evidence.get("notes"), finding.evidence.get("rows")
        for note in notes[:SHOWN] if isinstance(notes, list) else []:
            show.line(f"  {finding.check}: {note}", style="dim")
        if not isinstance(rows, list):
            continue
        for row in rows[:SHOWN]:
            show.line(
                f"    test row {row['test_row']} is training row {row['training_row']} ({row['match']})",
                style="dim",
            )
        if len(rows) > SHOWN:
            show.line(f"    the report names {len(rows)} of them: --last --json", style="dim")
