"""Rows in the form their owner has them: a frame of pandas or polars, or a mapping of arrays.

The libraries are not imported; a frame is known by its methods.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatewright.kernel.errors import BadInput, Misuse

NAMED = 12
"""Most columns that an error names."""


def names_of(rows: Any) -> list[str]:
    """The names of the columns."""
    return [str(name) for name in (rows if isinstance(rows, Mapping) else rows.columns)]


def count_of(rows: Any) -> int:
    """How many rows there are."""
    return len(next(iter(rows.values()), ())) if isinstance(rows, Mapping) else len(rows)


def column_of(rows: Any, name: str) -> NDArray[Any]:
    """A column's values, shape (n,). Raises Misuse for none, with the nearest name, and for two."""
    names = names_of(rows)
    if name not in names:
        near = get_close_matches(name, names, n=1)
        raise Misuse(
            "integrations.no-column",
            f"The rows have no column {name!r}.",
            next=f"Did you mean {near[0]!r}?" if near else f"They have: {', '.join(names[:NAMED])}.",
        )
    if names.count(name) > 1:
        raise Misuse("integrations.two-columns", f"The rows have {names.count(name)} columns named {name!r}.")
    values = np.asarray(rows[name])
    return values.astype(object) if values.dtype.kind in "US" else values


def with_column(rows: Any, name: str, values: NDArray[Any]) -> Any:
    """The rows with another column in place of the one of that name, in the same form."""
    if isinstance(rows, Mapping):
        return {**rows, name: values}
    if hasattr(rows, "with_columns"):  # polars
        return rows.with_columns(type(rows[name])(name, values.tolist()))
    return rows.assign(**{name: _as_before(rows[name], name, values, rows.index)})


def _as_before(series: Any, name: str, values: Any, index: Any) -> Any:
    """A pandas column that stays one of categories where it was one."""
    categories = getattr(series.dtype, "categories", None)
    if categories is None:
        return values
    unknown = sorted({str(value) for value in values} - {str(each) for each in categories})
    if unknown:
        raise BadInput(
            "integrations.category",
            f"{unknown[0][:80]!r} is none of the categories of {name}.",
            next=f"They are: {', '.join(str(each) for each in categories[:NAMED])}.",
        )
    return type(series)(values, index=index, dtype=series.dtype)


def taken(like: Any, columns: Mapping[str, Sequence[Any]]) -> Any:
    """New rows in the form of ``like``. Raises Misuse where a column of ``like`` is not given."""
    names = names_of(like)
    missing, surplus = (
        [each for each in names if each not in columns],
        [each for each in columns if each not in names],
    )
    if missing or surplus:
        said = (
            f"lack the columns {', '.join(missing[:NAMED])}"
            if missing
            else f"have the unknown columns {', '.join(surplus[:NAMED])}"
        )
        raise Misuse(
            "integrations.row-columns", f"The rows {said}.", next=f"Give: {', '.join(names[:NAMED])}."
        )
    ordered = {name: columns[name] for name in names}
    if isinstance(like, Mapping):
        return {name: _array(values) for name, values in ordered.items()}
    made = type(like)(ordered)
    if not hasattr(made, "assign"):
        return made
    return made.assign(
        **{name: _as_before(like[name], name, values, made.index) for name, values in ordered.items()}
    )


def _array(values: Sequence[Any]) -> NDArray[Any]:
    """Numbers as float64, all else as objects."""
    try:
        return np.array(values, dtype=np.float64)
    except (TypeError, ValueError):
        found = np.empty(len(values), dtype=object)
        found[:] = list(values)
        return found
