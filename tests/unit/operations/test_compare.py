"""Comparing versions of a home: on the same rows or not at all, and on record."""

from __future__ import annotations

from pathlib import Path

import pytest

from gatewright.datasets.datasheet import Datasheet
from gatewright.kernel.errors import Misuse, Tampered
from gatewright.operations import compare as comparing
from gatewright.operations import data, models
from gatewright.operations.catalogue import ComparedVersions, find
from gatewright.operations.check import check
from gatewright.operations.data import Description
from gatewright.operations.home import Home
from gatewright.operations.models import Declared
from scenario.world import WEIGHTS, classifier, write_loans

ABOUT = Description(target="repaid", datasheet=Datasheet(title="Loans"))


def _add(home: Home, content: bytes, name: str, on: str) -> str:
    return models.add_content(home, content, name, Declared(trained_on=on)).ref


def test_a_comparison_is_made_and_recorded(live: Home) -> None:
    """The record names both models, the rows and the numbers; the numbers read back as they were."""
    found = comparing.compare(live, "loans@1", "loans@2")
    kept = find(live, "comparisons", "loans@1/loans@2", ComparedVersions)
    assert found.entry == kept
    assert found.comparison == comparing.load(live, found.entry.comparison)
    assert ("loans@1", "loans@2", 300) == (
        found.comparison.a,
        found.comparison.b,
        found.comparison.disagreement.rows,
    )
    assert data.dataset(live, "loans@1").test == found.entry.test
    assert found.decisions[0] in {"allow", "needs-approval"}
    assert (("loans",), ()) == found.live


def test_a_version_that_was_denied_is_not_recommended(live: Home, tmp_path: Path) -> None:
    """The newest check counts: once the policy denied the second, the record does not recommend it."""
    strict = tmp_path / "strict.toml"
    rules = live.policy_path.read_text("utf-8")
    strict.write_text(rules.replace("at_least = 0.55", "at_least = 0.9999"), "utf-8")
    check(live, "loans@2", policy_file=strict)
    found = comparing.compare(live, "loans@1", "loans@2")
    assert "deny" == found.decisions[1]
    assert found.entry.recommended != "b"
    assert "the policy denied" in found.comparison.sentence.lower()
    assert "Ship loans@2" not in found.comparison.sentence


def test_a_useless_version_is_not_recommended(live: Home) -> None:
    """A model with its weights turned around is worse in everything."""
    bad = _add(live, classifier(tuple(-weight for weight in WEIGHTS)), "loans", "loans")
    found = comparing.compare(live, "loans@1", bad)
    assert ("a", "") == (found.comparison.recommended, found.decisions[1])


def test_a_version_on_other_data_is_asked_about_the_seconds_rows(live: Home, tmp_path: Path) -> None:
    """The rows are those of the second version's data set, where the first can answer them."""
    train, test = write_loans(tmp_path / "n.csv", 200, 11), write_loans(tmp_path / "t.csv", 250, 12)
    data.add(live, "fresh", train=train, test=test, about=ABOUT)
    found = comparing.compare(live, "loans@1", _add(live, classifier(), "other", "fresh"))
    assert ("fresh@1", 250) == (found.entry.dataset, found.comparison.disagreement.rows)
    assert found.comparison.sentence.startswith("Both give the same answers")


def test_a_version_that_learned_the_test_rows_proves_nothing(live: Home, tmp_path: Path) -> None:
    """Where the first learned from the second's test rows, nothing is recommended."""
    train, test = write_loans(tmp_path / "n.csv", 200, 11), tmp_path / "t.csv"
    write_loans(test, 200, 1)  # the rows that loans was trained on
    data.add(live, "mixed", train=train, test=test, about=ABOUT)
    found = comparing.compare(live, "loans@1", _add(live, classifier(), "other", "mixed"))
    assert "nothing" == found.comparison.recommended
    assert "loans@1" in found.comparison.doubts[0]


def test_a_version_is_not_compared_with_itself(live: Home) -> None:
    """Two names of one version are refused."""
    with pytest.raises(Misuse) as refused:
        comparing.compare(live, "loans@2", "loans")
    assert "operations.same-version" == refused.value.code


def test_another_question_is_not_compared(live: Home, tmp_path: Path) -> None:
    """Versions with other classes, or of other columns, are refused with the reason."""
    renamed = {"train": tmp_path / "n.csv", "test": tmp_path / "t.csv"}
    for index, path in enumerate(renamed.values()):
        write_loans(path, 200, 20 + index)
        path.write_text(path.read_text().replace("yes", "good").replace("no", "bad"))
    data.add(live, "words", train=renamed["train"], test=renamed["test"], about=ABOUT)
    with pytest.raises(Misuse) as refused:
        comparing.compare(live, "loans@1", _add(live, classifier(), "words", "words"))
    assert "operations.not-comparable" == refused.value.code
    assert "bad, good" in refused.value.refusal.why


def test_a_version_that_takes_another_column_is_not_compared(live: Home, tmp_path: Path) -> None:
    """A column that the second's data lack is named."""
    for index, name in enumerate(("n.csv", "t.csv")):
        write_loans(tmp_path / name, 200, 30 + index)
        path = tmp_path / name
        path.write_text(path.read_text().replace("debts", "loans_open", 1))
    data.add(live, "columns", train=tmp_path / "n.csv", test=tmp_path / "t.csv", about=ABOUT)
    with pytest.raises(Misuse) as refused:
        comparing.compare(live, "loans@1", _add(live, classifier(), "columns", "columns"))
    assert "operations.not-comparable" == refused.value.code
    assert "'debts'" in refused.value.refusal.why
    assert "keep the column in the frame and leave it out of the model" in refused.value.refusal.next


def test_bytes_that_are_no_comparison_are_broken_evidence() -> None:
    """A stored comparison that does not read is tampering, not an empty one."""
    with pytest.raises(Tampered):
        comparing.decode_comparison(b'{"comparison":{},"v":1}')
    with pytest.raises(Tampered):
        comparing.decode_comparison(b'{"comparison":{},"v":2}')
