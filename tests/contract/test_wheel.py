"""The built wheel, alone in an empty environment: it serves and verifies with the base packages only."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from contract.prepared_home import PreparedHome, prepare

ROOT = Path(__file__).parents[2]
HEAVY = ("sqlalchemy", "scipy", "onnx", "sklearn", "skl2onnx", "polars", "model_signing", "pytest")
INSTALL_SECONDS = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """An environment that holds the wheel and what it depends on."""

    folder: Path
    wheel: Path

    def run(self, *arguments: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment, outside the repository and with none of its settings."""
        return subprocess.run(
            [str(self.folder / "bin" / arguments[0]), *arguments[1:]],
            cwd=self.folder,
            env={"PATH": "/usr/bin:/bin", "HOME": str(self.folder), "NO_COLOR": "1", "COLUMNS": "120"},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )


def closure(names: Iterator[str]) -> set[str]:
    """Every distribution that the named ones need here, themselves included."""
    found: set[str] = set()
    pending = [(name, frozenset({""})) for name in names]
    while pending:
        name, extras = pending.pop()
        if name in found:
            continue
        found.add(name)
        for line in requires(name) or ():
            needed = Requirement(line)
            if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in extras):
                pending.append((canonicalize_name(needed.name), frozenset({"", *needed.extras})))
    return found


def locked(names: set[str]) -> str:
    """The part of the lock that names these distributions, hashes and all."""
    entries = re.split(r"\n(?=[a-zA-Z0-9])", (ROOT / "requirements.lock").read_text("utf-8"))
    return "\n".join(entry for entry in entries if canonicalize_name(re.split(r"[=\[ ]", entry)[0]) in names)


def base_requirements(wheel: Path) -> list[Requirement]:
    """What the wheel itself says it needs without any extra."""
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        lines = archive.read(metadata).decode("utf-8").splitlines()
    every = [Requirement(line.partition(": ")[2]) for line in lines if line.startswith("Requires-Dist: ")]
    return [each for each in every if each.marker is None or each.marker.evaluate({"extra": ""})]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from this tree without touching the network."""
    folder = tmp_path_factory.mktemp("wheel")
    made = subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)],
        capture_output=True,
        text=True,
        timeout=INSTALL_SECONDS,
        check=False,
    )
    assert 0 == made.returncode, made.stdout + made.stderr
    (found,) = folder.glob("gatewright-*-py3-none-any.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """An empty environment with the wheel and the locked, hashed packages of its base requirements."""
    folder = tmp_path_factory.mktemp("empty") / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    lock = folder / "base.lock"
    lock.write_text(locked(closure(canonicalize_name(each.name) for each in base_requirements(wheel))))
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "install", "-qq"]
    pip += ["--disable-pip-version-check", "--no-input", "--no-compile"]
    for what in (["--require-hashes", "--requirement", str(lock)], ["--no-deps", str(wheel)]):
        done = subprocess.run(
            [*pip, *what], capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False
        )
        assert 0 == done.returncode, done.stdout + done.stderr
    return Installed(folder=folder, wheel=wheel)


@pytest.fixture(scope="module")
def prepared(installed: Installed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PreparedHome]:
    """A home made by the development environment, for the empty one to serve."""
    if installed.run("gatewright", "serve", "--help").returncode != 0:
        pytest.skip("the command line has no serve yet")
    folder = tmp_path_factory.mktemp("prepared")
    yield prepare(folder)
    shutil.rmtree(folder)


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    """The wheel carries the package with its type marker and licence, and neither tests nor caches."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert "gatewright/py.typed" in names
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
    assert {"gatewright"} == {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert [] == [name for name in names if "__pycache__" in name]


def test_the_base_requirements_are_complete(installed: Installed) -> None:
    """Nothing that an installed package needs is missing."""
    done = subprocess.run(
        [sys.executable, "-m", "pip", "--python", str(installed.folder / "bin" / "python"), "check"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert 0 == done.returncode, done.stdout + done.stderr


def test_the_heavy_packages_are_absent(installed: Installed) -> None:
    """A bare worker has no database, no training library and no model editor."""
    question = "import importlib.util as u, sys; print([n for n in sys.argv[1:] if u.find_spec(n)])"
    assert "[]\n" == installed.run("python", "-c", question, *HEAVY).stdout


def test_every_module_of_the_data_plane_imports(installed: Installed) -> None:
    """Each module of serving, and of what it stands on, imports without the heavy packages."""
    modules = sorted(
        ".".join(path.relative_to(ROOT / "src").with_suffix("").parts).removesuffix(".__init__")
        for package in ("kernel", "ledger", "serving")
        for path in (ROOT / "src" / "gatewright" / package).rglob("*.py")
        if not path.name.startswith("grpc_")  # the extra ``grpc`` installs what they stand on
    )
    question = "import importlib, sys; [importlib.import_module(name) for name in sys.argv[1:]]"
    done = installed.run("python", "-W", "error", "-c", question, *modules)
    assert (0, "") == (done.returncode, done.stderr)


def test_help_needs_nothing_heavy(installed: Installed) -> None:
    """``gatewright --help`` works in the empty environment, as a command and as a module."""
    for command in (["gatewright", "--help"], ["python", "-m", "gatewright", "--help"]):
        done = installed.run(*command)
        assert (0, "") == (done.returncode, done.stderr)
        assert "gatewright" in done.stdout.lower()


def test_it_serves_a_home_that_was_made_elsewhere(installed: Installed, prepared: PreparedHome) -> None:
    """The empty environment serves the prepared home and answers one prediction with a receipt."""
    answer = prepared.predict(installed.folder / "bin" / "gatewright")
    assert 200 == answer.status, answer.body
    assert "outputs" in answer.body
    assert answer.has_receipt


def test_it_verifies_a_release_that_was_made_elsewhere(installed: Installed, prepared: PreparedHome) -> None:
    """The empty environment verifies the exported release, and refuses it with one byte changed."""
    verify = ("gatewright", "verify", *prepared.verify_arguments)
    done = installed.run(*verify)
    assert 0 == done.returncode, done.stdout + done.stderr
    data = bytearray(prepared.model.read_bytes())
    data[len(data) // 2] ^= 1
    prepared.model.write_bytes(data)
    assert 3 == installed.run(*verify).returncode
