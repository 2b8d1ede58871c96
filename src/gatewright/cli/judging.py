"""``release revoke``, and what is told of revoked releases and waived rules."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from gatewright.cli import options

if TYPE_CHECKING:
    from gatewright.operations.status import Status
    from gatewright.operations.waive import Waiving

WARN_DAYS = 14
"""A waiver that ends sooner than this is worth a warning."""


class Because(StrEnum):
    """The codes of a revocation: those of the statement, here so that help needs no cryptography."""

    UNSPECIFIED = "unspecified"
    WRONG = "wrong"
    UNFAIR = "unfair"
    UNSAFE = "unsafe"
    DATA = "data"
    RIGHTS = "rights"
    COMPROMISED = "compromised"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(revoke)


def revoke(
    name: Annotated[str, typer.Argument(help="NAME, NAME@VERSION or the beginning of the root.")],
    reason: Annotated[str, typer.Option(help="Why, in your words; kept encrypted.")] = "",
    because: Annotated[Because, typer.Option(help="Why, in one word for machines.")] = Because.UNSPECIFIED,
    json: options.Json = False,
) -> None:
    """Take a release back for ever: it never answers again, and where it is live it stops at once.

    The champion gives way to the previous release; where there is none, the endpoint is stopped.

    Example: gatewright release revoke loans@2 --reason "wrong for students" --because wrong
    """
    from gatewright.cli import show
    from gatewright.operations import revoke as revoking
    from gatewright.operations.catalogue import body_of
    from gatewright.releases.judgements import RevocationReason

    with options.home() as home:
        done = revoking.revoke(home, name, words=reason, reason=RevocationReason(because))
    if json:
        endpoints = [body_of(each) for each in done.endpoints]
        show.as_json({**body_of(done.entry), "committed": str(done.committed), "changed": endpoints})
        return
    show.done(f"{done.entry.ref} ({done.entry.root.short}) is revoked ({done.entry.reason}).")
    for each in done.endpoints:
        show.line(f"  {each.endpoint}: {each.what}.", style="red" if each.stopped else "")
        if each.stopped:
            show.hint(f"Deploy another release, then let it answer: gatewright resume {each.endpoint}")
    show.line("  Folders that 'gatewright release mount' wrote before go on until their time is over.")


def waiving(rules: list[str] | None, until: str, reason: str, by: str) -> Waiving | None:
    """What the options of ``release create`` ask to waive; None without any of them."""
    from gatewright.kernel.errors import Misuse
    from gatewright.kernel.instants import Instant
    from gatewright.operations.waive import Waiving

    if not any((rules, until, reason, by)):
        return None
    if not (rules and until and reason and by):
        raise Misuse(
            "cli.waiver",
            "A waiver says which rule, until when, why and by whom.",
            next='Give all of --waive RULE --until DATE --reason "WORDS" --as PERSON.',
        )
    return Waiving(rules=tuple(rules), until=Instant.parse(until), words=reason, by=by)


def tell_judgements(found: Status) -> None:
    """Show to people which releases are revoked, and which live ones rest on a waiver."""
    from gatewright.cli import show

    for each in found.revoked:
        show.line(f"{each.ref} ({each.root.short}) is revoked ({each.reason}).", style="red")
    for waived in found.waived:
        name = f"{waived.ref} ({waived.root.short})"
        if waived.over:
            show.line(
                f"{name} is live with a waiver that ended on {waived.until[:10]}: {waived.rule}.", style="red"
            )
            show.hint("It goes on serving; deploy a release that needs no waiver, or a newer one.")
            continue
        style = "yellow" if waived.days < WARN_DAYS else ""
        left = f"{waived.days} day{'' if waived.days == 1 else 's'}"
        show.line(
            f"{name} is live with a rule waived until {waived.until[:10]} ({left}): {waived.rule}.",
            style=style,
        )
