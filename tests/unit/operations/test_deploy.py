"""Deploying and rolling back: the plan that is published is the one that was recorded."""

from __future__ import annotations

import pytest

from gatewright.deployments.plan import read_plan
from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import ApprovalNeeded, Misuse
from gatewright.operations import release
from gatewright.operations.deploy import deploy_release, roll_back_endpoint
from gatewright.operations.home import Home
from gatewright.operations.plans import current_plan, publish


def _published(home: Home) -> Digest:
    return Digest.of(home.plan_path.read_bytes())


def test_the_published_plan_is_the_recorded_one(live: Home) -> None:
    """After each change the file that workers read is byte for byte the recorded plan, one number on."""
    for number, change in enumerate(
        (lambda: deploy_release(live, "loans@2"), lambda: roll_back_endpoint(live, "loans")), 2
    ):
        changed = change()
        assert (number, changed.entry.plan) == (changed.entry.plan_number, _published(live))
        plan = read_plan(live.plan_path.read_bytes(), live.trust)
        assert plan == current_plan(live)
        assert changed.committed.ns >= plan.issued.ns


def test_a_plan_that_was_not_published_is_published(live: Home) -> None:
    """A lost or old plan file is replaced by the recorded one; a right one is left alone."""
    assert not publish(live)
    good = live.plan_path.read_bytes()
    for content in (None, b"old"):
        live.plan_path.unlink()
        if content:
            live.plan_path.write_bytes(content)
        assert publish(live)
        assert good == live.plan_path.read_bytes()


def test_without_an_approval_the_gate_waits(live: Home) -> None:
    """A new root has no approvals, whatever was approved before it."""
    live.policy_path.write_text(live.policy_path.read_text("utf-8") + "\n# another policy, another root\n")
    made = release.create(live, "loans@2")
    with pytest.raises(ApprovalNeeded, match="gatewright approve"):
        deploy_release(live, made.root.hex)


def test_keys_are_made_once_and_kept_as_digests(live: Home) -> None:
    """A further deployment makes no key unless asked; the secret itself is stored nowhere."""
    assert "" == deploy_release(live, "loans@2").api_key
    secret = deploy_release(live, "loans@1", new_key=True).api_key
    assert secret.startswith("gw_")
    digests = {str(document["digest"]) for _, document in live.archive.scan("api-keys", "loans/")}
    assert 2 == len(digests)
    assert Digest.of(secret.encode()).hex in digests
    assert not any(secret.encode() in leaf for leaf in live.archive.leaves())
    assert secret.encode() not in live.plan_path.read_bytes()


def test_a_second_endpoint_stands_beside_the_first(live: Home) -> None:
    """Endpoints change apart from each other."""
    deploy_release(live, "loans@2", endpoint="trial")
    plan = current_plan(live)
    assert plan is not None
    assert {"loans": 1, "trial": 2} == {str(one.endpoint): one.champion.version for one in plan.endpoints}
    with pytest.raises(Misuse):
        roll_back_endpoint(live, "trial")


def test_rolling_back_twice_is_where_one_began(live: Home) -> None:
    """Rollback swaps champion and previous; a rollback of the rollback swaps them again."""
    before = deploy_release(live, "loans@2").entry
    once, twice = roll_back_endpoint(live, "loans").entry, roll_back_endpoint(live, "loans").entry
    assert (before.previous_ref, before.ref) == (once.ref, once.previous_ref)
    assert (before.ref, before.previous_ref) == (twice.ref, twice.previous_ref)
    assert before.root == twice.root
