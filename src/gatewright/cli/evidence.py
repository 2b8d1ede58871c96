"""``status``, ``history``, ``verify``: what stands, what stood, and whether it holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gatewright.cli import options

if TYPE_CHECKING:
    from gatewright.assembly.verifying import Trusted
    from gatewright.kernel.errors import Refusal
    from gatewright.operations.verify import Verified


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (status, history, verify):
        app.command()(command)


def status(json: options.Json = False) -> None:
    """Show what is live, what waits for people, what is recorded.

    Example: gatewright status
    """
    from gatewright.cli import show
    from gatewright.cli.standing import tell_traffic
    from gatewright.operations.catalogue import body_of
    from gatewright.operations.status import status as read

    with options.home_beside_others() as home:
        found = read(home)
    if json:
        show.as_json(body_of(found))
        return
    show.line(
        f"Home {found.origin} of {found.owner}: {found.records} records, traffic plan {found.plan_number}."
    )
    show.line(f"Fingerprint of its keys: {found.fingerprint.hex}")
    tell_traffic(found)
    for waiting in found.waiting:
        said = f"has {waiting.have} of {waiting.need} approvals"
        show.line(f"{waiting.ref} ({waiting.root[:12]}…) is released, not live; it {said}.", style="yellow")
    show.line(
        f"Predictions recorded in the ledger: {found.predictions:,}; "
        f"sealed segments not collected yet: {found.segments_waiting}. Refusals recorded: {found.refusals}."
    )
    for worker in found.workers:
        if worker.get("serving") or worker is found.workers[0]:
            _tell_worker(worker)


def _where(ref: str, endpoint: str) -> str:
    """A release on an endpoint; the endpoint is said where it is not named like the model."""
    return ref if ref.partition("@")[0] == endpoint else f"{ref} on {endpoint}"


def _tell_worker(said: Mapping[str, Any]) -> None:
    from gatewright.cli import show

    if said.get("serving"):
        show.done(f"A worker serves plan {said.get('plan')} at {said.get('url')}.")
        if said.get("grpc"):
            show.line(f"  It answers gRPC at {said['grpc']}.")
        if said.get("tls_ended_by"):
            show.line(f"  Traffic is not encrypted there; what ends TLS in front: {said['tls_ended_by']}.")
        for model in said.get("models", ()):
            show.line(f"  {_manner(model)}")
    else:
        show.line(f"No worker is serving (the last one had plan {said.get('plan')}).")
    refusal = said.get("refusal")
    if isinstance(refusal, Mapping):
        show.line(f"  It did not take the newest plan: {refusal.get('sentence')}", style="red")


def _manner(model: Mapping[str, Any]) -> str:
    """How a worker runs one release."""
    joined = model["joined_rows"]
    together = f", up to {joined} rows in one run" if joined > 1 else ""
    return (
        f"{model['endpoint']} version {model['version']} ({model['place']}): {model['run']}, "
        f"{model['microseconds']['1']:,} µs for one row{together}."
    )


def history(
    at: Annotated[
        str, typer.Option("--at", help="Moment, for example 2026-03-03T14:05:00Z (UTC without a zone).")
    ] = "",
    endpoint: Annotated[str, typer.Option("--endpoint", help="One endpoint only.")] = "",
    json: options.Json = False,
) -> None:
    """Show every change of what was live, or what was live at one moment.

    "no." is the number of the record that says so.

    Example: gatewright history --at 2026-03-03T14:05:00Z
    """
    from gatewright.cli import show
    from gatewright.cli.show import escape
    from gatewright.kernel.instants import Instant
    from gatewright.operations import history as past
    from gatewright.operations.catalogue import body_of
    from gatewright.operations.users import people

    moment = Instant.parse(at) if at else None
    with options.home_beside_others() as home:
        found = (
            past.live_at(home, moment, endpoint=endpoint)
            if moment
            else tuple(past.changes(home, endpoint=endpoint))
        )
        names = {user.principal: user.name for user in people(home)}
    if json:
        show.as_json(
            [
                {**body_of(c.entry), "record": c.seq, "time": str(c.time), "kind": c.kind, "actor": c.actor}
                for c in found
            ]
        )
        return
    if not found:
        show.line(f"Nothing was live at {moment}." if moment else "Nothing was ever live.")
        return
    show.table(
        ("since" if moment else "time", "act", "champion", "root", "what changed", "by", "no."),
        (
            (
                show.seconds(str(c.time)),
                past.ACTS[c.kind],
                _where(c.entry.ref, c.entry.endpoint),
                c.entry.root.hex[:8],
                escape(c.entry.what) or "–",
                escape(names.get(c.actor, c.actor)),
                str(c.seq),
            )
            for c in found
        ),
        title=f"Live at {moment}" if moment else "",
        right=("no.",),
    )


def verify(
    what: Annotated[
        Path | None,
        typer.Argument(
            help="Exported release, ledger.db, saved answer or receipt (default: everything of the home)."
        ),
    ] = None,
    trust: Annotated[
        Path | None,
        typer.Option(
            "--trust",
            metavar="FOLDER",
            help="Folder with the owner's trust.json and, for receipts, workers/; or the file itself (default: the home's).",
        ),
    ] = None,
    fingerprint: Annotated[
        str,
        typer.Option(
            "--fingerprint", help="Fingerprint that the owner gave you, or its first 16 characters or more."
        ),
    ] = "",
    request: Annotated[
        Path | None,
        typer.Option("--request", help="Request as it was sent, to compare an answer's inputs."),
    ] = None,
    json: options.Json = False,
) -> None:
    """Verify evidence, offline. Exit code 3 names the first thing that does not hold.

    Example: gatewright verify answer.json --trust owner --fingerprint edb2c4a19f0e7d35
    """
    from gatewright.assembly.verifying import trusted, verify_home, verify_path
    from gatewright.cli import exits, show
    from gatewright.kernel.errors import Misuse

    if what is None and request is not None:
        raise Misuse(
            "cli.request",
            "A request belongs to an answer, and none was named.",
            next="Name the saved answer first: gatewright verify ANSWER --request REQUEST",
        )
    whom = trusted(trust, evidence=what, fingerprint=fingerprint)
    if not json:
        show.line(whom.sentence)
        if whom.warning:
            show.line(whom.warning, style="yellow")
    found: list[Verified] = []
    missing: Refusal | None = None
    try:
        for one in (
            verify_home(Path.cwd(), whom) if what is None else (verify_path(what, whom, request=request),)
        ):
            found.append(one)
            if not json:
                show.done(one.sentence)
    except Misuse as error:
        if not found:
            raise
        missing = error.refusal
    _tell_verified(found, missing, whom, json=json)
    if missing is not None:
        raise typer.Exit(exits.WRONG_USE)


def _tell_verified(found: Sequence[Verified], missing: Refusal | None, whom: Trusted, *, json: bool) -> None:
    """End of a verification: the document for machines; for people, what could not be verified."""
    from gatewright.cli import show

    if json:
        told = [
            {"kind": one.kind, "sentence": one.sentence, "facts": one.facts, "trust": whom.facts()}
            for one in found
        ]
        show.as_json(told if missing is None else {"verified": told, "error": asdict(missing)})
    elif missing is not None:
        show.line(f"… {missing.what}", style="yellow")
        show.hint(missing.next)
