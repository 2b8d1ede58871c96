"""``deploy``, ``rollback``, ``stop``, ``resume``, ``undeploy``, ``limit``: which release answers what, and how much."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from gatewright.cli import options

if TYPE_CHECKING:
    from gatewright.deployments.deployment import Beside, Seat
    from gatewright.deployments.plan import Recording
    from gatewright.operations.plans import Changed

Endpoint = Annotated[str, typer.Argument(help="Endpoint: the name that clients call.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (deploy, rollback, stop, resume, undeploy, limit):
        app.command()(command)


def deploy(
    release: Annotated[str, typer.Argument(help="Release: NAME, NAME@VERSION or the beginning of its root.")],
    to: Annotated[str, typer.Option("--to", help="Endpoint (default: named like the model).")] = "",
    canary: Annotated[
        str, typer.Option("--canary", metavar="SHARE", help="Answer this share of the requests, such as 10%.")
    ] = "",
    arm: Annotated[
        str,
        typer.Option(
            "--arm", metavar="NAME=SHARE", help="Answer this share of the subjects, such as blue=25%."
        ),
    ] = "",
    shadow: Annotated[
        bool, typer.Option("--shadow", help="See copies of the requests; answer nobody.")
    ] = False,
    fallback: Annotated[bool, typer.Option("--fallback", help="Answer where another release fails.")] = False,
    new_key: Annotated[
        bool, typer.Option("--new-key", help="Make a further API key for the endpoint.")
    ] = False,
    json: options.Json = False,
) -> None:
    """Put an approved release live: as the champion, or with one of four options beside it.

    Every place has the same gate. The first deployment of an endpoint makes its API key. Deploying the
    canary's release as the champion ends the canary. Exit code 5 while approvals are missing.

    Example: gatewright deploy loans@2 --canary 10%
    """
    from gatewright.cli import show
    from gatewright.operations.deploy import deploy_release

    seat = _seat(canary, arm, shadow=shadow, fallback=fallback)
    if seat is not None and new_key:
        from gatewright.kernel.errors import Misuse

        raise Misuse(
            "cli.key-apart",
            "--new-key goes with a champion.",
            next="Make a key apart: gatewright key add ENDPOINT",
        )
    with options.home() as home:
        deployed = deploy_release(home, release, endpoint=to, new_key=new_key, seat=seat)
    if json:
        show.as_json(plain_changed(deployed))
    elif seat is None:
        tell_deployed(deployed)
    else:
        _told(deployed, json=False)


def _seat(canary: str, arm: str, *, shadow: bool, fallback: bool) -> Seat | None:
    """The place that the options name, or None for the champion's."""
    from gatewright.deployments.deployment import Beside, Seat
    from gatewright.deployments.wording import parse_share
    from gatewright.kernel.errors import Misuse
    from gatewright.kernel.names import parse_name

    _at_most_one(
        ("--canary", bool(canary)), ("--arm", bool(arm)), ("--shadow", shadow), ("--fallback", fallback)
    )
    if canary:
        return Seat(beside=Beside.CANARY, share=parse_share(canary))
    if arm:
        name, equals, share = arm.partition("=")
        if not equals:
            raise Misuse(
                "cli.arm", f"{arm[:80]!r} is no arm.", next="Write --arm NAME=SHARE, such as blue=25%."
            )
        return Seat(beside=Beside.ARMS, name=parse_name(name, of="name of the arm"), share=parse_share(share))
    if shadow or fallback:
        return Seat(beside=Beside.SHADOW if shadow else Beside.FALLBACK)
    return None


def _at_most_one(*given: tuple[str, bool]) -> list[str]:
    """The option that was given, if any; raises Misuse for two."""
    from gatewright.kernel.errors import Misuse

    named = [name for name, there in given if there]
    if len(named) > 1:
        raise Misuse(
            "cli.one-place", f"{' and '.join(named)} exclude each other.", next="Run one command for each."
        )
    return named


def rollback(endpoint: Endpoint, json: options.Json = False) -> None:
    """Take back what was changed last, whole, in one step.

    With a canary or arms that is the experiment: they leave, the shadow with them, and the champion
    stays. Without one the previous release becomes the champion again.

    Example: gatewright rollback loans
    """
    from gatewright.cli import show
    from gatewright.operations.deploy import roll_back_endpoint

    with options.home() as home:
        changed = roll_back_endpoint(home, endpoint)
    if json:
        show.as_json(plain_changed(changed))
        return
    entry = changed.entry
    warm = f"; {entry.previous_ref} stays warm" if entry.previous_ref else ""
    show.done(f"{entry.endpoint} is back on {entry.ref}{warm} (plan {entry.plan_number}).")
    _tell_rest(changed)


def stop(endpoint: Endpoint, json: options.Json = False) -> None:
    """Stop an endpoint at once: every request is refused until it is resumed. Needs no approval.

    Example: gatewright stop loans
    """
    from gatewright.operations import traffic

    with options.home() as home:
        changed = traffic.stop(home, endpoint)
    _told(changed, json=json)


def resume(endpoint: Endpoint, json: options.Json = False) -> None:
    """Let a stopped endpoint answer again.

    Example: gatewright resume loans
    """
    from gatewright.operations import traffic

    with options.home() as home:
        changed = traffic.resume(home, endpoint)
    _told(changed, json=json)


def undeploy(
    endpoint: Endpoint,
    canary: Annotated[bool, typer.Option("--canary", help="Take away the canary.")] = False,
    arms: Annotated[bool, typer.Option("--arms", help="Take away all arms.")] = False,
    shadow: Annotated[bool, typer.Option("--shadow", help="Take away the shadow.")] = False,
    fallback: Annotated[bool, typer.Option("--fallback", help="Take away the fallback.")] = False,
    json: options.Json = False,
) -> None:
    """Take something away from an endpoint; without an option, withdraw it whole, its API keys with it.

    Example: gatewright undeploy loans --canary
    """
    from gatewright.deployments.deployment import Beside
    from gatewright.operations import traffic

    named = _at_most_one(
        ("--canary", canary), ("--arms", arms), ("--shadow", shadow), ("--fallback", fallback)
    )
    beside: Beside | None = Beside(named[0].removeprefix("--")) if named else None
    with options.home() as home:
        changed = (
            traffic.withdraw(home, endpoint) if beside is None else traffic.leave(home, endpoint, beside)
        )
    _told(changed, json=json)


def limit(
    endpoint: Endpoint,
    key: Annotated[str, typer.Option("--key", metavar="ID", help="One API key, by its id.")] = "",
    rate: Annotated[
        int | None, typer.Option(help="Most requests in a second; 0 for no bound.", min=0)
    ] = None,
    quota: Annotated[
        int | None, typer.Option(help="With --key: most requests in a day (UTC); 0 for no bound.", min=0)
    ] = None,
    shown: Annotated[
        str, typer.Option("--show", help="With --key: full, label, top:K classes or round:N decimals.")
    ] = "",
    recording: Annotated[
        str,
        typer.Option(
            help="durable: on disk before the answer; asynchronous: just after, if the policy allows."
        ),
    ] = "",
    json: options.Json = False,
) -> None:
    """Bound what callers may ask for and what they are shown, and say when records are made.

    With --key the bounds are of that key; without, of all callers together.

    Example: gatewright limit loans --rate 200
    """
    from gatewright.kernel.errors import Misuse
    from gatewright.operations import traffic

    if rate is None and quota is None and not shown and not recording:
        raise Misuse("cli.no-limit", "No limit was named.", next="Add --help to see what can be limited.")
    if key and not recording:
        from gatewright.cli.keys import limit_key

        limit_key(endpoint, key, rate=rate, quota=quota, shown=shown, json=json)
        return
    _require_of_endpoint(endpoint, of_key=bool(key or shown or quota is not None))
    with options.home() as home:
        changed = traffic.limit(home, endpoint, rate=rate, recording=_recording(recording))
    _told(changed, json=json)


def _require_of_endpoint(endpoint: str, *, of_key: bool) -> None:
    from gatewright.kernel.errors import Misuse

    if of_key:
        raise Misuse(
            "cli.limit-of-key",
            "--quota and --show bound one API key; --recording is of the whole endpoint.",
            next=f"Name the key with --key, in a command of its own: gatewright key list {endpoint}",
        )


def _recording(text: str) -> Recording | None:
    from gatewright.deployments.plan import Recording
    from gatewright.kernel.errors import Misuse

    if text and text not in tuple(Recording):
        raise Misuse(
            "cli.recording", f"{text[:40]!r} is no way of recording.", next="Write durable or asynchronous."
        )
    return Recording(text) if text else None


def plain_changed(changed: Changed) -> dict[str, Any]:
    """The JSON form of a change of an endpoint."""
    from gatewright.operations.catalogue import body_of

    return {**body_of(changed.entry), "api_key": changed.api_key, "committed": str(changed.committed)}


def _told(changed: Changed, *, json: bool) -> None:
    from gatewright.cli import show

    if json:
        show.as_json(plain_changed(changed))
        return
    entry = changed.entry
    show.done(f"{entry.endpoint} (plan {entry.plan_number}): {entry.what}.")


def tell_deployed(deployed: Changed) -> None:
    """Show a deployment to people, with the API key when one was made."""
    from gatewright.cli import show

    entry = deployed.entry
    warm = f"; {entry.previous_ref} stays warm for a rollback" if entry.previous_ref else ""
    show.done(f"{entry.ref} is live on endpoint {entry.endpoint} (plan {entry.plan_number}){warm}.")
    _tell_rest(deployed)
    if entry.stopped:
        show.hint(f"The endpoint is stopped and answers nothing: gatewright resume {entry.endpoint}")
    if deployed.api_key:
        show.line()
        show.out.print(f"  API key of {entry.endpoint}, shown once: [bold]{deployed.api_key}[/]")
        show.line()
        show.hint(f"Next: gatewright serve   To see a call: gatewright example {entry.endpoint}")


def _tell_rest(changed: Changed) -> None:
    """What else changed, that the first sentence does not say."""
    from gatewright.cli import show

    for each in changed.entry.what.split("; "):
        if each and not each.endswith(("is the champion", "stays warm for a rollback", "was added")):
            show.line(f"  {each[0].upper()}{each[1:]}.")
