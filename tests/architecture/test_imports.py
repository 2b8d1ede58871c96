"""Imports stand at the top of the file, where a reader and the direction contracts look for them."""

from __future__ import annotations

import ast
import sys
import tomllib
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from architecture.source_tree import ROOT, Function, Module, dotted, modules, parse

# The assembly names concrete classes when they are asked for; a command imports what it needs, so that
# --help stays fast; the root forwards to the client on first use.
LAZY_PACKAGES = frozenset({"assembly", "cli", "__init__"})
# One table names the jobs that run in child processes; the child imports only its own. The pytest
# plugin is loaded by every run of pytest, most of which have no model to test. A worker needs the gRPC
# plane, and with it an extra, only where a port for it is asked for.
LAZY_FILES = frozenset(
    {("operations", "children.py"), ("integrations", "pytest_plugin.py"), ("serving", "worker.py")}
)


@cache
def optional_extras() -> frozenset[str]:
    """Import names of what only an extra installs."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    base = {canonicalize_name(Requirement(line).name) for line in project["dependencies"]}
    extras = {
        canonicalize_name(Requirement(line).name)
        for lines in project["optional-dependencies"].values()
        for line in lines
    }
    return frozenset(
        name
        for name, distributions in packages_distributions().items()
        if {canonicalize_name(each) for each in distributions} & (extras - base)
    )


def may_be_lazy(module: Module) -> bool:
    """Whether a file may import inside its functions."""
    return module.package in LAZY_PACKAGES or module.parts in LAZY_FILES


def imported(node: ast.AST) -> list[str]:
    """Full names of the modules that a statement or call imports."""
    match node:
        case ast.Import(names=names):
            return [alias.name for alias in names]
        case ast.ImportFrom(module=name):
            return [name or "."]
        case ast.Call(func=func) if dotted(func).rpartition(".")[2] in {"import_module", "__import__"}:
            return ["a name computed at run time"]
        case _:
            return []


def hidden_imports(module: Module) -> list[str]:
    """Imports inside functions that neither the place nor an optional extra excuses."""
    if may_be_lazy(module):
        return []
    extras = optional_extras()
    return sorted(
        {
            f"{module.place(node)} {name}"
            for function in module.functions()
            for node in ast.walk(function)
            for name in imported(node)
            if name.partition(".")[0] not in extras
        }
    )


def test_imports_are_not_hidden_in_functions() -> None:
    """Only the assembly, the commands, the root, the job table and optional extras are imported late."""
    assert [] == [found for module in modules() for found in hidden_imports(module)]


def test_no_module_imports_relatively() -> None:
    """Every import names the whole path, so that a search finds every user of a module."""
    assert [] == [
        module.place(node)
        for module in modules()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ImportFrom) and node.level
    ]


def test_package_heads_hold_only_their_docstring() -> None:
    """An ``__init__`` holds its docstring alone, except the root's and the command line's entry."""
    assert [] == [
        str(module.path)
        for module in modules()
        if module.path.name == "__init__.py"
        and module.parts not in {("__init__.py",), ("cli", "__init__.py")}
        and len(module.tree.body) != 1
    ]


@pytest.mark.parametrize(
    ("place", "line", "found"),
    [
        ("src/gatewright/checks/x.py", "import json", 1),
        ("src/gatewright/checks/x.py", "from gatewright.kernel import names", 1),
        ("src/gatewright/operations/x.py", "importlib.import_module(name)", 1),
        ("src/gatewright/operations/children.py", "importlib.import_module(name)", 0),
        ("src/gatewright/cli/x.py", "from gatewright.operations import ship", 0),
        ("src/gatewright/adapters/x.py", "import polars", 0),
    ],
)
def test_hidden_imports_are_seen(place: str, line: str, found: int) -> None:
    """A late import is found unless its place or its extra allows it."""
    planted = parse(Path(place), f"def f(name):\n    {line}\n")
    assert found == len(hidden_imports(planted))


def test_the_extras_are_known_by_their_import_names() -> None:
    """scikit-learn is known as sklearn, and neither base packages nor the standard library count as extras."""
    extras = optional_extras()
    assert {"sklearn", "polars", "sqlalchemy"} <= extras
    assert not extras & ({"numpy", "msgspec", "onnxruntime"} | sys.stdlib_module_names)


def test_every_function_is_looked_at() -> None:
    """A nested function and a method are functions too."""
    planted = parse(
        Path("src/gatewright/checks/x.py"), "class A:\n    def f(self):\n        def g(): import os\n"
    )
    assert ["f", "g"] == [node.name for node in planted.functions() if isinstance(node, Function)]
    assert 1 == len(hidden_imports(planted))
