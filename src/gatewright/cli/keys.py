"""``key``: the API keys of an endpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from gatewright.cli import options

if TYPE_CHECKING:
    from gatewright.operations.catalogue import ApiKeyEntry
    from gatewright.operations.keys import ChangedKey

SHOWN = {
    "full": "whole answers",
    "label": "the label alone",
    "top": "the label and the scores of the {} best classes",
    "round": "numbers with {} decimals",
}
app = typer.Typer(help="API keys: list, add, revoke.", no_args_is_help=True, rich_markup_mode=None)

Endpoint = Annotated[str, typer.Argument(help="Endpoint that the key admits to.")]


@app.command("list")
def list_(endpoint: Endpoint, json: options.Json = False) -> None:
    """List the API keys that an endpoint takes, with their bounds. No key itself is kept anywhere.

    Example: gatewright key list loans
    """
    from gatewright.cli import show
    from gatewright.cli.show import escape
    from gatewright.operations import keys
    from gatewright.operations.catalogue import body_of

    with options.home_beside_others() as home:
        found = tuple(keys.keys(home, endpoint))
    if json:
        show.as_json([body_of(each) for each in found])
        return
    show.table(
        ("id", "name", "a second", "a day", "shows"),
        (
            (escape(each.id), escape(each.name) or "–", _bound(each.rate), _bound(each.quota), each.shown)
            for each in found
        ),
        right=("a second", "a day"),
    )


@app.command()
def add(
    endpoint: Endpoint,
    name: Annotated[
        str, typer.Option(help="What calls with it, such as web-shop; kept in the ledger for good.")
    ] = "",
    json: options.Json = False,
) -> None:
    """Make a further API key for an endpoint. It is shown once.

    Example: gatewright key add loans --name web-shop
    """
    from gatewright.cli import show
    from gatewright.operations import keys

    with options.home() as home:
        changed = keys.add(home, endpoint, name=name)
    if json:
        show.as_json(_plain(changed))
        return
    show.done(f"{endpoint} takes one more API key (id {changed.entry.id}, plan {changed.entry.plan_number}).")
    show.line()
    show.out.print(f"  API key of {endpoint}, shown once: [bold]{changed.api_key}[/]")
    show.line()


@app.command()
def revoke(
    endpoint: Endpoint,
    id: Annotated[str, typer.Argument(help="Id of the key, as 'key list' shows it.")],  # noqa: A002 - as shown
    json: options.Json = False,
) -> None:
    """Refuse an API key from now on.

    Example: gatewright key revoke loans 5f2b9c04d1aa
    """
    from gatewright.cli import show
    from gatewright.operations import keys

    with options.home() as home:
        changed = keys.revoke(home, endpoint, id)
    if json:
        show.as_json(_plain(changed))
        return
    show.done(f"{endpoint} takes the API key {changed.entry.id} no more (plan {changed.entry.plan_number}).")


def limit_key(
    endpoint: str, key: str, *, rate: int | None, quota: int | None, shown: str, json: bool
) -> None:
    """Bound one key, for the command ``limit``; texts as they were typed."""
    from gatewright.cli import show
    from gatewright.deployments.wording import parse_shown
    from gatewright.operations import keys

    wanted = parse_shown(shown) if shown else None
    with options.home() as home:
        changed = keys.limit(home, endpoint, key, rate=rate, quota=quota, shown=wanted)
    if json:
        show.as_json(_plain(changed))
        return
    show.done(f"{endpoint} (plan {changed.entry.plan_number}): key {key} {limits(changed.entry)}.")


def limits(entry: ApiKeyEntry) -> str:
    """What a key may do, in words that follow its name."""
    rate = f"at most {entry.rate:,} requests a second" if entry.rate else ""
    quota = f"at most {entry.quota:,} requests a day" if entry.quota else ""
    bounds = " and ".join(each for each in (rate, quota) if each) or "any number of requests"
    word, _, number = entry.shown.partition(":")
    return f"may send {bounds}, and is shown {SHOWN[word].format(number)}"


def _bound(number: int) -> str:
    return f"{number:,}" if number else "–"


def _plain(changed: ChangedKey) -> dict[str, Any]:
    from gatewright.operations.catalogue import body_of

    return {**body_of(changed.entry), "api_key": changed.api_key, "committed": str(changed.committed)}
