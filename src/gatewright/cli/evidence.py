"""``status`` and ``verify``: what stands, and whether it holds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gatewright.cli import options

if TYPE_CHECKING:
    from gatewright.assembly.verifying import Trusted
    from gatewright.kernel.errors import Refusal
    from gatewright.operations.verify import Verified


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (status, verify):
        app.command()(command)


def status(json: options.Json = False) -> None:
    """Show what is live, what waits for people, what is recorded.

    Example: gatewright status
    """
    from gatewright.assembly.counting import counted
    from gatewright.cli import show
    from gatewright.cli.judging import tell_judgements
    from gatewright.cli.standing import (
        counts,
        tell_advisories,
        tell_keys,
        tell_stored,
        tell_traffic,
        tell_witnesses,
        tell_workers,
    )
    from gatewright.operations.catalogue import body_of
    from gatewright.operations.status import status as read

    with options.home_beside_others() as home:
        found, count = read(home), counted(home.segments)
    if json:
        show.as_json({**body_of(found), "counted": counts(count)})
        return
    show.line(
        f"Home {found.origin} of {found.owner}: {found.records} records, traffic plan {found.plan_number}."
    )
    show.line(f"Fingerprint of its keys: {found.fingerprint.hex}")
    tell_traffic(found, count)
    tell_judgements(found)
    tell_advisories(found)
    tell_keys(found)
    for waiting in found.waiting:
        said = f"has {waiting.have} of {waiting.need} approvals"
        show.line(f"{waiting.ref} ({waiting.root[:12]}…) is released, not live; it {said}.", style="yellow")
    show.line(
        f"Predictions recorded in the ledger: {found.predictions:,}; "
        f"sealed segments not collected yet: {found.segments_waiting}. Refusals recorded: {found.refusals}."
    )
    tell_witnesses(found)
    tell_workers(found)
    tell_stored(found)


Kept = Annotated[
    list[Path] | None,
    typer.Option(
        "--kept",
        metavar="CHECKPOINT",
        help="Checkpoint of the log from before, which it must extend; may be given again.",
    ),
]

Request = Annotated[
    Path | None, typer.Option("--request", help="Request as it was sent, to compare an answer's inputs.")
]

Log = Annotated[
    Path | None,
    typer.Option(
        "--log", metavar="FOLDER", help="Exported log that must hold what the answer's receipt promised."
    ),
]


def verify(
    what: Annotated[
        Path | None,
        typer.Argument(
            help="Evidence pack, exported release or log, ledger.db, saved answer or receipt (default: everything of the home)."
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
    request: Request = None,
    kept: Kept = None,
    log: Log = None,
    answer: Annotated[
        Path | None,
        typer.Option("--answer", help="Saved answer that an evidence pack must prove."),
    ] = None,
    json: options.Json = False,
) -> None:
    """Verify evidence, offline. Exit code 3 names the first thing that does not hold.

    Example: gatewright verify answer.json --trust owner --fingerprint edb2c4a19f0e7d35
    """
    from gatewright.assembly.packs import is_pack
    from gatewright.assembly.verifying import trusted, verify_home
    from gatewright.cli import exits, show
    from gatewright.cli.packing import verify_packed
    from gatewright.kernel.errors import Misuse

    if what is None:
        _require_nothing_beside(request, kept, log)
    elif is_pack(what):
        verify_packed(what, trust, fingerprint, answer=answer, request=request, kept=kept or (), json=json)
        return
    whom = trusted(trust, evidence=what, fingerprint=fingerprint)
    if not json:
        show.line(whom.sentence)
        if whom.warning:
            show.line(whom.warning, style="yellow")
    found: list[Verified] = []
    missing: Refusal | None = None
    try:
        for one in verify_home(Path.cwd(), whom) if what is None else _named(what, whom, request, kept, log):
            found.append(one)
            if not json:
                _tell_one(one)
    except Misuse as error:
        if not found:
            raise
        missing = error.refusal
    _tell_verified(found, missing, whom, json=json)
    if missing is not None:
        raise typer.Exit(exits.WRONG_USE)


def _tell_one(one: Verified) -> None:
    """What holds is green; where something that people wait for is not there yet, it is not."""
    from gatewright.cli import show

    if one.lacks:
        show.line(f"… {one.sentence}", style="yellow")
    else:
        show.done(one.sentence)


def _named(
    what: Path, whom: Trusted, request: Path | None, kept: Sequence[Path] | None, log: Path | None
) -> Iterable[Verified]:
    """What is verified where evidence was named."""
    from gatewright.assembly.verifying import verify_path, verify_promise
    from gatewright.cli.show import records_read
    from gatewright.kernel.errors import Misuse

    if log is None:
        return (verify_path(what, whom, request=request, kept=kept or (), say=records_read),)
    if request or kept:
        raise Misuse(
            "cli.log",
            "--log goes with an answer alone.",
            next="Verify the request with the answer, and the kept checkpoint with the log, in calls of their own.",
        )
    return verify_promise(what, log, whom, records_read)


def _require_nothing_beside(request: Path | None, kept: Sequence[Path] | None, log: Path | None) -> None:
    """Raise Misuse for what belongs to evidence that was not named."""
    from gatewright.kernel.errors import Misuse

    if request is not None:
        raise Misuse(
            "cli.request",
            "A request belongs to an answer, and none was named.",
            next="Name the saved answer first: gatewright verify ANSWER --request REQUEST",
        )
    if kept:
        raise Misuse(
            "cli.kept",
            "A kept checkpoint is compared with an exported log, and none was named.",
            next="Name the folder first: gatewright verify LOG --kept CHECKPOINT",
        )
    if log is not None:
        raise Misuse(
            "cli.log",
            "An answer is held against a log, and none was named.",
            next="Name the saved answer first: gatewright verify ANSWER --log FOLDER",
        )


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
