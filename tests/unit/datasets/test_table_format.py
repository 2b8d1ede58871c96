"""Tables as bytes between processes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewright.datasets.csv_reader import read_csv
from gatewright.datasets.table_format import decode_table, encode_table
from gatewright.kernel.errors import BadInput

TABLE = read_csv('a,b,ü\n1,2.5,"x\ny"\n?,NA,\n-3,1e-300,é\n'.encode(), name="t.csv")


def test_a_table_survives_its_bytes() -> None:
    """Law: decode_table(encode_table(t)) == t, gaps included."""
    found = decode_table(encode_table(TABLE))

    assert TABLE.names == found.names
    for ours, theirs in zip(TABLE.columns, found.columns, strict=True):
        assert ours.kind is theirs.kind
        assert np.array_equal(ours.missing, theirs.missing)
        assert ours.values[~ours.missing].tolist() == theirs.values[~theirs.missing].tolist()


@given(st.integers(0, len(encode_table(TABLE)) - 1))
def test_cut_bytes_are_refused(length: int) -> None:
    """No prefix of an encoded table is a table."""
    with pytest.raises(BadInput):
        decode_table(encode_table(TABLE)[:length])


@given(st.binary(max_size=64))
def test_any_bytes_are_refused_or_a_table(data: bytes) -> None:
    """Arbitrary bytes raise nothing but BadInput."""
    try:
        table = decode_table(data)
    except BadInput:
        return
    assert table == decode_table(encode_table(table))
