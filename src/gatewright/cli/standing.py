"""What ``status`` says of the traffic: who answers which share, what is stopped, how records are made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from gatewright.cli import show
from gatewright.cli.keys import limits
from gatewright.cli.show import escape
from gatewright.deployments.plan import WHOLE, Recording
from gatewright.deployments.wording import bound_text, share_text
from gatewright.kernel.plurals import many
from gatewright.operations.catalogue import Endpoint
from gatewright.operations.status import Status
from gatewright.operations.waiting import LONG_WAIT_S

if TYPE_CHECKING:
    from gatewright.assembly.counting import Counted

RECORDED = {
    Recording.DURABLE.value: "on disk before the answer",
    Recording.ASYNCHRONOUS.value: "just after the answer, as the policy allows; a crash may lose the last ones",
}
OUTCOMES = ("agreed", "differed", "failed", "dropped", "unrecorded")


def tell_traffic(found: Status, count: Mapping[str, Counted]) -> None:
    """Show every endpoint to people: a row for each release, then what was answered and what else holds."""
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
        if each.endpoint in count:
            _tell_counts(each, count[each.endpoint], _names(found))
    for key in found.limited:
        show.line(f"{key.endpoint}: key {key.id}{f' ({key.name})' if key.name else ''} {limits(key)}.")


def tell_advisories(found: Status) -> None:
    """Show to people which live releases a published advisory names."""
    for warning in found.advisories:
        show.line(warning, style="red")
    for judged in found.let_stand:
        show.line(judged, style="yellow")
    if found.advisories:
        show.hint("See which, and what mends them: gatewright advisory check")


def tell_keys(found: Status) -> None:
    """Show to people that the home's keys expire soon, where they do."""
    if found.keys_warning:
        show.line(found.keys_warning, style="red")
        show.hint(
            "Put new ones in force: gatewright key rotate release, log and root. What was signed stays valid."
        )


def tell_witnesses(found: Status) -> None:
    """Show to people who cosigned how much of the log, and what went wrong there."""
    for one in found.witnesses:
        missing = found.records > one.size
        what = f"cosigned {one.size:,} of {found.records:,} records" if missing else "cosigned every record"
        show.line(f"Witness {one.witness} {what}.", style="yellow" if missing else "")
    for problem in found.witness_problems:
        show.line(problem, style="red")


def _rows(entry: Endpoint) -> Iterator[tuple[str, str, str, str, str]]:
    """The champion and what stands beside it; the share is of the requests, with arms of the subjects."""
    name = f"{escape(entry.endpoint)} [red]✗ stopped[/]" if entry.stopped else escape(entry.endpoint)
    rest = WHOLE - sum(each.share for each in entry.placed)
    state = {"rolled-back": " again, after a rollback", "revoked": ", revoked"}.get(entry.state, "")
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


def _names(found: Status) -> dict[str, str]:
    """What each live release is called, by the digest of its root: with its first digits where two share a name."""
    refs = {root: ref for entry in found.endpoints for _, _, ref, root in _places(entry)}
    often = Counter(refs.values())
    return {root: f"{ref} ({root[:4]}…)" if often[ref] > 1 else ref for root, ref in refs.items()}


def _tell_counts(entry: Endpoint, count: Counted, names: Mapping[str, str]) -> None:
    """What each release of an endpoint answered, and what became of the shadow's copies."""
    answered = []
    for place, shown, ref, root in _places(entry):
        release = place, int(ref.rpartition("@")[2])
        if place == "shadow":
            outcomes = count.shadow.get(release[1], {})
            said = ", ".join(f"{outcomes[name]:,} {name}" for name in OUTCOMES if outcomes.get(name))
            if said:
                show.line(f"{entry.endpoint}: copies for the shadow {names[root]}: {said}.")
            continue
        answered.append(f"{count.answers.get(release, 0):,} by {shown} {names[root]}")
        if number := count.breakers_open.get(release):
            show.line(
                f"{entry.endpoint}: the breaker before {shown} {names[root]} is open "
                f"({number} worker{'s' if number > 1 else ''}): another release answers instead.",
                style="red",
            )
    if count.answers:
        refused = f"; {count.refused:,} refused" if count.refused else ""
        show.line(f"{entry.endpoint}: answered so far: {', '.join(answered)}{refused}.")


def _places(entry: Endpoint) -> Iterator[tuple[str, str, str, str]]:
    """Of each release: its place as workers call it, the same for people, its name and its root."""
    yield "champion", "the champion", entry.ref, entry.root.hex
    for each in entry.placed:
        arm = each.place == "arm"
        yield (
            (each.name if arm else each.place),
            (f"arm {each.name}" if arm else f"the {each.place}"),
            each.ref,
            each.root.hex,
        )


def counts(count: Mapping[str, Counted]) -> dict[str, Any]:
    """The counts of every endpoint, for ``--json``."""

    def listed(numbers: Mapping[tuple[str, int], int], what: str) -> list[dict[str, Any]]:
        return [
            {"place": place, "version": version, what: value} for (place, version), value in numbers.items()
        ]

    return {
        endpoint: {
            "answers": listed(each.answers, "requests"),
            "breakers_open": listed(each.breakers_open, "workers"),
            "refused": each.refused,
            "shadow": [{"version": version, **outcomes} for version, outcomes in each.shadow.items()],
        }
        for endpoint, each in count.items()
    }


def tell_workers(found: Status) -> None:
    """Show to people what serves, what is down, and whether somebody collects."""
    serving = [each for each in found.workers if each.get("serving")]
    down = [(place, each) for place, each in enumerate(found.workers) if each.get("down")]
    if serving:
        _tell_serving(serving, _names(found))
    elif found.workers:
        show.line(f"No worker is serving (the last one had plan {found.workers[0].get('plan')}).")
    for place, each in down:
        show.line(
            f"  Worker {each.get('slot', place)} is down: its process {each.get('pid')} is gone.", style="red"
        )
    if any(each.get("orphan") for each in serving):
        show.line(
            "  The process that looked after them is gone: a worker that ends is not replaced.", style="red"
        )
        show.hint("End them with 'kill', and start 'gatewright serve' again.")
    refusals = [each.get("refusal") for each in found.workers]
    for sentence in sorted({str(each.get("sentence")) for each in refusals if isinstance(each, Mapping)}):
        show.line(f"  The newest plan was not taken: {sentence}", style="red")
    _tell_collector(found, serves=bool(serving))


def tell_stored(found: Status) -> None:
    """Show to people whether what is stored holds: damage, the scrubber's last pass, a home that was put back."""
    if found.put_back:
        show.line(found.put_back, style="red")
    if found.look:
        show.line(f"This home was put back. {found.look}", style="red")
    for each in found.damaged:
        show.line(f"Damaged: {each.what} {escape(each.place)}: {escape(each.found)}", style="red")
    if found.damaged:
        show.hint("Put it back from a backup, then: gatewright scrub")
    done = found.scrubbed
    if done is not None and done.position:
        show.line(f"Scrubbing since {show.seconds(done.began)}: {done.pieces:,} stored things read.")
    elif done is not None:
        show.line(
            f"Every stored byte, as of then, was verified by {show.seconds(done.finished)}: "
            f"{many(done.pieces, 'thing')}, {done.bytes:,} bytes. What came since waits for the next pass."
        )


def _tell_serving(serving: list[Any], names: Mapping[str, str]) -> None:
    """One line for all workers, and how they run each release."""
    first = serving[0]
    plans = Counter(each.get("plan") for each in serving)
    asked = first.get("workers")
    slots = max(asked if isinstance(asked, int) else 1, len(serving))
    if slots == 1:
        show.done(f"A worker serves plan {first.get('plan')} at {first.get('url')}.")
    else:
        number, some = plans.most_common(1)[0]
        show.done(f"{some} of {slots} workers serve plan {number} at {first.get('url')}.")
        for number, some in plans.most_common()[1:]:
            show.line(f"  {some} of {slots} serve plan {number}.", style="yellow")
    if first.get("grpc"):
        show.line(f"  gRPC is answered at {first['grpc']}.")
    if first.get("tls_ended_by"):
        show.line(f"  Traffic is not encrypted there; what ends TLS in front: {first['tls_ended_by']}.")
    for model in first.get("models", ()):
        show.line(f"  {_manner(model, names)}")


def _manner(model: Mapping[str, Any], names: Mapping[str, str]) -> str:
    """How a worker runs one release."""
    joined = model["joined_rows"]
    together = f", up to {joined} rows in one run" if joined > 1 else ""
    name = names.get(str(model.get("root")))
    told = (
        f"{name} ({model['place']} of {model['endpoint']})"
        if name
        else f"{model['endpoint']} version {model['version']} ({model['place']})"
    )
    return f"{told}: {model['run']}, {model['microseconds']['1']:,} µs for one row{together}."


def _tell_collector(found: Status, *, serves: bool) -> None:
    """Say so where nobody collects beside a server, or sealed segments wait for long."""
    if serves and not found.collecting:
        show.line("  No collector runs beside it: sealed segments wait.", style="red")
    if found.longest_wait > LONG_WAIT_S:
        show.line(f"  The first sealed segment has waited for {_time(found.longest_wait)}.", style="red")
    if found.segments_waiting and (not found.collecting or found.longest_wait > LONG_WAIT_S):
        show.hint("Bring them into the ledger, or see what hinders: gatewright collect")


def _time(seconds: float) -> str:
    minutes = int(seconds // 60)
    return f"{minutes} minute{'s' if minutes != 1 else ''}" if minutes < 120 else f"{minutes // 60:,} hours"
