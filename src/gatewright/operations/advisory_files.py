"""Reading advisories from what a person names: a JSON file, a folder of them, or a zip of them.

A JSON file holds one OSV object or a list of them. Of a folder and a zip every ``.json`` counts, at any
depth. Nothing is written to the disk, nothing is followed, and everything is counted against a limit
before it is read further: a member that says it is small and is not ends at the limit too.

All or nothing: the first entry that cannot be read refuses the whole, and is named.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from gatewright.checks.osv import Advisory, read_advisory
from gatewright.kernel import canonical
from gatewright.kernel.errors import BadInput, Misuse
from gatewright.operations.files import read_file

FILE_BYTES = 64 * 1024**2
"""Most bytes of one JSON file, unpacked."""
ZIP_BYTES = 512 * 1024**2
"""Most bytes of a zip, packed."""
TOTAL_BYTES = 2 * 1024**3
"""Most bytes of all JSON files together, unpacked."""
FILES = 500_000
ADVISORIES = 1_000_000
ZIP_MARKS = (b"PK\x03\x04", b"PK\x05\x06")
SUFFIX = ".json"


def read_advisories(path: Path) -> Iterator[Advisory]:
    """Every advisory at a path, in the order of its files.

    Raises BadInput, with the place, for what is no OSV form or beyond a limit; Misuse where there is
    nothing of that name.
    """
    total = count = 0
    for place, data in _documents(path):
        total += len(data)
        if total > TOTAL_BYTES:
            raise _beyond(f"The advisories unpack to more than {TOTAL_BYTES:,} bytes, the limit.", place)
        for advisory in _in_document(place, data):
            count += 1
            if count > ADVISORIES:
                raise _beyond(f"There are more than {ADVISORIES:,} advisories, the limit.", place)
            yield advisory


def _beyond(what: str, place: str) -> BadInput:
    return BadInput("operations.advisories-too-large", what, next="Import fewer at a time.", place=place)


def _in_document(place: str, data: bytes) -> Iterator[Advisory]:
    try:
        value = canonical.decode_any(data)
        for each in value if isinstance(value, list) else (value,):
            yield read_advisory(each)
    except BadInput as error:
        inner = error.refusal
        where = f"{place}: {inner.place}" if inner.place else place
        raise BadInput(inner.code, inner.what, why=inner.why, next=inner.next, place=where) from None


def _documents(path: Path) -> Iterator[tuple[str, bytes]]:
    if path.is_dir():
        found = [each for each in sorted(path.rglob(f"*{SUFFIX}")) if not each.is_dir()]
        _require_some(len(found), path)
        yield from ((str(each.relative_to(path)), read_file(each, limit=FILE_BYTES)) for each in found)
        return
    with_mark = read_file(path, limit=ZIP_BYTES)
    if with_mark.startswith(ZIP_MARKS):
        yield from _members(path)
        return
    if len(with_mark) > FILE_BYTES:
        raise _beyond(f"The file has more than {FILE_BYTES:,} bytes, the limit of one JSON file.", path.name)
    yield path.name, with_mark


def _require_some(count: int, path: Path) -> None:
    if not count:
        raise Misuse(
            "operations.no-advisory-files",
            f"There is no {SUFFIX} file in {path}.",
            next="Name an OSV file, a folder of them, or a zip of them.",
        )
    if count > FILES:
        raise _beyond(f"There are {count:,} files; {FILES:,} is the limit.", str(path))


def _members(path: Path) -> Iterator[tuple[str, bytes]]:
    """The JSON members of a zip, by name; raises BadInput for a broken one and for a name that climbs."""
    try:
        with zipfile.ZipFile(path) as archive:
            infos = [info for info in archive.infolist() if not info.is_dir()]
            for info in infos:
                parts = PurePosixPath(info.filename)
                if parts.is_absolute() or ".." in parts.parts or "\\" in info.filename:
                    raise BadInput(
                        "operations.advisories-zip",
                        "A file in the zip has a name that leads out of it.",
                        why="No export of advisories has such names.",
                        place=info.filename[:200],
                    )
            wanted = sorted(
                (info for info in infos if info.filename.endswith(SUFFIX)), key=lambda i: i.filename
            )
            _require_some(len(wanted), path)
            for info in wanted:
                with archive.open(info) as member:
                    data = member.read(FILE_BYTES + 1)
                if len(data) > FILE_BYTES:
                    raise _beyond(f"A file unpacks to more than {FILE_BYTES:,} bytes.", info.filename[:200])
                yield info.filename[:200], data
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError, OSError) as error:
        raise BadInput(
            "operations.advisories-zip", "The zip cannot be read.", why=str(error)[:200], place=path.name
        ) from None
