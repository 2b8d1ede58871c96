"""``evidence export``, and what ``verify`` tells of an evidence pack."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gatewright.cli import options

if TYPE_CHECKING:
    from gatewright.kernel.errors import Refusal
    from gatewright.operations.verify import Verified

MEBIBYTE = 1024 * 1024


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(export)
    app.command()(verifier)


def export(
    endpoint: Annotated[str, typer.Argument(help="Endpoint that the pack is about.")],
    start: Annotated[
        str,
        typer.Option("--from", help="Beginning of the span, for example 2026-03-03 or '30 days ago' (UTC)."),
    ],
    out: Annotated[Path, typer.Option("--out", help="New file to write to; its name should end in .zip.")],
    end: Annotated[str, typer.Option("--to", help="End of the span (default: now).")] = "",
    answer: Annotated[
        list[Path] | None,
        typer.Option("--answer", help="Saved answer that goes into it; may be given again."),
    ] = None,
    json: options.Json = False,
) -> None:
    """Write one file that proves what an endpoint served in a span of time, for somebody without this home.

    It holds the records of the log in the span without a gap, of all endpoints: names of models, datasets
    and endpoints, digests and times. It holds no inputs and no outputs but those of the answers you give,
    and the names of those who approved the releases or changed the endpoint.

    Example: gatewright evidence export loans --from 2026-03-01 --to 2026-04-01 --out loans-march.zip
    """
    from gatewright.cli import show
    from gatewright.kernel.plurals import many
    from gatewright.operations.evidence_pack import export as write
    from gatewright.operations.history import moment_in

    with options.home_beside_others() as home:
        now = home.now()
        span = (moment_in(start, now), moment_in(end, now) if end else now)
        made = write(home, endpoint, span, out, answers=answer or (), say=_silent if json else show.progress)
        fingerprint = home.trust.fingerprint().hex
    if json:
        show.as_json({**asdict(made), "file": str(made.file), "fingerprint": fingerprint})
        return
    show.done(
        f"{made.file} ({made.bytes / MEBIBYTE:.1f} MiB, {made.files} files) is the evidence about {endpoint}."
    )
    show.line(
        f"  {made.records:,} records without a gap and {made.others:,} they rest on, {many(made.releases, 'release')}, "
        f"{made.predictions:,} predictions of all endpoints in sealed segments."
    )
    if made.witnesses < made.quorum:
        show.line(
            f"  {made.witnesses} of {made.quorum} witnesses cosigned the log as it is: the verifier will say so "
            "(exit code 2). Run 'gatewright collect', and export again.",
            style="yellow",
        )
    show.line(
        "  It names other models, datasets and endpoints of this home too, and people: read it before you send it."
    )
    show.line(f"  Tell whoever verifies it the fingerprint, by another way: {fingerprint}")
    show.hint(
        f"They verify it offline: python verify_evidence.py {out.name} --fingerprint {fingerprint[:16]}"
    )


def verifier(
    to: Annotated[Path, typer.Option("--to", help="New file to write.")],
    json: options.Json = False,
) -> None:
    """Write the one-file verifier of evidence packs, as this version has it, and tell its SHA-256.

    A pack carries the same file; whoever trusts only their own copy of this program takes it from here. It
    needs Python 3.11 and the package cryptography, and nothing else.

    Example: gatewright evidence verifier --to verify_evidence.py
    """
    from gatewright.cli import show
    from gatewright.operations.evidence_pack import write_verifier

    digest = write_verifier(to).hex
    if json:
        show.as_json({"file": str(to), "sha256": digest})
        return
    show.done(f"{to} verifies evidence packs.")
    show.line(f"  SHA-256 {digest}")
    show.hint(f"python {to.name} PACK.zip --fingerprint HEX")


def _silent(text: str) -> None:
    """Say nothing: a machine reads."""


def verify_packed(
    what: Path,
    trust: Path | None,
    fingerprint: str,
    *,
    answer: Path | None,
    request: Path | None,
    kept: Sequence[Path],
    json: bool,
) -> None:
    """Verify a pack and tell it; raises what :func:`gatewright.assembly.packs.verify_pack` raises."""
    from gatewright.assembly.packs import expected_fingerprint, verify_pack
    from gatewright.cli import exits, show
    from gatewright.kernel.errors import Misuse
    from gatewright.operations.evidence_answers import NOT_JUDGED

    expected = expected_fingerprint(what, trust, fingerprint)
    found: list[Verified] = []
    missing: Refusal | None = None
    try:
        for one in verify_pack(what, expected, answer=answer, request=request, kept=kept):
            found.append(one)
            if not json and one.sentence == NOT_JUDGED:
                show.line(f"  {one.sentence}")
            elif not json:
                show.done(one.sentence)
    except Misuse as error:
        if not found:
            raise
        missing = error.refusal
    if json:
        told = [{"kind": one.kind, "sentence": one.sentence, "facts": one.facts} for one in found]
        show.as_json(told if missing is None else {"verified": told, "error": asdict(missing)})
    elif missing is not None:
        show.line(f"… {missing.what}", style="yellow")
    else:
        show.line("All of it holds.")
    if missing is not None:
        raise typer.Exit(exits.WRONG_USE)
