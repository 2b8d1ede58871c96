"""Every command, in the order of a model's life. Bodies import what they need, so that help is fast."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from gatewright.cli import (
    advisories,
    comparing,
    data,
    evidence,
    handing_over,
    judging,
    keys,
    life,
    models,
    packing,
    past,
    policies,
    releases,
    serving,
    start,
    storing,
    traffic,
    training,
    users,
    witnesses,
)
from gatewright.kernel.version import VERSION

ORDER = (
    "init", "demo", "data", "model", "train", "policy", "check", "compare", "ship", "release", "approve", "deploy",
    "rollback", "stop", "resume", "undeploy", "limit", "serve", "collect", "example", "status", "history", "why", "verify", "scrub", "backup", "restore", "recover", "evidence", "advisory", "witness", "key", "user",
)  # fmt: skip


class _InOrderOfLife(TyperGroup):
    """Lists the commands as a model meets them, not as they were registered."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The names, in that order."""
        known = super().list_commands(ctx)
        return sorted(known, key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER))


app = typer.Typer(
    name="gatewright",
    cls=_InOrderOfLife,
    help="From a trained model to a production endpoint its owner can answer for.\n\nTry: gatewright demo",
    rich_markup_mode=None,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"gatewright {VERSION}")
        raise typer.Exit


@app.callback()
def gatewright(
    _version_asked: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """From a trained model to a production endpoint its owner can answer for.

    Try: gatewright demo
    """


start.register(app)
app.add_typer(data.app, name="data")
app.add_typer(models.app, name="model")
app.add_typer(policies.app, name="policy")
training.register(app)
life.register(app)
traffic.register(app)
comparing.register(app)
judging.register(releases.app)
app.add_typer(releases.app, name="release")
serving.register(app)
evidence.register(app)
past.register(app)
storing.register(app)
packing.register(handing_over.app)
app.add_typer(handing_over.app, name="evidence")
app.add_typer(advisories.app, name="advisory")
app.add_typer(keys.app, name="key")
app.add_typer(users.app, name="user")
app.add_typer(witnesses.app, name="witness")
