"""What stands beside the champion, what is stopped, limited or withdrawn: recorded, signed and published."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gatewright.deployments.deployment import Beside, Seat
from gatewright.deployments.plan import EndpointPlan, Recording, read_plan
from gatewright.kernel.errors import ApprovalNeeded, Misuse, Refused
from gatewright.kernel.names import Name
from gatewright.ledger.records import Record
from gatewright.operations import check, keys, release, traffic, users
from gatewright.operations.approve import approve
from gatewright.operations.catalogue import Endpoint, find, find_live
from gatewright.operations.deploy import deploy_release, roll_back_endpoint
from gatewright.operations.history import changes, live_at
from gatewright.operations.home import Home
from gatewright.operations.plans import Changed, current_plan
from gatewright.operations.status import status
from gatewright.releases.verification import require_deployable, verify_release

CANARY = Seat(beside=Beside.CANARY, share=100)


def _now(home: Home) -> EndpointPlan:
    plan = read_plan(home.plan_path.read_bytes(), home.trust)
    assert plan == current_plan(home)
    found = plan.endpoint("loans")
    assert found is not None
    return found


def _kinds(home: Home) -> list[str]:
    return [Record.decode(leaf).draft.kind for leaf in home.archive.leaves()]


def _require_decided(home: Home) -> None:
    """Every release that the plan names verifies and has a decision for this endpoint."""
    found = _now(home)
    for ref in found.releases():
        statements = [home.blobs.get(digest) for digest in ref.statements]
        verified = verify_release(
            resources={name: home.blobs.get(digest) for name, digest in ref.resources.items()},
            bundle=home.blobs.get(ref.bundle),
            statements=statements,
            trust=home.trust,
        )
        require_deployable(verified, statements, home.trust, found.endpoint)


@pytest.mark.parametrize(
    "seat",
    [
        CANARY,
        Seat(beside=Beside.ARMS, name=Name("blue"), share=250),
        Seat(beside=Beside.SHADOW),
        Seat(beside=Beside.FALLBACK),
    ],
    ids=lambda seat: seat.beside,
)
def test_a_release_takes_a_place_and_leaves_it(live: Home, seat: Seat) -> None:
    """Each place is one record with a decision; the champion, its key and its limits stay as they were."""
    before = _now(live)
    joined = deploy_release(live, "loans@2", seat=seat).entry
    (placed,) = joined.placed
    word = "arm" if seat.beside is Beside.ARMS else seat.beside.value
    assert (word, "loans@2", seat.share) == (placed.place, placed.ref, placed.share)
    assert before.champion == _now(live).champion
    _require_decided(live)
    assert joined == find(live, "endpoints", "loans", Endpoint)
    traffic.leave(live, "loans", seat.beside)
    assert before == _now(live)
    assert ["endpoint.joined", "endpoint.left"] == _kinds(live)[-2:]


def test_every_place_has_the_same_gate(live: Home) -> None:
    """A release without its approvals takes no place; nothing is recorded or signed for it."""
    live.policy_path.write_text(live.policy_path.read_text("utf-8") + "\n# another policy, another root\n")
    made = release.create(live, "loans@2")
    before = live.archive.checkpoint()
    for seat in (CANARY, Seat(beside=Beside.SHADOW), Seat(beside=Beside.FALLBACK)):
        with pytest.raises(ApprovalNeeded):
            deploy_release(live, made.root.hex, seat=seat)
    assert before == live.archive.checkpoint()


@pytest.mark.parametrize(
    ("seat", "endpoint", "last"),
    [
        (None, "", "gatewright ship loans@2"),
        (None, "trial", "gatewright ship loans@2 --to trial"),
        (CANARY, "", "gatewright deploy loans@2 --canary 10%"),
        (
            Seat(beside=Beside.ARMS, name=Name("blue"), share=25),
            "",
            "gatewright deploy loans@2 --arm blue=2.5%",
        ),
        (Seat(beside=Beside.SHADOW), "trial", "gatewright deploy loans@2 --to trial --shadow"),
        (Seat(beside=Beside.FALLBACK), "", "gatewright deploy loans@2 --fallback"),
    ],
    ids=lambda value: value.beside if isinstance(value, Seat) else str(value),
)
def test_after_a_new_policy_the_next_step_keeps_the_place(
    live: Home, seat: Seat | None, endpoint: str, last: str
) -> None:
    """Who wanted a release beside the champion is led back to that place, and never to make it the champion."""
    live.policy_path.write_text(live.policy_path.read_text("utf-8") + "\n# another policy\n")
    with pytest.raises(Refused) as caught:
        deploy_release(live, "loans@2", endpoint=endpoint, seat=seat)
    advice = caught.value.refusal.next
    assert ("operations.other-policy", True) == (caught.value.code, advice.endswith(last))
    steps = ("gatewright check", "gatewright release create", "gatewright approve")
    assert (seat is not None) == all(f"{step} loans@2" in advice for step in steps)
    assert (seat is None) == ("gatewright ship" in advice)


def test_what_excludes_each_other_names_the_endpoint(live: Home) -> None:
    """The way out of an experiment is a command that can be typed as it stands."""
    deploy_release(live, "loans@2", seat=Seat(beside=Beside.ARMS, name=Name("blue"), share=250))
    with pytest.raises(Misuse) as caught:
        deploy_release(live, "loans@2", seat=CANARY)
    assert caught.value.refusal.next.endswith("gatewright undeploy loans --arms")


def test_who_approves_is_asked_unless_it_is_evident(live: Home) -> None:
    """Alone the owner approves without being named; with others everybody who may is named, and nothing is signed."""
    live.policy_path.write_text(live.policy_path.read_text("utf-8") + "\n# another policy\n")
    root = release.create(live, "loans@2").root
    entry = approve(live, root.hex)
    assert users.owner(live).principal == entry.principal
    users.add(live, "grace")
    before = live.archive.checkpoint()
    with pytest.raises(Misuse, match="ada or grace") as caught:
        approve(live, root.hex)
    assert ("operations.who-approves", before) == (caught.value.code, live.archive.checkpoint())


def test_what_cannot_be_is_refused_before_it_is_signed(live: Home) -> None:
    """A refused change leaves no decision behind, signed or recorded."""
    before = (live.archive.checkpoint(), set(live.blobs.digests()))  # type: ignore[attr-defined]
    for change in (
        lambda: deploy_release(live, "loans@1", seat=CANARY),
        lambda: deploy_release(live, "loans@2", endpoint="nowhere", seat=CANARY),
        lambda: traffic.leave(live, "loans", Beside.CANARY),
        lambda: traffic.resume(live, "loans"),
        lambda: traffic.stop(live, "nowhere"),
        lambda: traffic.limit(live, "loans", rate=0),
        lambda: keys.revoke(live, "loans", "none"),
        lambda: roll_back_endpoint(live, "loans"),
    ):
        with pytest.raises(Misuse):
            change()
    assert before == (live.archive.checkpoint(), set(live.blobs.digests()))  # type: ignore[attr-defined]


def test_a_canary_is_promoted_and_rolled_back(live: Home) -> None:
    """Deploying its release ends the canary; the rollback under a canary ends the canary, not the champion."""
    deploy_release(live, "loans@2", seat=CANARY)
    ended = roll_back_endpoint(live, "loans").entry
    assert ("loans@1", (), "first") == (ended.ref, ended.placed, ended.state)
    deploy_release(live, "loans@2", seat=CANARY)
    promoted = deploy_release(live, "loans@2").entry
    assert ("loans@2", "loans@1", ()) == (promoted.ref, promoted.previous_ref, promoted.placed)
    assert "the canary loans@2 left" in promoted.what
    back = roll_back_endpoint(live, "loans").entry
    assert ("loans@1", "loans@2", "rolled-back") == (back.ref, back.previous_ref, back.state)
    _require_decided(live)


def test_stop_needs_nobody_and_changes_nothing_else(live: Home) -> None:
    """The switch is in the plan, in the status, and in a record each way."""
    before = _now(live)
    assert traffic.stop(live, "loans").entry.stopped
    assert _now(live).stopped
    assert [True] == [entry.stopped for entry in status(live).endpoints]
    assert not traffic.resume(live, "loans").entry.stopped
    assert before == _now(live)
    assert ["endpoint.stopped", "endpoint.resumed"] == _kinds(live)[-2:]


def test_a_withdrawn_endpoint_begins_anew(live: Home) -> None:
    """It leaves plan and status, its key with it; deployed again it has no predecessor and another key."""
    old = {key.id for key in keys.keys(live, "loans")}
    gone = traffic.withdraw(live, "loans")
    assert ("withdrawn", ()) == (gone.entry.state, status(live).endpoints)
    plan = current_plan(live)
    assert plan is not None
    assert plan.endpoint("loans") is None
    assert find_live(live, "loans") is None
    assert () == live_at(live, live.now())
    with pytest.raises(Misuse, match="no endpoint"):
        traffic.withdraw(live, "loans")
    with pytest.raises(Misuse, match="no champion"):
        deploy_release(live, "loans@2", seat=CANARY)
    again = deploy_release(live, "loans@1")
    assert ("first", "") == (again.entry.state, again.entry.previous_ref)
    assert again.api_key
    assert old.isdisjoint(key.id for key in keys.keys(live, "loans"))


def test_keys_are_added_bounded_and_revoked(live: Home) -> None:
    """Each act is one record; the plan holds the bounds, the ledger the name, and nobody the key."""
    made = keys.add(live, "loans", name="web-shop")
    assert made.api_key.startswith("gw_")
    with pytest.raises(Misuse, match="named web-shop"):
        keys.add(live, "loans", name="web-shop")
    keys.limit(live, "loans", made.entry.id, rate=5, quota=100)
    (found,) = status(live).limited
    assert ("web-shop", 5, 100, "full") == (found.name, found.rate, found.quota, found.shown)
    assert found.id in {key.id for key in _now(live).keys}
    assert keys.revoke(live, "loans", made.entry.id).entry.revoked
    assert found.id not in {key.id for key in _now(live).keys}
    assert ["key.issued", "key.limited", "key.revoked"] == _kinds(live)[-3:]
    assert "web-shop" not in live.plan_path.read_bytes().decode("latin-1")


def test_a_limit_outlives_the_next_deployment(live: Home) -> None:
    """What was set on endpoint and key stays when another release becomes the champion."""
    (key,) = keys.keys(live, "loans")
    traffic.limit(live, "loans", rate=7)
    keys.limit(live, "loans", key.id, rate=3)
    deploy_release(live, "loans@2")
    assert (7, [3]) == (_now(live).rate, [each.rate for each in _now(live).keys])


def _allow(home: Home, *refs: str) -> dict[str, str]:
    """Release the versions again under a policy that allows asynchronous recording; their roots."""
    text = home.policy_path.read_text("utf-8")
    home.policy_path.write_text(text.replace("asynchronous = false", "asynchronous = true"), "utf-8")
    roots = {}
    for ref in refs:
        check.check(home, ref)
        roots[ref] = release.create(home, ref).root.hex
        approve(home, roots[ref], name="ada")
    return roots


def test_recording_after_the_answer_is_the_policies_to_allow(live: Home) -> None:
    """It is refused under a policy without leave, allowed under one with it, and ends with a rollback."""
    with pytest.raises(Refused, match="does not allow asynchronous") as caught:
        traffic.limit(live, "loans", recording=Recording.ASYNCHRONOUS)
    assert caught.value.refusal.next.endswith("gatewright ship loans@1")
    roots = _allow(live, "loans@2")
    deploy_release(live, roots["loans@2"])
    traffic.limit(live, "loans", recording=Recording.ASYNCHRONOUS)
    assert (Recording.ASYNCHRONOUS, "asynchronous") == (_now(live).recording, status(live).recording)
    back = roll_back_endpoint(live, "loans").entry
    assert ("loans@1", "durable") == (back.ref, back.recording)
    assert "recording is durable" in back.what
    assert "durable" == status(live).recording


def test_history_tells_every_change_in_words(live: Home) -> None:
    """Each record says what it changed, oldest first."""
    acts: tuple[Callable[[], Changed], ...] = (
        lambda: deploy_release(live, "loans@2", seat=CANARY),
        lambda: traffic.stop(live, "loans"),
        lambda: traffic.limit(live, "loans", rate=9),
    )
    for act in acts:
        act()
    assert [
        "the canary loans@2 takes 10% of the requests",
        "the endpoint is stopped: every request is refused",
        "at most 9 requests a second over all callers",
    ] == [change.entry.what for change in changes(live)][1:]
