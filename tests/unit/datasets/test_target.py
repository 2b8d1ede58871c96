"""Targets: the task they call for, and those that cannot be used."""

from __future__ import annotations

import pytest

from gatewright.datasets.csv_reader import read_csv
from gatewright.datasets.table import Table
from gatewright.datasets.target import TargetKind, check_target, class_names, task_of
from gatewright.kernel.errors import BadInput
from gatewright.models.signature import Task


def _table(*values: object) -> Table:
    lines = "".join(f"{number},{value}\n" for number, value in enumerate(values))
    return read_csv(f"x,Survived\n{lines}".encode(), name="t.csv")


def test_the_words_are_those_of_model_signatures() -> None:
    """Both enumerations spell the tasks alike, since neither package may import the other."""
    assert [task.value for task in Task] == [kind.value for kind in TargetKind]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (("yes", "no"), TargetKind.BINARY),
        ((0, 1, "", 1), TargetKind.BINARY),
        (("0.0", "1.0"), TargetKind.BINARY),
        ((0, 1, 2), TargetKind.MULTICLASS),
        (("a", "b", "c"), TargetKind.MULTICLASS),
        ((1.5, 2.5), TargetKind.REGRESSION),
        (tuple(range(51)), TargetKind.REGRESSION),
    ],
)
def test_values_call_for_a_task(values: tuple[object, ...], kind: TargetKind) -> None:
    """Texts and few whole numbers are classes; decimals and many numbers are amounts."""
    assert kind is task_of(_table(*values).column("Survived"))


def test_class_names_are_text_in_the_order_of_numpy_unique() -> None:
    """Whole numbers sort by value and have no ``.0``; gaps are no class."""
    column = _table(10, 9, "", 2).column("Survived")

    assert ("2", "9", "10") == class_names(column)
    assert ("0", "1") == class_names(_table("1.0", "0.0").column("Survived"))


FAULTS = [
    (("a", "b"), "survived", None, "datasets.no-target"),
    (("", "NA"), "Survived", None, "datasets.target-missing"),
    ((1, 1, ""), "Survived", None, "datasets.one-class"),
    (("a", "b"), "Survived", TargetKind.REGRESSION, "datasets.target-not-numeric"),
    ((1.5, 2.5, 3.5), "Survived", TargetKind.BINARY, "datasets.target-not-classes"),
    ((0, 1, 2), "Survived", TargetKind.BINARY, "datasets.not-binary"),
    (tuple(range(51)), "Survived", TargetKind.MULTICLASS, "datasets.too-many-classes"),
    (tuple(f"n{i}" for i in range(51)), "Survived", None, "datasets.too-many-classes"),
]


@pytest.mark.parametrize(("values", "target", "asked", "code"), FAULTS)
def test_unusable_targets_are_refused(
    values: tuple[object, ...], target: str, asked: TargetKind | None, code: str
) -> None:
    """Each way in which a target cannot be used has its own code."""
    with pytest.raises(BadInput) as caught:
        check_target(_table(*values), target, asked)

    assert code == caught.value.code


def test_an_absent_target_names_the_nearest_column() -> None:
    """A misspelt target is answered with the right spelling."""
    with pytest.raises(BadInput) as caught:
        check_target(_table("a", "b"), "survivd")

    assert "Nearest: Survived." == caught.value.refusal.next


def test_whole_numbers_may_be_amounts_and_two_classes_are_binary() -> None:
    """What is asked counts where the values allow it."""
    assert TargetKind.REGRESSION is check_target(_table(1, 2, 3), "Survived", TargetKind.REGRESSION)
    assert TargetKind.BINARY is check_target(_table("a", "b"), "Survived", TargetKind.MULTICLASS)
