"""What a table looks like, without its rows: names, kinds, missing shares, categories or ranges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from gatewright.datasets.limits import SCHEMA_CATEGORIES
from gatewright.datasets.table import Column, Kind, Table
from gatewright.kernel import canonical
from gatewright.kernel.canonical import Json
from gatewright.kernel.errors import BadInput

SCHEMA_FORMAT = 1
_COLUMN_FIELDS = {"categories", "distinct", "kind", "maximum", "minimum", "missing", "name"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnSchema:
    """One column: ``missing`` is a share in [0, 1].

    TEXT: ``categories`` holds the sorted distinct texts, or nothing where there are more than
    ``limits.SCHEMA_CATEGORIES``; ``distinct`` counts them. INTEGER and NUMBER: ``minimum`` and
    ``maximum``.
    """

    name: str
    kind: Kind
    missing: float
    distinct: int
    categories: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """Columns in file order."""

    columns: tuple[ColumnSchema, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Column names in order."""
        return tuple(column.name for column in self.columns)


def schema_of(table: Table) -> Schema:
    """Describe a table."""
    return Schema(columns=tuple(_described(column) for column in table.columns))


def _described(column: Column) -> ColumnSchema:
    known = column.values[~column.missing]
    missing = float(column.missing.mean()) if len(column.missing) else 0.0
    if column.kind is Kind.TEXT:
        texts = sorted(set(known.tolist()))
        return ColumnSchema(
            name=column.name,
            kind=column.kind,
            missing=missing,
            distinct=len(texts),
            categories=tuple(texts) if len(texts) <= SCHEMA_CATEGORIES else (),
        )
    return ColumnSchema(
        name=column.name,
        kind=column.kind,
        missing=missing,
        distinct=len(np.unique(known)),
        minimum=float(known.min()) if len(known) else None,
        maximum=float(known.max()) if len(known) else None,
    )


def encode_schema(schema: Schema) -> bytes:
    """Canonical JSON. Law: ``decode_schema(encode_schema(s)) == s``."""
    columns: list[Json] = [
        {
            "categories": list(column.categories),
            "distinct": column.distinct,
            "kind": column.kind.value,
            "maximum": column.maximum,
            "minimum": column.minimum,
            "missing": column.missing,
            "name": column.name,
        }
        for column in schema.columns
    ]
    return canonical.encode({"columns": columns, "v": SCHEMA_FORMAT})


def decode_schema(data: bytes) -> Schema:
    """Read what :func:`encode_schema` wrote; raises :class:`BadInput` for anything else."""
    value = canonical.decode(data)
    if not isinstance(value, dict) or set(value) != {"columns", "v"} or value["v"] != SCHEMA_FORMAT:
        raise BadInput("datasets.schema", "The bytes are not a version 1 schema.")
    try:
        schema = Schema(columns=tuple(_column(item) for item in value["columns"]))
    except (KeyError, TypeError, ValueError):
        raise BadInput("datasets.schema", "A field of the schema has the wrong type.") from None
    if encode_schema(schema) != data:
        raise BadInput("datasets.schema", "A field of the schema has the wrong type.")
    return schema


def _column(item: Mapping[str, Any]) -> ColumnSchema:
    if set(item) != _COLUMN_FIELDS:
        raise KeyError("columns")
    return ColumnSchema(
        name=str(item["name"]),
        kind=Kind(item["kind"]),
        missing=float(item["missing"]),
        distinct=int(item["distinct"]),
        categories=tuple(str(text) for text in item["categories"]),
        minimum=None if item["minimum"] is None else float(item["minimum"]),
        maximum=None if item["maximum"] is None else float(item["maximum"]),
    )


def differences(schema: Schema, other: Schema) -> tuple[str, ...]:
    """Sentences that say how the columns of ``other`` differ from those of ``schema``.

    Names, kinds and order are compared; ranges, categories and missing shares are not, since they
    differ between any two samples. Empty where nothing differs.
    """
    ours = {column.name: column.kind for column in schema.columns}
    theirs = {column.name: column.kind for column in other.columns}
    said = [f"The column {name!r} is missing." for name in ours if name not in theirs]
    said += [f"The column {name!r} is new." for name in theirs if name not in ours]
    said += [
        f"The column {name!r} was {kind.value} and is {theirs[name].value}."
        for name, kind in ours.items()
        if name in theirs and theirs[name] is not kind
    ]
    if not said and schema.names != other.names:
        said.append("The columns stand in another order.")
    return tuple(said)
