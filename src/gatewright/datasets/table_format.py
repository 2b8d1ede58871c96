"""A table as bytes, for crossing the border between two processes without pickle.

Layout: a 4-byte little-endian header length, a canonical JSON header, then the columns' buffers in
order: 8-byte little-endian floats for numbers; 4-byte little-endian positions in the header's list
of distinct texts for TEXT. What is missing is NaN, respectively the empty text.

Both sides of the border run the same release, so the format has no version.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatewright.datasets.limits import CELLS
from gatewright.datasets.table import Column, Kind, Table
from gatewright.kernel.errors import BadInput

_LENGTH = 4


def encode_table(table: Table) -> bytes:
    """The bytes of a table. Law: ``decode_table(encode_table(t)) == t``."""
    heads: list[dict[str, Any]] = []
    buffers: list[bytes | memoryview] = []
    for column in table.columns:
        head: dict[str, Any] = {"kind": column.kind.value, "name": column.name}
        if column.kind is Kind.TEXT:
            texts: dict[str, int] = {}
            codes = (texts.setdefault(text, len(texts)) for text in column.values)
            buffers.append(np.fromiter(codes, "<u4", len(column.values)).data)
            head["texts"] = list(texts)
        else:
            buffers.append(np.ascontiguousarray(column.values, dtype="<f8").data)
        heads.append(head)
    header = json.dumps({"columns": heads, "rows": table.rows}, ensure_ascii=False).encode("utf-8")
    return b"".join((len(header).to_bytes(_LENGTH, "little"), header, *buffers))


def decode_table(data: bytes) -> Table:
    """Read what :func:`encode_table` wrote; raises :class:`BadInput` for anything else.

    No size that the bytes declare is believed: every buffer must be there.
    """
    try:
        start = _LENGTH + int.from_bytes(data[:_LENGTH], "little")
        header = json.loads(data[_LENGTH:start].decode("utf-8"))
        rows, heads = header["rows"], header["columns"]
        columns = _columns(heads, memoryview(data)[start:], rows)
    except (KeyError, IndexError, TypeError, ValueError, RecursionError):
        raise BadInput("datasets.table-format", "The bytes are not an encoded table.") from None
    return Table(columns=tuple(columns))


def _columns(heads: Sequence[Mapping[str, Any]], data: memoryview, rows: Any) -> list[Column]:
    if not isinstance(rows, int) or not 0 <= rows <= CELLS:
        raise ValueError("rows")
    columns, start = [], 0
    for head in heads:
        columns.append(_column(head, data[start:], rows))
        start += rows * (4 if columns[-1].kind is Kind.TEXT else 8)
    if start != len(data):
        raise ValueError("length")
    return columns


def _column(head: Mapping[str, Any], data: memoryview, rows: int) -> Column:
    kind, name = Kind(head["kind"]), head["name"]
    if not isinstance(name, str):
        raise TypeError("name")
    if kind is not Kind.TEXT:
        numbers = np.frombuffer(data, "<f8", rows).astype(np.float64)
        return Column(name=name, kind=kind, values=numbers, missing=np.isnan(numbers))
    texts: NDArray[np.object_] = np.empty(len(head["texts"]), dtype=np.object_)
    texts[:] = head["texts"]
    if not all(isinstance(text, str) for text in texts):
        raise TypeError("texts")
    values = texts[np.frombuffer(data, "<u4", rows).astype(np.intp)]
    return Column(name=name, kind=kind, values=values, missing=values == "")
