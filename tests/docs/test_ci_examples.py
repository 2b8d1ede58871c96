"""The examples for build servers: their shell steps are run, in order, in a prepared home."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from ruamel.yaml import YAML

from scenario.world import Home, classifier, environment, write_loans

FOLDER = Path(__file__).parents[2] / "examples" / "ci"
FILES = ("Jenkinsfile", "circleci.yml", "github.yml", "gitlab.yml")
WRITTEN = {"reports/junit.xml", "reports/gatewright.sarif", "reports/check.json"}
STEP_S = 240
NOISE = (0.05, 0.05, 3.0)
"""Weights of a model that answers by a column that means nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """What a file says: the shell steps in order, and the paths that are published whatever happened."""

    steps: tuple[str, ...]
    published: frozenset[str]


def jenkins(text: str) -> Pipeline:
    """A declarative Jenkins pipeline; what ``post { always`` names is published."""
    steps = [
        long or short for long, short in re.findall(r"\bsh (?:'''(.*?)'''|'([^'\n]*)')", text, re.DOTALL)
    ]
    always = text.partition("post {")[2].partition("always {")[2].partition("}")[0]
    return Pipeline(steps=tuple(steps), published=frozenset(re.findall(r"'(reports/[^']*)'", always)))


def github(text: str) -> Pipeline:
    """A GitHub workflow; a step with ``if: always()`` publishes."""
    (job,) = YAML(typ="safe").load(text)["jobs"].values()
    published = [step["with"] for step in job["steps"] if step.get("if") == "always()"]
    return Pipeline(
        steps=tuple(step["run"] for step in job["steps"] if "run" in step),
        published=frozenset(given.get("path") or given["sarif_file"] for given in published),
    )


def gitlab(text: str) -> Pipeline:
    """A GitLab job; artifacts ``when: always`` are published."""
    (job,) = YAML(typ="safe").load(text).values()
    kept = job["artifacts"]
    assert "always" == kept["when"]
    published = frozenset([*kept["paths"], kept["reports"]["junit"]])
    return Pipeline(steps=("\n".join(job["script"]),), published=published)


def circleci(text: str) -> Pipeline:
    """A CircleCI job; results and artifacts are stored whatever the steps before said."""
    (job,) = YAML(typ="safe").load(text)["jobs"].values()
    named = [(name, given) for step in job["steps"] if isinstance(step, dict) for name, given in step.items()]
    return Pipeline(
        steps=tuple(given["command"] for name, given in named if name == "run"),
        published=frozenset(given["path"] for name, given in named if name.startswith("store_")),
    )


READERS = {"Jenkinsfile": jenkins, "circleci.yml": circleci, "github.yml": github, "gitlab.yml": gitlab}


def pipeline(name: str) -> Pipeline:
    """An example, read."""
    return READERS[name]((FOLDER / name).read_text("utf-8"))


def commands(found: Pipeline) -> list[str]:
    """The lines of all steps."""
    return [line.strip() for step in found.steps for line in step.splitlines() if line.strip()]


def walk(folder: Path, steps: Sequence[str]) -> list[int]:
    """Run the steps as a build server does: each in a shell that stops at the first failure, then no more."""
    codes = []
    extra = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "PIP_NO_INDEX": "1"}
    for step in steps:
        done = subprocess.run(
            ["sh", "-e", "-c", step],
            cwd=folder,
            env=environment({**extra, "GATEWRIGHT_HOME": str(folder)}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=STEP_S,
            check=False,
        )
        codes.append(done.returncode)
        if done.returncode:
            break
    return codes


def reports(folder: Path) -> tuple[dict[str, str], str, str]:
    """Totals of the JUnit document, the version of the SARIF one, and the recorded decision."""
    counts = dict(ET.parse(folder / "reports" / "junit.xml").getroot().attrib)  # noqa: S314 - our own
    sarif = json.loads((folder / "reports" / "gatewright.sarif").read_text("utf-8"))
    check = json.loads((folder / "reports" / "check.json").read_text("utf-8"))
    return counts, sarif["version"], check["decision"]


@pytest.fixture(scope="module")
def registered(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home with the data registered, as the examples expect it."""
    home = Home(root=tmp_path_factory.mktemp("ci") / "home")
    home.root.mkdir()
    home.do("init", "--owner", "ada")
    write_loans(home.root / "train.csv", 300, 1)
    write_loans(home.root / "test.csv", 400, 2)
    home.do("data", "add", "loans", "--train", "train.csv", "--test", "test.csv", "--target", "repaid")
    return home


@pytest.fixture
def home(registered: Home, tmp_path: Path) -> Home:
    """A copy of it."""
    shutil.copytree(registered.root, tmp_path / "home")
    return Home(root=tmp_path / "home")


def test_the_examples_run_the_same_commands() -> None:
    """The four files differ in their form and not in what they run, so that one is run for all."""
    expected = commands(pipeline(FILES[0]))
    assert dict.fromkeys(FILES, expected) == {name: commands(pipeline(name)) for name in FILES}
    assert sorted(FILES) == sorted(path.name for path in FOLDER.iterdir())


@pytest.mark.parametrize("name", FILES)
def test_the_reports_are_published_whatever_happened(name: str) -> None:
    """Every file publishes the folder of the reports always, and never the output of ship, which holds a key."""
    published = pipeline(name).published
    assert published & {"reports/", "reports", "reports/*"}
    assert [] == [path for path in published if not path.startswith("reports")]
    assert any("> ship.json" in line for line in commands(pipeline(name)))


def test_a_good_model_is_shipped(home: Home) -> None:
    """The steps of an example check a good model, write the three reports and put it live."""
    (home.root / "model.onnx").write_bytes(classifier())
    found = pipeline("Jenkinsfile")
    assert [0] * len(found.steps) == walk(home.root, found.steps)
    counts, version, decision = reports(home.root)
    assert ("0", "0", "2.1.0", "needs-approval") == (counts["failures"], counts["errors"], version, decision)
    assert ["loans@1"] == [each["ref"] for each in home.do("status")["endpoints"]]


def test_a_denied_model_stops_the_build_with_its_reports(home: Home) -> None:
    """A model that the policy denies ends the check with 1; nothing is shipped, the reports are there."""
    (home.root / "model.onnx").write_bytes(classifier(NOISE))
    _, *after_install = pipeline("github.yml").steps
    assert [1] == walk(home.root, after_install)
    counts, _, decision = reports(home.root)
    assert "deny" == decision
    assert 0 < int(counts["failures"])
    assert {str(path.relative_to(home.root)) for path in (home.root / "reports").iterdir()} == WRITTEN
    assert not (home.root / "ship.json").exists()


def test_a_model_that_waits_for_approval_does_not_fail_the_build(home: Home) -> None:
    """Exit code 5 of ship ends the step with 0, and nothing is live yet."""
    policy = home.root / "policy.toml"
    text = policy.read_text("utf-8")
    policy.write_text(text.replace("# [tiers.models]", '[tiers.models]\nloans = "high"'), "utf-8")
    (home.root / "model.onnx").write_bytes(classifier())
    home.do("model", "add", "model.onnx", "--name", "loans", "--trained-on", "loans")
    assert [0] == walk(home.root, pipeline("circleci.yml").steps[-1:])
    assert "policy.waiting-for-approval" == json.loads((home.root / "ship.json").read_text())["error"]["code"]
    assert [] == home.do("status")["endpoints"]
