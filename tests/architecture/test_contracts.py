"""The direction of imports is declared, kept, complete, and proven to bite."""

from __future__ import annotations

import configparser
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from architecture.source_tree import CORE, PACKAGE, ROOT

CONTRACTS = ("direction", "acyclic", "purity", "wiring", "lightness")


def lint(root: Path, *contracts: str) -> subprocess.CompletedProcess[str]:
    """Run import-linter on a tree, in a process of its own so that no import is remembered."""
    limits = [part for name in contracts for part in ("--contract", name)]
    return subprocess.run(
        [
            sys.executable,
            "-c",
            "from importlinter.cli import lint_imports_command as main; main()",
            "--config",
            str(root / ".importlinter"),
            "--no-cache",
            "--no-logo",
            *limits,
        ],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root / "src"), "COLUMNS": "200", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def declared() -> configparser.ConfigParser:
    """The contracts as written."""
    parser = configparser.ConfigParser()
    parser.read_string((ROOT / ".importlinter").read_text("utf-8"))
    return parser


def test_every_contract_is_kept() -> None:
    """The tree keeps all of its import contracts."""
    result = lint(ROOT)
    assert 0 == result.returncode, result.stdout + result.stderr
    assert f"{len(CONTRACTS)} kept, 0 broken" in result.stdout


def test_no_contract_has_an_exemption() -> None:
    """No contract ignores an import, skips a package or allows a way round."""
    parser = declared()
    assert [f"importlinter:contract:{name}" for name in CONTRACTS] == parser.sections()[1:]
    allowed = {
        "name",
        "type",
        "containers",
        "layers",
        "exhaustive",
        "ancestors",
        "source_modules",
        "forbidden_modules",
        "protected_modules",
        "allowed_importers",
    }
    assert [] == [
        f"{section}: {option}"
        for section in parser.sections()[1:]
        for option in parser.options(section)
        if option not in allowed
    ]
    assert parser.getboolean("importlinter:contract:direction", "exhaustive")


def test_the_purity_contract_names_exactly_the_core_that_exists() -> None:
    """A core package is under the purity contract from the commit that creates it."""
    named = declared()["importlinter:contract:purity"]["source_modules"].split()
    existing = [name for name in CORE if (PACKAGE / name / "__init__.py").exists()]
    assert sorted(f"gatewright.{name}" for name in existing) == sorted(named)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A planted import that a contract must catch: the file, its text, and the words of the complaint."""

    contract: str
    file: str
    text: str
    says: str


FAULTS = {
    "a check reaches for an adapter": Fault(
        contract="direction",
        file="checks/planted.py",
        text="import gatewright.adapters",
        says="gatewright.checks.planted -> gatewright.adapters",
    ),
    "the kernel opens a database": Fault(
        contract="purity",
        file="kernel/planted.py",
        text="import sqlite3",
        says="gatewright.kernel.planted -> sqlite3",
    ),
    "the data plane runs an operation": Fault(
        contract="direction",
        file="serving/planted.py",
        text="import gatewright.operations",
        says="gatewright.serving.planted -> gatewright.operations",
    ),
    "a command names an adapter": Fault(
        contract="wiring",
        file="cli/planted.py",
        text="import gatewright.adapters",
        says="gatewright.cli.planted -> gatewright.adapters",
    ),
    "a package that nobody placed": Fault(
        contract="direction",
        file="utils/__init__.py",
        text="",
        says="utils",
    ),
    "two halves of a package need each other": Fault(
        contract="acyclic",
        file="releases/planted/first.py",
        text="import gatewright.releases.other.second",
        says="gatewright.releases",
    ),
    "data sets know models": Fault(
        contract="direction",
        file="datasets/planted.py",
        text="import gatewright.models",
        says="gatewright.datasets.planted -> gatewright.models",
    ),
    "the data plane grows heavy through another package": Fault(
        contract="lightness",
        file="serving/planted.py",
        text="import gatewright.ledger.planted",
        says="gatewright.ledger.planted -> scipy",
    ),
}
# What some faults need beside them.
ACCOMPLICES = {
    "releases/planted/__init__.py": "",
    "releases/other/__init__.py": "",
    "releases/other/second.py": "import gatewright.releases.planted.first",
    "ledger/planted.py": "import scipy.stats",
}


@pytest.mark.parametrize("title", FAULTS)
def test_a_planted_fault_breaks_its_contract(title: str, tmp_path: Path) -> None:
    """Each contract, kept on the tree as it is, breaks on a copy with one fault in it."""
    fault = FAULTS[title]
    package = tmp_path / "src" / "gatewright"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / ".importlinter", tmp_path)
    for file, text in {**ACCOMPLICES, fault.file: fault.text}.items():
        if file == fault.file or Path(file).parts[0] in {"releases", "ledger"}:
            (package / file).parent.mkdir(parents=True, exist_ok=True)
            (package / file).write_text(f"{text}\n", "utf-8")
    result = lint(tmp_path, fault.contract)
    assert 1 == result.returncode, result.stdout + result.stderr
    assert "1 broken" in result.stdout
    assert fault.says in " ".join(result.stdout.split())
