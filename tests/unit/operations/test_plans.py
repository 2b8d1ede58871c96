"""Plans expire: when they are renewed, by whom, and what is said before."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from gatewright.adapters.local_blobs import LocalBlobs
from gatewright.assembly.homes import open_home
from gatewright.assembly.verifying import verify_home
from gatewright.deployments.deployment import DAY, PLAN_LIFETIME, Beside, Seat
from gatewright.deployments.plan import TrafficPlan, read_plan
from gatewright.kernel.instants import Instant
from gatewright.ledger.records import Record
from gatewright.operations.deploy import deploy_release
from gatewright.operations.home import Home
from gatewright.operations.mount import mount
from gatewright.operations.plans import current_plan, renew
from gatewright.operations.status import status


def _later(home: Home, days: float) -> Home:
    """The same home, that many days on."""
    now = home.now().ns + int(days * DAY)
    return replace(home, now=lambda: Instant(now))


def _plan(home: Home) -> TrafficPlan:
    plan = current_plan(home)
    assert plan is not None
    return plan


def test_a_plan_is_signed_for_its_lifetime(live: Home) -> None:
    """Each change gives ninety days, counted from its issue."""
    plan = _plan(live)
    assert plan.expires is not None
    assert PLAN_LIFETIME == plan.expires.ns - plan.issued.ns


def test_a_young_plan_is_left_alone(live: Home) -> None:
    """With half of its life left nothing is signed or recorded."""
    before = (live.archive.checkpoint(), live.plan_path.read_bytes())
    assert _plan(live) == renew(_later(live, 44.9))
    assert before == (live.archive.checkpoint(), live.plan_path.read_bytes())


def test_an_ageing_plan_is_renewed_once(live: Home) -> None:
    """The next number says the same for another lifetime, by one record, and is published."""
    old, late = _plan(live), _later(live, 46)
    new = renew(late)
    assert new is not None
    now = late.now()
    assert replace(old, number=2, issued=now, expires=Instant(now.ns + PLAN_LIFETIME)) == new
    assert new == read_plan(live.plan_path.read_bytes(), live.trust)
    draft = Record.decode(list(live.archive.leaves())[-1]).draft
    assert ("plan.renewed", 2, str(new.expires)) == (
        draft.kind,
        draft.body["plan_number"],
        draft.body["expires"],
    )
    assert new == renew(late)


def test_nothing_live_is_nothing_to_renew(fresh: Home) -> None:
    """A home without a plan has none to renew, and says nothing of one."""
    assert renew(fresh) is None
    assert ("", "") == (status(fresh).plan_expires, status(fresh).warning)


@pytest.mark.parametrize(
    ("days", "words"), [(0, ""), (75, ""), (77, "in 12 days"), (89.5, "in 0 days"), (91, "expired on")]
)
def test_status_warns_before_a_plan_expires(live: Home, days: float, words: str) -> None:
    """The warning comes in the last fourteen days, and says when it is too late."""
    said = status(_later(live, days)).warning
    assert bool(words) == bool(said)
    assert words in said


@pytest.mark.parametrize(("life", "expired", "words"), [(DAY, False, "good until"), (1, True, "expired on")])
def test_verify_names_an_expired_plan_as_that(
    live_template: Path, tmp_path: Path, life: int, words: str, *, expired: bool
) -> None:
    """A plan past its time is no forgery: it verifies, and the sentence and the facts say that it is over."""
    root = Path(shutil.copytree(live_template, tmp_path / "home"))
    with open_home(root) as home:
        renew(home, lifetime=life)
    found = {one.kind: one for one in verify_home(root)}
    assert {"plan", "blobs", "release"} <= set(found)
    assert expired is found["plan"].facts["expired"]
    assert words in found["plan"].sentence
    with open_home(root) as home:
        assert PLAN_LIFETIME // 2 < _left(home)


def _left(home: Home) -> int:
    expires = _plan(home).expires
    assert expires is not None
    return expires.ns - home.now().ns


def test_a_mounted_folder_lives_as_long_as_it_is_told(live: Home, tmp_path: Path) -> None:
    """The folder's plan is the home's recorded plan, signed for those days, with every release it names."""
    deploy_release(live, "loans@2", seat=Seat(beside=Beside.SHADOW))
    late = _later(live, 0)
    made = mount(late, tmp_path / "out", days=200, store=LocalBlobs, keep_keys=lambda *_: None)
    plan = _plan(live)
    assert live.plan_path.read_bytes() == (tmp_path / "out" / "serving" / "plan.dsse").read_bytes()
    assert Instant(late.now().ns + 200 * DAY) == plan.expires
    assert (plan.number, str(plan.expires)) == (made.plan, made.expires)
    shadow = plan.endpoints[0].shadow
    assert shadow is not None
    written = set(LocalBlobs(tmp_path / "out" / "serving" / "blobs", bytes(32)).digests())
    assert {*shadow.resources.values(), shadow.bundle, *shadow.statements} <= written
