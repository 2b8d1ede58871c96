from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fairlearn import metrics as oracle
from scipy import stats
from scipy.sparse import csr_matrix, hstack
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import precision_score
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from gatewright.checks.case import Case, Predictions
from gatewright.checks.fairness import groups
from gatewright.checks.fairness.groups import ERROR, ODDS
from gatewright.checks.finding import Finding, Metric, Outcome
from gatewright.datasets.csv_reader import read_csv
from gatewright.datasets.table import Kind, Table
from gatewright.models.signature import Task
from gatewright.testing.cases import case, number_column, signature, text_column, with_column

LARGE = case(6, test_rows=4000)
ADULT = os.environ.get("GATEWRIGHT_ADULT", "")
needs_adult = pytest.mark.skipif(not ADULT, reason="GATEWRIGHT_ADULT names no folder with the Adult data")
ORACLES = {
    "demographic-parity-difference": oracle.demographic_parity_difference,
    "demographic-parity-ratio": oracle.demographic_parity_ratio,
    "equal-opportunity-difference": oracle.equal_opportunity_difference,
    ODDS: oracle.equalized_odds_difference,
    "equalised-odds-ratio": oracle.equalized_odds_ratio,
}


def _run(found: Case, **values: object) -> Finding:
    return groups.run(found, groups.Parameters(**values))


def _metric(found: Finding, name: str, where: str) -> Metric:
    return next(one for one in found.metrics if (one.name, one.slice) == (name, where))


def _grouped(sound: Case, values: list[str], name: str = "group") -> Case:
    """The case with these values in the test rows, and the first of them in the train rows."""
    learned = text_column(name, values[: sound.train.rows])
    return replace(
        sound,
        train=with_column(sound.train, learned),
        test=with_column(sound.test, text_column(name, values)),
    )


def _unfair(sound: Case, group: str) -> Case:
    """The case with every answer for one group the first class; the mean answer moved for numbers."""
    labels = sound.predictions.labels.copy()
    inside = sound.test.column("group").values == group
    labels[inside] = labels[inside] + 5.0 if sound.signature.task is Task.REGRESSION else labels[0]
    return replace(sound, predictions=replace(sound.predictions, labels=labels))


def _is_fairlearns(found: Finding, said: object, truth: object, of: dict[str, object]) -> None:
    for where, column in of.items():
        for name, function in ORACLES.items():
            expected = function(truth, said, sensitive_features=column)
            assert pytest.approx(expected, abs=1e-9) == _metric(found, name, where).value, (name, where)
        frame = oracle.MetricFrame(
            metrics=precision_score, y_true=truth, y_pred=said, sensitive_features=column
        )
        assert (
            pytest.approx(frame.difference(), abs=1e-9)
            == _metric(found, "predictive-parity-difference", where).value
        )


def test_even_groups_pass_with_every_distance_and_rate() -> None:
    """Groups treated alike pass; each has its rates with rows, each column its six distances."""
    found = _run(LARGE)
    assert Outcome.PASSED is found.outcome
    assert {name for name in groups.GAPS if groups.METRICS[name][0] is Task.BINARY} == {
        metric.name for metric in found.metrics if metric.slice == "group"
    }
    rates = [metric for metric in found.metrics if metric.slice == "group=a"]
    assert ["selection-rate", "true-positive-rate", "false-positive-rate", "precision"] == [
        metric.name for metric in rates
    ]
    assert int((LARGE.test.column("group").values == "a").sum()) == rates[0].size


@pytest.mark.parametrize("task", list(Task))
def test_a_group_treated_differently_fails_and_is_named(task: Task) -> None:
    """When one group is always told the same the check fails, and says who and by how much."""
    found = _run(_unfair(case(6, task, test_rows=4000), "b"))
    assert Outcome.FAILED is found.outcome
    assert "Groups of group are treated differently" in found.summary
    assert "group=b" in found.summary
    assert found.next


def test_a_wide_interval_fails_although_its_number_is_within_the_limit() -> None:
    """With 400 rows an even model is not shown to be even: the pessimistic bound decides."""
    found = _run(case(8, test_rows=400), largest_odds_difference=0.1)
    odds = _metric(found, ODDS, "group")
    assert odds.value < 0.1 < odds.high
    assert Outcome.FAILED is found.outcome
    assert "are not shown to be treated alike" in found.summary


def test_values_are_fairlearns_on_generated_data() -> None:
    """Six distances equal fairlearn's to 1e-9, for two columns of three groups and their crossing."""
    rng = np.random.default_rng(4)
    both = {name: rng.choice(["p", "q", "r"], 4000) for name in ("group", "site")}
    bent = _grouped(_grouped(LARGE, both["group"].tolist()), both["site"].tolist(), "site")
    found = _run(replace(bent, sensitive=("group", "site")))
    said, truth = (
        (values == "yes").astype(int)
        for values in (LARGE.predictions.labels, LARGE.test.column("answer").values)
    )
    crossed = np.char.add(both["group"], both["site"])
    _is_fairlearns(found, said, truth, {**both, "group & site": crossed})


@pytest.fixture(scope="module")
def adult() -> tuple[Table, Table]:
    """Train and test rows with ``race`` merged to two groups, as ``White``."""
    found = [read_csv((Path(ADULT) / name).read_bytes(), name=name) for name in ("train.csv", "test.csv")]
    return tuple(
        with_column(
            table,
            text_column(
                "white", ["yes" if value == "White" else "no" for value in table.column("race").values]
            ),
        )
        for table in found
    )


def _adult_case(adult: tuple[Table, Table], said: np.ndarray, sensitive: tuple[str, ...]) -> Case:
    train, test = adult
    return Case(
        signature=replace(signature(Task.BINARY, ["age"]), classes=("<=50K", ">50K")),
        target="income",
        train=train,
        test=test,
        trained_on=train,
        predictions=Predictions(labels=np.where(said, ">50K", "<=50K").astype(object)),
        timing=None,
        sensitive=sensitive,
    )


@pytest.fixture(scope="module")
def answers(adult: tuple[Table, Table]) -> dict[str, np.ndarray]:
    """What three logistic regressions answer: plain, with balanced classes, and half reweighed."""
    train, test = _matrices(*adult)
    rich = np.array(adult[0].column("income").values == ">50K")
    sex = np.array(adult[0].column("sex").values == "Male")
    weights = np.ones(len(rich))
    for group in (True, False):
        for truth in (True, False):
            cell = (sex == group) & (rich == truth)
            weights[cell] = (sex == group).mean() * (rich == truth).mean() / cell.mean()
    fitted = {
        "plain": LogisticRegression(max_iter=300).fit(train, rich),
        "balanced": LogisticRegression(max_iter=300, class_weight="balanced").fit(train, rich),
        "mended": LogisticRegression(max_iter=300, class_weight="balanced").fit(
            train, rich, sample_weight=weights**0.5
        ),
    }
    return {name: model.predict(test) for name, model in fitted.items()}


def _matrices(train: Table, test: Table) -> tuple[csr_matrix, csr_matrix]:
    """Numbers in standard deviations, texts one column a value."""
    names = [name for name in train.names if name not in ("income", "white")]
    texts = [name for name in names if train.column(name).kind is Kind.TEXT]
    numbers = [name for name in names if name not in texts]
    scale, encode = StandardScaler(), OneHotEncoder(handle_unknown="ignore")
    wide = [
        np.stack([table.column(n).values.astype(float) for n in numbers], axis=1) for table in (train, test)
    ]
    named = [np.stack([table.column(n).values.astype(str) for n in texts], axis=1) for table in (train, test)]
    return (
        hstack([scale.fit_transform(wide[0]), encode.fit_transform(named[0])]).tocsr(),
        hstack([scale.transform(wide[1]), encode.transform(named[1])]).tocsr(),
    )


@needs_adult
def test_values_are_fairlearns_on_adult(adult: tuple[Table, Table], answers: dict[str, np.ndarray]) -> None:
    """Six distances equal fairlearn's to 1e-9 for sex, for race with its small groups, and for sex by white."""
    said = answers["plain"]
    found = _run(_adult_case(adult, said, ("sex", "race", "white")))
    column = {name: adult[1].column(name).values.astype(str) for name in ("sex", "race", "white")}
    truth = adult[1].column("income").values == ">50K"
    crossed = {**column, "sex & white": np.char.add(column["sex"], column["white"])}
    _is_fairlearns(found, said.astype(int), truth.astype(int), crossed)


@needs_adult
@pytest.mark.parametrize(
    ("model", "outcome", "high"),
    [("plain", Outcome.PASSED, 0.13), ("balanced", Outcome.FAILED, 0.23), ("mended", Outcome.PASSED, 0.17)],
)
def test_the_default_refuses_the_unfair_model_and_passes_the_mended_one(
    adult: tuple[Table, Table], answers: dict[str, np.ndarray], model: str, outcome: Outcome, high: float
) -> None:
    """By sex: balanced class weights are refused, the half reweighed model passes, as the policy's page says."""
    found = _run(_adult_case(adult, answers[model], ("sex",)))
    assert (outcome, high) == (found.outcome, round(_metric(found, ODDS, "sex").high, 2))


@needs_adult
def test_small_groups_of_race_are_unknown(adult: tuple[Table, Table], answers: dict[str, np.ndarray]) -> None:
    """Groups with 19 and 25 positives are named, and the finding is unknown."""
    found = _run(_adult_case(adult, answers["plain"], ("race",)), largest_odds_difference=0.5)
    assert Outcome.UNKNOWN is found.outcome
    assert found.reason.startswith("race=Amer-Indian-Eskimo has 19 rows for its true-positive-rate.")


def test_a_group_too_small_to_judge_is_unknown_and_bounds_nothing() -> None:
    """Seven rows of a declared group: unknown, listed with their size, and every bound the worst there is."""
    found = _run(_grouped(LARGE, ["rare"] * 7 + ["a", "b"] * 1996 + ["a"]))
    assert Outcome.UNKNOWN is found.outcome
    assert "smallest_group" in found.next
    listed = {"slice": "group=rare", "metric": "selection-rate", "of": "", "rows": 7}
    assert listed in found.evidence["too_small"]
    assert 1.0 == _metric(found, ODDS, "group").high
    assert 1.0 == _metric(found, "predictive-parity-difference", "group").high
    assert 0.0 == _metric(found, "demographic-parity-ratio", "group").low
    assert not [one for one in found.metrics if one.slice == "group=rare"]


def test_an_unfair_model_fails_although_a_group_is_too_small() -> None:
    """What the judged groups already show is not hidden by a group that cannot be judged."""
    bent = _unfair(_grouped(LARGE, ["rare"] * 7 + ["a", "b"] * 1996 + ["a"]), "b")
    assert Outcome.FAILED is _run(bent).outcome


@pytest.mark.parametrize(("counted", "outcome"), [(False, Outcome.PASSED), (True, Outcome.UNKNOWN)])
def test_small_crossed_groups_count_only_when_asked(counted: bool, outcome: Outcome) -> None:
    """A crossing with seven rows is listed, and leaves the finding in doubt only by parameter."""
    site = np.where(LARGE.test.column("group").values == "a", "north", "south")
    rare = np.flatnonzero(LARGE.test.column("group").values == "b")[:7]
    site[rare] = "north"
    bent = replace(_grouped(LARGE, site.tolist(), "site"), sensitive=("group", "site"))
    found = _run(bent, small_crossings_count=counted)
    assert outcome is found.outcome
    assert 7 in [entry["rows"] for entry in found.evidence["too_small"]]


def test_a_crossing_shows_what_neither_column_shows() -> None:
    """A model that errs for one sex at one site only and for the other at the other is found by the crossing."""
    rng = np.random.default_rng(5)
    group, site = rng.choice(["a", "b"], 4000), rng.choice(["north", "south"], 4000)
    labels = LARGE.predictions.labels.copy()
    labels[(group == "a") == (site == "north")] = "no"
    bent = _grouped(_grouped(LARGE, group.tolist()), site.tolist(), "site")
    bent = replace(bent, predictions=Predictions(labels=labels), sensitive=("group", "site"))
    assert Outcome.PASSED is _run(bent, crossed=1).outcome
    found = _run(bent)
    assert Outcome.FAILED is found.outcome
    assert "Groups of group & site are treated differently" in found.summary


def test_several_classes_are_each_taken_against_the_rest() -> None:
    """With three classes the distance is the worst class's, as fairlearn has it for that class."""
    sound = case(6, Task.MULTICLASS, test_rows=4000)
    found = _run(sound)
    truth, said = sound.test.column("answer").values, sound.predictions.labels
    column = sound.test.column("group").values.astype(str)
    worst = max(
        oracle.equalized_odds_difference(
            (truth == name).astype(int), (said == name).astype(int), sensitive_features=column
        )
        for name in sound.signature.classes
    )
    assert pytest.approx(worst, abs=1e-9) == _metric(found, ODDS, "group").value
    assert 2000 > _metric(found, "true-positive-rate", "group=a: red").size


def test_regression_compares_mean_errors_and_answers() -> None:
    """The distance of mean errors is that of plain means, and the limit is in deviations of the truth."""
    sound = case(6, Task.REGRESSION, test_rows=4000)
    found = _run(sound)
    error = sound.predictions.labels - sound.test.column("answer").values
    inside = sound.test.column("group").values == "a"
    expected = abs(error[inside].mean() - error[~inside].mean())
    assert pytest.approx(expected, abs=1e-12) == _metric(found, ERROR, "group").value
    truth = sound.test.column("answer").values
    assert pytest.approx(0.5 * min(np.std(truth), stats.iqr(truth) / 1.349)) == found.evidence["limit"]


def test_one_far_value_hides_no_unfairness() -> None:
    """A model six off for one group fails also where one true value is a thousand times the others."""
    sound = _unfair(case(6, Task.REGRESSION, test_rows=4000), "b")
    truth = sound.test.column("answer").values.astype(np.float64).copy()
    said = sound.predictions.labels.copy()
    truth[0], said[0] = 3000.0, 3000.0
    far = replace(
        sound,
        test=with_column(sound.test, number_column("answer", truth)),
        predictions=Predictions(labels=said),
    )
    assert [Outcome.FAILED] * 2 == [_run(sound).outcome, _run(far).outcome]


@pytest.mark.parametrize("scale", [1e155, 1e200, 1.5e307, 1e-200])
@pytest.mark.parametrize("right", [True, False])
def test_values_without_a_computable_spread_are_unknown(scale: float, right: bool) -> None:
    """Where squares overflow or vanish there is no limit to hold the groups against."""
    sound = case(6, Task.REGRESSION, test_rows=400)
    truth = sound.test.column("answer").values.astype(np.float64) * scale
    bent = replace(
        sound,
        test=with_column(sound.test, number_column("answer", truth)),
        predictions=Predictions(labels=truth if right else np.zeros(400)),
    )
    found = _run(bent)
    assert Outcome.UNKNOWN is found.outcome
    assert "another unit" in found.next


def test_answers_that_overflow_are_unknown() -> None:
    """Answers far beyond the true values are no pass, though their means are not numbers."""
    sound = case(6, Task.REGRESSION, test_rows=400)
    said = np.where(np.arange(400) % 2, 1.7e308, -1.7e308)
    assert Outcome.UNKNOWN is _run(replace(sound, predictions=Predictions(labels=said))).outcome


@pytest.mark.parametrize("where", ["train", "unlabelled"])
def test_a_group_without_a_labelled_test_row_is_unknown(where: str) -> None:
    """A group that only the train rows or only unlabelled test rows have is too small, and not forgotten."""
    labels, values = LARGE.predictions.labels.copy(), LARGE.test.column("group").values.tolist()
    truth, learned = LARGE.test.column("answer").values.tolist(), LARGE.train.column("group").values.tolist()
    if where == "train":
        learned[:50] = ["c"] * 50
    else:
        values[:400], truth[:400], labels[:400] = ["c"] * 400, [""] * 400, "no"
    test = with_column(with_column(LARGE.test, text_column("group", values)), text_column("answer", truth))
    bent = replace(
        LARGE,
        train=with_column(LARGE.train, text_column("group", learned)),
        test=test,
        predictions=Predictions(labels=labels),
    )
    found = _run(bent)
    assert Outcome.UNKNOWN is found.outcome
    assert found.reason.startswith("group=c has 0 rows for its ")
    assert 1.0 == _metric(found, ODDS, "group").high


def test_a_crossing_that_only_the_train_rows_have_counts_when_asked() -> None:
    """So do crossed groups without a labelled test row, by parameter."""
    site = np.where(LARGE.test.column("group").values == "a", "north", "south").tolist()
    learned = np.where(LARGE.train.column("group").values == "a", "south", "north").tolist()
    bent = replace(_grouped(LARGE, site, "site"), sensitive=("group", "site"))
    bent = replace(bent, train=with_column(bent.train, text_column("site", learned)))
    assert Outcome.PASSED is _run(bent).outcome
    found = _run(bent, small_crossings_count=True)
    assert Outcome.UNKNOWN is found.outcome
    assert found.reason.startswith("group=a & site=south has 0 rows")


def test_long_names_with_one_beginning_are_different_groups() -> None:
    """Groups whose names are alike for 80 characters are judged apart, and are named apart."""
    short = LARGE.test.column("group").values.tolist()
    long = [f"{'x' * 80}{value}" for value in short]
    odds = [
        _metric(_run(_unfair(_grouped(LARGE, values), values[0])), ODDS, "group").value
        for values in (short, long)
    ]
    assert odds[0] == odds[1]
    assert 2 == len({one.slice for one in _run(_grouped(LARGE, long)).metrics if "=" in one.slice})


def test_a_numeric_column_is_cut_as_slices_are() -> None:
    """A sensitive number such as an age is cut into equal-mass parts with edges from training."""
    found = _run(replace(LARGE, sensitive=("x1",)))
    assert 3 == len(found.evidence["edges"]["x1"])
    assert 4 == len({one.slice for one in found.metrics if one.slice.startswith("x1=")})


def test_the_positive_class_can_be_chosen() -> None:
    """Asked about the other class, the selection rates are the others' complement."""
    first = _metric(_run(LARGE), "selection-rate", "group=a").value
    other = _metric(_run(LARGE, positive_class="no"), "selection-rate", "group=a").value
    assert pytest.approx(1 - first) == other


def test_many_groups_stay_inside_the_report() -> None:
    """Of 150 groups all are judged, and at most 240 numbers of single groups are reported."""
    codes = [f"{'x' * 70}{row % 150}" for row in range(4000)]
    found = _run(_grouped(LARGE, codes), smallest_group=10)
    assert groups.MOST_REPORTED >= len([one for one in found.metrics if "=" in one.slice])
    assert 150 == found.evidence["groups"]


@pytest.mark.parametrize(
    ("bent", "outcome", "word"),
    [
        (replace(LARGE, sensitive=()), Outcome.SKIPPED, "declares no sensitive column"),
        (replace(LARGE, sensitive=("absent",)), Outcome.UNKNOWN, "no column 'absent'"),
        (replace(LARGE, predictions=None), Outcome.UNKNOWN, "not given"),
        (_grouped(LARGE, ["a"] * 4000), Outcome.UNKNOWN, "only one group of group"),
        (_grouped(LARGE, [f"s{row}" for row in range(4000)]), Outcome.UNKNOWN, "has 4000 groups"),
        (replace(LARGE, sensitive=tuple(f"s{k}" for k in range(13))), Outcome.UNKNOWN, "12 is the most"),
        (case(6, test_rows=40), Outcome.UNKNOWN, "30 is the least"),
    ],
)
def test_what_cannot_be_judged_says_why(bent: Case, outcome: Outcome, word: str) -> None:
    """Nothing declared is skipped; what cannot be judged is unknown; both with a reason and advice."""
    found = _run(bent)
    assert outcome is found.outcome
    assert word in found.reason
    assert found.next


def test_an_unknown_positive_class_is_unknown() -> None:
    """A positive class that the model does not have is not guessed at."""
    assert "no class" not in _run(LARGE, positive_class="no").reason
    assert Outcome.UNKNOWN is _run(LARGE, positive_class="maybe").outcome


@pytest.mark.parametrize(
    "values", [{"largest_odds_difference": 1.1}, {"smallest_group": 5}, {"crossed": 4}, {"bins": 1}]
)
def test_parameters_out_of_range_are_refused(values: dict[str, object]) -> None:
    """A limit that means nothing is refused before anything is measured."""
    with pytest.raises(groups.Misuse, match="takes largest_odds_difference"):
        groups.Parameters(**values)


def test_missing_values_are_a_group_like_others() -> None:
    """Rows without a value in a sensitive column are compared too."""
    found = _run(_grouped(LARGE, [""] * 2000 + ["a"] * 2000))
    assert "group=(missing)" in {one.slice for one in found.metrics}


def test_a_missing_number_counts_as_missing() -> None:
    """So it is for a numeric column."""
    values = np.where(np.arange(4000) % 2, 1.0, np.nan)
    found = _run(replace(LARGE, test=with_column(LARGE.test, number_column("group", values))))
    assert {"group=1", "group=(missing)"} == {one.slice for one in found.metrics if "=" in one.slice}
