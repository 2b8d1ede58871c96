"""``user``: the people of a home and their signing keys."""

from __future__ import annotations

from typing import Annotated

import typer

from gatewright.cli import options

app = typer.Typer(help="People: add, list.", no_args_is_help=True, rich_markup_mode=None)


@app.command()
def add(name: Annotated[str, typer.Argument(help="Name of the person.")], json: options.Json = False) -> None:
    """Make a person known, with a signing key of their own.

    Example: gatewright user add grace
    """
    from gatewright.cli import show
    from gatewright.operations import users
    from gatewright.operations.catalogue import body_of

    with options.home() as home:
        user = users.add(home, name)
    if json:
        show.as_json(body_of(user))
        return
    show.done(f"{user.name} can approve now (principal {user.principal}).")


@app.command("list")
def list_(json: options.Json = False) -> None:
    """List the people of this home.

    Example: gatewright user list
    """
    from gatewright.cli import show
    from gatewright.cli.show import escape
    from gatewright.operations import users
    from gatewright.operations.catalogue import body_of

    with options.home_beside_others() as home:
        everybody = tuple(users.people(home))
    if json:
        show.as_json([body_of(user) for user in everybody])
        return
    show.table(
        ("name", "principal", "role"),
        ((escape(u.name), u.principal, "owner" if u.owner else "approver") for u in everybody),
    )
