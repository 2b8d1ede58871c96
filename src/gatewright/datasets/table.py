"""Columns of data as plain values: what every check reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from gatewright.kernel.errors import BadInput


class Kind(StrEnum):
    """What a column holds."""

    INTEGER = "integer"
    NUMBER = "number"
    TEXT = "text"


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One named column of n rows.

    ``values`` has shape (n,): float64 for INTEGER and NUMBER (NaN where missing), an object array
    of ``str`` for TEXT ("" where missing). ``missing`` has shape (n,), bool.
    """

    name: str
    kind: Kind
    values: NDArray[np.float64] | NDArray[np.object_]
    missing: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Columns of equal length, in file order."""

    columns: tuple[Column, ...]

    @property
    def rows(self) -> int:
        """How many rows."""
        return len(self.columns[0].values) if self.columns else 0

    @property
    def names(self) -> tuple[str, ...]:
        """Column names in order."""
        return tuple(column.name for column in self.columns)

    def __contains__(self, name: object) -> bool:
        return any(column.name == name for column in self.columns)

    def column(self, name: str) -> Column:
        """The named column; raises :class:`BadInput` where there is none."""
        for column in self.columns:
            if column.name == name:
                return column
        raise BadInput(
            "datasets.no-column",
            f"The data has no column {name!r}.",
            next=f"It has: {', '.join(self.names[:20])}.",
        )

    def select(self, names: Sequence[str]) -> Table:
        """The named columns, in the order asked for."""
        return Table(columns=tuple(self.column(name) for name in names))

    def without(self, names: Sequence[str]) -> Table:
        """Every column but the named ones."""
        return Table(columns=tuple(column for column in self.columns if column.name not in names))

    def take(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> Table:
        """The given rows (indices or a mask of shape (n,))."""
        return Table(
            columns=tuple(
                Column(name=c.name, kind=c.kind, values=c.values[rows], missing=c.missing[rows])
                for c in self.columns
            )
        )
