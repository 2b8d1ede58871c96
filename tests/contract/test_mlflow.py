"""A real MLflow logs and registers models; we read them from its stores without it.

MLflow runs in an environment of its own, with what it shares with ours taken from ours. It is made
once, in ``.state``, from ``mlflow.requirements``; without a place to install from, these are skipped.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

import pytest

from gatewright.kernel.digests import Digest
from scenario.world import Home, classifier, environment, write_loans

ROOT = Path(__file__).parents[2]
REQUIREMENTS = ROOT / "tests" / "contract" / "mlflow.requirements"
SECONDS = 600
CLOSED = {  # whatever would reach for the network finds a closed door
    "HTTPS_PROXY": "http://127.0.0.1:9",
    "HTTP_PROXY": "http://127.0.0.1:9",
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ALLOW_FILE_STORE": "true",
}


def install(folder: Path) -> str:
    """Make the environment; returns what went wrong, or nothing."""
    part = folder.with_name(f"{folder.name}.{os.getpid()}")
    python = part / "bin" / "python"
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(python),
        "install",
        "-qq",
        "--disable-pip-version-check",
    ]
    pip += ["--no-input", "--no-compile", "--no-deps", "--require-hashes", "--requirement", str(REQUIREMENTS)]
    try:
        for command in ([sys.executable, "-m", "venv", "--without-pip", str(part)], pip):
            done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
            if done.returncode:
                return (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        (packages,) = part.glob("lib/python*/site-packages")
        (packages / "shared.pth").write_text(f"{sysconfig.get_path('purelib')}\n", "utf-8")
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return ""


@pytest.fixture(scope="session")
def mlflow_python() -> Path:
    """The interpreter of an environment with MLflow in it."""
    content = REQUIREMENTS.read_bytes() + sys.version.encode() + sysconfig.get_path("purelib").encode()
    folder = ROOT / ".state" / f"mlflow-{hashlib.sha256(content).hexdigest()[:16]}"
    folder.parent.mkdir(exist_ok=True)
    if not folder.is_dir():
        wrong = install(folder)
        if wrong:
            pytest.skip(f"MLflow cannot be installed here: {wrong}")
    return folder / "bin" / "python"


@dataclass(frozen=True, slots=True, kw_only=True)
class Logged:
    """What MLflow wrote: its two stores with the run in each, and a home to bring the models to."""

    home: Home
    model: bytes
    stores: dict[str, str]
    runs: dict[str, str]


@pytest.fixture(scope="session")
def logged(mlflow_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Logged:
    """Models logged and registered by MLflow, in a folder of files and in a database."""
    root = tmp_path_factory.mktemp("mlflow")
    home = Home(root=root / "home")
    home.root.mkdir()
    home.do("init", "--owner", "ada")
    write_loans(home.root / "train.csv", 200, 1)
    write_loans(home.root / "test.csv", 300, 2)
    home.do("data", "add", "loans", "--train", "train.csv", "--test", "test.csv", "--target", "repaid")
    (root / "model.onnx").write_bytes(classifier())
    stores = {"files": f"file://{root / 'mlruns'}", "database": f"sqlite:///{root / 'mlflow.db'}"}
    done = subprocess.run(
        [mlflow_python, Path(__file__).with_name("mlflow_logs.py"), root / "model.onnx", *stores.values()],
        cwd=root,
        env=environment({**CLOSED, "HOME": str(root)}),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert 0 == done.returncode, done.stdout + done.stderr
    runs = dict(zip(stores, done.stdout.split()[-2:], strict=True))
    return Logged(home=home, model=classifier(), stores=stores, runs=runs)


@pytest.mark.parametrize("address", ["mlflow:models:/loans/1", "mlflow:models:/loans@champion"])
@pytest.mark.parametrize("store", ["files", "database"])
def test_a_registered_onnx_model_is_added_with_its_lineage(logged: Logged, store: str, address: str) -> None:
    """The bytes are the ones that were logged; the run, its parameters and last metrics are kept."""
    tracking = logged.stores[store]
    version = logged.home.do(
        "model", "add", address, "--tracking", tracking, "--name", "loans", "--trained-on", "loans"
    )
    origin = version["origin"]
    expected = {
        "run": logged.runs[store],
        "registered-version": "1",
        "source": address,
        "metric auc": "0.93",
        "parameter C": "1.0",
        "parameter note": "clear<U+001B>[2J",
    }
    assert expected == {name: origin[name] for name in expected}
    assert Digest.of(logged.model).hex == version["model"]
    assert origin == logged.home.do("model", "show", version["ref"])["origin"]


@pytest.mark.parametrize("store", ["files", "database"])
def test_a_pickled_model_is_refused_with_the_two_lines(logged: Logged, store: str) -> None:
    """The scikit-learn flavour is never opened; the refusal holds what to run where MLflow is."""
    before = logged.home.digest()
    ran = logged.home.run(
        "model", "add", "mlflow:models:/pickled/1", "--tracking", logged.stores[store], "--name", "loans",
        "--trained-on", "loans",
    )  # fmt: skip
    assert (1, "integrations.mlflow-flavour") == (ran.code, ran.error["code"])
    assert "import gatewright as gw, mlflow.sklearn\n" in ran.error["next"]
    assert "mlflow.sklearn.load_model('models:/pickled/1'), rows)" in ran.error["next"]
    assert before == logged.home.digest()


def test_the_two_lines_convert_the_model_where_mlflow_is(
    logged: Logged, mlflow_python: Path, tmp_path: Path
) -> None:
    """Run in MLflow's own environment, the lines of the refusal write a model that is then added."""
    ran = logged.home.run("model", "add", "mlflow:models:/pickled/1", "--tracking", logged.stores["database"],
                          "--name", "loans", "--trained-on", "loans")  # fmt: skip
    lines = [line.strip() for line in ran.error["next"].splitlines()[1:3]]
    rows = "import numpy as np; rows = np.random.default_rng(1).normal(size=(50, 3)).astype('float32')"
    done = subprocess.run(
        [mlflow_python, "-c", "\n".join([rows, *lines])],
        cwd=tmp_path,
        env=environment({**CLOSED, "HOME": str(tmp_path), "MLFLOW_TRACKING_URI": logged.stores["database"],
                         "PYTHONPATH": str(ROOT / "src")}),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )  # fmt: skip
    assert 0 == done.returncode, done.stdout + done.stderr
    assert (tmp_path / "model.onnx").read_bytes()[:1] == b"\x08"


def test_a_folder_that_mlflow_wrote_is_read(logged: Logged) -> None:
    """The folder of the ONNX model is read by its path, with no store named."""
    folders = [path.parent for path in logged.home.root.parent.glob("mlruns/*/models/*/artifacts/model.onnx")]
    brought = [
        logged.home.do("model", "add", f"mlflow:{folder}", "--name", "folder", "--trained-on", "loans")[
            "origin"
        ]
        for folder in folders
    ]
    assert sorted(logged.runs.values()) == sorted(origin["run"] for origin in brought)
    assert {"onnx, python_function"} == {origin["flavours"] for origin in brought}
