"""What is public says what it is, and every test states its promise."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from architecture.source_tree import Function, Module, files_of_tests, modules

# A full stop inside these does not end a sentence.
_ABBREVIATIONS = re.compile(r"\b(?:e\.g|i\.e|vs|cf|etc|No|approx)\.\s")
_NEXT_SENTENCE = re.compile(r"[.!?]\s+[A-Z]")


def _public(module: Module) -> Iterator[ast.Module | ast.ClassDef | Function]:
    """The module, its public classes and functions, and their public methods."""
    yield module.tree
    pending: list[ast.stmt] = list(module.tree.body)
    while pending:
        node = pending.pop()
        if not isinstance(node, ast.ClassDef | Function) or node.name.startswith("_"):
            continue
        yield node
        if isinstance(node, ast.ClassDef):
            pending += node.body


def _is_one_sentence(text: str) -> bool:
    """Whether a docstring is one paragraph of one sentence with its closing mark."""
    joined = " ".join(text.split())
    return (
        "\n\n" not in text.strip()
        and joined.endswith((".", "!", "?"))
        and not _NEXT_SENTENCE.search(_ABBREVIATIONS.sub("", joined))
    )


def test_everything_public_has_a_docstring() -> None:
    """Every public module, class, function and method of the package says what it is."""
    assert [] == [
        f"{module.place(node)} {getattr(node, 'name', '')}"
        for module in modules()
        for node in _public(module)
        if not ast.get_docstring(node)
    ]


def test_every_test_states_its_promise_in_one_sentence() -> None:
    """Every test function has a docstring of exactly one sentence."""
    assert [] == [
        f"{module.place(function)} {function.name}: {ast.get_docstring(function)!r}"
        for module in files_of_tests()
        if module.path.name.startswith("test_")
        for function in module.functions()
        if function.name.startswith("test_") and not _is_one_sentence(ast.get_docstring(function) or "")
    ]


def test_two_sentences_are_told_from_one() -> None:
    """The test of one sentence sees a second one, a missing full stop and a second paragraph."""
    assert _is_one_sentence("A leaf, e.g. RFC 9162's, is hashed\nwith its prefix.")
    assert not _is_one_sentence("It holds. It always did.")
    assert not _is_one_sentence("It holds")
    assert not _is_one_sentence("It holds.\n\nreally.")
    assert not _is_one_sentence("")
