"""Much rides on this model: two people other than the owner must sign before it goes live."""

from __future__ import annotations

import pytest

from scenario.conftest import NewHome
from scenario.world import Home


@pytest.fixture
def risky(new_home: NewHome) -> Home:
    """A home whose policy puts loans in the high tier, with a release that waits."""
    home = new_home("checked")
    policy = home.root / "policy.toml"
    text = policy.read_text("utf-8")
    policy.write_text(text.replace("# [tiers.models]", '[tiers.models]\nloans = "high"'), "utf-8")
    made = home.do("release", "create", "loans@1")
    assert ("high", 2) == (made["tier"], made["approvals_needed"])
    return home


def test_only_two_other_people_open_the_gate(risky: Home) -> None:
    """The owner's approval and the same person's second one do not count; two others' do."""
    home = risky
    assert 5 == home.run("deploy", "loans@1").code
    assert "owner" == home.do("approve", "loans@1", "--as", "ada")["role"]
    waiting = home.run("deploy", "loans@1")
    assert (5, "policy.waiting-for-approval") == (waiting.code, waiting.error["code"])
    assert "2" in waiting.said
    assert "gatewright approve" in waiting.said

    for person in ("grace", "barbara"):
        home.do("user", "add", person)
    assert "approver" == home.do("approve", "loans@1", "--as", "grace", "--comment", "read it")["role"]
    before = home.digest()
    again = home.run("approve", "loans@1", "--as", "grace")
    assert (2, "operations.approved-already") == (again.code, again.error["code"])
    assert 5 == home.run("deploy", "loans@1").code
    assert before == home.digest()
    assert [("loans@1", 2, 2)] == [(w["ref"], w["have"], w["need"]) for w in home.do("status")["waiting"]]

    home.do("approve", "loans@1", "--as", "barbara")
    deployed = home.do("deploy", "loans@1")
    assert "first" == deployed["state"]
    assert "loans@1" == deployed["ref"]
    shown = home.do("release", "show", "loans@1")
    assert {"owner", "approver"} == {one["role"] for one in shown["approvals"]}
    assert 3 == len({one["key"] for one in shown["approvals"]})


def test_shipping_stops_at_the_gate_and_goes_on_from_there(risky: Home) -> None:
    """``ship`` leaves a release that waits (exit code 5); two approvals later it can be deployed."""
    home = risky
    stopped = home.run("ship", "loans@2")
    assert (5, "policy.waiting-for-approval") == (stopped.code, stopped.error["code"])
    assert [] == home.do("status")["endpoints"]
    for person in ("grace", "barbara"):
        home.do("user", "add", person)
        home.do("approve", "loans@2", "--as", person)
    assert "loans@2" == home.do("deploy", "loans@2")["ref"]


def test_an_approval_holds_for_one_root_only(risky: Home) -> None:
    """Approvals of one release open nothing for the next one."""
    home = risky
    for person in ("grace", "barbara"):
        home.do("user", "add", person)
        home.do("approve", "loans@1", "--as", person)
    home.do("deploy", "loans@1")
    home.do("release", "create", "loans@2")
    assert 5 == home.run("deploy", "loans@2").code
    assert ["loans@1"] == [one["ref"] for one in home.do("status")["endpoints"]]
