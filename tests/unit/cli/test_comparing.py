"""What ``compare`` shows to people."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from gatewright.checks.answers import NoAnswers
from gatewright.checks.case import Case, Predictions, Timing
from gatewright.checks.comparison import compare
from gatewright.cli import comparing, show
from gatewright.kernel.digests import Digest
from gatewright.models.signature import Task
from gatewright.operations.catalogue import ComparedVersions
from gatewright.operations.compare import Compared
from gatewright.testing.cases import case

SOUND = replace(case(1, test_rows=400), timing=Timing(single_row=np.full(500, 1e-4), model_bytes=3 * 1024**2))
ENTRY = ComparedVersions(
    a="loans@1",
    b="loans@2",
    models=(Digest.of(b"a"), Digest.of(b"b")),
    dataset="loans@1",
    test=Digest.of(b"test"),
    seed=0,
    comparison=Digest.of(b"comparison"),
    recommended="b",
)


def _shown(a: Case, b: Case, decision: str, capsys: pytest.CaptureFixture[str]) -> str:
    found = compare(a, b, ("loans@1", "loans@2"), (), ["loans@2"] if decision == "deny" else [])
    assert not isinstance(found, NoAnswers)
    comparing.tell(
        Compared(entry=ENTRY, comparison=found, decisions=("allow", decision), live=(("prod",), ()))
    )
    return capsys.readouterr().out


def _worse(sound: Case) -> Case:
    assert sound.predictions is not None
    labels = sound.predictions.labels.copy()
    inside = sound.test.column("site").values == "north"
    labels[inside] = np.where(labels[inside] == "yes", "no", "yes")
    return replace(sound, predictions=Predictions(labels=labels, scores=sound.predictions.scores))


def test_the_page_says_what_is_better_and_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    """Measures, costs, disagreement, slices, the recommendation, and the next command."""
    shown = _shown(_worse(SOUND), SOUND, "", capsys)
    for part in (
        "400 test rows of loans@1",
        "95 %",
        "3.0 MiB",
        "They disagree on",
        "site=north",
        "Ship loans@2.",
        "Next: gatewright check loans@2",
    ):
        assert part in shown


def test_an_allowed_version_is_shipped_next(capsys: pytest.CaptureFixture[str]) -> None:
    """What the policy allowed goes live next; what it denied is said to be denied."""
    assert "Next: gatewright ship loans@2" in _shown(_worse(SOUND), SOUND, "allow", capsys)
    shown = _shown(_worse(SOUND), SOUND, "deny", capsys)
    assert "A loans@1: allowed by the policy when it was last checked; live on prod" in shown
    assert "B loans@2: denied by the policy when it was last checked; not live" in shown
    assert "Next:" not in shown
    assert "Ship loans@2" not in shown


def test_names_of_measures_are_whole_in_80_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A narrow terminal shows fewer columns, not broken names; a wide one has the difference, too."""
    monkeypatch.setattr(show.out, "_width", 80)
    shown = _shown(_worse(SOUND), SOUND, "", capsys)
    assert all(f" {name} " in shown for name in ("balanced-accuracy", "log-loss\u00a0↓", "roc-auc"))
    assert 80 >= max(map(len, shown.partition("cost")[0].splitlines()))
    assert re.search(r"accuracy .*[+-]0\.\d{4}…[+-]0\.\d{4} .* B", shown)
    monkeypatch.setattr(show.out, "_width", 120)
    assert "95 % interval" in _shown(_worse(SOUND), SOUND, "", capsys)


def test_equal_versions_have_nothing_to_show(capsys: pytest.CaptureFixture[str]) -> None:
    """No rows and no slices are listed where nothing differs, and nothing is to be done next."""
    shown = _shown(SOUND, SOUND, "allow", capsys)
    assert "They give the same answer on every row." in shown
    assert "is shown to differ between them" in shown
    assert "Next:" not in shown


def test_values_show_the_rows_that_differ_most(capsys: pytest.CaptureFixture[str]) -> None:
    """Regression has no count of disagreements: nearly every row differs a little."""
    sound = case(2, Task.REGRESSION, test_rows=100)
    assert sound.predictions is not None
    other = replace(sound, predictions=Predictions(labels=sound.predictions.labels.astype(np.float64) + 0.5))
    shown = _shown(sound, other, "", capsys)
    assert "They differ most on these rows:" in shown
    assert "disagree" not in shown


@pytest.mark.parametrize(
    ("value", "shown"), [(0.0, "+0.0000"), (0.25, "+0.2500"), (1234.5, "+1234"), (-0.00001, "-1e-05")]
)
def test_numbers_are_short(value: float, shown: str) -> None:
    """Four decimals, or four digits where the value is large or tiny; differences carry their sign."""
    assert shown == comparing.number(value, signed=True)
