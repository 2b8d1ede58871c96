"""A release goes from canary to champion and back, and the kill switch works, through commands and a server."""

from __future__ import annotations

import json
import time

import httpx
import numpy as np
import pytest

from scenario.conftest import NewHome
from scenario.world import READY_S, Home, Server, ask, serving

ASKED = 200
"""With a share of a tenth, the chance that one of two releases is not met in so many requests is below 1e-9."""


def _versions(client: httpx.Client, server: Server, home: Home, asked: int = ASKED) -> set[str]:
    """The versions that answer; every request must be answered."""
    found = set()
    for number in range(asked):
        answer = ask(client, server, "loans", home.api_key, np.full((1, 3), number % 7 - 3))
        assert 200 == answer.status_code, answer.text
        found.add(answer.json()["model_version"])
    return found


def _taken(home: Home, done: dict[str, object]) -> None:
    """Wait until every worker answers by the plan that a command made."""
    until = time.monotonic() + READY_S
    while True:
        plans = [each["plan"] for each in home.do("status")["workers"] if each["serving"]]
        if plans and {done["plan_number"]} == set(plans):
            return
        assert time.monotonic() < until, f"plan {done['plan_number']} was not taken: {plans}"
        time.sleep(0.05)


def test_from_canary_to_champion_and_back_to_the_switch(new_home: NewHome) -> None:
    """Each command is one record and one plan; the server answers by it, and status says so."""
    home = new_home("live")
    home.do("release", "create", "loans@2")
    home.do("approve", "loans@2", "--as", "ada")
    before = len(home.kinds())
    with serving(home) as server, httpx.Client() as client:
        assert {"1"} == _versions(client, server, home, 5)

        _taken(home, home.do("deploy", "loans@2", "--canary", "10%"))
        assert {"1", "2"} == _versions(client, server, home)
        (endpoint,) = home.do("status")["endpoints"]
        assert ("loans@1", [("canary", "loans@2", 100)]) == (
            endpoint["ref"],
            [(each["place"], each["ref"], each["share"]) for each in endpoint["placed"]],
        )

        promoted = home.do("deploy", "loans@2")
        _taken(home, promoted)
        assert ("loans@2", "loans@1", []) == (promoted["ref"], promoted["previous_ref"], promoted["placed"])
        assert {"2"} == _versions(client, server, home, 20)

        back = home.do("rollback", "loans")
        _taken(home, back)
        assert ("loans@1", "loans@2") == (back["ref"], back["previous_ref"])
        assert {"1"} == _versions(client, server, home, 20)

        _taken(home, home.do("stop", "loans"))
        refused = ask(client, server, "loans", home.api_key, np.zeros((1, 3)))
        assert 503 == refused.status_code
        assert "receipt" not in json.dumps(refused.json())
        assert [True] == [each["stopped"] for each in home.do("status")["endpoints"]]

        _taken(home, home.do("resume", "loans"))
        assert {"1"} == _versions(client, server, home, 5)
        plan = home.do("status")["plan_number"]
        assert plan == home.do("status")["worker"]["plan"]
    changes = [kind for kind in home.kinds()[before:] if kind != "predictions.sealed"]
    assert [
        "endpoint.joined", "endpoint.deployed", "endpoint.rolled-back", "endpoint.stopped", "endpoint.resumed",
    ] == changes  # fmt: skip
    assert 5 + ASKED + 20 + 20 + 5 == home.do("status")["predictions"]


def test_a_revoked_key_calls_no_more(new_home: NewHome) -> None:
    """A further key is let in by the next plan and kept out by the one that revokes it; the first stays."""
    home = new_home("live")
    with serving(home) as server, httpx.Client() as client:
        made = home.do("key", "add", "loans", "--name", "web-shop")
        _taken(home, made)
        assert 200 == ask(client, server, "loans", made["api_key"], np.zeros((1, 3))).status_code
        _taken(home, home.do("key", "revoke", "loans", made["id"]))
        assert 401 == ask(client, server, "loans", made["api_key"], np.zeros((1, 3))).status_code
        assert 200 == ask(client, server, "loans", home.api_key, np.zeros((1, 3))).status_code
        assert [1] == [len(home.do("key", "list", "loans"))]


def test_a_withdrawn_endpoint_is_not_there(new_home: NewHome) -> None:
    """After undeploy nothing answers; deployed again, it takes its new key and not the old one."""
    home = new_home("live")
    with serving(home) as server, httpx.Client() as client:
        _taken(home, home.do("undeploy", "loans"))
        assert 401 == ask(client, server, "loans", home.api_key, np.zeros((1, 3))).status_code
        assert [] == home.do("status")["endpoints"]
        again = home.do("deploy", "loans@1")
        _taken(home, again)
        assert 401 == ask(client, server, "loans", home.api_key, np.zeros((1, 3))).status_code
        assert 200 == ask(client, server, "loans", again["api_key"], np.zeros((1, 3))).status_code


@pytest.mark.parametrize(
    ("typed", "code"),
    [
        (("deploy", "loans@1", "--canary", "10%", "--shadow"), "cli.one-place"),
        (("deploy", "loans@1", "--canary", "10"), "deployments.share"),
        (("deploy", "loans@1", "--arm", "blue"), "cli.arm"),
        (("deploy", "loans@1", "--arm", "Blue=5%"), "kernel.name"),
        (("deploy", "loans@1", "--shadow", "--new-key"), "cli.key-apart"),
        (("deploy", "loans@1", "--shadow"), "deployments.champion-beside-itself"),
        (("undeploy", "loans", "--canary", "--arms"), "cli.one-place"),
        (("undeploy", "loans", "--canary"), "deployments.transition"),
        (("limit", "loans"), "cli.no-limit"),
        (("limit", "loans", "--show", "label"), "cli.limit-of-key"),
        (("limit", "loans", "--key", "x", "--recording", "durable"), "cli.limit-of-key"),
        (("limit", "loans", "--recording", "never"), "cli.recording"),
        (("limit", "loans", "--key", "x", "--show", "all"), "deployments.shown"),
        (("limit", "loans", "--key", "x", "--rate", "5"), "deployments.no-key"),
        (("limit", "loans", "--rate", "99999999"), "deployments.plan"),
        (("key", "add", "loans", "--name", "Web Shop"), "kernel.name"),
        (("resume", "loans"), "deployments.transition"),
    ],
)
def test_a_slip_is_refused_and_changes_nothing(new_home: NewHome, typed: tuple[str, ...], code: str) -> None:
    """Each wrong use ends with 2 and says what to do; no record, plan or file changes."""
    home = new_home("live")
    before = home.digest()
    ran = home.run(*typed)
    assert (2, code) == (ran.code, ran.error["code"]), ran.out
    assert ran.error["what"]
    assert before == home.digest()
    home.untouched = True
