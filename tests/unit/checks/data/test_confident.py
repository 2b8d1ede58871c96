"""Confident learning gives the paper's counts by hand and the measured precision and recall on digits."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from gatewright.checks.data.confident import confident, counts_of, joint_of, share_interval, thresholds_of

GIVEN = np.array([0, 0, 0, 0, 1, 1, 1])
STATED = np.array([[0.9, 0.1], [0.8, 0.2], [0.6, 0.4], [0.1, 0.9], [0.2, 0.8], [0.3, 0.7], [0.9, 0.1]])


def test_thresholds_and_counts_are_those_worked_out_by_hand() -> None:
    """Thresholds are mean self-confidences (0.6 and 1.6/3); counts are rows at or above them."""
    thresholds = thresholds_of(GIVEN, STATED)
    assert [pytest.approx(0.6), pytest.approx(1.6 / 3)] == thresholds.tolist()
    assert [[3, 1], [1, 2]] == counts_of(GIVEN, STATED, thresholds).tolist()


def test_the_joint_is_scaled_to_the_classes() -> None:
    """Each row of the joint adds up to its class's share, and everything to 1 (equation 3)."""
    joint = joint_of(GIVEN, np.array([[3, 1], [1, 2]]))
    assert [pytest.approx(4 / 7), pytest.approx(3 / 7)] == joint.sum(axis=1).tolist()
    assert pytest.approx(4 / 7 / 4 + 3 / 7 / 3) == joint[0, 1] + joint[1, 0]


def test_the_issues_are_the_rows_that_contradict_most_worst_first() -> None:
    """Row 3 (0.1 for its label) and row 6 (0.1) are issues; both margins are -0.8."""
    found = confident(GIVEN, STATED)
    assert [3, 6] == found.issues.tolist()
    assert [pytest.approx(-0.8)] * 2 == found.margin[found.issues].tolist()


def test_a_class_nobody_is_sure_of_counts_as_right() -> None:
    """A class without a confident row puts nothing off the diagonal."""
    assert [[0.5, 0.0], [0.25, 0.25]] == joint_of(np.array([0, 0, 1, 1]), np.array([[0, 0], [1, 1]])).tolist()


def test_the_interval_covers_the_share_of_labels_drawn_at_random() -> None:
    """With perfect probabilities and 8 % flips the 95 % interval holds 0.08 in at least 90 % of 200 draws."""
    rng, held = np.random.default_rng(5), 0
    for _ in range(200):
        truth = rng.integers(0, 3, 400)
        given = np.where(rng.random(400) < 0.08, (truth + rng.integers(1, 3, 400)) % 3, truth)
        stated = np.full((400, 3), 0.02) + 0.94 * np.eye(3)[truth]
        bounds = share_interval(confident(given, stated), given)
        held += bounds.low <= 0.08 <= bounds.high
    assert held >= 180


@pytest.mark.parametrize(
    ("share", "precision", "recall"), [(0.05, 0.846, 0.834), (0.10, 0.901, 0.868), (0.20, 0.945, 0.899)]
)
def test_planted_flips_of_digits_are_found_as_measured(share: float, precision: float, recall: float) -> None:
    """Pruning by noise rate finds flipped digits with the measured precision and recall, within 0.08."""
    features, truth = load_digits(return_X_y=True)
    rng = np.random.default_rng(0)
    flipped = rng.choice(len(truth), int(share * len(truth)), replace=False)
    given = truth.copy()
    given[flipped] = (truth[flipped] + rng.integers(1, 10, len(flipped))) % 10
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    model = LogisticRegression(C=0.1, max_iter=300)
    stated = cross_val_predict(model, features / 16, given, cv=folds, method="predict_proba")
    issues = confident(given, stated).issues
    hits = np.isin(issues, flipped).sum()
    assert pytest.approx(precision, abs=0.08) == hits / len(issues)
    assert pytest.approx(recall, abs=0.08) == hits / len(flipped)
