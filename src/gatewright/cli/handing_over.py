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
