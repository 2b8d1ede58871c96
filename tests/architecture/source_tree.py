"""The source tree as values: every module parsed once, with what the tests count in it."""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "gatewright"

# The packages that decide and do nothing (the purity contract); those not yet there join when they are made.
CORE = (
    "kernel",
    "ledger",
    "datasets",
    "models",
    "explanations",
    "compression",
    "checks",
    "releases",
    "monitoring",
    "policy",
    "deployments",
    "incidents",
    "reports",
)

Function = ast.FunctionDef | ast.AsyncFunctionDef
_NOT_CODE = (
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """One Python file: its path below the repository, its syntax tree, and its lines of code."""

    path: Path
    tree: ast.Module
    code_lines: frozenset[int]

    @property
    def parts(self) -> tuple[str, ...]:
        """The path's parts below the package, suffix included."""
        return (ROOT / self.path).relative_to(PACKAGE).parts

    @property
    def package(self) -> str:
        """The top-level package (or module) this file belongs to."""
        return self.parts[0].removesuffix(".py")

    def functions(self) -> Iterator[Function]:
        """Every function and method, nested ones too."""
        return (node for node in ast.walk(self.tree) if isinstance(node, Function))

    def size(self, function: Function) -> int:
        """Lines of code of a function, without blank lines, comments and docstrings."""
        return len(self.code_lines & set(range(function.lineno, (function.end_lineno or 0) + 1)))

    def place(self, node: ast.AST) -> str:
        """``path:line`` of a node, for a person to click on."""
        return f"{self.path}:{getattr(node, 'lineno', 1)}"


def _code_lines(source: str, tree: ast.Module) -> frozenset[int]:
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in _NOT_CODE:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Module | ast.ClassDef | Function)
            and ast.get_docstring(node, clean=False) is not None
        ):
            lines.difference_update(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    return frozenset(lines)


def parse(path: Path, source: str) -> Module:
    """A module from its text."""
    tree = ast.parse(source, str(path))
    return Module(path=path, tree=tree, code_lines=_code_lines(source, tree))


def _read(folder: Path) -> tuple[Module, ...]:
    return tuple(
        parse(path.relative_to(ROOT), path.read_text("utf-8")) for path in sorted(folder.rglob("*.py"))
    )


@cache
def modules() -> tuple[Module, ...]:
    """Every module of the package."""
    return _read(PACKAGE)


@cache
def files_of_tests() -> tuple[Module, ...]:
    """Every file of the tests."""
    return _read(ROOT / "tests")


def core() -> tuple[Module, ...]:
    """Every module of the pure packages."""
    return tuple(module for module in modules() if module.package in CORE and len(module.parts) > 1)


def dotted(node: ast.AST) -> str:
    """``a.b.c`` of a name or attribute chain; the chain's tail behind a call or an index otherwise."""
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=value, attr=attr):
            return f"{dotted(value)}.{attr}"
        case _:
            return ""
