"""Error codes are stable names that people script against: their form, and one meaning for each."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from architecture.source_tree import Module, dotted, modules, parse

CODE = re.compile(r"[a-z]+(?:-[a-z0-9]+)*\.[a-z0-9]+(?:-[a-z0-9]+)*")
BRANCHES = frozenset(
    {"Misuse", "BadInput", "Refused", "ApprovalNeeded", "Tampered", "DependencyFailed", "GatewrightError"}
)
VALUES = frozenset({"Refusal"})


def stated_codes(module: Module) -> Iterator[tuple[ast.Call, str, ast.expr]]:
    """Each construction of an error or refusal: the call, its class and the expression that is its code."""
    for node in ast.walk(module.tree):
        if not isinstance(node, ast.Call):
            continue
        name = dotted(node.func).rpartition(".")[2]
        if name not in BRANCHES | VALUES:
            continue
        named = [keyword.value for keyword in node.keywords if keyword.arg == "code"]
        if named or node.args:
            yield node, name, (named or node.args)[0]


def malformed(module: Module) -> list[str]:
    """Codes of one module that are put together at run time or are not ``area.what-happened``."""
    return [
        f"{module.place(call)} {ast.unparse(code)}"
        for call, _, code in stated_codes(module)
        if isinstance(code, ast.JoinedStr | ast.BinOp)
        or (isinstance(code, ast.Constant) and not CODE.fullmatch(str(code.value)))
    ]


def test_codes_have_the_form_area_what() -> None:
    """Every code that is written down is ``area.what-happened``, and none is put together at run time."""
    assert [] == [found for module in modules() for found in malformed(module)]


def test_one_code_is_one_kind_of_error() -> None:
    """The same code is never raised as two different kinds of error."""
    kinds: defaultdict[str, set[str]] = defaultdict(set)
    for module in modules():
        for _, name, code in stated_codes(module):
            if isinstance(code, ast.Constant) and name in BRANCHES:
                kinds[str(code.value)].add(name)
    assert {} == {code: sorted(names) for code, names in kinds.items() if len(names) > 1}


@pytest.mark.parametrize(
    "line",
    [
        "raise Misuse('nodot', 'x')",
        "raise BadInput('Area.what', 'x')",
        "Refusal(code=f'models.{kind}', what='x')",
        "raise errors.Tampered('a.b_c', 'x')",
    ],
)
def test_malformed_codes_are_seen(line: str) -> None:
    """A code without an area, with capitals or underscores, or computed, is found in a planted line."""
    assert 1 == len(malformed(parse(Path("planted.py"), line)))


def test_wellformed_codes_pass() -> None:
    """A code as the house writes it, and one handed through by name, are left alone."""
    planted = "raise Misuse('kernel.bad-name', 'x')\nRefusal(code=code, what='x')\n"
    assert [] == malformed(parse(Path("planted.py"), planted))
