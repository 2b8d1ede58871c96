"""Datasets: adding one whose splits exist, splitting one before training, listing, showing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from gatewright.datasets.datasheet import Datasheet, encode_datasheet
from gatewright.datasets.schema import encode_schema, schema_of
from gatewright.datasets.splits import split, to_csv
from gatewright.datasets.table import Table
from gatewright.datasets.target import TargetKind, check_target, class_names
from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import BadInput, Misuse, Refused
from gatewright.kernel.names import parse_name
from gatewright.ledger.records import Draft
from gatewright.operations.catalogue import DatasetVersion, SplitMethod, body_of, every, find
from gatewright.operations.files import read_file
from gatewright.operations.home import Home
from gatewright.operations.isolation import load_table
from gatewright.operations.users import owner

TEST_SHARE = (0.05, 0.95)


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What the owner says about a dataset; ``dropped`` columns (ids, names) are taken out first."""

    target: str
    target_kind: TargetKind | None = None
    sensitive: tuple[str, ...] = ()
    slices: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    datasheet: Datasheet


def add(home: Home, name: str, *, train: Path, test: Path, about: Description) -> DatasetVersion:
    """Register a dataset whose train and test files exist; the splits are locked from now on.

    Without the columns that are dropped, where there are any: what is kept is then written as CSV.
    """
    parse_name(name, of="dataset")
    parts = [_without(read_file(path), path.name, about) for path in (train, test)]
    return _register(home, name, parts[0], parts[1], about, names=(train.name, test.name))


def add_content(home: Home, name: str, *, train: bytes, test: bytes, about: Description) -> DatasetVersion:
    """Register a dataset whose train and test files are at hand as bytes, as :func:`add` does."""
    parse_name(name, of="dataset")
    names = (f"{name}-train", f"{name}-test")
    parts = [_without(content, each, about) for content, each in zip((train, test), names, strict=True)]
    return _register(home, name, parts[0], parts[1], about, names=names)


def _without(content: bytes, name: str, about: Description) -> bytes:
    return to_csv(_kept(load_table(content, name), about)) if about.dropped else content


def _kept(table: Table, about: Description) -> Table:
    """The table without the dropped columns, each of which it must have and nothing else may name."""
    used = {about.target: "the target", **dict.fromkeys((*about.sensitive, *about.slices), "declared")}
    for column in about.dropped:
        table.column(column)
        if column in used:
            raise Misuse(
                "operations.dropped-column",
                f"The column {column!r} is {used[column]} and cannot be dropped.",
                next="Leave it out of --drop, or out of --sensitive and --slice.",
            )
    return table.without(about.dropped)


def split_file(
    home: Home, name: str, *, source: Path, seed: int, test_share: float, out: Path, about: Description
) -> tuple[DatasetVersion, Path, Path]:
    """Split a file, lock the split, and write ``NAME-train.csv`` and ``NAME-test.csv`` to train from.

    Version 2 and later write ``NAME-2-train.csv`` and so on. A folder that is absent is made.
    The files come first, then the record: a try that was cut short leaves files that the next one,
    which makes the same, takes as its own. A file with other content is refused.
    """
    parse_name(name, of="dataset")
    low, high = TEST_SHARE
    if not low <= test_share <= high:
        raise Misuse("operations.test-share", f"The test share must lie between {low} and {high}.")
    content = read_file(source)
    table = _kept(load_table(content, source.name), about)
    check_target(table, about.target, about.target_kind)
    rows = split(table, target=about.target, seed=seed, test_share=test_share)
    train, test = (to_csv(table.take(part)) for part in rows)
    version = next_version(home, "datasets", name)
    if version > 1:
        _require_new(home, f"{name}@{version - 1}", (train, test), out)
    places = _places(out, name, version)
    missing = _missing({places[0]: train, places[1]: test})
    method = SplitMethod(seed=seed, test_share=test_share, source=Digest.of(content))
    made = _make_folder(out)
    try:
        for place, part in missing.items():
            home.write(place, part)
        added = _register(
            home, name, train, test, about, names=(places[0].name, places[1].name), method=method
        )
    except (BadInput, Misuse, Refused):  # anything else may have come after the record
        with suppress(OSError):  # what failed first is what is told
            for place in missing:
                place.unlink(missing_ok=True)
            if made:
                out.rmdir()
        raise
    return added, *places


def _make_folder(out: Path) -> bool:
    """Make the folder of a split, and say whether it was made; one with content is taken as it is."""
    if out.is_dir():
        return False
    try:
        out.mkdir(parents=True)
    except OSError as error:
        raise Misuse(
            "operations.no-folder",
            f"{out} is no folder and cannot be made one.",
            why=str(error.strerror),
            next="Choose another --out.",
        ) from None
    return True


def _places(out: Path, name: str, version: int) -> tuple[Path, Path]:
    """Where a version's two files go; numbered from the second version on."""
    stem = name if version == 1 else f"{name}-{version}"
    return out / f"{stem}-train.csv", out / f"{stem}-test.csv"


def _require_new(home: Home, ref: str, parts: tuple[bytes, bytes], out: Path) -> None:
    """Refuse to make a version that is the newest one over again, with its files in their place."""
    held = dataset(home, ref)
    places = _places(out, held.name, held.version)
    same = (held.train, held.test) == tuple(map(Digest.of, parts))
    if same and not _missing_or_other(dict(zip(places, parts, strict=True))):
        raise Misuse(
            "operations.split-already",
            f"{held.ref} is this split already, and its files are there.",
            next=f"Train on {places[0]}, or split with another --seed.",
        )


def _missing(files: Mapping[Path, bytes]) -> Mapping[Path, bytes]:
    """Those of the files of a split that are still to be written; a file with other content is kept."""
    found = _missing_or_other(files)
    for place in found:
        if place.exists():
            raise Misuse(
                "operations.file-exists", f"{place} exists already.", next="Move it away or choose --out."
            )
    return found


def _missing_or_other(files: Mapping[Path, bytes]) -> Mapping[Path, bytes]:
    return {
        place: part for place, part in files.items() if not (place.is_file() and read_file(place) == part)
    }


def versions(home: Home) -> tuple[DatasetVersion, ...]:
    """Every dataset version."""
    return tuple(every(home, "datasets", DatasetVersion))


def _register(
    home: Home,
    name: str,
    train: bytes,
    test: bytes,
    about: Description,
    *,
    names: tuple[str, str],
    method: SplitMethod | None = None,
) -> DatasetVersion:
    tables = (load_table(train, names[0]), load_table(test, names[1]))
    kind = check_target(tables[0], about.target, about.target_kind)
    _same_columns(*tables, names)
    _declared_columns(tables[0], {"sensitive": about.sensitive, "slice": about.slices}, about.target)
    schema = encode_schema(schema_of(tables[0]))
    digests = [home.blobs.put(part) for part in (train, test, schema, encode_datasheet(about.datasheet))]
    target = tables[0].column(about.target)
    version = DatasetVersion(
        name=name,
        version=next_version(home, "datasets", name),
        train=digests[0],
        test=digests[1],
        train_rows=tables[0].rows,
        test_rows=tables[1].rows,
        target=about.target,
        target_kind=kind.value,
        classes=() if kind is TargetKind.REGRESSION else class_names(target),
        features=tuple((c.name, c.kind.value) for c in tables[0].columns if c.name != about.target),
        sensitive=about.sensitive,
        slices=about.slices,
        schema=digests[2],
        datasheet=digests[3],
        unstated=about.datasheet.unstated(),
        split=method,
        dropped=about.dropped,
    )
    draft = Draft(
        kind="dataset.added", actor=owner(home).principal, subject=version.ref, body=body_of(version)
    )
    home.archive.append((draft,), home.now())
    return version


def next_version(home: Home, collection: str, name: str) -> int:
    """The number that the next version of a name gets; numbers are never used twice."""
    latest = home.archive.get(f"{collection}-latest", name)
    return 1 if latest is None else int(str(latest["version"])) + 1


def _same_columns(train: Table, test: Table, names: tuple[str, str]) -> None:
    missing = [name for name in train.names if name not in test]
    added = [name for name in test.names if name not in train]
    if missing or added:
        raise BadInput(
            "datasets.columns-differ",
            f"{names[0]} and {names[1]} do not have the same columns.",
            why=_named("Only in the training file", missing) + _named("Only in the test file", added),
            next="Give both files the same columns.",
        )


def _named(where: str, columns: Sequence[str]) -> str:
    return f"{where}: {', '.join(columns[:10])}. " if columns else ""


def _declared_columns(table: Table, declared: Mapping[str, tuple[str, ...]], target: str) -> None:
    for role, columns in declared.items():
        for column in columns:
            table.column(column)
            if column == target:
                raise Misuse("operations.declared-column", f"The target cannot be a {role} column.")


def dataset(home: Home, ref: str) -> DatasetVersion:
    """The exact dataset version that a model or report names."""
    found = find(home, "datasets", ref, DatasetVersion)
    if found is None:
        raise Misuse("operations.no-dataset", f"There is no dataset {ref!r} in this home.")
    return found
