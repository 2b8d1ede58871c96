"""``evidence``: what a home gives to others, to be verified without it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gatewright.cli import options

app = typer.Typer(
    help="Evidence to hand over: the log as files.", no_args_is_help=True, rich_markup_mode=None
)


@app.callback()
def evidence() -> None:
    """Evidence to hand over: the log as files."""


@app.command()
def log(
    to: Annotated[
        Path, typer.Option(help="New folder to write to, or one with an earlier export of this log.")
    ],
    json: options.Json = False,
) -> None:
    """Write the whole log as static files (C2SP tlog-tiles), or add what is new to an earlier export.

    Any web server can serve the folder, and anybody can verify it offline. It shows every record:
    names of models, datasets and endpoints, digests and times; no inputs, outputs or people's names.

    Example: gatewright evidence log --to log
    """
    from gatewright.cli import show
    from gatewright.operations.log_export import export

    with options.home_beside_others() as home:
        made = export(home, to)
        fingerprint = home.trust.fingerprint().hex
    if json:
        show.as_json(
            {
                "folder": str(made.folder),
                "records": made.records,
                "before": made.before,
                "root": made.root.hex(),
                "written": made.written,
                "fingerprint": fingerprint,
                "key": made.key,
            }
        )
        return
    new = f"{made.records - made.before:,} of them new" if made.before else "all of them new"
    show.done(f"{made.records:,} records ({new}) lie in {made.folder}.")
    show.line(f"  Tell whoever verifies it the fingerprint, by another way: {fingerprint}")
    show.line(f"  The log's key, for other programs that read such logs: {made.key}")
    show.line(f"  Keep {made.folder}/checkpoint elsewhere: a log that is rewritten later does not extend it.")
    show.hint(f"They verify it offline: gatewright verify {to} --trust {to} --fingerprint {fingerprint[:16]}")


@app.command()
def receipt(
    answer: Annotated[Path, typer.Argument(help="Saved answer, or the file of its receipt.")],
    to: Annotated[Path, typer.Option(help="New file to write to; its name should end in .proof.json.")],
    segments: Annotated[
        Path | None,
        typer.Option(
            "--segments", metavar="FOLDER", help="Records of a worker that serves a mounted folder."
        ),
    ] = None,
    json: options.Json = False,
) -> None:
    """Write the proof that the log kept a prediction: from its receipt to a signed checkpoint.

    Whoever has the owner's public keys verifies it offline. Exit code 2 says that the prediction is
    not in the log yet, 3 that the home does not hold what its worker promised.

    Example: gatewright evidence receipt answer.json --to answer.proof.json
    """
    from gatewright.cli import show
    from gatewright.operations.answers import saved_in
    from gatewright.operations.files import read_file
    from gatewright.operations.log_receipts import prove_to
    from gatewright.operations.receipt_verification import RECEIPT_BYTES

    saved = saved_in(read_file(answer, limit=RECEIPT_BYTES))
    with options.home_beside_others() as home:
        proof, content = prove_to(home, saved, to, segments=segments)
        fingerprint = home.trust.fingerprint().hex
    hashes = len(proof.segment_path) + len(proof.path)
    if json:
        told = {"file": str(to), "record": proof.index, "hashes": hashes, "bytes": len(content)}
        show.as_json({**told, "fingerprint": fingerprint})
        return
    show.done(
        f"{to} proves the prediction by {hashes} hashes up to a signed checkpoint ({len(content):,} bytes)."
    )
    show.hint(
        f"They verify it offline: gatewright verify {to} --trust owner --fingerprint {fingerprint[:16]}"
    )


@app.command()
def cbom(
    to: Annotated[Path, typer.Option(help="New file to write to; its name should end in .cdx.json.")],
    json: options.Json = False,
) -> None:
    """Write which cryptographic algorithms this home uses where, and its keys by their ids (CycloneDX 1.6).

    It holds no key, only ids, states and times.

    Example: gatewright evidence cbom --to cbom.cdx.json
    """
    from gatewright.cli import show
    from gatewright.operations.cbom import write_crypto_bom
    from gatewright.operations.reporting import Targets

    Targets(json=to)  # refuses a place that cannot be written to
    with options.home_beside_others() as home:
        written = write_crypto_bom(home, to)
    if json:
        show.as_json({"file": str(to), "bytes": len(written), **written_of(written)})
        return
    found = written_of(written)
    show.done(
        f"{to} names {found['algorithms']} algorithms and {found['keys']} keys ({len(written):,} bytes)."
    )


def written_of(bill: bytes) -> dict[str, int]:
    """How many algorithms and keys a cryptographic bill names."""
    from gatewright.kernel import canonical

    kinds = [each["cryptoProperties"]["assetType"] for each in canonical.decode(bill)["components"]]
    return {"algorithms": kinds.count("algorithm"), "keys": kinds.count("related-crypto-material")}
