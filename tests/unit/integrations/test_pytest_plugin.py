"""The pytest plugin, run as its users run it: pytest in a process of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from scenario.world import Home, classifier, environment, write_loans

SECONDS = 240
HEAVY = ("numpy", "scipy", "onnxruntime", "sqlalchemy", "gatewright.operations", "gatewright.assembly")
PAGE = (Path(__file__).parents[3] / "docs" / "testing-models.md").read_text("utf-8")
EXAMPLE = PAGE.partition("```python\n")[2].partition("```")[0]
TESTS = """
import pytest
pytestmark = pytest.mark.gatewright("loans")

def test_age_does_not_matter(model):
    model.invariance("age", lambda age: -age).holds()

def test_income_raises_the_chance(model):
    model.direction("income", 1.0, score="up").holds(at_most=0.02)

def test_a_clear_case(model):
    model.gives("yes", to={"clear": {"income": 3, "debts": -2, "age": 0}}).holds()

def test_debts_do_not_matter(model):
    model.invariance("debts", 1.0).holds(at_most=0.02)

@pytest.mark.gatewright("model.onnx", rows="test.csv", target="repaid")
def test_a_file(model):
    model.direction("debts", 1.0, score="down", of="yes").holds()

@pytest.mark.gatewright("nobody")
def test_nobody(model):
    pass

@pytest.mark.gatewright("model.onnx")
def test_a_file_without_rows(model):
    pass
"""


def pytest_in(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run pytest in a folder that is a project of its own."""
    extra = {"PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "-rA", *arguments],
        cwd=folder,
        env=environment(extra),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a home, a model in it, and tests of the model."""
    home = Home(root=tmp_path_factory.mktemp("project"))
    home.do("init", "--owner", "ada")
    write_loans(home.root / "train.csv", 300, 1)
    write_loans(home.root / "test.csv", 400, 2)
    home.do("data", "add", "loans", "--train", "train.csv", "--test", "test.csv", "--target", "repaid")
    (home.root / "model.onnx").write_bytes(classifier())
    home.do("model", "add", "model.onnx", "--name", "loans", "--trained-on", "loans")
    (home.root / "pytest.ini").write_text("[pytest]\naddopts = --strict-markers\n", "utf-8")
    (home.root / "test_model.py").write_text(TESTS, "utf-8")
    (home.root / "test_page.py").write_text(EXAMPLE, "utf-8")
    return home.root


@pytest.fixture(scope="module")
def told(project: Path) -> str:
    """What a run of these tests prints."""
    return pytest_in(project).stdout


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("test_age_does_not_matter", "PASSED"),
        ("test_income_raises_the_chance", "PASSED"),
        ("test_a_clear_case", "PASSED"),
        ("test_debts_do_not_matter", "FAILED"),
        ("test_a_file", "PASSED"),
        ("test_nobody", "ERROR"),
        ("test_a_file_without_rows", "ERROR"),
    ],
)
def test_tests_of_a_model_end_as_they_should(told: str, name: str, expected: str) -> None:
    """A promise that the model keeps passes, one that it breaks fails, and a wrong name is an error."""
    assert [expected] == re.findall(rf"^(\w+) test_model\.py::{name}\b(?: |$)", told, re.MULTILINE)


@pytest.mark.parametrize("name", re.findall(r"def (test_\w+)", EXAMPLE))
def test_the_example_of_the_page_passes(told: str, name: str) -> None:
    """Each test function of the documentation runs as it stands."""
    assert re.search(rf"^PASSED test_page\.py::{name}$", told, re.MULTILINE)


def test_the_failure_on_the_page_is_the_one_that_is_printed(told: str) -> None:
    """The sentence and the head of the table that the page shows come from a real failure."""
    shown = PAGE.partition("```text\n")[2].partition("```")[0].splitlines()
    words = re.sub(r"[\d.,]+", "N", shown[0].partition("; at most")[0])
    assert words in re.sub(r"[\d.,]+", "N", told)
    assert shown[1].split() in [line.split()[1:] for line in told.splitlines()]


def test_a_failure_shows_the_rows(told: str) -> None:
    """The failure holds the rate with its interval and the table of the worst rows."""
    assert re.search(r"AssertionError: The answer does not depend on debts: \d+ of 400 rows", told)
    assert "95 % interval" in told
    assert re.search(r"E +row +change +answer +score", told)
    assert (
        "behaviour.py" not in told.partition("test_debts_do_not_matter ___")[2].partition("test_model.py:")[0]
    )


def test_errors_are_sentences(told: str) -> None:
    """What cannot be found is told in a sentence, without a traceback."""
    assert "There is no 'nobody' among the models of this home. There is: loans@1." in told
    assert "Name both: @pytest.mark.gatewright('model.onnx', rows='test.csv', target='repaid')." in told
    assert "models_under_test.py" not in told


def test_the_command_line_comes_before_the_mark(project: Path) -> None:
    """``--gatewright-model`` tries another version with the same tests."""
    done = pytest_in(project, "-k", "clear_case", "--gatewright-model", "loans@7")
    assert 1 == done.returncode
    assert "There is no 'loans@7'" in done.stdout


@pytest.fixture(scope="module")
def bystander(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What pytest prints in a project that names no model."""
    folder = tmp_path_factory.mktemp("bystander")
    question = (
        f"import sys\ndef test_it(): assert [] == [name for name in {HEAVY!r} if name in sys.modules]\n"
    )
    own = "import pytest\n@pytest.fixture\ndef model(): return 7\ndef test_it(model): assert 7 == model\n"
    (folder / "test_a.py").write_text(question, "utf-8")
    (folder / "test_b.py").write_text(own, "utf-8")
    (folder / "test_c.py").write_text("def test_it(model): pass\n", "utf-8")
    return pytest_in(folder, "-p", "no:hypothesispytest", "-p", "no:xdist").stdout


def test_who_has_no_model_pays_nothing(bystander: str) -> None:
    """The plugin loads neither numbers nor a home until a test asks for a model."""
    assert "PASSED test_a.py::test_it" in bystander


def test_a_fixture_of_the_project_takes_its_place(bystander: str) -> None:
    """A project that has a fixture named ``model`` keeps it."""
    assert "PASSED test_b.py::test_it" in bystander


def test_no_model_is_a_sentence(bystander: str) -> None:
    """A test that asks for a model where none is named is told the three ways to name one."""
    assert "ERROR test_c.py::test_it" in bystander
    assert "No model is named for this test." in bystander
