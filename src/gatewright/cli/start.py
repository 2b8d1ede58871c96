"""``init`` and ``demo``: beginning."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gatewright.cli import options


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(init)
    app.command()(demo)


def init(
    folder: Annotated[Path, typer.Argument(help="Folder of the new home.")] = Path(),
    owner: Annotated[str, typer.Option(help="Name of the owner (default: your log-in name).")] = "",
    json: options.Json = False,
) -> None:
    """Make a home here: keys, ledger, policy.

    Set GATEWRIGHT_PASSPHRASE_FILE (or GATEWRIGHT_PASSPHRASE) first to encrypt every key.

    Example: gatewright init --owner ada
    """
    from gatewright.assembly.homes import create_home
    from gatewright.cli import show

    made = create_home(folder, owner)
    if json:
        show.as_json(
            {
                "home": str(made.root),
                "origin": made.origin,
                "owner": made.owner,
                "passphrase": made.passphrase,
                "trust": made.trust,
            }
        )
        return
    show.done(f"A home for {made.owner} is at {made.root}.")
    show.line(f"  Fingerprint of its keys: {made.trust}")
    show.line(
        "  Give this fingerprint to whoever will verify your evidence, by another way than the evidence."
    )
    if not made.passphrase:
        show.line(
            "  The keys are protected by file permissions only. To encrypt them, make the home with "
            "GATEWRIGHT_PASSPHRASE_FILE set.",
            style="yellow",
        )
    show.hint(
        f"Read the rules in {made.root / 'policy.toml'}, then: gatewright data split FILE --name NAME --target COLUMN"
    )


def demo(
    keep: Annotated[Path | None, typer.Option(help="Keep the demo's home in this new folder.")] = None,
    stay: Annotated[
        bool | None, typer.Option("--stay/--no-stay", help="Leave the endpoint up (default: at a terminal).")
    ] = None,
    json: options.Json = False,
) -> None:
    """Watch a real model live its whole life.

    In a temporary home, in under a minute.

    Example: gatewright demo
    """
    from gatewright.cli.story import tell

    tell(keep=keep, stay=stay, machine=json)
