"""``history`` and ``why``: what was live when, and how one answer came about."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gatewright.cli import options

if TYPE_CHECKING:
    from gatewright.operations.grounds import Noted
    from gatewright.operations.history import Act, Live, Seated, Then

SHOWN = 12
"""Characters of a digest that people are shown; ``--json`` has them all."""
WIDE = 100
"""Columns of a terminal from which on a table of changes is shown whole."""
ROWS = 500
"""Changes of one table; a long past is shown in several, so that it is never held whole."""


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (history, why):
        app.command()(command)


def history(
    endpoint: Annotated[str, typer.Argument(help="One endpoint only.")] = "",
    at: Annotated[
        str,
        typer.Option(
            "--at", help="Moment, for example 2026-03-03T14:05:00Z, 2026-03-03, now or '3 days ago' (UTC)."
        ),
    ] = "",
    between: Annotated[
        tuple[str, str],
        typer.Option(
            "--between",
            metavar="FROM TO",
            help="Every change from one moment to another, that of keys, waivers and advisories too.",
        ),
    ] = ("", ""),
    json: options.Json = False,
) -> None:
    """Show every change of what was live, or what was live at one moment and why it was allowed to be.

    "no." is the number of the record that says so.

    Example: gatewright history loans --at 2026-03-03T14:05:00Z
    """
    from gatewright.cli import show
    from gatewright.kernel.errors import Misuse
    from gatewright.operations import history as past

    if at and any(between):
        raise Misuse(
            "cli.at-and-between",
            "--at asks about one moment and --between about two.",
            next="Give one of them.",
        )
    with options.home_beside_others() as home:
        now = home.now()
        if at:
            _tell_then(past.at(home, past.moment_in(at, now), endpoint=endpoint), json=json)
            return
        if any(between):
            start, stop = (past.moment_in(text, now) for text in between)
            acts = past.between(home, start, stop, endpoint=endpoint)
            window: dict[str, str] | None = {"from": str(start), "to": str(stop)}
            nothing = f"Nothing changed from {start} to {stop}."
        else:
            acts = past.every_change(home, endpoint=endpoint)
            window, nothing = None, "Nothing was ever live."
        if json:
            show.as_json_list((act.document() for act in acts), name="changes", beside=window)
        elif not _tell_acts(acts):
            show.line(nothing)


def _tell_acts(acts: Iterable[Act]) -> int:
    """Show the changes, a table for each so many; returns how many there were."""
    from gatewright.cli import show
    from gatewright.cli.show import escape

    told, acts = 0, iter(acts)
    narrow = show.out.width < WIDE
    headings = ("time", "act", "champion", "root", "what changed", "by", "no.")
    while page := tuple(islice(acts, ROWS)):
        told += len(page)
        rows = (
            (
                show.seconds(each.time),
                each.act,
                _where(each.text("ref"), each.text("endpoint")),
                each.text("root")[:8] or "–",
                escape(each.what) or "–",
                escape(each.by),
                str(each.record),
            )
            for each in page
        )
        show.table(
            _chosen(headings, narrow=narrow), (_chosen(row, narrow=narrow) for row in rows), right=("no.",)
        )
    return told


def _chosen(row: tuple[str, ...], *, narrow: bool) -> tuple[str, ...]:
    """The columns that a terminal has room for: a narrow one goes without champion, root and whose act it was."""
    time, act, _, _, what, _, number = row
    return (time, act, what, number) if narrow else row


def _where(ref: str, endpoint: str) -> str:
    """A release on an endpoint; the endpoint is said where it is not named like the model."""
    if not ref:
        return f"on {endpoint}" if endpoint else "–"
    return ref if ref.partition("@")[0] == endpoint or not endpoint else f"{ref} on {endpoint}"


def _tell_then(found: Then, *, json: bool) -> None:
    from gatewright.cli import show
    from gatewright.operations.catalogue import body_of

    if json:
        show.as_json(body_of(found))
        return
    if found.note:
        show.line(found.note, style="yellow")
    if found.plan is not None:
        made = found.plan.made
        show.line(
            f"At {found.at} traffic plan {found.plan.number} was in force "
            f"(record {made.record}, {show.seconds(made.time)}; {found.plan.digest.hex[:SHOWN]}…)."
        )
    for live in found.endpoints:
        _tell_live(live)


def _tell_live(live: Live) -> None:
    from gatewright.cli import show
    from gatewright.deployments.wording import bound_text

    show.line()
    show.table(
        ("endpoint", "place", "release", "root", "answered", "since", "no."),
        (
            (
                live.endpoint if number == 0 else "",
                each.place if not each.name else f"{each.place} {show.escape(each.name)}",
                each.ref,
                each.root.hex[:8],
                _answered(live, each),
                f"{'before ' if each.longer else ''}{show.seconds(each.since.time)}",
                str(each.since.record),
            )
            for number, each in enumerate(live.releases)
        ),
        right=("answered", "no."),
    )
    if live.stopped:
        since = "" if live.stopped_since is None else f" {_by(live.stopped_since)}"
        show.line(f"  Stopped{since}: every request was refused.", style="red")
    since = "" if live.recording_since is None else f", since {_by(live.recording_since)}"
    show.line(f"  Recording: {live.recording}{since}.")
    if live.rate:
        show.line(f"  {bound_text(live.rate, 'requests a second', 'over all callers')}.")
    if live.previous_ref:
        show.line(f"  {live.previous_ref} stayed warm for a rollback.")
    show.line(f"  Last change {_by(live.last)}: {live.what}.")
    for each in live.releases:
        _tell_grounds(each)


def _answered(live: Live, each: Seated) -> str:
    from gatewright.deployments.wording import share_text

    words = {"shadow": "copies only", "fallback": "where others fail"}
    return "nothing" if live.stopped else words.get(each.place, share_text(each.share))


def _by(noted: Noted) -> str:
    from gatewright.cli import show

    return f"{show.seconds(noted.time)} by {noted.by} (record {noted.record})"


def _tell_grounds(each: Seated) -> None:
    from gatewright.cli import show

    found = each.grounds
    show.line(
        f"  {each.ref}, {each.place}: release {each.root.hex[:SHOWN]}… (record {found.record}), tier {found.tier};"
    )
    show.line(
        f"    report {found.report.hex[:SHOWN]}…, verdict {found.verdict.hex[:SHOWN]}…, policy {found.policy.hex[:SHOWN]}…;"
    )
    said = "; ".join(
        f"{one.by} ({one.role}), {show.seconds(one.time)} (record {one.record})" for one in found.approvals
    )
    show.line(f"    approved by {said or 'nobody: the policy asked for no approval'};")
    show.line(f"    deployed {_by(found.deployed)}, decision {found.decision.hex[:SHOWN]}….")
    if found.revoked:
        show.line(f"    It was revoked later, {show.seconds(found.revoked)}.", style="red")


def why(
    receipt: Annotated[str, typer.Argument(help="Receipt, or the file of a receipt or a saved answer.")],
    request: Annotated[
        Path | None, typer.Option("--request", help="Request as it was sent, to compare the inputs.")
    ] = None,
    segments: Annotated[
        Path | None,
        typer.Option(
            "--segments", metavar="FOLDER", help="Records of a worker that serves a mounted folder."
        ),
    ] = None,
    json: options.Json = False,
) -> None:
    """Tell how one answer came about: who answered, under which plan, approved by whom, tested on what.

    Exit code 3 names the first thing that does not hold.

    Example: gatewright why answer.json
    """
    from gatewright.cli import show
    from gatewright.operations.answers import RECEIPT_MARK, request_in, saved_in
    from gatewright.operations.catalogue import body_of
    from gatewright.operations.files import read_file
    from gatewright.operations.receipt_verification import RECEIPT_BYTES
    from gatewright.operations.why import why as told

    content = (
        receipt.encode()
        if receipt.startswith(RECEIPT_MARK)
        else read_file(Path(receipt), limit=RECEIPT_BYTES)
    )
    asked = None if request is None else request_in(read_file(request, limit=RECEIPT_BYTES))
    with options.home_beside_others() as home:
        story = told(home, saved_in(content), request=asked, segments=segments)
    if json:
        show.as_json({**body_of(story), "holds": True})
        return
    show.done(story.sentence)
    for each in story.lines:
        backed = [] if each.record is None else [f"record {each.record}"]
        backed += [] if each.digest is None else [f"{each.digest.hex[:SHOWN]}…"]
        when = f"{show.seconds(each.time)} " if each.time else ""
        proof = f" [{', '.join(backed)}]" if backed else ""
        show.line(f"  {each.part:<11}{when}{each.text}{proof}")
    show.line()
    show.line("Not proven:", style="yellow")
    for doubt in story.not_proven:
        show.line(f"  – {doubt}")
