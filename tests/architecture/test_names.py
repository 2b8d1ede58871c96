"""Names that say nothing are not given, because a thing that needs one is not understood yet."""

from __future__ import annotations

import ast
import re

import pytest

from architecture.source_tree import modules

EMPTY_WORDS = frozenset(
    [
        "util",
        "utils",
        "helper",
        "helpers",
        "common",
        "misc",
        "base",
        "manager",
        "handler",
        "processor",
        "service",
        "wrapper",
        "factory",
        "impl",
        "legacy",
    ]
)


def words(name: str) -> list[str]:
    """The words of a snake_case or CamelCase name, in lower case."""
    return [part.lower() for part in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name)]


def is_empty(name: str) -> bool:
    """Whether a name has a word that says nothing, or counts versions."""
    return bool(EMPTY_WORDS & set(words(name))) or bool(re.search(r"(?:^|_)[vV]\d+$", name))


def test_no_file_or_folder_has_an_empty_name() -> None:
    """No file and no folder of the package is named util, helper, base, manager or the like."""
    assert [] == [
        str(module.path)
        for module in modules()
        if any(is_empty(part.removesuffix(".py")) for part in module.parts)
    ]


def test_no_class_has_an_empty_name() -> None:
    """No class of the package is named Util, Helper, Base, Manager or the like."""
    assert [] == [
        f"{module.place(node)} {node.name}"
        for module in modules()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ClassDef) and is_empty(node.name)
    ]


@pytest.mark.parametrize("name", ["utils", "blob_manager", "BlobManager", "HTTPHandler", "reader_v2", "Base"])
def test_empty_names_are_seen(name: str) -> None:
    """An empty word is found whatever the spelling of the name around it."""
    assert is_empty(name)


@pytest.mark.parametrize("name", ["baseline", "Database", "commons", "records", "ServiceLevel"[7:], "sha256"])
def test_honest_names_pass(name: str) -> None:
    """A name that merely contains the letters of an empty word is left alone."""
    assert not is_empty(name)
