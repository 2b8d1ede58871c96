"""Where the file of a segment lies, from the worker's hands to the collector's."""

from __future__ import annotations

from pathlib import Path

from gatewright.operations.collect import COLLECTED
from gatewright.operations.home import Home
from gatewright.operations.waiting import SEALED, WORKER_FOLDER

OPEN = ".open"


def segment_file(home: Home, name: str, further: Path | None = None) -> tuple[bytes, bool] | None:
    """The segment's bytes and whether it is sealed, or None where it is nowhere.

    Looked for in the order in which it moves: open, sealed, collected. ``further`` is the folder of a
    worker that serves a mounted folder.
    """
    folders = [home.segments, *sorted(home.segments.glob(f"{WORKER_FOLDER}*"))]
    folders += [] if further is None else [further, *sorted(further.glob(f"{WORKER_FOLDER}*"))]
    places = [folder / f"{name}{ending}" for ending in (OPEN, SEALED) for folder in folders]
    places += [folder / COLLECTED / f"{name}{SEALED}" for folder in folders]
    for place in places if Path(name).name == name else ():
        if place.is_file():
            return place.read_bytes(), place.suffix == SEALED
    return None
