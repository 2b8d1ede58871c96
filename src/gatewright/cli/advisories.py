"""``advisory``: published weaknesses, imported from files and matched offline."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gatewright.cli import options
from gatewright.kernel.plurals import advisories as plural
from gatewright.kernel.plurals import many

if TYPE_CHECKING:
    from gatewright.operations.advisories import Answer

app = typer.Typer(help="Advisories: import, list, check.", no_args_is_help=True, rich_markup_mode=None)
SHOWN = 200
"""Most advisories that a list shows to people; ``--json`` has them all."""


@app.command("import")
def import_(
    path: Annotated[Path, typer.Argument(help="OSV file (one object or a list), folder or zip of them.")],
    json: options.Json = False,
) -> None:
    """Take in published advisories in OSV form. All of them or, where one cannot be read, none.

    What is known already stays; of two with one id the one modified last stays.

    Example: gatewright advisory import osv-pypi.zip
    """
    from gatewright.cli import show
    from gatewright.operations import advisories
    from gatewright.operations.catalogue import body_of

    with options.home_beside_others() as home:
        found = advisories.import_advisories(home, path, options.quiet if json else show.progress)
    if json:
        show.as_json(body_of(found))
        return
    show.done(
        f"{plural(found.read)} read: {found.added:,} new, {found.changed:,} in the place of older ones. "
        f"{found.count:,} known now, {found.withdrawn:,} of them withdrawn."
    )
    show.hint("Ask what they say of this environment and of what is live: gatewright advisory check")


@app.command("list")
def list_(
    package: Annotated[
        str, typer.Argument(help="One package only, as pypi/numpy or pkg:generic/loans.")
    ] = "",
    json: options.Json = False,
) -> None:
    """List the imported advisories, or those that name one package.

    Example: gatewright advisory list pypi/numpy
    """
    from gatewright.cli import show
    from gatewright.operations import advisories

    with options.home_beside_others() as home:
        told = [
            {
                "id": one.id,
                "modified": one.modified,
                "withdrawn": one.withdrawn,
                "severity": one.severity,
                "summary": one.summary,
                "names": list(one.names),
            }
            for one in advisories.listed(home)
            if not package or package in one.names
        ]
    if json:
        show.as_json(told)
        return
    show.table(
        ("advisory", "modified", "names", "severity", "summary"),
        (_row(one) for one in told[:SHOWN]),
    )
    if len(told) > SHOWN:
        show.line(f"and {len(told) - SHOWN:,} more; name a package, or ask with --json.")


def _row(one: dict[str, Any]) -> tuple[str, ...]:
    from gatewright.checks.cvss import severity_told
    from gatewright.cli import show

    names = ", ".join(one["names"][:3]) + (", …" if len(one["names"]) > 3 else "")
    summary = "withdrawn" if one["withdrawn"] else one["summary"][:80]
    return tuple(
        map(
            show.escape,
            (one["id"], one["modified"][:10], names, severity_told(one["severity"])[:60], summary),
        )
    )


@app.command()
def check(json: options.Json = False) -> None:
    """Match this environment and the bills of all live releases with the imported advisories, offline.

    What policy.toml lets stand is named, and counts as judged. Exit code 1: something else matches, or it
    cannot be decided whether it does.

    Example: gatewright advisory check
    """
    from gatewright.cli import show
    from gatewright.operations import advisories

    with options.home_beside_others() as home:
        found = advisories.ask(home)
    if json:
        show.as_json(_document(found))
    else:
        _tell(found)
    if not found.clear:
        raise typer.Exit(1)


def _document(found: Answer) -> dict[str, Any]:
    from gatewright.checks.security.advisories import document

    return {
        "advisories": found.imported.count,
        "digest": found.imported.digest.hex,
        "imported": str(found.time),
        "age_days": found.age_days,
        "clear": found.clear,
        "places": [
            {
                "what": place.what,
                "parts": place.parts,
                "reason": place.reason,
                "matches": [document(match) for match in place.matches],
                "let_stand": [document(match) for match in place.judged],
            }
            for place in found.places
        ],
    }


def _tell(found: Answer) -> None:
    from gatewright.checks.security.advisories import judged_told, told
    from gatewright.cli import show

    days = "today" if found.age_days == 0 else f"{found.age_days} days ago"
    show.line(
        f"{plural(found.imported.count)} known; the newest import was {days}. "
        "What was published since, or was not imported, is not known here."
    )
    for place in found.places:
        if place.judged:
            show.line(f"… {place.what}: {judged_told(place.judged)}.", style="yellow")
        elif not place.matches and not place.reason:
            show.done(f"{place.what}: none of its {many(place.parts, 'part')} is named.")
        if place.reason:
            show.line(f"? {place.what}: {place.reason}", style="yellow")
        for match in place.matches:
            show.line(f"✗ {place.what}: {told(match)}", style="red")
            if match.advisory.summary:
                show.line(f"    {match.advisory.summary}")
