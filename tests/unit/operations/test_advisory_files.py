"""Hostile and broken files of advisories are refused whole, with their place."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gatewright.kernel.errors import BadInput, GatewrightError, Misuse
from gatewright.operations import advisory_files
from gatewright.operations.advisory_files import read_advisories
from unit.checks.osv_written import osv, pypi

ONE, TWO = osv("A-1", pypi("x")), osv("B-1", pypi("y"))


def written(place: Path, value: Any) -> Path:
    """A JSON file."""
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(json.dumps(value), "utf-8")
    return place


def zipped(place: Path, members: dict[str, bytes], how: int = zipfile.ZIP_DEFLATED) -> Path:
    """A zip file."""
    with zipfile.ZipFile(place, "w", how) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return place


def ids(path: Path) -> list[str]:
    """The ids at a path."""
    return [one.id for one in read_advisories(path)]


def test_one_object_a_list_a_folder_and_a_zip_are_read(tmp_path: Path) -> None:
    """All four forms, in the order of their files; what is not called .json is left alone."""
    one, two = json.dumps(ONE).encode(), json.dumps([TWO]).encode()
    assert ["A-1"] == ids(written(tmp_path / "one.osv", ONE))
    assert ["A-1", "B-1"] == ids(written(tmp_path / "list.json", [ONE, TWO]))
    written(tmp_path / "folder/b/two.json", [TWO])
    written(tmp_path / "folder/a.json", ONE)
    (tmp_path / "folder/README.md").write_text("no JSON", "utf-8")
    assert ["A-1", "B-1"] == ids(tmp_path / "folder")
    assert ["B-1", "A-1"] == ids(
        zipped(tmp_path / "all.zip", {"z.json": one, "deep/in/it.json": two, "x.txt": b"x"})
    )
    assert [] == ids(written(tmp_path / "none.json", []))


def _deep(folder: Path) -> Path:
    place = folder / "deep.json"
    place.write_bytes(b"[" * 100_000 + b"]" * 100_000)
    return place


def _twice(folder: Path) -> Path:
    place = folder / "twice.json"
    place.write_bytes(b'{"id":"A","id":"B","modified":"2026-01-01"}')
    return place


def _no_utf8(folder: Path) -> Path:
    place = folder / "bytes.json"
    place.write_bytes(b'{"id":"\xff"}')
    return place


def _not_a_number(folder: Path) -> Path:
    place = folder / "nan.json"
    place.write_bytes(b'{"id":"A","modified":"2026-01-01","x":NaN}')
    return place


def _second_of_a_list(folder: Path) -> Path:
    return written(folder / "list.json", [ONE, {"id": "B-2"}])


def _one_of_a_folder(folder: Path) -> Path:
    written(folder / "f/a.json", ONE)
    written(folder / "f/b.json", {"id": "B-2"})
    return folder / "f"


def _climbing(folder: Path) -> Path:
    return zipped(folder / "c.zip", {"ok.json": json.dumps(ONE).encode(), "../../etc/b.json": b"{}"})


def _absolute(folder: Path) -> Path:
    return zipped(folder / "c.zip", {"/etc/b.json": b"{}"})


def _backslash(folder: Path) -> Path:
    place = zipped(folder / "c.zip", {"..Xb.json": b"{}"})
    place.write_bytes(place.read_bytes().replace(b"..Xb.json", b"..\\b.json"))
    return place


def _cut_off(folder: Path) -> Path:
    place = zipped(folder / "c.zip", {"a.json": json.dumps([ONE] * 500).encode()})
    place.write_bytes(place.read_bytes()[:-30])
    return place


def _flipped(folder: Path) -> Path:
    place = zipped(folder / "c.zip", {"a.json": json.dumps(ONE).encode()}, zipfile.ZIP_STORED)
    place.write_bytes(place.read_bytes().replace(b"A-1", b"C-1", 1))
    return place


def _encrypted(folder: Path) -> Path:
    place = zipped(folder / "c.zip", {"a.json": json.dumps(ONE).encode()})
    data = bytearray(place.read_bytes())
    data[6] |= 1
    data[data.rindex(b"PK\x01\x02") + 8] |= 1
    place.write_bytes(data)
    return place


@pytest.mark.parametrize(
    ("make", "place"),
    [
        (_deep, "deep.json"),
        (_twice, "twice.json"),
        (_no_utf8, "bytes.json"),
        (_not_a_number, "nan.json"),
        (_second_of_a_list, "list.json: B-2"),
        (_one_of_a_folder, "b.json: B-2"),
        (_climbing, "../../etc/b.json"),
        (_absolute, "/etc/b.json"),
        (_backslash, ""),
        (_cut_off, "c.zip"),
        (_flipped, "c.zip"),
        (_encrypted, "c.zip"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_place(
    tmp_path: Path, make: Callable[[Path], Path], place: str
) -> None:
    """Nested without end, named twice, cut off, changed, encrypted, climbing: refused, and said where."""
    with pytest.raises(BadInput) as caught:
        ids(make(tmp_path))
    assert caught.value.refusal.place.startswith(place)


def test_a_bomb_ends_at_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small zip that unpacks to much is read up to the limit, each file and all together."""
    monkeypatch.setattr(advisory_files, "FILE_BYTES", 1_000_000)
    monkeypatch.setattr(advisory_files, "TOTAL_BYTES", 2_500_000)
    blank = json.dumps(ONE).encode() + b" " * 900_000
    assert ["A-1", "A-1"] == ids(zipped(tmp_path / "two.zip", {f"{n}.json": blank for n in range(2)}))
    many = zipped(tmp_path / "many.zip", {f"{n}.json": blank for n in range(3)})
    assert many.stat().st_size < 10_000
    with pytest.raises(BadInput, match="2,500,000"):
        ids(many)
    large = zipped(tmp_path / "large.zip", {"a.json": b" " * 50_000_000})
    with pytest.raises(BadInput, match="1,000,000"):
        ids(large)
    with pytest.raises(BadInput, match="1,000,000"):
        ids(written(tmp_path / "large.json", "x" * 1_000_000))
    written(tmp_path / "folder/large.json", "x" * 1_000_000)
    with pytest.raises(BadInput, match="1,000,000"):
        ids(tmp_path / "folder")


def test_a_size_that_lies_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A member whose directory entry says it is small is not read beyond what it says, and is refused."""
    monkeypatch.setattr(advisory_files, "FILE_BYTES", 1_000_000)
    place = zipped(tmp_path / "lie.zip", {"a.json": b" " * 5_000_000})
    data = bytearray(place.read_bytes())
    entry = data.rindex(b"PK\x01\x02")
    data[entry + 24 : entry + 28] = (100).to_bytes(4, "little")
    place.write_bytes(data)
    with pytest.raises(BadInput):
        ids(place)


def test_too_many_files_and_advisories_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both are counted against a limit."""
    monkeypatch.setattr(advisory_files, "FILES", 2)
    data = json.dumps(ONE).encode()
    with pytest.raises(BadInput, match="3 files"):
        ids(zipped(tmp_path / "many.zip", {f"{n}.json": data for n in range(3)}))
    monkeypatch.setattr(advisory_files, "ADVISORIES", 2)
    with pytest.raises(BadInput, match="more than 2 advisories"):
        ids(written(tmp_path / "many.json", [ONE] * 3))


def test_what_is_not_there_or_holds_nothing_is_told(tmp_path: Path) -> None:
    """No file, an empty folder, an empty zip, a pipe: each has an answer."""
    os.mkfifo(tmp_path / "pipe")
    zipped(tmp_path / "empty.zip", {})
    (tmp_path / "empty").mkdir()
    for name in ("nothing", "pipe", "empty.zip", "empty"):
        with pytest.raises(Misuse):
            ids(tmp_path / name)
    (tmp_path / "nul").write_bytes(b"")
    with pytest.raises(GatewrightError):
        ids(tmp_path / "nul")
