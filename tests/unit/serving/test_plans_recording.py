"""A worker takes asynchronous recording only where every release that may answer is allowed it by its own policy."""

from __future__ import annotations

import pytest

from gatewright.deployments.plan import Portion, Recording
from gatewright.kernel.errors import Refusal
from gatewright.kernel.names import Name
from unit.serving.rig import Rig
from unit.serving.test_plans import plans_of

ALLOWS = b"[recording]\nasynchronous = true\n"
DENIES = b"[recording]\nasynchronous = false\n"
PLACES = ("champion", "canary", "fallback", "shadow", "previous")


@pytest.mark.parametrize(
    ("denied", "taken"),
    [((), 1), (("shadow", "previous"), 1), (("champion",), 0), (("canary",), 0), (("fallback",), 0)],
)
def test_every_release_that_may_answer_needs_leave(rig: Rig, denied: tuple[str, ...], taken: int) -> None:
    """One policy without leave among those that answer keeps the plan out; the shadow's and the previous one's do not count."""
    said: list[Refusal | None] = []
    made = {
        place: rig.make_release(number, policy=DENIES if place in denied else ALLOWS)
        for number, place in enumerate(PLACES, 1)
    }
    envelope = rig.plan(
        1,
        made["champion"],
        made["previous"],
        recording=Recording.ASYNCHRONOUS,
        canary=Portion(name=Name("canary"), release=made["canary"], share=100),
        shadow=made["shadow"],
        fallback=made["fallback"],
    )
    rig.publish(envelope)
    plans = plans_of(rig, said)
    plans.load()
    assert taken == plans.table.number
    assert (None if taken else "serving.recording") == (plans.refusal and plans.refusal.code)


def test_a_policy_that_says_nothing_of_it_allows_nothing(rig: Rig) -> None:
    """A release from before the table existed is recorded durably or not served."""
    rig.publish(rig.plan(1, rig.make_release(1), recording=Recording.ASYNCHRONOUS))
    plans = plans_of(rig, [])
    plans.load()
    assert plans.refusal is not None
    assert "serving.recording" == plans.refusal.code
    rig.publish(rig.plan(2, rig.make_release(1), recording=Recording.DURABLE))
    plans.load()
    assert (2, None) == (plans.table.number, plans.refusal)
