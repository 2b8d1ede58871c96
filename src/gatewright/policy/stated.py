"""What the owner must state about the data before a release: one table of the policy, by tier."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from gatewright.datasets.datasheet import Datasheet
from gatewright.kernel.errors import BadInput
from gatewright.policy.rules import Tier

TABLE = "datasheet"
QUESTIONS = tuple(
    field.name.replace("_", " ") for field in fields(Datasheet) if field.name != "sensitive_columns"
)
"""The questions that can be asked for, in a datasheet's order: not the one that may truly have no answer."""
_EXAMPLE = 'high = ["licence", "origin"]'


def read_stated(found: object) -> Mapping[Tier, tuple[str, ...]]:
    """The table ``[datasheet]``: for each tier the questions that must have an answer, each once.

    Raises BadInput for another key than a tier, and for a question that no datasheet asks.
    """
    if not isinstance(found, dict):
        raise _refuse("datasheet must be a table.")
    return {_tier(key): _questions(key, listed) for key, listed in found.items()}


def _tier(key: str) -> Tier:
    if key not in set(Tier):
        raise _refuse(f"{key[:80]!r} is not a tier.")
    return Tier(key)


def _questions(key: str, listed: Any) -> tuple[str, ...]:
    if not isinstance(listed, list) or not all(isinstance(one, str) for one in listed):
        raise _refuse(f"{key} must be a list of questions.")
    for one in listed:
        if one not in QUESTIONS:
            raise _refuse(f"A datasheet has no question {one[:80]!r}.")
    if len(set(listed)) != len(listed):
        raise _refuse(f"{key} names a question twice.")
    return tuple(listed)


def _refuse(what: str) -> BadInput:
    known = ", ".join(QUESTIONS)
    return BadInput(
        "policy.file", what, next=f"Write for example: {_EXAMPLE}. Known: {known}.", place="[datasheet]"
    )
