"""The page of commands is what the program says of itself."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from typer.main import get_command

from gatewright.cli import exits
from gatewright.cli.commands import app

PAGE = Path(__file__).parents[2] / "docs" / "commands.md"
BEGIN, END = "<!-- commands: begin -->\n", "<!-- commands: end -->"


def _commands() -> list[tuple[str, object]]:
    found: list[tuple[str, object]] = []
    for name, command in get_command(app).commands.items():
        parts = getattr(command, "commands", None)
        if parts:
            found += [(f"{name} {part}", each) for part, each in parts.items()]
        elif not command.hidden:
            found.append((name, command))
    return found


def _option(parameter: object) -> str:
    flags = ", ".join(f"`{flag}`" for flag in parameter.opts)
    return f"| {flags} | {parameter.help or ''} |"


def _render() -> str:
    parts = []
    for name, command in _commands():
        told, _, example = command.help.partition("Example:")
        shown = " ".join(told.split())
        options = [each for each in command.params if each.name != "help"]
        arguments = " ".join(f"{each.name.upper()}" for each in options if each.param_type_name == "argument")
        parts += [f"## `gatewright {name}{' ' + arguments if arguments else ''}`", "", shown, ""]
        rows = [_option(each) for each in options if each.param_type_name == "option"]
        if rows:
            parts += ["| option | what it does |", "|---|---|", *rows, ""]
        parts += ["```sh", example.strip(), "```", ""]
    return "\n".join(parts)


def test_every_command_stands_in_the_page_as_the_program_tells_it() -> None:
    """The page holds each command's help, options and example, word for word."""
    page = PAGE.read_text("utf-8")
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    wanted = f"{before}{BEGIN}{_render()}{END}{after}"
    if os.environ.get("GATEWRIGHT_WRITE_DOCS"):
        PAGE.write_text(wanted, "utf-8")
    assert wanted == page, "write it anew: GATEWRIGHT_WRITE_DOCS=1 pytest tests/docs/test_commands_page.py"


@pytest.mark.parametrize("code", sorted({code for _, code in exits.CODES} | {exits.DONE, exits.INTERRUPTED}))
def test_every_exit_code_is_explained(code: int) -> None:
    """Each exit code that the program can end with has a row in the page's table."""
    assert f"| {code} |" in PAGE.read_text("utf-8")


@pytest.mark.parametrize(
    "variable",
    ["GATEWRIGHT_HOME", "GATEWRIGHT_PASSPHRASE_FILE", "GATEWRIGHT_PASSPHRASE", "GATEWRIGHT_TRACEBACK"],
)
def test_every_environment_variable_is_explained(variable: str) -> None:
    """Each environment variable that the program reads stands in the page."""
    assert f"`{variable}`" in PAGE.read_text("utf-8")


def test_no_other_environment_variable_is_read() -> None:
    """The list of variables above is all that the source reads."""
    source = Path(__file__).parents[2] / "src"
    text = "".join(path.read_text("utf-8") for path in source.rglob("*.py"))
    words = {word.strip("\"'`.,;:()*") for word in text.split() if "GATEWRIGHT_" in word}
    names = {word.split("=")[0].split('"')[1] if '"' in word else word.split("=")[0] for word in words}
    known = {"GATEWRIGHT_HOME", "GATEWRIGHT_PASSPHRASE_FILE", "GATEWRIGHT_PASSPHRASE", "GATEWRIGHT_TRACEBACK"}
    assert {name for name in names if name.startswith("GATEWRIGHT_")} <= known
