"""A model from MLflow, without MLflow and without unpickling: its ONNX bytes and where it came from.

``mlflow:PATH`` is a folder with an ``MLmodel`` file; ``mlflow:models:/NAME/3`` and
``mlflow:models:/NAME@ALIAS`` are looked up in a tracking store of this machine. Only the ONNX flavour
is read. Every other flavour is a pickle or code, and is converted where MLflow is installed: the
refusal holds the two lines.

Kept as lineage, as texts: the run's id, its parameters and metrics, the flavour and MLflow's version.
Names of people and tags are not kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from gatewright.integrations.mlflow_store import (
    Registered,
    Run,
    is_local,
    local_path,
    open_store,
    read_yaml,
)
from gatewright.kernel.errors import BadInput, Misuse, Refused
from gatewright.operations.files import read_file
from gatewright.operations.models import MODEL_BYTES
from gatewright.reports.texts import visible

SCHEME = "mlflow:"
REGISTRY = "models:/"
DESCRIPTION = "MLmodel"
TEXTS = 60
"""Most texts of lineage that are kept; how many were left out is one of them."""
TEXT_BYTES = 200
"""Most bytes of a name and of a value; a record holds 65,535 in all."""
SCALAR_CHARACTERS = 1_000
"""Most characters of a text that the description gives as a run or a version, and digits of a number."""
LOADERS = ("sklearn", "xgboost", "lightgbm", "pytorch", "keras", "tensorflow")
"""Flavours whose models ``gw.convert`` or their own exporter takes; each has a loader of its name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Brought:
    """A model's bytes, and what MLflow said of it."""

    content: bytes
    origin: Mapping[str, str]


def bring(text: str, *, tracking: str, start: Path) -> Brought:
    """The model that the text behind ``mlflow:`` names; relative paths begin at ``start``.

    Raises Misuse for what is not there or not on this machine, BadInput for files that are not
    MLflow's, and Refused for a flavour other than ONNX and for paths that leave the folder.
    """
    with _read(text):
        return _brought(text, tracking, start)


def _brought(text: str, tracking: str, start: Path) -> Brought:
    named: Registered | None = None
    run: Run | None = None
    place = text
    if text.startswith(REGISTRY):
        store = open_store(tracking, start)
        named = store.registered(*_name_and_version(text.removeprefix(REGISTRY)))
        run = store.run(named.run)
        place = named.place
    folder = local_path(place, start)
    if not folder.is_dir():
        raise Misuse(
            "integrations.mlflow-no-folder",
            f"There is no model folder {folder}.",
            why="The registry says it is there." if named else "",
            next=f"Name the folder that holds {DESCRIPTION}.",
        )
    said = read_yaml(_inside(folder, DESCRIPTION))
    content = read_file(_inside(folder, _onnx_file(said, text)), limit=MODEL_BYTES)
    if run is None and is_local(tracking):  # of a folder at hand, a store elsewhere is not asked
        run = open_store(tracking, start).run(_text(said, "run_id"))
    return Brought(content=content, origin=_bounded(_lineage(text, said, named, run)))


@contextmanager
def _read(address: str) -> Iterator[None]:
    """Make what a path or a file of a stranger can raise a clear refusal: zero bytes, keys that are lists."""
    try:
        yield
    except (TypeError, ValueError, OSError) as error:
        raise BadInput(
            "integrations.mlflow-unreadable",
            "What MLflow is said to have written cannot be read: it holds a name or a value that none can be.",
            why=visible(str(error))[:200],
            next="Log the model again, and name the new folder or version.",
            place=visible(address)[:200],
        ) from None


def _name_and_version(text: str) -> tuple[str, str]:
    """``NAME/3`` or ``NAME@ALIAS``."""
    name, slash, version = text.partition("/")
    if slash:
        good = version.isascii() and version.isdigit()
    else:
        name, sign, version = text.partition("@")
        good, version = bool(sign and version), f"@{version}"
    if not name or not good:
        raise Misuse(
            "integrations.mlflow-address",
            f"{REGISTRY}{text[:120]} names no version.",
            next=f"Write mlflow:{REGISTRY}NAME/3 or mlflow:{REGISTRY}NAME@ALIAS.",
        )
    return name, version


def _inside(folder: Path, name: str) -> Path:
    """A file of the folder, symbolic links followed. Raises Refused where it would lie outside."""
    found = (folder / name).resolve()
    if not found.is_relative_to(folder.resolve()):
        raise Refused(
            "integrations.mlflow-outside",
            f"The model's file {name[:120]!r} lies outside its folder.",
            why="Only what MLflow wrote into the folder is read.",
            place=str(folder),
        )
    if not found.is_file():
        raise BadInput(
            "integrations.mlflow-incomplete", f"The folder holds no file {name[:120]!r}.", place=str(folder)
        )
    return found


def _onnx_file(said: Mapping[str, Any], address: str) -> str:
    """The name of the ONNX file that the description gives. Raises Refused for another flavour."""
    flavours = said.get("flavors")
    if not isinstance(flavours, dict) or not flavours:
        raise BadInput("integrations.mlflow-yaml", f"{DESCRIPTION} names no flavour.")
    onnx = flavours.get("onnx")
    if isinstance(onnx, dict) and isinstance(onnx.get("data"), str):
        return str(onnx["data"])
    loader = next((name for name in LOADERS if name in flavours), "pyfunc")
    names = ", ".join(visible(each)[:40] for each in _names(flavours)[:8])
    raise Refused(
        "integrations.mlflow-flavour",
        f"This MLflow model has no ONNX flavour; it has: {names}.",
        why="Its files can run code when they are opened, so they are opened only where you trained it.",
        next="Convert it there, with rows it has not seen, in two lines:\n"
        f"  import gatewright as gw, mlflow.{loader}\n"
        f'  open("model.onnx", "wb").write(gw.convert(mlflow.{loader}.load_model({visible(address)!r}), rows).onnx)\n'
        "then: gatewright model add model.onnx --name NAME --trained-on DATASET",
    )


def _names(flavours: Mapping[Any, Any]) -> list[str]:
    """The flavours' names in order. Raises BadInput where one is no text."""
    if not all(isinstance(each, str) for each in flavours):
        raise BadInput("integrations.mlflow-yaml", f"{DESCRIPTION} names a flavour that is no text.")
    return sorted(flavours)


def _text(said: Mapping[str, Any], key: str) -> str:
    """One short value as text, empty where there is none. Raises BadInput for a list, a table, a huge number."""
    value = said.get(key)
    if value is None:
        return ""
    short = (
        (isinstance(value, str) and len(value) <= SCALAR_CHARACTERS)
        or (isinstance(value, int) and abs(value) < 10**SCALAR_CHARACTERS)
        or isinstance(value, float | date)
    )
    if not short:
        raise BadInput(
            "integrations.mlflow-yaml",
            f"{DESCRIPTION} gives no short text or number as {key}.",
            next=f"Write {key} as MLflow does: one text of at most {SCALAR_CHARACTERS:,} characters.",
        )
    return str(value)


def _lineage(
    address: str, said: Mapping[str, Any], named: Registered | None, run: Run | None
) -> Iterator[tuple[str, str]]:
    yield "source", f"{SCHEME}{address}"
    if named is not None:
        yield "registered-version", named.version
    for name, key in (("run", "run_id"), ("mlflow", "mlflow_version"), ("logged", "utc_time_created")):
        if said.get(key) is not None:
            yield name, _text(said, key)
    yield "flavours", ", ".join(_names(said["flavors"]))
    for kind, values in (("metric", run.metrics), ("parameter", run.parameters)) if run else ():
        for name, value in values.items():
            yield f"{kind} {name}", value


def _bounded(texts: Iterator[tuple[str, str]]) -> dict[str, str]:
    """As many texts as are kept, each cut and without hidden characters."""
    kept: dict[str, str] = {}
    left_out = 0
    for name, value in texts:
        if len(kept) < TEXTS - 1:
            kept[_cut(name)] = _cut(value)
        else:
            left_out += 1
    return kept | ({"left-out": f"{left_out} further parameters"} if left_out else {})


def _cut(text: str) -> str:
    shown = visible(text[:TEXT_BYTES].replace("\n", " "))
    return shown.encode()[:TEXT_BYTES].decode("utf-8", "ignore")
