"""Parameters of checks: from plain JSON to a check's own frozen dataclass, and back."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields
from difflib import get_close_matches
from typing import Any

from gatewright.kernel.canonical import Json
from gatewright.kernel.errors import Misuse

_KINDS = {float: "a number", int: "a whole number", str: "a text"}


def unknown_name(code: str, text: str, known: Iterable[str], of: str) -> Misuse:
    """The refusal of a name that is not among the known ones, with the nearest of them."""
    names = sorted(known)
    near = get_close_matches(text, names, n=1, cutoff=0.0)
    advice = f"Did you mean {near[0]!r}? " if near else ""
    return Misuse(
        code, f"There is no {of} {text[:80]!r}.", next=f"{advice}Known: {', '.join(names) or 'none'}."
    )


def defaults(parameters_type: type[Any]) -> dict[str, Json]:
    """Every parameter with its default."""
    return {item.name: item.default for item in fields(parameters_type) if item.default is not MISSING}


def parse(check: str, parameters_type: type[Any], given: Mapping[str, Json]) -> Any:
    """The given values over the defaults.

    Raises Misuse for a name the check does not have, a value of another type than its default
    (an integer may stand for a number) and a value out of its range.
    """
    known = defaults(parameters_type)
    values: dict[str, Json] = {}
    for name, value in given.items():
        if name not in known:
            raise unknown_name("checks.unknown-parameter", name, known, f"parameter of {check} named")
        kind = type(known[name])
        taken = float(value) if kind is float and type(value) is int else value
        if type(taken) is not kind or (isinstance(taken, float) and not math.isfinite(taken)):
            raise Misuse(
                "checks.parameter",
                f"The parameter {name} of {check} is {str(value)[:80]!r}.",
                next=f"Give {_KINDS.get(kind, kind.__name__)}, such as {known[name]!r}.",
            )
        values[name] = taken
    return parameters_type(**values)


def as_json(parameters: Any) -> dict[str, Json]:
    """The values in use, by name."""
    return {item.name: getattr(parameters, item.name) for item in fields(parameters)}
