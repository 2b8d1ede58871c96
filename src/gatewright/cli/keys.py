"""``key``: the API keys of an endpoint, and the keys that speak for the home."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gatewright.cli import options
from gatewright.kernel.plurals import many

if TYPE_CHECKING:
    from gatewright.operations.catalogue import ApiKeyEntry
    from gatewright.operations.keys import ChangedKey

SHOWN = {
    "full": "whole answers",
    "label": "the label alone",
    "top": "the label and the scores of the {} best classes",
    "round": "numbers with {} decimals",
}
PARTS = ("release", "log", "worker", "data", "root")
app = typer.Typer(
    help="API keys of endpoints, and the home's own keys: list, rotate, revoke.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Endpoint = Annotated[str, typer.Argument(help="Endpoint that the key admits to.")]


@app.command("list")
def list_(
    endpoint: Annotated[
        str, typer.Argument(help="Endpoint whose API keys to list (default: the keys of the home itself).")
    ] = "",
    json: options.Json = False,
) -> None:
    """List the API keys that an endpoint takes, with their bounds; or the keys that speak for the home.

    No API key itself is kept anywhere.

    Example: gatewright key list loans
    """
    from gatewright.cli import show
    from gatewright.cli.show import escape
    from gatewright.operations import keys
    from gatewright.operations.catalogue import body_of

    if not endpoint:
        _list_home_keys(json=json)
        return
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


def _list_home_keys(*, json: bool) -> None:
    from gatewright.cli import show
    from gatewright.operations.catalogue import body_of
    from gatewright.operations.home_keys import home_keys

    with options.home_beside_others() as home:
        found, version = home_keys(home), home.trust.version
        fingerprint = home.trust.fingerprint().hex
    if json:
        listed = [body_of(each) for each in found]
        show.as_json({"version": version, "fingerprint": fingerprint, "keys": listed})
        return
    show.line(f"Version {version} of the public keys, fingerprint {fingerprint}")
    show.table(
        ("role", "algorithm", "id", "since", "until", "state"),
        (
            (
                each.role,
                each.algorithm,
                each.id or "–",
                each.since[:10] or "–",
                each.until[:10] or "–",
                f"{each.state}, kept elsewhere" if each.here is False else each.state,
            )
            for each in found
        ),
    )


@app.command()
def rotate(
    part: Annotated[str, typer.Argument(help="Which keys: release, log, worker, data or root.")],
    compromised: Annotated[
        bool,
        typer.Option("--compromised", help="Somebody else may hold the old ones: revoke them."),
    ] = False,
    root: Annotated[
        Path | None,
        typer.Option(help="Folder with the root keys, where 'key root' took them out of the home."),
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave the private halves of the old keys where they are.")
    ] = False,
    json: options.Json = False,
) -> None:
    """Put new keys in force at once; what the old ones signed properly goes on counting.

    Running workers take them within a second and lose no request; for the data key, which encrypts what
    is stored, they have to be stopped. Release, log and root keys make a new version of trust.json,
    signed by the root keys, and so does a worker key that is revoked: whoever holds an older fingerprint
    gets to it by the folder trust/. 'worker' and 'data' need no root keys, unless --compromised.

    Example: gatewright key rotate release
    """
    from gatewright.assembly.rotating import rotate_home
    from gatewright.cli import show
    from gatewright.kernel.errors import Misuse

    if part not in PARTS:
        raise Misuse(
            "cli.key-part",
            f"There are no {part[:40]!r} keys to rotate.",
            next=f"Name one of: {', '.join(PARTS)}.",
        )
    if part == "data":
        _rotate_data(json=json)
        return
    rotated = rotate_home(Path.cwd(), part, compromised=compromised, root=root, keep=keep)
    if json:
        show.as_json(
            {
                "part": rotated.part,
                "before": [key.id for key in rotated.before],
                "after": [key.id for key in rotated.after],
                "compromised": rotated.compromised,
                "version": rotated.version,
                "fingerprint": rotated.fingerprint,
                "vouched": rotated.vouched,
            }
        )
        return
    old = "revoked" if rotated.compromised else "retired"
    show.done(f"New {part} keys are in force; the old ones are {old}.")
    if rotated.vouched:
        show.line(
            f"  The new keys vouch for {many(rotated.vouched, 'release')} that the old ones had signed."
        )
    show.line(f"  Public keys: version {rotated.version}, fingerprint {rotated.fingerprint}")
    if part == "worker" and not rotated.compromised:
        show.line(
            f"  Its certificate: .gatewright/workers/{rotated.after[0].id}.dsse.json. trust.json is as before."
        )
        show.hint("Who verifies single receipts needs it: give them the folder workers/ of a new export.")
        return
    show.hint("Publish trust.json and the folder trust/ with every export; 'key list' shows all keys.")


def _rotate_data(*, json: bool) -> None:
    from gatewright.assembly.rewrapping import change_data_key
    from gatewright.cli import show

    changed = change_data_key(Path.cwd())
    if json:
        show.as_json({"part": "data", "contents": changed.contents, "segments": changed.segments})
        return
    show.done(
        f"A new data key is in force: {changed.contents:,} contents and {changed.segments:,} files of records "
        "have their keys under it. The old one is gone."
    )
    show.hint("Backups from before hold the old key: make a new one.")


@app.command("root")
def root_(
    to: Annotated[Path, typer.Option(help="Folder that takes the root keys, such as one on a USB stick.")],
    json: options.Json = False,
) -> None:
    """Take the root keys out of the home: copied, the copy proved, then removed here.

    Only they can change which keys speak for the home; nothing else needs them.

    Example: gatewright key root --to /media/usb/gatewright-root
    """
    from gatewright.assembly.rotating import move_root
    from gatewright.cli import show

    moved = move_root(Path.cwd(), to)
    if json:
        show.as_json({"folder": str(moved.folder), "ids": list(moved.ids)})
        return
    show.done(f"The root keys lie in {moved.folder} now, and no more in this home.")
    show.line("  Make a second copy, and keep both apart: without them no key of this home can be replaced.")
    show.hint(f"To rotate keys bring them: gatewright key rotate release --root {moved.folder}")


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
