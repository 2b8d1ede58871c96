"""``release``: signed roots."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gatewright.cli import options
from gatewright.kernel.plurals import many

if TYPE_CHECKING:
    from gatewright.operations.catalogue import Release
    from gatewright.operations.home import Home

app = typer.Typer(
    help="Releases: create, list, show, export, revoke.", no_args_is_help=True, rich_markup_mode=None
)

SHOWN = 12
"""Characters of a digest that people are shown; ``--json`` has them all."""

Named = Annotated[str, typer.Argument(help="NAME, NAME@VERSION or the beginning of the root.")]


@app.command()
def create(
    model: Named,
    policy: options.Policy = None,
    waive: Annotated[
        list[str] | None,
        typer.Option(help="Rule to waive, by its check or whole sentence; may be given again."),
    ] = None,
    until: Annotated[str, typer.Option(help="When the waiver ends, for example 2026-09-30 (UTC).")] = "",
    reason: Annotated[str, typer.Option(help="Why it is waived, in your words; kept encrypted.")] = "",
    as_: Annotated[str, typer.Option("--as", help="Who waives it; somebody else must approve.")] = "",
    json: options.Json = False,
) -> None:
    """Sign one root over a checked model version, its report, its verdict and the policy.

    A rule that does not hold can be waived where the policy gives leave: openly, for a time.

    Example: gatewright release create loans@2
    """
    from gatewright.cli import show
    from gatewright.cli.judging import waiving
    from gatewright.operations import release

    wanted = waiving(waive, until, reason, as_)
    with options.home() as home:
        made = release.create(home, model, policy_file=policy, waiving=wanted)
        told = plain(home, made)
    if json:
        show.as_json(told)
        return
    show.done(f"{made.ref} is released as {made.root}.")
    show.line(f"  Tier {made.tier}: {many(made.approvals_needed, 'approval')} needed.")
    for waived in told["waivers"]:
        show.line(f"  Waived until {waived['until'][:10]}: {waived['rule']}.", style="yellow")
    show.hint(f"Next: gatewright approve {made.ref} --as NAME   then: gatewright deploy {made.ref}")


@app.command("list")
def list_(json: options.Json = False) -> None:
    """List every release, newest last: its approvals, and the endpoints where it is live.

    Example: gatewright release list
    """
    from gatewright.cli import show
    from gatewright.operations import released
    from gatewright.operations.catalogue import every_live

    with options.home_beside_others() as home:
        endpoints = tuple(every_live(home))
        order = [str(each.draft.body["root"]) for each in home.archive.history(("release.created",), None)]
        made = sorted(released.releases(home), key=lambda each: order.index(each.root.hex))
        told = [
            {**plain(home, each), "live": [one.endpoint for one in endpoints if each.root in one.answering]}
            for each in made
        ]
    if json:
        show.as_json(told)
        return
    show.table(
        ("release", "root", "tier", "approvals", "live at", "note"),
        (
            (
                t["ref"],
                t["root"][:SHOWN],
                t["tier"],
                f"{t['counted']} of {t['approvals_needed']}",
                ", ".join(t["live"]) or "–",
                show.escape(_note(t)),
            )
            for t in told
        ),
    )


def _note(told: dict[str, Any]) -> str:
    """What a list says of a release that was taken back, or that a waiver let through."""
    notes = [f"revoked ({told['revoked']['reason']})"] if told["revoked"] else []
    notes += [f"a rule waived until {waived['until'][:10]} by {waived['by']}" for waived in told["waivers"]]
    return "; ".join(notes) or "–"


@app.command("show")
def show_(name: Named, json: options.Json = False) -> None:
    """Show one release: the files its root binds and the statements about it.

    Example: gatewright release show loans@2
    """
    from gatewright.cli import show
    from gatewright.operations import released

    with options.home_beside_others() as home:
        told = plain(home, released.release(home, name))
    if json:
        show.as_json(told)
        return
    show.line(f"{told['ref']}   root {told['root'][:SHOWN]}   (whole digests: --json)")
    if told["revoked"]:
        show.line(f"  It is revoked ({told['revoked']['reason']}): it never answers again.", style="red")
    for waived in told["waivers"]:
        show.line(
            f"  Not held: {waived['rule']}. Waived until {waived['until'][:10]} by {waived['by']} ({waived['role']}), "
            f"whose own approval does not count: {waived['words']}",
            style="yellow",
        )
    for of, digests in (("file", told["resources"]), ("statement", told["statements"])):
        show.table((of, "sha256"), ((name, digests[name][:SHOWN]) for name in sorted(digests)))


@app.command()
def export(
    name: Named,
    to: Annotated[Path, typer.Option(help="New folder to write to.")],
    json: options.Json = False,
) -> None:
    """Write a release with its signatures, statements and public keys, to be verified elsewhere.

    A name alone means the release that is live on the endpoint of that name, or else the newest.

    Example: gatewright release export loans@2 --to loans-2
    """
    from gatewright.cli import show
    from gatewright.operations import released
    from gatewright.operations.catalogue import find_live

    with options.home_beside_others() as home:
        live = find_live(home, name)
        made = released.release(home, name if live is None else live.root.hex)
        place = released.export(home, made.root.hex, to)
        fingerprint = home.trust.fingerprint().hex
    if json:
        show.as_json(
            {
                "folder": str(place),
                "ref": made.ref,
                "root": made.root.hex,
                "live": live is not None,
                "fingerprint": fingerprint,
            }
        )
        return
    why = ""
    if live is not None:
        why = ", live on the endpoint of that name"
    elif made.ref.partition("@")[0] == name:
        why = ", the newest of that name"
    show.done(f"{made.ref} ({made.root.short}{why}) is written to {place}.")
    show.line(f"  Tell whoever verifies it the fingerprint, by another way: {fingerprint}")
    show.hint(
        f"They verify it offline: gatewright verify {place} --trust {place} --fingerprint {fingerprint[:16]}"
    )


@app.command()
def mount(
    to: Annotated[Path, typer.Option(help="New folder to write to.")],
    valid: Annotated[int, typer.Option(help="Days that it may be served.", min=1, max=365)] = 90,
    json: options.Json = False,
) -> None:
    """Write what a worker elsewhere needs to serve everything that is live: a folder and its keys.

    FOLDER/serving holds the signed plan and what it names, encrypted. FOLDER/secret holds the worker's
    key and the key of those contents: hand it over as a secret. It is a copy: what is deployed or
    rolled back later needs a new one, and so does a folder whose time is over. The home's plan is signed
    anew for that long.

    Example: gatewright release mount --to loans-serving
    """
    from gatewright.assembly.mounting import mount_home
    from gatewright.cli import show

    made = mount_home(Path.cwd(), to, days=valid)
    if json:
        show.as_json(
            {
                "folder": str(made.folder),
                "plan": made.plan,
                "expires": made.expires,
                "endpoints": list(made.endpoints),
                "worker": made.worker,
                "fingerprint": made.fingerprint,
            }
        )
        return
    show.done(f"Plan {made.plan} ({', '.join(made.endpoints)}) is written to {made.folder}.")
    show.line(f"  It may be served until {show.seconds(made.expires)}; then write a new one.")
    show.line(f"  {made.folder}/secret holds private keys: hand it over as a secret, then delete it here.")
    show.hint(
        f"Serve it: gatewright serve --folder {made.folder}/serving --keys {made.folder}/secret "
        f"--segments records --fingerprint {made.fingerprint[:16]}"
    )


def plain(home: Home, made: Release) -> dict[str, Any]:
    """The JSON form of a release with what stands beside it."""
    from gatewright.operations import released
    from gatewright.operations.catalogue import body_of
    from gatewright.operations.revocations import revoked
    from gatewright.operations.users import named
    from gatewright.operations.waive import words_of

    taken_back = revoked(home, made.root)
    return {
        **body_of(made),
        "revoked": None if taken_back is None else body_of(taken_back),
        "waivers": [
            {**body_of(entry), "by": named(home, entry.principal), "words": words_of(home, entry)}
            for entry in released.waivers(home, made.root)
        ],
        "counted": released.approvers(home, made.root),
        "approvals": [body_of(entry) for entry in released.approvals(home, made.root)],
        "statements": {name: digest.hex for name, digest in released.statements(home, made).items()},
    }
