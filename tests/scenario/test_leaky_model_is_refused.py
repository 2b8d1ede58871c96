"""A model that learned from part of the test set looks excellent, and is refused."""

from __future__ import annotations

import pytest

from scenario.conftest import NewHome
from scenario.world import Home, inside

LEAKED = 25


@pytest.fixture
def leaky(new_home: NewHome) -> Home:
    """A home whose next version was trained on a file with some of the locked test rows in it."""
    home = new_home("added")
    train = (home.root / "train.csv").read_text("utf-8").splitlines()
    test = (home.root / "test.csv").read_text("utf-8").splitlines()
    rows = [*train, *test[1 : 1 + LEAKED]]
    (home.root / "mine.csv").write_text("\n".join(rows) + "\n", "utf-8")
    home.do("model", "add", "v1.onnx", "--name", "loans", "--trained-on", "mine.csv", "--data", "loans")
    return home


def test_leaked_rows_are_counted_and_the_release_is_refused(leaky: Home) -> None:
    """The check fails on leakage with the number of rows, and the release's refusal is recorded."""
    home = leaky
    checked = home.run("check", "loans@3")
    assert (1, "deny") == (checked.code, checked.document["decision"])
    outcomes = checked.document["outcomes"]
    assert "failed" == outcomes.pop("data.leakage")
    assert not {"failed", "unknown", "broken"} & set(outcomes.values())
    findings = checked.document["report_document"]["findings"]
    (finding,) = (one for one in findings if one["check"] == "data.leakage")
    assert str(LEAKED) in finding["summary"]
    refused = home.run("release", "create", "loans@3")
    assert (1, "operations.verdict-denies") == (refused.code, refused.error["code"])
    assert "data.leakage" in refused.said
    assert "release.refused" == home.kinds()[-1]
    assert 1 == home.do("status")["refusals"]


def test_nothing_goes_round_the_refusal(leaky: Home) -> None:
    """Neither ship nor deploy nor approve brings a refused version any further."""
    home = leaky
    shipped = inside(home.root, "ship", "loans@3")
    assert 1 == shipped.code
    assert "data.leakage" in shipped.out + shipped.err
    for verb in (("approve", "loans@3", "--as", "ada"), ("deploy", "loans@3")):
        ran = home.run(*verb)
        assert (2, "operations.no-release") == (ran.code, ran.error["code"])
    assert [] == home.do("release", "list")
