"""CSV: what is read, and where exactly the first fault is."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewright.datasets import cells, csv_reader, limits
from gatewright.datasets.csv_reader import read_csv
from gatewright.datasets.splits import to_csv
from gatewright.datasets.table import Kind, Table
from gatewright.kernel.errors import BadInput


def _same(left: Table, right: Table) -> bool:
    return left.names == right.names and all(
        a.kind is b.kind
        and np.array_equal(a.missing, b.missing)
        and a.values[~a.missing].tolist() == b.values[~b.missing].tolist()
        for a, b in zip(left.columns, right.columns, strict=True)
    )


def test_kinds_and_missing_cells_follow_the_texts() -> None:
    """Whole numbers, decimals, texts and missing tokens each become what they are."""
    table = read_csv(b"a,b,c,d\n1,1.5,x,007\n?,NA,,010\n-3,2e3,yes,1\n", name="t.csv")

    assert (Kind.INTEGER, Kind.NUMBER, Kind.TEXT, Kind.TEXT) == tuple(c.kind for c in table.columns)
    assert [1.0, -3.0] == table.column("a").values[[0, 2]].tolist()
    assert [False, True, False] == table.column("b").missing.tolist()
    assert ["x", "", "yes"] == table.column("c").values.tolist()
    assert "007" == table.column("d").values[0]


@pytest.mark.parametrize("token", sorted(cells.MISSING))
def test_every_missing_token_is_missing_in_numbers_and_texts(token: str) -> None:
    """Each named token means missing, also with blanks around it."""
    table = read_csv(f'n,t\n1,x\n" {token} ","{token}"\n'.encode(), name="t.csv")

    assert [False, True] == table.column("n").missing.tolist()
    assert ["x", ""] == table.column("t").values.tolist()


@pytest.mark.parametrize(
    "cell", ["9007199254740993", "1e999", "inf", "1_000", "true", "0x10", "٣", "1 2", "1,5", "00.5"]
)
def test_what_a_float_would_distort_stays_text(cell: str) -> None:
    """Integers beyond 2**53, overflow, and spellings of other worlds stay text, unchanged."""
    table = read_csv(f'v\n"{cell}"\n'.encode(), name="t.csv")

    assert Kind.TEXT is table.columns[0].kind
    assert cell == table.columns[0].values[0]


def test_a_byte_order_mark_and_quoted_line_ends_are_read() -> None:
    """UTF-8 with a byte order mark and cells with line ends and doubled quotes are fine."""
    table = read_csv('\ufeffa,b\r\n"x\ny","say ""hi"""\r\n'.encode(), name="t.csv")

    assert ("a", "b") == table.names
    assert "x\ny" == table.column("a").values[0]
    assert 'say "hi"' == table.column("b").values[0]


FAULTS = {
    "empty": (b"", "datasets.empty", ""),
    "blank": (b" \r\n\n", "datasets.empty", ""),
    "header only": (b"a,b\n", "datasets.no-rows", ""),
    "header and blank lines": (b"a,b\n\n\n", "datasets.no-rows", ""),
    "only commas": (b",,,\n,,,\n", "datasets.unnamed-column", "the header, column 1"),
    "blank first line": (b"\na,b\n1,2\n", "datasets.no-header", "the header"),
    "duplicate header": (b"a,b,a\n1,2,3\n", "datasets.duplicate-column", "the header, column 3"),
    "duplicate after blanks": (b"a, a\n1,2\n", "datasets.duplicate-column", "the header, column 2"),
    "long name": (b"x" * 201 + b",b\n1,2\n", "datasets.column-name", "the header, column 1"),
    "control in name": (b'"a\x1b[2J",b\n1,2\n', "datasets.column-name", "the header, column 1"),
    "too wide": (b",".join(b"c%d" % i for i in range(10_001)) + b"\n", "datasets.too-wide", ""),
    "ragged long": (b"a,b\n1,2\n1,2,3\n", "datasets.ragged", "row 2"),
    "ragged short": (b"a,b\n1\n1,2\n", "datasets.ragged", "row 1"),
    "blank in the middle": (b"a,b\n1,2\n\n3,4\n", "datasets.ragged", "row 2"),
    "open quote": (b'a,b\n1,2\n"3,4\n5,6\n', "datasets.csv-syntax", "row 2"),
    "open quote in the header": (b'"a,b\n1,2\n', "datasets.csv-syntax", "the header"),
    "text after a quote": (b'a,b\n"1"x,2\n', "datasets.csv-syntax", "row 1"),
    "zero byte": (b"a,b\n1,\x002\n", "datasets.binary", "byte 6"),
    "latin-1": ("a,b\n1,é\n".encode("latin-1"), "datasets.not-utf-8", "byte 6, line 2"),
    "utf-16": ("a,b\n1,2\n".encode("utf-16"), "datasets.utf-16", "byte 0"),
    "utf-16 without mark": ("a,b\n1,2\n".encode("utf-16-le"), "datasets.utf-16", "byte 0"),
    "semicolons": (b"a;b\n1;2\n", "datasets.separator", "the header"),
    "long cell": (b"a,b\n1,2\n1," + b"x" * 200_000 + b"\n", "datasets.csv-syntax", "row 2"),
    "zip": (b"PK\x03\x04rest", "datasets.binary", ""),
    "parquet": (b"PAR1rest", "datasets.binary", ""),
    "pickle": (b"\x80\x04rest", "datasets.binary", ""),
    "program": (b"\x7fELFrest", "datasets.binary", ""),
    "gzip": (b"\x1f\x8brest", "datasets.binary", ""),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_names_its_code_and_place(fault: str) -> None:
    """Every kind of bad file is refused with a stable code and the exact place."""
    data, code, place = FAULTS[fault]
    with pytest.raises(BadInput) as caught:
        read_csv(data, name="t.csv")

    assert (code, place) == (caught.value.code, caught.value.refusal.place)
    assert "t.csv" in caught.value.refusal.what


def test_too_many_cells_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit on cells holds for a file with many short rows."""
    monkeypatch.setattr("gatewright.datasets.csv_reader.CELLS", 100)
    with pytest.raises(BadInput) as caught:
        read_csv(b"a,b\n" + b"1,2\n" * 51, name="t.csv")

    assert "datasets.too-many-cells" == caught.value.code
    assert 50 == read_csv(b"a,b\n" + b"1,2\n" * 50, name="t.csv").rows


def test_a_file_beyond_the_byte_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit on bytes is asked before anything is decoded."""
    monkeypatch.setattr("gatewright.datasets.csv_reader.FILE_BYTES", 10)
    with pytest.raises(BadInput) as caught:
        read_csv(b"\xff" * 11, name="t.csv")

    assert "datasets.file-too-large" == caught.value.code
    assert limits.FILE_BYTES == 4 * 1024**3


_names = st.lists(
    st.text(st.characters(codec="utf-8", categories=("L", "N", "P")), min_size=1, max_size=8)
    .map(lambda text: f"c{text}".replace(";", "").replace("|", "")),
    min_size=1, max_size=4, unique=True,
)  # fmt: skip
_cell = st.one_of(
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12),
    st.integers(-(2**60), 2**60).map(str),
    st.floats().map(repr),
    st.sampled_from(["", "NA", "?", "=1+1", "007", " 5 ", "-0", "-0.0", "1e400", "\r", '"']),
)


@given(st.data(), _names)
def test_reading_what_was_written_gives_the_same_table(data: st.DataObject, names: list[str]) -> None:
    """Law: read_csv(to_csv(t)) == t for every table that a reader gave."""
    rows = data.draw(st.lists(st.tuples(*[_cell] * len(names)), min_size=1, max_size=6))
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow(names)
    writer.writerows(rows)
    table = read_csv(out.getvalue().encode(), name="t.csv")

    assert _same(table, read_csv(to_csv(table), name="t.csv"))


@given(st.binary(max_size=200))
def test_any_bytes_are_a_table_or_a_reasoned_refusal(data: bytes) -> None:
    """Arbitrary bytes never raise anything but BadInput."""
    try:
        rows = read_csv(data, name="t.csv").rows
    except BadInput:
        return
    assert rows >= 1


def test_a_census_sized_file_is_read_whole() -> None:
    """32,000 rows of 15 mixed columns are read, every one (measured: about 0.3 s)."""
    rng = np.random.default_rng(7)
    texts = rng.choice(["Private", "State-gov", "?"], (32_000, 8))
    numbers = rng.integers(0, 100_000, (32_000, 6))
    decimals = rng.normal(size=32_000)
    lines = (",".join([*map(str, numbers[i]), *texts[i], repr(float(decimals[i]))]) for i in range(32_000))
    data = "\n".join([",".join(f"c{i}" for i in range(15)), *lines]).encode()
    table = read_csv(data, name="t.csv")

    assert (32_000, 15) == (table.rows, len(table.columns))


@given(
    st.lists(
        st.lists(
            st.sampled_from(
                ["1", "-0", "007", "2.5", "1e400", "NA", "", "x", " 3 ", "1e3", '"a\nb"', "9" * 20, "+4"]
            ),
            min_size=2,
            max_size=2,
        ),
        min_size=1,
        max_size=12,
    )
)
def test_a_file_read_in_parts_is_the_file_read_at_once(rows: list[list[str]]) -> None:
    """Wherever the parts end, kinds, values and gaps are those of the whole column."""
    data = "\n".join(["a,b", *(",".join(row) for row in rows)]).encode()
    whole = csv_reader.read_csv(data, name="t")
    for size in (1, 5):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(csv_reader, "CELLS_AT_ONCE", size)
            parts = csv_reader.read_csv(data, name="t")
        for expected, found in zip(whole.columns, parts.columns, strict=True):
            assert (expected.name, expected.kind) == (found.name, found.kind)
            assert np.array_equal(expected.missing, found.missing)
            assert np.array_equal(expected.values, found.values, equal_nan=expected.kind is not Kind.TEXT)


@pytest.mark.parametrize(("row", "what"), [("1,2,3", "3 cells"), ("", "The row is blank")])
def test_the_place_of_a_fault_does_not_depend_on_the_parts(
    monkeypatch: pytest.MonkeyPatch, row: str, what: str
) -> None:
    """A ragged and a blank row are named by their number in the file, in whichever part they stand."""
    monkeypatch.setattr(csv_reader, "CELLS_AT_ONCE", 4)
    data = "\n".join(["a,b", *["1,2"] * 6, row, "1,2"]).encode()
    with pytest.raises(BadInput) as refused:
        csv_reader.read_csv(data, name="t")
    assert "row 7" == refused.value.refusal.place
    assert what in f"{refused.value.refusal.what} {refused.value.refusal.why}"
