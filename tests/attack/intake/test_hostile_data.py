"""Data files that want more than to be read: a regular table or a reasoned refusal, in bounded memory."""

from __future__ import annotations

import io
import resource
import zipfile

import pytest

from gatewright.datasets.csv_reader import read_csv
from gatewright.datasets.splits import to_csv
from gatewright.datasets.table import Kind
from gatewright.kernel.errors import BadInput, Refused
from gatewright.operations.isolation import load_table

_MIB = 1024**2


@pytest.mark.parametrize("cell", ["=1+1", "+1+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1"])
def test_formulas_are_data(cell: str) -> None:
    """DS-01: a cell that a spreadsheet would run is kept raw, and read back the same."""
    table = read_csv(f'a,b\n"{cell}",1\n'.encode(), name="t.csv")

    assert cell == table.column("a").values[0]
    assert cell == read_csv(to_csv(table), name="t.csv").column("a").values[0]


def test_spreadsheets_are_refused_unopened() -> None:
    """DS-03: an XLSX with entity tricks is refused by its first bytes; no XML is parsed."""
    out = io.BytesIO()
    entity = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b SYSTEM "http://127.0.0.1:9/">]><x>&a;&b;</x>'
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("[Content_Types].xml", entity)
        archive.writestr("xl/worksheets/sheet1.xml", entity)
    with pytest.raises(BadInput) as caught:
        load_table(out.getvalue(), "data.csv")

    assert "datasets.binary" == caught.value.code
    assert "CSV" in caught.value.refusal.next


@pytest.mark.parametrize(
    "cell", ["9" * 100_000, "1e999999", "-1e999999", "1e-999999", "9" * 400 + ".5", "[" * 100_000]
)
def test_endless_numbers_cost_nothing(cell: str) -> None:
    """DS-06: huge numerals become text or a number ; none is turned into infinity."""
    column = read_csv(f"v\n{cell}\n".encode(), name="t.csv").columns[0]

    assert column.kind is Kind.TEXT or abs(float(column.values[0])) < 1e308


def test_lone_surrogates_are_not_utf_8() -> None:
    """DS-06: text that no writer may produce is refused at its byte."""
    with pytest.raises(BadInput) as caught:
        read_csv(b"a\n\xed\xa0\x80\n", name="t.csv")

    assert ("datasets.not-utf-8", "byte 2, line 2") == (caught.value.code, caught.value.refusal.place)


HOSTILE = {
    "a million columns": (b"a," * 1_000_000 + b"a\n", "datasets.too-wide"),
    "one long line": (b"a,b\n" + b"x" * (48 * _MIB), "datasets.csv-syntax"),
    "one long header": (b"x" * (48 * _MIB), "datasets.csv-syntax"),
    "an open quote over everything": (b'a,b\n"' + b"1,2\n" * (4 * _MIB), "datasets.csv-syntax"),
    "a zero byte at the end": (b"a,b\n" + b"1,2\n" * 1000 + b"\0", "datasets.binary"),
    "utf-16 with mark": ("a,b\n1,2\n".encode("utf-16"), "datasets.utf-16"),
    "duplicate headers": (b"a,b,a\n1,2,3\n", "datasets.duplicate-column"),
    "ragged at the end": (b"a,b\n" + b"1,2\n" * 1000 + b"1\n", "datasets.ragged"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_shapes_are_refused_with_their_place(name: str) -> None:
    """DS-09: each is refused through the child, and the parent's memory stays bounded."""
    data, code = HOSTILE[name]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(BadInput) as caught:
        load_table(data, "t.csv")

    assert code == caught.value.code
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < (len(data) * 3) // 1024 + 64 * 1024


def test_parquet_that_is_damaged_anywhere_is_refused_or_read() -> None:
    """DS-02, DS-09: damaged Parquet ends in a table, BadInput or Refused, never in the parent's fall."""
    polars = pytest.importorskip("polars")
    out = io.BytesIO()
    polars.DataFrame({"a": list(range(50)), "t": ["x"] * 50}).write_parquet(out)
    data = out.getvalue()
    ends = []
    for at in range(4, len(data) - 8, max(1, len(data) // 6)):
        damaged = data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]
        try:
            ends.append(str(load_table(damaged, "t.parquet").rows))
        except (BadInput, Refused) as refused:
            ends.append(refused.code)

    assert len(ends) >= 6
    assert all(end.isdigit() or end.startswith("datasets.") for end in ends)


@pytest.mark.parametrize("name", ["../../etc/passwd", "x" * 300, "a\nb\x1b[2J", "CON", "", "\ud800", "-rf"])
def test_a_file_name_is_only_a_word(name: str) -> None:
    """DS-12: names with path parts, controls or endless length reach no path and break nothing."""
    assert 1 == load_table(b"a\n1\n", name).rows
    with pytest.raises(BadInput):
        load_table(b"a,b\n1\n", name)
