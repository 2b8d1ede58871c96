"""Adding models: versions, lineage, and what a refusal leaves behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import BadInput, Misuse, Refused
from gatewright.operations import models
from gatewright.operations.data import dataset
from gatewright.operations.home import Home
from gatewright.operations.models import Declared
from scenario.world import classifier, write_csv, write_loans


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A good model."""
    path = tmp_path / "m.onnx"
    path.write_bytes(classifier())
    return path


def test_versions_are_numbered_by_name(live: Home, file: Path) -> None:
    """The same bytes under the same name are a further version; another name begins at 1."""
    assert 3 == models.add(live, file, "loans", Declared(trained_on="loans")).version
    assert 1 == models.add(live, file, "other", Declared(trained_on="loans")).version
    assert ["loans@1", "loans@2", "loans@3", "other@1"] == [v.ref for v in models.versions(live)]


def test_declared_rows_are_a_split_a_file_or_nothing(live: Home, file: Path, tmp_path: Path) -> None:
    """Lineage is the digest of the locked split, of the file's bytes, or None when nothing is declared."""
    rows = write_loans(tmp_path / "rows.csv", 30, 9)
    split = models.add(live, file, "a", Declared(trained_on="loans@1"))
    assert dataset(live, "loans@1").train == split.trained_on
    own = models.add(live, file, "b", Declared(trained_on=str(rows), dataset="loans"))
    assert own.trained_on is not None
    assert rows.read_bytes() == live.blobs.get(own.trained_on)
    assert models.add(live, file, "c", Declared(dataset="loans")).trained_on is None


def test_a_refusal_is_recorded_once_and_nothing_else(live: Home, tmp_path: Path) -> None:
    """A refused file leaves its digest and reason in plain, its name and the sentence encrypted; no version."""
    path = tmp_path / "evil.onnx"
    path.write_bytes(b"\x80\x04]\x94.")
    blobs = sorted(path.name for path in (live.folder / "blobs").rglob("*"))
    with pytest.raises(Refused):
        models.add(live, path, "evil", Declared(trained_on="loans"))
    ((_, kept),) = live.archive.scan("refusals")
    assert ("models.format-not-allowed", Digest.of(path.read_bytes()).hex) == (kept["code"], kept["digest"])
    assert "evil" not in str(kept)
    after = {path.name for path in (live.folder / "blobs").rglob("*") if path.is_file()}
    assert 1 == len(after - set(blobs))


def test_rows_that_lack_a_feature_are_refused(live: Home, file: Path, tmp_path: Path) -> None:
    """Declared rows must have the columns that the model learned from."""
    loans = dataset(live, "loans@1")
    rows = write_csv(tmp_path / "rows.csv", ("income", "y"), [[1.0], [2.0]], ["no", "yes"])  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="debts"):
        models.add(live, file, "a", Declared(trained_on=str(rows), dataset=loans.ref))


def test_a_dataset_must_be_named(live: Home, file: Path) -> None:
    """A model that is tied to no data cannot be added."""
    with pytest.raises(Misuse, match="--trained-on"):
        models.add(live, file, "a", Declared())
