"""What changes an endpoint without putting a release anywhere: stop, resume, take away, withdraw, limit."""

from __future__ import annotations

from gatewright.deployments import changes
from gatewright.deployments.deployment import Beside
from gatewright.deployments.plan import Recording
from gatewright.deployments.wording import ref_text
from gatewright.kernel.errors import Misuse, Refusal, Refused
from gatewright.operations.home import Home
from gatewright.operations.plans import Changed, change, judged_again, may_lag, seat_of, standing


def stop(home: Home, endpoint: str) -> Changed:
    """Refuse every request of an endpoint, from the next plan on; needs nobody's approval."""
    found = standing(home, endpoint)
    plan = changes.stop(found.plan, found.entry.endpoint, home.now())
    return change(home, found, plan, found.state, kind="endpoint.stopped")


def resume(home: Home, endpoint: str) -> Changed:
    """Let a stopped endpoint answer again."""
    found = standing(home, endpoint)
    plan = changes.resume(found.plan, found.entry.endpoint, home.now())
    return change(home, found, plan, found.state, kind="endpoint.resumed")


def leave(home: Home, endpoint: str, beside: Beside) -> Changed:
    """Take away the canary, all arms, the shadow or the fallback."""
    found = standing(home, endpoint)
    plan = changes.leave(found.plan, found.entry.endpoint, beside, home.now())
    return change(home, found, plan, found.state, kind="endpoint.left")


def withdraw(home: Home, endpoint: str) -> Changed:
    """Take an endpoint out of the plan, and its keys with it."""
    found = standing(home, endpoint)
    withdrawn = changes.withdraw(found.plan, found.entry.endpoint, home.now(), state=found.state)
    if isinstance(withdrawn, Refusal):
        raise Misuse.of(withdrawn)
    return change(home, found, withdrawn.plan, withdrawn.state, kind="endpoint.withdrawn")


def limit(
    home: Home, endpoint: str, *, rate: int | None = None, recording: Recording | None = None
) -> Changed:
    """Bound the requests of all callers together, or say when records are made; what is None stays.

    Raises Refused for asynchronous recording that the policy of a release that answers does not allow.
    """
    found = standing(home, endpoint)
    if recording is Recording.ASYNCHRONOUS:
        for release in found.now.answering():
            if not may_lag(home, release):
                raise Refused(
                    "operations.recording",
                    f"The policy of {ref_text(release)} does not allow asynchronous recording.",
                    why="Its releases promise a record on disk before every answer.",
                    next="Set asynchronous = true under [recording] in policy.toml. Then: "
                    + judged_again(ref_text(release), found.entry.endpoint, seat_of(found.now, release)),
                )
    plan = changes.limit(found.plan, found.entry.endpoint, home.now(), rate=rate, recording=recording)
    return change(home, found, plan, found.state, kind="endpoint.limited")
