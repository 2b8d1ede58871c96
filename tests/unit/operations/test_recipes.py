"""Recipes: run on locked rows, recorded with the version, run again, and trained on folds."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

import numpy as np
import pytest

from gatewright.checks.performance import cross_validation
from gatewright.checks.suite import known_checks, run_check
from gatewright.datasets.table import Kind, Table
from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import BadInput, Misuse, Refused
from gatewright.models.signature import Task
from gatewright.operations import casework, folding, models, recipes
from gatewright.operations.catalogue import ModelVersion
from gatewright.operations.child_protocol import REFUSAL, RESULT, encode_refusal, pack
from gatewright.operations.data import dataset
from gatewright.operations.home import Home
from gatewright.operations.models import Declared
from gatewright.operations.recipes import Sameness
from gatewright.testing.cases import answered, case, features, number_column, text_column
from scenario.loans_recipe import FAILING, RECIPE, RENAMED, SEEDED

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is Linux only")


def _added(home: Home, recipe: str, seed: int = 3) -> ModelVersion:
    declared = Declared(trained_on="loans", seed=seed)
    return recipes.train_and_add(home, recipe.encode(), "made", declared).version


def _only_declared(home: Home, recipe: str) -> ModelVersion:
    content = home.blobs.get(models.model(home, "loans@1").model)
    declared = Declared(trained_on="loans", recipe=recipe.encode(), seed=3)
    return models.add_content(home, content, "declared", declared)


def test_what_a_recipe_gives_is_added_with_its_lineage(live: Home) -> None:
    """The version names the recipe, the seed, the locked rows, the protections and the libraries."""
    version = _added(live, RECIPE)

    assert Digest.of(RECIPE.encode()) == version.recipe
    assert (3, dataset(live, "loans@1").train) == (version.seed, version.trained_on)
    assert "no sockets" in version.origin["sandbox"]
    assert np.__version__ == version.origin["library numpy"]
    assert version == models.model(live, "made@1")


def test_the_same_recipe_gives_the_same_bytes(live: Home) -> None:
    """A version trained again is the same file."""
    _added(live, RECIPE)
    found = recipes.reproduce(live, "made")

    assert (Sameness.SAME, None, {}) == (found.sameness, found.labels_differ, found.libraries)
    assert models.model(live, "made").model == found.model


def test_other_bytes_with_the_same_answers_are_alike(live: Home) -> None:
    """A name that changes with every run changes no answer, and that is told with the distance."""
    _added(live, RENAMED)
    found = recipes.reproduce(live, "made")

    assert (Sameness.ALIKE, 300, 0, 0.0) == (found.sameness, found.rows, found.labels_differ, found.largest)


def test_another_seed_can_be_tried(live: Home) -> None:
    """Where much hangs on the seed, another one gives a different model, counted in rows."""
    _added(live, SEEDED)
    found = recipes.reproduce(live, "made", seed=4)

    assert (Sameness.DIFFERENT, 4) == (found.sameness, found.seed)
    assert found.labels_differ
    assert found.largest is not None
    assert found.largest > recipes.ALIKE


def test_a_recipe_that_was_only_declared_is_held_to_it(live: Home) -> None:
    """A model that its declared recipe does not give is different."""
    _only_declared(live, RECIPE)

    assert Sameness.DIFFERENT is recipes.reproduce(live, "declared").sameness


def test_a_model_that_cannot_stand_in_is_different(live: Home) -> None:
    """Where the recipe now gives no model for this data, the reason is told."""
    _only_declared(live, "def train(rows, seed): return b'no model'")
    found = recipes.reproduce(live, "declared")

    assert Sameness.DIFFERENT is found.sameness
    assert found.reason


def test_a_library_that_changed_is_named(live: Home) -> None:
    """Where a recorded library has another version now, both are told."""
    version = _added(live, RECIPE)
    older = replace(version, origin={**version.origin, "library numpy": "1.0"})
    trained = recipes.run(RECIPE.encode(), _rows(live), seed=3, home=live)

    assert {"numpy": ("1.0", np.__version__)} == recipes._changed(older, trained)


def _rows(home: Home) -> Table:
    return casework.asked(home, models.model(home, "loans@1"), dataset(home, "loans@1"), seed=0).train


def test_a_refused_recipe_leaves_nothing(live: Home) -> None:
    """A recipe that fails, or gives what is no model, adds no version."""
    before = models.versions(live)
    for recipe in (FAILING, "import pickle\ndef train(rows, seed): return pickle.dumps({1: 2})"):
        with pytest.raises(Refused):
            _added(live, recipe)

    assert before == models.versions(live)


def test_a_recipe_needs_locked_rows(live: Home) -> None:
    """Without a dataset nothing is run; a version without a recipe is not trained again."""
    with pytest.raises(Misuse) as caught:
        recipes.train_and_add(live, RECIPE.encode(), "made", Declared())
    assert "recipes.no-dataset" == caught.value.code
    with pytest.raises(Misuse) as caught:
        recipes.reproduce(live, "loans@1")
    assert "recipes.none-declared" == caught.value.code


def test_a_recipe_sees_rows_as_polars_reads_them(live: Home) -> None:
    """Whole numbers, numbers and texts have their types, and missing cells are null."""
    rows = Table(
        columns=(
            number_column("n", np.array([1.0, np.nan]), whole=True),
            number_column("x", np.array([0.5, np.nan])),
            text_column("t", ["é", ""]),
            number_column("big", np.array([1e18, 1.0]), whole=True),
        )
    )
    source = "import json\ndef train(rows, seed): return json.dumps([rows.to_dict(as_series=False), [str(t) for t in rows.dtypes]]).encode()"
    seen, types = json.loads(recipes.run(source.encode(), rows, seed=0, home=live).onnx)

    assert {"n": [1, None], "x": [0.5, None], "t": ["é", None], "big": [1e18, 1.0]} == seen
    assert ["Int64", "Float64", "String", "Float64"] == types


def test_the_seed_starts_every_generator(live: Home) -> None:
    """Recipes that pass no seed on still repeat themselves, in sets too."""
    source = "import random, numpy as np\ndef train(rows, seed): return repr([random.random(), np.random.rand(), list(set('abcdef'))]).encode()"
    runs = [recipes.run(source.encode(), _TINY, seed=seed, home=live).onnx for seed in (5, 5, 6)]

    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


_TINY = Table(columns=(number_column("a", np.array([1.0])),))


# ---- folds -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", list(Task))
def test_folds_are_a_stratified_partition(task: Task) -> None:
    """Every row is in exactly one fold; sizes and classes are even; equal rows stay together."""
    rng = np.random.default_rng(1)
    table, _ = answered(features(300, 3, rng), task, rng)
    table = table.take(np.concatenate([np.arange(300), np.arange(20)]).astype(np.intp))
    found = folding.parts(table, target="answer", seed=5)

    assert list(range(320)) == sorted(np.concatenate(found).tolist())
    assert all(abs(len(part) - 64) <= 6 for part in found)
    place = {int(row): number for number, part in enumerate(found) for row in part}
    assert all(place[row] == place[300 + row] for row in range(20))
    target = table.column("answer")
    if target.kind is Kind.TEXT:
        shares = [np.mean(target.values[part] == target.values[0]) for part in found]
        assert max(shares) - min(shares) < 0.1
    again = folding.parts(table, target="answer", seed=5)
    assert all((one == other).all() for one, other in zip(found, again, strict=True))
    assert any(
        len(one) != len(other) or (one != other).any()
        for one, other in zip(found, folding.parts(table, target="answer", seed=6), strict=True)
    )


def test_too_few_rows_make_no_folds() -> None:
    """Rows that cannot be parted are refused."""
    with pytest.raises(BadInput):
        folding.parts(case(1, train_rows=3).train, target="answer", seed=0)


def test_a_case_holds_the_folds_of_a_recipe(live: Home) -> None:
    """Each fold is answered by a model that did not see it, and the check reads them."""
    version, data = _added(live, RECIPE), dataset(live, "loans@1")
    said: list[str] = []
    found = casework.gather(live, version, data, seed=1, progress=said.append)

    assert 5 == len(found.folds) == sum("fold" in each for each in said)
    assert list(range(200)) == sorted(np.concatenate([fold.rows for fold in found.folds]).tolist())
    assert version.recipe == casework.data_digests(version, data)["recipe"]
    finding = run_check(known_checks()[cross_validation.NAME], found, cross_validation.Parameters())
    assert "passed" == finding.outcome
    assert finding.metrics[0].value > 0.7


def test_a_recipe_that_fails_in_a_fold_leaves_the_answer_unknown(live: Home) -> None:
    """The check says unknown, and why; a version without a recipe is skipped and trains nothing."""
    data, train = dataset(live, "loans@1"), _rows(live)
    for version, outcome, word in (
        (_only_declared(live, FAILING), "unknown", "too few rows"),
        (models.model(live, "loans@1"), "skipped", "no recipe"),
    ):
        found, reason = folding.folds(live, version, data, train, seed=1)
        sound = replace(case(1), folds=found, no_folds=reason)
        finding = run_check(known_checks()[cross_validation.NAME], sound, cross_validation.Parameters())

        assert (outcome, ()) == (finding.outcome, found)
        assert word in finding.reason


def test_folds_end_when_their_time_is_over(live: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """All folds together have a bound on their time."""
    monkeypatch.setattr(folding, "SECONDS", 0)
    version = _only_declared(live, RECIPE)

    assert ((), "The 5 folds took more than 0 seconds together.") == folding.folds(
        live, version, dataset(live, "loans@1"), _rows(live), seed=0
    )


def _answer(told: bytes, model: bytes = b"m") -> memoryview:
    return memoryview(pack([RESULT + pack([model, told])]))


def _told(size: int) -> bytes:
    """Libraries as JSON, padded to a size."""
    return b'{"numpy": "2.0"}'.ljust(size)


def test_what_an_answer_tells_is_bounded_by_the_byte() -> None:
    """The libraries of an answer are read up to their limit, and refused one byte beyond it."""
    assert (b"m", {"numpy": "2.0"}) == recipes._model(_answer(_told(recipes.TOLD_BYTES)))
    with pytest.raises(Refused) as caught:
        recipes._model(_answer(_told(recipes.TOLD_BYTES + 1)))
    assert "recipes.nonsense" == caught.value.code


@pytest.mark.parametrize(("beyond", "code"), [(0, "recipes.raised"), (1, "recipes.nonsense")])
def test_a_refusal_is_bounded_by_the_byte(monkeypatch: pytest.MonkeyPatch, beyond: int, code: str) -> None:
    """A refusal is read up to the limit of what is told, and is nonsense one byte beyond it."""
    body = encode_refusal(Refused("recipes.raised", "It ended."))
    monkeypatch.setattr(recipes, "TOLD_BYTES", len(body) - beyond)
    with pytest.raises(Refused) as caught:
        recipes._model(memoryview(pack([REFUSAL + body])))
    assert code == caught.value.code


def test_the_longest_refusal_fits() -> None:
    """A refusal whose every text is as long as one may be stays within the limit of what is told."""
    longest = "\1" * 2_000
    refusal = Refused("recipes.raised", longest, why=longest, next=longest, place=longest)
    with pytest.raises(Refused) as caught:
        recipes._model(memoryview(pack([REFUSAL + encode_refusal(refusal)])))
    assert refusal.code == caught.value.code


@pytest.mark.parametrize("parts", [[], [b"m"], [b"m", b"{}", b""]])
def test_an_answer_has_two_parts(parts: list[bytes]) -> None:
    """A result that is not a model and its libraries does not hold."""
    with pytest.raises(Refused) as caught:
        recipes._model(memoryview(pack([RESULT + pack(parts)])))
    assert "recipes.nonsense" == caught.value.code


def test_a_model_beyond_its_limit_is_not_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model in an answer is as large as a model may be, and refused one byte beyond it."""
    monkeypatch.setattr(models, "MODEL_BYTES", 4)
    assert b"1234" == recipes._model(_answer(b"{}", b"1234"))[0]
    with pytest.raises(Refused) as caught:
        recipes._model(_answer(b"{}", b"12345"))
    assert "recipes.model-too-large" == caught.value.code


@pytest.mark.parametrize(
    "told",
    [
        b"[]",
        b'"x"',
        b"1",
        b'{"numpy": [[], []]}',
        b'{"numpy": 7}',
        b'{"\\ud800": "1"}',
        b"\xff",
        b"[" * 60_000,
    ],
)
def test_libraries_are_texts_or_nothing(told: bytes) -> None:
    """An answer whose libraries are anything but names with texts does not hold."""
    with pytest.raises(Refused) as caught:
        recipes._model(_answer(told))
    assert "recipes.nonsense" == caught.value.code


def test_what_is_kept_of_a_library_is_cut() -> None:
    """Of forty libraries with long names and versions, twenty are kept, sixty characters of each."""
    told = json.dumps({f"{number:02}" + "n" * 500: "v" * 500 for number in range(40)}).encode()
    kept = recipes._model(_answer(told))[1]
    assert (20, {60}, {"v" * 60}) == (len(kept), {len(name) for name in kept}, set(kept.values()))
