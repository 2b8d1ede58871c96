"""CSV (RFC 4180) in UTF-8, read strictly: a table, or the exact place of the first fault.

Rows are counted from 1 and without the header, as a reader of the table would.

Not here: guessing. No other separator, encoding or quoting is tried; the error says what to do.
"""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterator

from gatewright.datasets.cells import column_of, differ, joined, text_of
from gatewright.datasets.limits import CELLS, COLUMN_NAME_CHARACTERS, COLUMNS, FILE_BYTES
from gatewright.datasets.table import Column, Table
from gatewright.kernel.errors import BadInput

CELLS_AT_ONCE = 1_000_000
"""Cells that are held as texts at once: a part becomes columns before the next is read."""
BYTES_AT_ONCE = 16 * 1024**2
_BINARY = {
    b"PK\x03\x04": "a ZIP archive (XLSX files are ZIP archives too)",
    b"PK\x05\x06": "an empty ZIP archive",
    b"PAR1": "a Parquet file",
    b"ARROW1": "an Arrow file",
    b"FEA1": "a Feather file",
    b"\x1f\x8b": "gzip-compressed",
    b"BZh": "bzip2-compressed",
    b"\xfd7zXZ\x00": "xz-compressed",
    b"\x28\xb5\x2f\xfd": "zstd-compressed",
    b"\x04\x22\x4d\x18": "lz4-compressed",
    b"\x7fELF": "a program (ELF)",
    b"\x80\x02": "a Python pickle",
    b"\x80\x03": "a Python pickle",
    b"\x80\x04": "a Python pickle",
    b"\x80\x05": "a Python pickle",
    b"\x89HDF": "an HDF5 file",
    b"\x93NUMPY": "a NumPy file",
    b"SQLite format 3": "an SQLite database",
    b"\xd0\xcf\x11\xe0": "an old Office document (XLS)",
    b"%PDF": "a PDF document",
}
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_EXPORT = "Export the table as CSV in UTF-8, or as Parquet."
_OTHER_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}


def read_csv(data: bytes, *, name: str) -> Table:
    """Read a whole CSV file; ``name`` is what errors call it.

    The first row names the columns. Missing cells are those of ``cells.MISSING``. Raises
    :class:`BadInput`, with the row and column where it can, for anything that is not a regular,
    bounded table.
    """
    _require_text(data, name)
    reader = _reader(data)
    header = _header(_next_row(reader, 0, name) or [], name)
    parts: list[list[Column]] = [[] for _ in header]
    for first, rows in _parts(reader, len(header), name):
        for held, title, cells in zip(parts, header, zip(*rows, strict=True), strict=True):
            held.append(column_of(title, cells, first=first))
    if not parts[0]:
        raise BadInput("datasets.no-rows", f"{name} has a header and no rows.", next="Add the data rows.")
    mixed = [index for index, held in enumerate(parts) if differ(held)]
    if mixed:
        _read_as_text(data, mixed, parts, name)
    parts.reverse()  # taken off the end, so that no part stays once its column is whole
    return Table(columns=tuple(joined(parts.pop()) for _ in header))


def _reader(data: bytes) -> Iterator[list[str]]:
    return csv.reader(io.TextIOWrapper(io.BytesIO(data), encoding="utf-8-sig", newline=""), strict=True)


def _read_as_text(data: bytes, columns: list[int], parts: list[list[Column]], name: str) -> None:
    """Read the file again for columns that turned out to be text after parts of them looked like numbers."""
    reader = _reader(data)
    _next_row(reader, 0, name)
    for number, (first, rows) in enumerate(_parts(reader, len(parts), name)):
        for index in columns:
            title = parts[index][number].name
            parts[index][number] = text_of(title, [row[index] for row in rows], first=first)


def _parts(reader: Iterator[list[str]], width: int, name: str) -> Iterator[tuple[int, list[list[str]]]]:
    """The rows a part at a time, each part with the number of its first row; blank rows at the end are left out."""
    most, size = CELLS // width, max(1, CELLS_AT_ONCE // width)
    part: list[list[str]] = []
    done = blank = 0
    for row in _rows(reader, name):
        if not row:
            blank += 1
            continue
        done += 1
        if blank:
            raise _ragged(done, [], width, name)
        if len(row) != width:
            raise _ragged(done, row, width, name)
        if done > most:
            raise BadInput(
                "datasets.too-many-cells",
                f"{name} holds more than {CELLS:,} cells ({width:,} columns).",
                next="Give fewer rows or columns.",
            )
        part.append(row)
        if len(part) == size:
            yield done - len(part) + 1, part
            part = []
    if part:
        yield done - len(part) + 1, part


def _require_text(data: bytes, name: str) -> None:
    if len(data) > FILE_BYTES:
        raise BadInput(
            "datasets.file-too-large", f"{name} has {len(data):,} bytes; the limit is {FILE_BYTES:,}."
        )
    if not data or data.isspace():
        raise BadInput("datasets.empty", f"{name} is empty.", next="Give a CSV file with a header and rows.")
    _refuse_binary(data, name)
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for at in range(0, len(data), BYTES_AT_ONCE):
            decoder.decode(data[at : at + BYTES_AT_ONCE])
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        _refuse_encoding(data, name)


def _refuse_encoding(data: bytes, name: str) -> None:
    """Say where the first byte is that is not UTF-8."""
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise BadInput(
            "datasets.not-utf-8",
            f"{name} is not UTF-8 text.",
            why=f"Byte 0x{data[error.start]:02x} at offset {error.start:,} belongs to another encoding, "
            "often Windows-1252 or Latin-1.",
            next=f"Convert it: iconv -f WINDOWS-1252 -t UTF-8 {name!r}.",
            place=f"byte {error.start}, line {line}",
        ) from None


def _refuse_binary(data: bytes, name: str) -> None:
    for magic, what in _BINARY.items():
        if data.startswith(magic):
            raise BadInput("datasets.binary", f"{name} is {what}, not CSV text.", next=_EXPORT)
    zero = data.find(b"\0")
    if data[:2] in _UTF16 or (0 <= zero < 4 and data[:4].count(0) in (2, 3)):
        raise BadInput(
            "datasets.utf-16",
            f"{name} is UTF-16 or UTF-32 text.",
            next=f"Convert it: iconv -f UTF-16 -t UTF-8 {name!r}.",
            place="byte 0",
        )
    if zero >= 0:
        raise BadInput(
            "datasets.binary",
            f"{name} is not CSV text: it holds a zero byte.",
            next=_EXPORT,
            place=f"byte {zero}",
        )


def _next_row(reader: Iterator[list[str]], done: int, name: str) -> list[str] | None:
    try:
        return next(reader, None)
    except csv.Error as error:
        reason = str(error)
        if reason == "unexpected end of data":
            reason = "a quote is opened in this row and never closed"
        raise BadInput(
            "datasets.csv-syntax",
            f"{name} breaks the rules of CSV.",
            why=f"The reader says: {reason}.",
            next="Write a quote inside a quoted cell twice, and close every quote.",
            place=f"row {done}" if done else "the header",
        ) from None


def _rows(reader: Iterator[list[str]], name: str) -> Iterator[list[str]]:
    done = 1
    while (row := _next_row(reader, done, name)) is not None:
        yield row
        done += 1


def _header(titles: list[str], name: str) -> list[str]:
    header = [title.strip(" \t") for title in titles]
    if len(header) > COLUMNS:
        raise BadInput("datasets.too-wide", f"{name} has {len(header):,} columns; the limit is {COLUMNS:,}.")
    if not header:
        raise BadInput(
            "datasets.no-header",
            f"The first line of {name} is blank.",
            next="Begin with a row of column names.",
            place="the header",
        )
    for separator, words in _OTHER_SEPARATORS.items():
        if len(header) == 1 and separator in header[0]:
            raise BadInput(
                "datasets.separator",
                f"{name} seems to be separated by {words}.",
                next="Separate its cells by commas.",
                place="the header",
            )
    require_good_names(header, name)
    return header


def require_good_names(header: list[str], name: str) -> None:
    """Raise :class:`BadInput` unless the column names are there, distinct, bounded and printable."""
    seen: dict[str, int] = {}
    for number, title in enumerate(header, 1):
        place = f"the header, column {number}"
        if not title:
            raise BadInput(
                "datasets.unnamed-column",
                f"{name} has a column without a name.",
                next="Name it.",
                place=place,
            )
        if len(title) > COLUMN_NAME_CHARACTERS:
            raise BadInput(
                "datasets.column-name",
                f"A column name of {name} has {len(title):,} characters; "
                f"the limit is {COLUMN_NAME_CHARACTERS}.",
                place=place,
            )
        if not title.isprintable():
            raise BadInput(
                "datasets.column-name",
                f"The column name {title!r} of {name} holds a character that cannot be printed.",
                place=place,
            )
        if title in seen:
            raise BadInput(
                "datasets.duplicate-column",
                f"{name} names the column {title!r} twice, as columns {seen[title]} and {number}.",
                next="Give every column its own name.",
                place=place,
            )
        seen[title] = number


def _ragged(number: int, row: list[str], width: int, name: str) -> BadInput:
    found = len(row)
    return BadInput(
        "datasets.ragged",
        f"Row {number} of {name} has {found:,} {'cell' if found == 1 else 'cells'}; the header names {width:,}.",
        why="" if found else "The row is blank.",
        next="Quote cells that hold a comma, and give every row the same number of cells.",
        place=f"row {number}",
    )
