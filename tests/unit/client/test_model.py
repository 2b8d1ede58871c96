"""A model version is checked, shipped and asked from one object; refusals are the kernel's own."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

import gatewright as gw
from gatewright.assembly.homes import create_home, read_home
from gatewright.checks.finding import Finding, Metric, Outcome
from gatewright.client import asking, sheets
from gatewright.client.display import as_html, as_text
from gatewright.client.model import Live, Model
from gatewright.client.server import Server
from gatewright.deployments.deployment import Beside, Seat
from gatewright.kernel.errors import BadInput, DependencyFailed, Misuse, Refused, Tampered
from gatewright.operations.deploy import deploy_release, roll_back_endpoint
from unit.client.test_submit import LOANS, TEST, TRAIN, fitted, people

ASKED = TEST.head(40)


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> tuple[Model, Live]:
    """A model that is live, and how it came there."""
    root = tmp_path_factory.mktemp("home")
    create_home(root, "ada")
    model = gw.submit(fitted(), train=TRAIN, test=TEST, home=root, **LOANS)
    return model, model.ship()


@pytest.fixture(scope="module")
def server(shipped: tuple[Model, Live]) -> Any:
    """The server of its home."""
    with gw.serve(shipped[0].root) as running:
        yield running


def test_a_check_is_a_result_that_shows_itself(shipped: tuple[Model, Live]) -> None:
    """Findings, numbers with intervals and the verdict are there as values, as text and as HTML."""
    checked = shipped[0].check(seed=3)
    assert (True, 3, "loans@1") == (checked.allowed, checked.report.seed, checked.checked.entry.ref)
    assert "passed" == checked.finding("data.leakage").outcome.value
    for shown in (as_text(checked.sheet()), as_html(checked.sheet())):
        assert all(each in shown for each in ("loans@1 is checked", "data.leakage", "roc-auc", "allowed"))
    with pytest.raises(Misuse, match=r"no finding of 'data\.leak'"):
        checked.finding("data.leak")


def test_a_denial_is_a_result_of_check_and_an_error_of_ship(
    shipped: tuple[Model, Live], tmp_path: Path
) -> None:
    """A test frame that shares rows with training is found: check shows the reasons, ship refuses, nothing is live."""
    root = tmp_path / "copy"
    shutil.copytree(shipped[0].root, root, ignore=shutil.ignore_patterns("serve.json", "serve.lock"))
    both = pd.concat([TEST, TRAIN.iloc[:60]], ignore_index=True)
    model = gw.submit(fitted(), train=TRAIN, test=both, home=root, **{**LOANS, "name": "leaky"})
    strict = root / "strict.toml"
    rules = (root / "policy.toml").read_text("utf-8")
    strict.write_text(rules.replace("at_least = 0.55", "at_least = 0.999"), "utf-8")
    tried = model.check(policy=strict)
    assert ("failed", False) == (tried.finding("data.leakage").outcome.value, tried.allowed)
    shown = as_text(tried.sheet())
    assert all(
        each in shown for each in ("denied", "Why the policy denies it", "data.leakage", "at least 0.999")
    )
    with pytest.raises(Refused, match=r"data\.leakage") as caught:
        model.ship()
    assert "operations.verdict-denies" == caught.value.code
    with pytest.raises(Misuse, match="Nothing is live there") as not_live:
        model.predict(ASKED)
    assert "client.not-live" == not_live.value.code


def test_shipping_is_told_step_by_step(shipped: tuple[Model, Live]) -> None:
    """What each step made is shown, the times of the longest too, and the key nowhere."""
    model, live = shipped
    shown = as_text(live.sheet()) + as_html(live.sheet())
    assert all(each in shown for each in ("loans@1 is shipped", "endpoint loans, plan 1", "It took"))
    assert model.api_key.startswith("gw_")
    assert model.api_key not in shown + repr(model) + as_html(model.sheet())


def test_shipping_again_changes_nothing(shipped: tuple[Model, Live]) -> None:
    """What is live already under the same policy stays as it is, with its key."""
    model, _ = shipped
    key = model.api_key
    again = model.ship()
    assert (None, "loans", key) == (again.shipped, again.endpoint, model.api_key)
    assert "nothing was done" in as_text(again.sheet())


def test_a_further_key_is_told(shipped: tuple[Model, Live], tmp_path: Path) -> None:
    """Where a key is made for what is live already, the result says so, and that nothing else was done."""
    root = tmp_path / "copy"
    shutil.copytree(shipped[0].root, root, ignore=shutil.ignore_patterns("serve.json", "serve.lock"))
    shown = as_text(gw.model("loans@1", home=root).ship(new_key=True).sheet())
    assert "a further API key was made" in shown
    assert "nothing was done" not in shown


def test_what_did_not_pass_is_told_beside_a_good_verdict(shipped: tuple[Model, Live]) -> None:
    """A failed or unknown check that the policy lets pass is in the headline, with its advice, and in the ship result."""
    checked = shipped[0].check().checked
    found = {
        "performance.importance": Finding(
            check="performance.importance", outcome=Outcome.FAILED, summary="s", next="look at it",
            metrics=tuple(
                Metric(name="importance", value=value, low=0.0, high=1.0, size=9, method="t", slice=name)
                for name, value in (("town", 0.1), ("income", 0.9))
            ),
        ),
        "data.drift": Finding(check="data.drift", outcome=Outcome.UNKNOWN, summary="s", reason="r", next="give rows"),
    }  # fmt: skip
    others = [
        one for one in checked.report.findings if one.check not in found and one.outcome is Outcome.PASSED
    ]
    doubted = replace(checked, report=replace(checked.report, findings=(*others, *found.values())))
    sheet = sheets.check_sheet(doubted, ("town",))
    for shown in (as_text(sheet), as_html(sheet)):
        assert "allowed; 1 check failed, 1 is unknown, see below." in shown
        assert "performance.importance: look at it" in shown
        assert "data.drift: give rows" in shown
    assert "✓ allowed; " in as_text(sheet)
    (largest,) = [grid for grid in sheet.grids if grid.caption.startswith("The largest importances")]
    assert ["income", "town"] == [row[0] for row in largest.rows]
    assert [] == [grid for grid in sheet.grids if grid.caption.startswith("Groups (performance")]
    done = shipped[1].shipped
    assert done is not None
    told = sheets.shipped_sheet(replace(done, checked=doubted), (), has_key=True).notes
    assert ("performance.importance failed: .check() says more",) == told


def test_answers_are_the_model_s_own_with_receipts(shipped: tuple[Model, Live], server: Server) -> None:
    """Class names and probabilities equal the estimator's on pandas, polars and plain columns alike."""
    model, estimator = shipped[0], fitted()
    found = model.predict(ASKED)
    assert list(estimator.predict(ASKED.drop(columns="repaid"))) == list(found.labels)
    assert found.probabilities is not None
    expected = estimator.predict_proba(ASKED.drop(columns="repaid"))
    np.testing.assert_allclose(found.probabilities, expected, atol=1e-5)
    assert (("no", "yes"), 1) == (found.classes, len(found.receipts))
    columns = {name: ASKED[name].tolist() for name in ("town", "income")}
    for rows in (pl.DataFrame(columns), columns):
        assert list(found.labels) == list(model.predict(rows).labels)
    shown = as_text(found.sheet())
    assert all(each in shown for each in ("loans@1 answered 40 rows", "30 more rows", "1 receipt"))
    assert server.url in repr(server)


def test_many_rows_are_asked_in_parts(
    shipped: tuple[Model, Live], server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows beyond one request go in several, in order, each with its receipt, and all receipts hold."""
    del server
    monkeypatch.setattr(asking, "ROWS", 15)
    found = shipped[0].predict(ASKED)
    assert 3 == len(set(found.receipts))
    assert list(fitted().predict(ASKED.drop(columns="repaid"))) == list(found.labels)
    assert 3 == len(found.verify().sentences)
    assert "verified" in repr(found.verify())


def test_an_answer_that_was_changed_is_found(shipped: tuple[Model, Live], server: Server) -> None:
    """A changed probability, and a changed question, do not go with their receipt."""
    del server
    found = shipped[0].predict(ASKED.head(2))
    (exchange,) = found.exchanges
    body = json.loads(exchange.answer)
    body["outputs"][1]["data"][0] = 0.5
    other = asking.Exchange(request=exchange.request, answer=json.dumps(body).encode())
    asked = exchange.request.replace(str(ASKED["income"][0]).encode(), b"0.25", 1)
    for changed in (other, asking.Exchange(request=asked, answer=exchange.answer)):
        with pytest.raises(Tampered):
            asking.Answers(
                ref=found.ref, labels=found.labels, classes=found.classes, probabilities=found.probabilities,
                exchanges=(changed,), root=found.root,
            ).verify()  # fmt: skip


def test_missing_cells_and_unknown_categories_are_answered(
    shipped: tuple[Model, Live], server: Server
) -> None:
    """A text that training never saw and an empty one are answered as the estimator answers them."""
    del server
    rows = pd.DataFrame({"income": [0.5, -2.0], "town": ["elsewhere", ""]})
    assert list(fitted().predict(rows)) == list(shipped[0].predict(rows).labels)


def test_rows_without_a_column_are_refused_before_asking(shipped: tuple[Model, Live], server: Server) -> None:
    """A missing column is named; a missing number that the model cannot take is told in the endpoint's words."""
    del server
    with pytest.raises(BadInput, match="town"):
        shipped[0].predict(ASKED[["income"]])
    with pytest.raises(Refused) as caught:
        shipped[0].predict(pd.DataFrame({"income": [np.nan], "town": ["north"]}))
    assert ("client.not-answered", True) == (caught.value.code, "500" in str(caught.value))


def test_rows_that_are_no_table_are_answered_with_how_to_give_one(
    shipped: tuple[Model, Live], server: Server
) -> None:
    """A None among numbers is a missing number; single values and a list of dicts are told the form of rows."""
    del server
    with pytest.raises(Refused) as missing:
        shipped[0].predict({"income": [None], "town": ["north"]})
    assert "client.not-answered" == missing.value.code
    for rows in ({"income": 0.5, "town": "north"}, [{"income": 0.5, "town": "north"}]):
        with pytest.raises(BadInput, match="mapping from column to a list of values") as caught:
            shipped[0].predict(rows)
        assert "client.not-columns" == caught.value.code


def test_a_key_is_needed_and_can_be_made_anew(
    shipped: tuple[Model, Live], server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process without the key is told what to do, a wrong key is refused, and a further one works."""
    del server
    model = shipped[0]
    key = model.api_key
    monkeypatch.setattr("gatewright.client.model._KEYS", {})
    with pytest.raises(Misuse) as caught:
        model.predict(ASKED)
    assert ("client.no-key", "") == (caught.value.code, model.api_key)
    with pytest.raises(Refused, match="401"):
        model.predict(ASKED, api_key="gw_wrong")
    assert 40 == len(model.predict(ASKED, api_key=key).labels)
    model.ship(new_key=True)
    assert model.api_key not in {"", key}
    assert 40 == len(model.predict(ASKED).labels)


def test_a_running_server_is_found_and_not_stopped(shipped: tuple[Model, Live], server: Server) -> None:
    """Called again, the same server is given; one of another process is found, and stopping it here does nothing."""
    root = shipped[0].root
    assert gw.serve(root) is server
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gatewright.client.server._STARTED", {})
        found = gw.serve(root)
    found.stop()
    assert server.url == found.url
    assert "started elsewhere" in repr(found)
    assert 40 == len(shipped[0].predict(ASKED).labels)


def test_another_version_on_the_endpoint_does_not_answer_for_this_one(
    shipped: tuple[Model, Live], tmp_path: Path
) -> None:
    """A version answers for itself or says which is live; a name takes whichever is live, one subject always the same."""
    root = tmp_path / "copy"
    shutil.copytree(shipped[0].root, root, ignore=shutil.ignore_patterns("serve.json", "serve.lock"))
    first = gw.model("loans@1", home=root)
    other = people(200, 9)
    with gw.serve(root):
        second = gw.submit(fitted(other), train=other, test=TEST, home=root, **LOANS)
        assert "loans@1 stays warm" in as_text(second.ship(new_key=True).sheet())
        assert "loans@2" == second.predict(ASKED).ref
        with pytest.raises(Misuse, match=r"loans@2 is\.") as caught:
            first.predict(ASKED)
        assert "gw.model('loans@2')" in caught.value.refusal.next
        with read_home(root) as home, home.exclusive():
            roll_back_endpoint(home, "loans")
        named, key, rows = gw.model("loans", home=root), second.api_key, ASKED.head(1)
        assert ("loans@2", "loans@1") == (named.ref, named.predict(ASKED, api_key=key).ref)
        with read_home(root) as home, home.exclusive():
            deploy_release(home, "loans@2", seat=Seat(beside=Beside.CANARY, share=500))
        for model in (first, second):
            assert {model.ref} == {model.predict(rows, api_key=key).ref for _ in range(8)}
        found = [
            {named.predict(rows, api_key=key, subject=f"Zoë {number}").ref for _ in range(2)}
            for number in range(16)
        ]
        assert {1} == set(map(len, found))
        assert {"loans@1", "loans@2"} == set().union(*found)
        assert 1 == len(named.predict(rows, api_key=key, subject="Zoë 1").verify().sentences)


def test_shipping_after_a_check_tells_nothing_twice(
    shipped: tuple[Model, Live], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the check has told is not told again by ship, which says how others come to a key and a call."""
    root = tmp_path / "copy"
    shutil.copytree(shipped[0].root, root, ignore=shutil.ignore_patterns("serve.json", "serve.lock"))
    policy = root / "policy.toml"
    policy.write_text(policy.read_text("utf-8") + "\n# another policy\n", "utf-8")
    model = gw.model("loans@1", home=root)
    model.check()
    told = capsys.readouterr().err.splitlines()
    assert any("data.leakage" in each for each in told)
    sheet = as_text(model.ship().sheet())
    assert set() == set(told) & set(capsys.readouterr().err.splitlines())
    assert all(each in sheet for each in ("gatewright key add loans", "gatewright example loans"))


def test_without_a_server_nothing_is_predicted(shipped: tuple[Model, Live], tmp_path: Path) -> None:
    """A home whose server stopped, or was killed, is told how to start one; a stopped one says so."""
    root = tmp_path / "copy"
    shutil.copytree(shipped[0].root, root, ignore=shutil.ignore_patterns("serve.lock"))
    place = root / ".gatewright" / "segments" / "serve.json"
    dead = {"pid": 1, "plan": 1, "refusal": None, "serving": True, "url": "http://127.0.0.1:9"}
    place.write_text(json.dumps(dead), "utf-8")
    model = gw.model("loans", home=root)
    with pytest.raises(Misuse, match=r"gw\.serve\(\).*gatewright serve") as caught:
        model.predict(ASKED, api_key="gw_any")
    assert "client.no-server" == caught.value.code
    assert "does not answer any more" in repr(Server(root, "http://127.0.0.1:9", None))


def test_a_server_that_cannot_start_says_why(shipped: tuple[Model, Live], server: Server) -> None:
    """What the server printed before it ended is in the error: here, that another one serves this home."""
    del server
    root = shipped[0].root
    said = list((root / ".gatewright" / "segments").rglob("serve.json"))
    hidden = [(each, each.rename(each.with_name("hidden"))) for each in said]
    try:
        with pytest.raises(DependencyFailed, match=r"did not start.*served already") as caught:
            gw.serve(root)
    finally:
        for each, kept in hidden:
            kept.rename(each)
    assert "client.server" == caught.value.code
