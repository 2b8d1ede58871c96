"""The options that commands share, and opening the home that they all work on."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from gatewright.operations.home import Home

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document for machines.")]
Policy = Annotated[
    Path | None, typer.Option("--policy", help="Policy file to judge by (default: policy.toml of the home).")
]
Seed = Annotated[int, typer.Option("--seed", help="Seed of every random choice.", min=0, max=2**32 - 1)]


def quiet(_: str) -> None:
    """Say nothing."""


def home() -> AbstractContextManager[Home]:
    """Open the home at or above the current folder, for one command."""
    from gatewright.assembly.homes import open_home

    return open_home(Path.cwd())


def home_beside_others() -> AbstractContextManager[Home]:
    """Open the home for reading, or for long work that records at its end."""
    from gatewright.assembly.homes import read_home

    return read_home(Path.cwd())
