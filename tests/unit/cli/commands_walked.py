"""Walking the command tree of the parser."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from typer.main import get_command

from gatewright.cli.commands import app


def commands() -> dict[str, Any]:
    """Every command by the words that a user types, hidden ones included."""
    return dict(_walk(get_command(app), ()))


def _walk(command: Any, words: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    children = getattr(command, "commands", None)
    if children is None:
        yield " ".join(words), command
        return
    for name, child in children.items():
        yield from _walk(child, (*words, name))


def options(command: Any) -> set[str]:
    """The spellings of a command's options."""
    return {spelling for parameter in command.params for spelling in parameter.opts if spelling[:1] == "-"}
