"""What ``status`` says of the traffic: who answers which share, what is stopped, how records are made."""

from __future__ import annotations

from collections.abc import Iterator

from gatewright.cli import show
from gatewright.cli.keys import limits
from gatewright.cli.show import escape
from gatewright.deployments.plan import WHOLE, Recording
from gatewright.deployments.wording import bound_text, share_text
from gatewright.operations.catalogue import Endpoint
from gatewright.operations.status import Status

RECORDED = {
    Recording.DURABLE.value: "on disk before the answer",
    Recording.ASYNCHRONOUS.value: "just after the answer, as the policy allows; a crash may lose the last ones",
}


def tell_traffic(found: Status) -> None:
    """Show every endpoint to people: a row for each release, then what else holds."""
    if found.warning:
        show.line(found.warning, style="red")
        show.hint(
            "Any command that changes something signs the plan anew, and a running 'gatewright serve' does."
        )
    if not found.endpoints:
        show.hint("Nothing is live yet. Ship a model: gatewright ship NAME")
        return
    show.table(
        ("endpoint", "release", "root", "place", "answers"),
        (row for each in found.endpoints for row in _rows(each)),
        right=("answers",),
    )
    for each in found.endpoints:
        if each.rate:
            show.line(f"{each.endpoint}: {bound_text(each.rate, 'requests a second', 'over all callers')}.")
        style = "yellow" if each.recording == Recording.ASYNCHRONOUS else ""
        show.line(f"{each.endpoint}: {each.recording} recording, {RECORDED[each.recording]}.", style=style)
    for key in found.limited:
        show.line(f"{key.endpoint}: key {key.id}{f' ({key.name})' if key.name else ''} has {limits(key)}.")


def _rows(entry: Endpoint) -> Iterator[tuple[str, str, str, str, str]]:
    """The champion and what stands beside it; the share is of the requests, with arms of the subjects."""
    name = f"{escape(entry.endpoint)} [red]✗ stopped[/]" if entry.stopped else escape(entry.endpoint)
    rest = WHOLE - sum(each.share for each in entry.placed)
    state = " (rolled back)" if entry.state == "rolled-back" else ""
    yield name, entry.ref, entry.root.hex[:8], f"champion{state}", _share(entry, rest)
    for each in entry.placed:
        place = f"arm {escape(each.name)}" if each.place == "arm" else each.place
        share = {"shadow": "copies only", "fallback": "where others fail"}.get(
            each.place, _share(entry, each.share)
        )
        yield "", each.ref, each.root.hex[:8], place, share
    if entry.previous_root is not None:
        yield "", entry.previous_ref, entry.previous_root.hex[:8], "previous", "warm for a rollback"


def _share(entry: Endpoint, share: int) -> str:
    return "nothing" if entry.stopped else share_text(share)
