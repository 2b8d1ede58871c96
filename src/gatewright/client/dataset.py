"""From the frames a model was trained and tested on to a registered dataset version.

What is registered must mean the same to whoever reads it: the rows are written as Parquet, read back
at once by the reader that the checks use, and compared cell by cell. A text that would come back as a
missing cell ("?") or as a number ("007" does not, "12" does) is refused, because the model would be
judged on other inputs than it learned from.
"""

from __future__ import annotations

import io
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from gatewright.client import frames
from gatewright.client.frames import Column, Kind, columns_of, names_of
from gatewright.datasets import table
from gatewright.datasets.datasheet import encode_datasheet
from gatewright.datasets.parquet_reader import read_parquet
from gatewright.datasets.splits import to_csv
from gatewright.datasets.target import TargetKind, class_names
from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import BadInput, Misuse
from gatewright.operations import data
from gatewright.operations.catalogue import DatasetVersion, find
from gatewright.operations.data import Description
from gatewright.operations.home import Home

SHOWN = 10
"""Most columns that an error names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frames:
    """Training and test rows with what is said of them.

    ``features`` are the columns that a model may take; ``columns`` what is kept of both, in the order of
    the training rows.
    """

    test: Any
    about: Description
    features: tuple[str, ...]
    columns: tuple[tuple[Column, ...], tuple[Column, ...]]

    @classmethod
    def of(cls, train: Any, test: Any, about: Description) -> Frames:
        """Both frames, when they have the same columns of the same types, and the target is one of them.

        Raises BadInput (``client.no-frame``, ``client.no-column``, ``client.columns-differ``,
        ``client.types-differ``) and what ``frames.columns_of`` raises.
        """
        names = [_names(frame, which) for frame, which in ((train, "training"), (test, "test"))]
        for column in (about.target, *about.sensitive, *about.slices, *about.dropped):
            _require_column(column, names[0])
        only = [sorted(set(here) - set(there)) for here, there in (names, names[::-1])]
        if any(only):
            raise BadInput(
                "client.columns-differ",
                "The training rows and the test rows do not have the same columns.",
                why=" ".join(
                    f"Only in the {which} rows: {', '.join(map(repr, extra[:SHOWN]))}."
                    for which, extra in zip(("training", "test"), only, strict=True)
                    if extra
                ),
                next="Make both from one frame, and drop in both what is no feature.",
            )
        kept = tuple(name for name in names[0] if name not in about.dropped)
        columns = columns_of(train, kept), columns_of(test, kept)
        for pair in zip(*columns, strict=True):
            _require_alike(*pair)
        features = tuple(name for name in kept if name != about.target)
        return cls(test=test, about=about, features=features, columns=columns)

    @property
    def target(self) -> Column:
        """The true answers of the training rows."""
        return next(column for column in self.columns[0] if column.name == self.about.target)

    def for_comparison(self, *, dropped: bool = False) -> Any:
        """The test rows with the columns that a model may take, and on demand with the ``dropped`` ones."""
        return frames.select(self.test, (*self.features, *(self.about.dropped if dropped else ())))


def _names(frame: Any, which: str) -> tuple[str, ...]:
    if not frames.is_named(frame) and not hasattr(frame, "columns"):
        raise BadInput(
            "client.no-frame",
            f"The {which} rows are {type(frame).__name__}, which has no column names.",
            next="Give a DataFrame (pandas or polars) or a mapping of columns, the target among them.",
        )
    return names_of(frame)


def _require_column(name: str, have: Sequence[str]) -> None:
    if name in have:
        return
    near = get_close_matches(name, have, n=3, cutoff=0.5)
    raise BadInput(
        "client.no-column",
        f"The training rows have no column {name!r}.",
        next=f"Nearest: {', '.join(near)}." if near else f"They have: {', '.join(have[:SHOWN])}.",
    )


def register(home: Home, name: str, given: Frames) -> tuple[DatasetVersion, bool]:
    """The registered version of these frames, and whether it is new.

    The newest version of the name is taken where it has the same rows and says the same of them.
    Raises BadInput for what cannot be kept as it is, and what ``operations.data`` raises.
    """
    content = [_content(columns, given.about) for columns in given.columns]
    latest = home.archive.get("datasets-latest", name)
    held = None if latest is None else find(home, "datasets", str(latest["ref"]), DatasetVersion)
    if held is not None and _same(held, content, given.about):
        return held, False
    train, test = (each for each, _ in content)
    return data.add_content(home, name, train=train, test=test, about=given.about), True


def _require_alike(train: Column, test: Column) -> None:
    if (train.kind is Kind.TEXT) != (test.kind is Kind.TEXT):
        raise BadInput(
            "client.types-differ",
            f"The column {train.name!r} holds {train.kind} in training and {test.kind} in the test.",
            next="Read both frames alike: with the same types, and the same marks for missing cells.",
            place=f"column {train.name!r}",
        )


def _content(columns: Sequence[Column], about: Description) -> tuple[bytes, Digest]:
    """The Parquet file of some columns, and the digest under which its rows will be kept.

    Of a column that is dropped nothing is handed over but its name.
    """
    kept = {column.name: _cells(column, about.target) for column in columns}
    rows = len(columns[0].values)
    out = io.BytesIO()
    pl.DataFrame({**kept, **dict.fromkeys(about.dropped, ["dropped"] * rows)}).write_parquet(out)
    content = out.getvalue()
    read = read_parquet(content, name="the rows")
    for column in columns:
        _require_kept(column, read.column(column.name), is_target=column.name == about.target)
    return content, Digest.of(to_csv(read.without(about.dropped)) if about.dropped else content)


def _cells(column: Column, target: str) -> Any:
    """Truth values are the numbers that the model takes, but for a target, whose names they are."""
    if column.kind is Kind.TEXT:
        return pl.Series(column.name, column.values.tolist(), pl.String)
    is_number = column.kind is Kind.TRUTH and column.name != target
    return column.values.astype(np.int64) if is_number else _with_gaps(column)


def _with_gaps(column: Column) -> Any:
    return pl.Series(column.name, column.values, nan_to_null=True)


def _require_kept(given: Column, read: table.Column, *, is_target: bool) -> None:
    """Raise BadInput unless a column comes back as it was given."""
    if is_target and given.kind is not Kind.NUMBER:
        names = {str(value).lower() if given.kind is Kind.TRUTH else str(value) for value in given.values}
        if names - {""} == set(class_names(read)):
            return
    if given.kind is Kind.TEXT and read.kind is not table.Kind.TEXT:
        raise BadInput(
            "client.texts-of-numbers",
            f"The column {given.name!r} holds texts that all read as numbers, such as {given.values[0]!r}.",
            why="A table knows no difference between the two, so the model would be judged on numbers.",
            next='Fit on them as numbers (astype(float)), or write a letter before them ("z" + column).',
            place=f"column {given.name!r}",
        )
    if given.kind is not Kind.TEXT and read.kind is table.Kind.TEXT:
        raise BadInput(
            "client.numbers-lost",
            f"The column {given.name!r} holds no number at all, or one beyond 2**53, where neighbours are one.",
            next="Drop the column, or give such ids as texts.",
            place=f"column {given.name!r}",
        )
    apart = _apart(given, read)
    if apart.any():
        row = int(np.argmax(apart))
        raise BadInput(
            "client.reads-as-missing",
            f"The column {given.name!r} holds {str(given.values[row])!r}, which is read as a missing cell.",
            why=f"{int(apart.sum()):,} rows hold such a text. The model would be judged on, and asked with, "
            "the empty text in its place.",
            next='Write missing texts as "" before fitting: '
            f"frame[{given.name!r}] = frame[{given.name!r}].replace({str(given.values[row])!r}, '').",
            place=f"row {row}, column {given.name!r}",
        )


def _apart(given: Column, read: table.Column) -> NDArray[np.bool_]:
    if given.kind is Kind.TEXT:
        return np.asarray(given.values != read.values, dtype=np.bool_)
    wanted = given.values.astype(np.float64)
    return np.asarray(~((wanted == read.values) | (np.isnan(wanted) & read.missing)), dtype=np.bool_)


def _same(held: DatasetVersion, content: Sequence[tuple[bytes, Digest]], about: Description) -> bool:
    return (
        (held.train, held.test) == tuple(digest for _, digest in content)
        and (held.target, held.sensitive, held.slices, held.dropped)
        == (about.target, about.sensitive, about.slices, about.dropped)
        and held.datasheet == Digest.of(encode_datasheet(about.datasheet))
        and about.target_kind in {None, TargetKind(held.target_kind)}
    )


def task_named(text: str) -> TargetKind | None:
    """The task that a text names, or None for no text; raises Misuse for another one."""
    try:
        return TargetKind(text) if text else None
    except ValueError:
        raise Misuse(
            "client.task",
            f"{text[:80]!r} is no task.",
            next=f"There is: {', '.join(kind.value for kind in TargetKind)}.",
        ) from None


def plain(
    rows: Any, names: Sequence[str], texts: Collection[str] | None = None
) -> Mapping[str, NDArray[Any]]:
    """The named columns of rows to predict, as :func:`gatewright.models.feeds.feeds` takes them.

    Where ``texts`` says which of them hold texts, None in any other is a missing number. Raises BadInput
    (``client.not-columns``) for what is no table, and what ``frames.columns_of`` raises.
    """
    if not frames.is_named(rows) and not hasattr(rows, "columns"):
        raise _not_columns(f"The rows to predict are {type(rows).__name__}, which has no column names.")
    held = {name: rows[name] for name in names_of(rows)}
    for name in set(names) & set(held):
        if not _is_list(held[name]):
            raise _not_columns(f"The column {name!r} is a single value, {str(held[name])[:80]!r}.")
        if texts is not None and name not in texts:
            held[name] = _numbers(held[name])
    return {
        column.name: column.values if column.kind is Kind.TEXT else column.values.astype(np.float64)
        for column in columns_of(held, names)
    }


def _not_columns(what: str) -> BadInput:
    return BadInput(
        "client.not-columns",
        what,
        next="Give a frame, or a mapping from column to a list of values, one for each row: "
        '{"income": [1200.0, None], "town": ["north", "south"]}.',
    )


def _is_list(column: Any) -> bool:
    return (
        hasattr(column, "__len__") and not isinstance(column, str | bytes) and getattr(column, "ndim", 1) > 0
    )


def _numbers(column: Any) -> Any:
    """The cells as numbers with NaN where one is missing, if there are only numbers and gaps; else as they are."""
    if np.asarray(column).dtype != np.object_:
        return column
    cells = list(column)
    gaps = [frames.is_gap(cell) for cell in cells]
    if not any(gaps) or not all(
        gap or isinstance(cell, int | float) for cell, gap in zip(cells, gaps, strict=True)
    ):
        return column
    return np.array([np.nan if gap else cell for cell, gap in zip(cells, gaps, strict=True)], np.float64)
