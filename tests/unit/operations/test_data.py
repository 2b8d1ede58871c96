"""Splitting and adding: columns that are no features, numbered files, folders that are made."""

from __future__ import annotations

from pathlib import Path

import pytest

from gatewright.datasets.datasheet import Datasheet
from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import BadInput, Misuse, Refused
from gatewright.operations import catalogue, data
from gatewright.operations.catalogue import DatasetVersion
from gatewright.operations.data import Description
from gatewright.operations.home import Home


def people(path: Path, rows: int, *, first: int = 0) -> Path:
    """A file with an id, a name, two features and an answer."""
    lines = [f"P{n},name-{n},{n * 7 % 31},{n * n % 17},{n % 2}" for n in range(first, first + rows)]
    path.write_text("\n".join(["id,name,age,years,repaid", *lines]) + "\n", "utf-8")
    return path


def about(**change: tuple[str, ...]) -> Description:
    """What is said of the file."""
    return Description(**{"target": "repaid", "dropped": ("id", "name"), "datasheet": Datasheet(), **change})


def split(home: Home, folder: Path, *, seed: int = 7, out: Path | None = None) -> tuple[DatasetVersion, ...]:
    """Split the file that lies in the folder."""
    return data.split_file(
        home,
        "people",
        source=folder / "people.csv",
        seed=seed,
        test_share=0.3,
        out=out or folder,
        about=about(),
    )


def test_dropped_columns_are_in_no_file_and_in_the_record(fresh: Home, tmp_path: Path) -> None:
    """What is dropped before a split stands in neither file, is no feature, and is named in the record."""
    people(tmp_path / "people.csv", 100)
    version, train, test = split(fresh, tmp_path)
    assert (("age", "integer"), ("years", "integer")) == version.features
    assert {"age,years,repaid"} == {path.read_text("utf-8").splitlines()[0] for path in (train, test)}
    assert ("id", "name") == version.dropped
    assert version == catalogue.resolve(fresh, "datasets", "people", DatasetVersion)


def test_dropped_columns_are_taken_out_of_files_that_exist(fresh: Home, tmp_path: Path) -> None:
    """Adding two files keeps their bytes; with a dropped column, what is kept of them is locked."""
    train = people(tmp_path / "train.csv", 60)
    test = people(tmp_path / "test.csv", 40, first=60)
    whole = data.add(fresh, "whole", train=train, test=test, about=about(dropped=()))
    fewer = data.add(fresh, "fewer", train=train, test=test, about=about())
    assert (Digest.of(train.read_bytes()), ()) == (whole.train, whole.dropped)
    assert (60, 40) == (fewer.train_rows, fewer.test_rows)
    assert b"age,years,repaid" == fresh.blobs.get(fewer.train).splitlines()[0]


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"dropped": ("nobody",)}, BadInput, "no column 'nobody'"),
        ({"dropped": ("repaid",)}, Misuse, "'repaid' is the target"),
        ({"dropped": ("age",), "sensitive": ("age",)}, Misuse, "'age' is declared"),
        ({"dropped": ("age",), "slices": ("age",)}, Misuse, "'age' is declared"),
    ],
)
def test_what_is_needed_cannot_be_dropped(
    fresh: Home, tmp_path: Path, change: dict[str, tuple[str, ...]], error: type[Exception], words: str
) -> None:
    """A column that is absent, the target, or one to slice by is refused, and nothing is written."""
    source = people(tmp_path / "people.csv", 60)
    with pytest.raises(error, match=words):
        data.split_file(
            fresh,
            "people",
            source=source,
            seed=7,
            test_share=0.3,
            out=tmp_path / "out",
            about=about(**change),
        )
    assert not (tmp_path / "out").exists()
    assert () == data.versions(fresh)


def test_a_second_version_lies_beside_the_first(fresh: Home, tmp_path: Path) -> None:
    """Version 2 gets numbered files; the same split again is refused while its files are there."""
    people(tmp_path / "people.csv", 100)
    _, first, _ = split(fresh, tmp_path)
    with pytest.raises(Misuse, match="people@1 is this split already"):
        split(fresh, tmp_path)
    second, *places = split(fresh, tmp_path, seed=8)
    assert ("people-train.csv", 2) == (first.name, second.version)
    assert ["people-2-train.csv", "people-2-test.csv"] == [place.name for place in places]
    assert (second.train, second.test) == tuple(Digest.of(place.read_bytes()) for place in places)
    with pytest.raises(Misuse, match="people@2 is this split already"):
        split(fresh, tmp_path, seed=8)


def test_a_folder_is_made_and_its_files_are_private(fresh: Home, tmp_path: Path) -> None:
    """The folder for a split is made, parents too, and the files in it are the owner's alone."""
    people(tmp_path / "people.csv", 100)
    _, *places = split(fresh, tmp_path, out=tmp_path / "some" / "where")
    assert {0o600} == {place.stat().st_mode & 0o777 for place in places}


def test_a_folder_made_for_nothing_is_taken_away(
    fresh: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the record is refused after the files were written, neither they nor their folder stay."""
    people(tmp_path / "people.csv", 100)

    def refuse(*_: object) -> None:
        raise Refused("tests.refused", "Not now.")

    monkeypatch.setattr(data, "owner", refuse)
    with pytest.raises(Refused):
        split(fresh, tmp_path, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
