"""The child's job of reading CSV: a name and a file in, an encoded table out."""

from __future__ import annotations

from gatewright.datasets.csv_reader import read_csv
from gatewright.datasets.table_format import encode_table
from gatewright.operations.child_protocol import unpack


def work(data: bytes) -> bytes:
    """The encoded table; raises :class:`BadInput` for what is not one."""
    name, content = unpack(data)
    return encode_table(read_csv(content, name=name.decode("utf-8")))
