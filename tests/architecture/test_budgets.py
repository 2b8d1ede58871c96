"""The budgets of the house, counted without blank lines, comments and docstrings."""

from __future__ import annotations

from pathlib import Path
from statistics import median

from architecture.source_tree import modules, parse

MODULE_LINES = 400
FUNCTION_LINES = 60
MEDIAN_FUNCTION_LINES = 10


def test_no_module_is_longer_than_the_budget() -> None:
    """A module has at most 400 lines of code."""
    assert [] == [
        f"{module.path}: {len(module.code_lines)}"
        for module in modules()
        if len(module.code_lines) > MODULE_LINES
    ]


def test_no_function_is_longer_than_the_budget() -> None:
    """A function has at most 60 lines of code."""
    assert [] == [
        f"{module.place(function)} {function.name}: {module.size(function)}"
        for module in modules()
        for function in module.functions()
        if module.size(function) > FUNCTION_LINES
    ]


def test_half_of_all_functions_are_short() -> None:
    """The median function has at most 10 lines of code."""
    sizes = [module.size(function) for module in modules() for function in module.functions()]
    assert median(sizes) <= MEDIAN_FUNCTION_LINES


def test_the_count_leaves_out_what_is_not_code() -> None:
    """Blank lines, comments and docstrings are not counted, and continued lines are."""
    source = '"""Head."""\n\n# why\ndef f():\n    """Say."""\n\n    return (\n        1\n    )\n'
    module = parse(Path("f.py"), source)
    assert frozenset({4, 7, 8, 9}) == module.code_lines
    assert [4] == [module.size(function) for function in module.functions()]
