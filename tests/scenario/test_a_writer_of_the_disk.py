"""Somebody who can write the files of a home, but sign nothing, tries to have it act for them."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path

import pytest

from gatewright.assembly.homes import open_home
from gatewright.assembly.verifying import verify_home
from gatewright.kernel.errors import Misuse, Refused, Tampered
from gatewright.operations import deploy
from scenario.conftest import NewHome


def _change(home: Path, statement: str) -> None:
    with contextlib.closing(sqlite3.connect(home / ".gatewright" / "ledger.db")) as opened, opened:
        assert opened.execute(statement).rowcount


@pytest.mark.parametrize(
    "statement",
    [
        (
            "UPDATE projections SET document = replace(document, '\"owner\":true', '\"owner\":false') "
            "WHERE collection = 'users'"
        ),
        "DELETE FROM projections WHERE collection = 'api-keys'",
        "DELETE FROM projections WHERE collection = 'approvals'",
        (
            "INSERT INTO projections SELECT collection, 'loans/evil', seq, document FROM projections "
            "WHERE collection = 'api-keys'"
        ),
    ],
)
def test_a_changed_table_stops_every_command_that_acts(new_home: NewHome, statement: str) -> None:
    """Rows added, changed or removed behind the ledger's back are found before anything is done by them."""
    home = new_home("live")
    home.broken = True
    _change(home.root, statement)
    with pytest.raises(Tampered), open_home(home.root):
        pass


def test_an_older_ledger_does_not_bring_an_older_plan_back(new_home: NewHome) -> None:
    """With ledger.db put back to an older copy, the newer published plan is not overwritten."""
    home = new_home("live")
    home.broken = True
    older = (home.folder / "ledger.db").read_bytes()
    with open_home(home.root) as opened:
        deploy.deploy_release(opened, "loans@1", endpoint="second")
    newer = (home.folder / "plan.dsse").read_bytes()
    (home.folder / "ledger.db").write_bytes(older)
    with pytest.raises(Tampered, match="older copy"), open_home(home.root):
        pass
    assert newer == (home.folder / "plan.dsse").read_bytes()


def test_an_older_plan_put_back_is_named_by_verify_and_replaced(new_home: NewHome) -> None:
    """A superseded plan on disk fails verification, and the next command publishes the recorded one."""
    home = new_home("live")
    older = (home.folder / "plan.dsse").read_bytes()
    with open_home(home.root) as opened:
        deploy.deploy_release(opened, "loans@1", endpoint="second")
    newer = (home.folder / "plan.dsse").read_bytes()
    (home.folder / "plan.dsse").write_bytes(older)
    with pytest.raises(Tampered, match="not the one"):
        list(verify_home(home.root))
    with open_home(home.root):
        pass
    assert newer == (home.folder / "plan.dsse").read_bytes()


def test_what_goes_live_was_judged_by_the_policy_of_now(new_home: NewHome) -> None:
    """A release made under another policy is not deployed, whoever approved it."""
    home = new_home("live")
    policy = home.root / "policy.toml"
    policy.write_text(policy.read_text("utf-8") + "\n# a stricter mind\n", "utf-8")
    with open_home(home.root) as opened, pytest.raises(Refused, match="another policy"):
        deploy.deploy_release(opened, "loans@1", endpoint="second")


def test_a_pipe_in_place_of_the_plan_makes_nobody_wait(new_home: NewHome) -> None:
    """A named pipe where the plan should be is refused at once."""
    home = new_home("live")
    home.broken = True
    place = home.folder / "plan.dsse"
    place.unlink()
    os.mkfifo(place)
    with pytest.raises(Misuse, match="not a regular file"), open_home(home.root):
        pass
