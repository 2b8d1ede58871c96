"""MLflow's tracking stores, read without MLflow: where a registered version lies, and what its run said.

Two forms are read, both on this machine and neither written: the folder of YAML files and the SQLite
database (MLflow 3.17, ``store/tracking`` and ``store/model_registry``). What is asked for is looked
up by its exact name; a name that would leave the folder is refused.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote, unquote

from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer
from ruamel.yaml.error import YAMLError

from gatewright.kernel.errors import BadInput, Misuse
from gatewright.operations.files import read_file

YAML_BYTES = 1024 * 1024
"""Most bytes of an ``MLmodel`` or ``meta.yaml`` file."""
VALUE_BYTES = 64 * 1024
"""Most bytes of a file that holds one parameter, alias or metric's history."""
ENTRIES = 500
"""Most parameters and most metrics of a run that are read."""
DATABASE_STEPS = 20_000_000
"""Most steps of SQLite's machine for one question, so that no view keeps it busy for ever."""
DATABASE_VALUE_BYTES = 64 * 1024
"""Most bytes of a value or row that SQLite makes; a larger one ends the question."""
_SHORT = "CASE WHEN typeof(value) = 'real' THEN value ELSE substr(value, 1, 200) END"
_STEPS_AT_ONCE = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """A registered version: where its folder is said to be, and the run it came from."""

    version: str
    place: str
    run: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What a run said of itself: its parameters and the last value of each metric."""

    parameters: Mapping[str, str]
    metrics: Mapping[str, str]


class Store(Protocol):
    """A tracking store."""

    def registered(self, name: str, version: str) -> Registered:
        """The version that a number or ``@alias`` names; Misuse where there is none."""
        ...

    def run(self, run: str) -> Run:
        """What a run said; nothing where there is no such run."""
        ...


class _Unshared(Composer):
    """Builds values from YAML that refers to nothing twice: a few such lines stand for gigabytes."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        """One value; raises BadInput where it is named (``&``) or refers to a name (``*``)."""
        if getattr(self.parser.peek_event(), "anchor", None) is not None:
            raise BadInput(
                "integrations.mlflow-alias",
                "The YAML holds an anchor (&) or an alias (*), and is not read.",
                why="A few of them in a row stand for gigabytes.",
                next="Write each value out, or log the model again.",
            )
        return super().compose_node(parent, index)


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file as plain values. Raises BadInput for anything else, and beyond ``YAML_BYTES``."""
    reader = YAML(typ="safe", pure=True)
    reader.Composer = _Unshared
    try:
        found = reader.load(read_file(path, limit=YAML_BYTES).decode())
    except (YAMLError, UnicodeDecodeError, RecursionError, TypeError, ValueError) as error:
        raise BadInput(
            "integrations.mlflow-yaml",
            f"{path.name} is not the YAML that MLflow writes.",
            why=str(error)[:200],
            place=str(path),
        ) from None
    if not isinstance(found, dict):
        raise BadInput("integrations.mlflow-yaml", f"{path.name} holds no table.", place=str(path))
    return found


def open_store(tracking: str, start: Path) -> Store:
    """The store at an address: a folder, ``file://…`` or ``sqlite:///…``; without one, MLflow's own defaults.

    Raises Misuse for addresses on a network and for what is not there.
    """
    if not tracking:
        database, folder = start / "mlflow.db", start / "mlruns"
        tracking = f"sqlite:///{database}" if database.is_file() else str(folder)
    if tracking.startswith("sqlite:///"):
        path = start / tracking.removeprefix("sqlite:///")
        if path.is_file():
            return SqliteStore(path=path)
    else:
        path = local_path(tracking, start)
        if path.is_dir():
            return FileStore(root=path)
    raise Misuse(
        "integrations.mlflow-no-store",
        f"There is no MLflow tracking store at {tracking}.",
        next="Name it with --tracking sqlite:///mlflow.db or --tracking FOLDER, or set MLFLOW_TRACKING_URI.",
    )


def local_path(place: str, start: Path) -> Path:
    """The local path of an address. Raises Misuse where it lies on a network or in another system."""
    if not place or not is_local(place):
        raise Misuse(
            "integrations.mlflow-remote",
            f"{place[:200]} is not a folder of this machine, and nothing is fetched.",
            next="Fetch it first, where MLflow is set up: mlflow artifacts download --artifact-uri URI --dst-path "
            "FOLDER, then: gatewright model add mlflow:FOLDER --name NAME.",
        )
    return start / _plain(place)


def is_local(place: str) -> bool:
    """Whether an address names a place of this machine: a path, ``file:`` or a SQLite file."""
    plain = _plain(place).removeprefix("sqlite:///")
    return (
        bool(plain)
        and "://" not in plain
        and not plain.startswith(("dbfs:", "models:", "runs:", "databricks"))
    )


def _plain(place: str) -> str:
    """The path of a ``file:`` address, whose escapes (``%20``) are undone; any other address as it is."""
    if not place.startswith("file:"):
        return place
    return unquote(place.removeprefix("file:").removeprefix("//"))


@dataclass(frozen=True, slots=True, kw_only=True)
class FileStore:
    """A folder of YAML files: ``models/NAME/version-N/meta.yaml`` and ``EXPERIMENT/RUN/params/…``."""

    root: Path

    def registered(self, name: str, version: str) -> Registered:
        """As the protocol says."""
        folder = self.root / "models" / _part(name)
        if version.startswith("@"):
            alias = folder / "aliases" / _part(version[1:])
            version = _text(alias).strip() if alias.is_file() else version
        place = folder / f"version-{_part(version)}" / "meta.yaml"
        if not place.is_file():
            raise _no_version(name, version, sorted(each.name for each in folder.glob("version-*")))
        said = read_yaml(place)
        return _registered(version, said.get("storage_location"), said.get("source"), said.get("run_id"))

    def run(self, run: str) -> Run:
        """As the protocol says."""
        folder = next(iter(self.root.glob(f"*/{_part(run)}/meta.yaml")), None) if run else None
        if folder is None:
            return Run(parameters={}, metrics={})
        parameters, histories = (_texts(folder.parent / kind) for kind in ("params", "metrics"))
        return Run(
            parameters=parameters, metrics={name: _last_value(text) for name, text in histories.items()}
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SqliteStore:
    """A SQLite database with MLflow's tables, opened for reading only."""

    path: Path

    def registered(self, name: str, version: str) -> Registered:
        """As the protocol says."""
        with self._opened() as ask:
            if version.startswith("@"):
                aliases = ask(
                    "SELECT version FROM registered_model_aliases WHERE name = ? AND alias = ?",
                    name,
                    version[1:],
                )
                version = str(aliases[0][0]) if len(aliases) == 1 else version
            found = ask(
                "SELECT storage_location, source, run_id FROM model_versions WHERE name = ? AND version = ?",
                name,
                version,
            )
            if len(found) != 1:
                have = ask("SELECT version FROM model_versions WHERE name = ?", name)
                raise _no_version(name, version, [str(row[0]) for row in have])
        return _registered(version, *found[0])

    def run(self, run: str) -> Run:
        """As the protocol says."""
        with self._opened() as ask:
            parameters = ask(f"SELECT substr(key, 1, 200), {_SHORT} FROM params WHERE run_uuid = ?", run)  # noqa: S608 - ours
            metrics = ask(f"SELECT substr(key, 1, 200), {_SHORT} FROM latest_metrics WHERE run_uuid = ?", run)  # noqa: S608 - ours
        return Run(
            parameters={str(key): str(value) for key, value in sorted(parameters, key=str)},
            metrics={str(key): str(value) for key, value in sorted(metrics, key=str)},
        )

    @contextmanager
    def _opened(self) -> Iterator[Any]:
        """Ask questions of the database; at most ``ENTRIES`` rows answer each."""
        steps = 0

        def tired() -> int:
            nonlocal steps
            steps += _STEPS_AT_ONCE
            return int(steps > DATABASE_STEPS)

        try:
            with closing(sqlite3.connect(f"file:{quote(str(self.path))}?mode=ro", uri=True)) as opened:
                opened.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, DATABASE_VALUE_BYTES)
                opened.set_progress_handler(tired, _STEPS_AT_ONCE)
                opened.execute("PRAGMA trusted_schema = OFF")
                yield lambda question, *values: opened.execute(question, values).fetchmany(ENTRIES)
        except sqlite3.Error as error:
            raise BadInput(
                "integrations.mlflow-database",
                f"{self.path.name} is not a database that MLflow writes, or cannot be read.",
                why=str(error)[:200],
                place=str(self.path),
            ) from None


def _registered(version: str, storage: object, source: object, run: object) -> Registered:
    if not all(value is None or isinstance(value, str) for value in (storage, source, run)):
        raise BadInput("integrations.mlflow-yaml", "The registry gives a place or a run that is no text.")
    place = storage or source
    return Registered(version=version, place=str(place or ""), run=str(run or ""))


def _no_version(name: str, version: str, have: list[str]) -> Misuse:
    known = ", ".join(each.removeprefix("version-") for each in have[:20])
    return Misuse(
        "integrations.mlflow-no-version",
        f"MLflow's registry has no version {version[:80]!r} of {name[:80]!r}.",
        next=f"It has: {known}." if known else "List what there is: mlflow.search_registered_models().",
    )


def _part(name: str) -> str:
    """A name that is one part of a path and stays where it is put."""
    if name in {"", ".", ".."} or any(sign in name for sign in "/\\\0*?[") or len(name) > 255:
        raise Misuse("integrations.mlflow-name", f"{name[:80]!r} is not a name that MLflow's registry holds.")
    return name


def _texts(folder: Path) -> dict[str, str]:
    """The files of a folder by name, those below it too (a name may hold slashes), without links."""
    found = (each for each in sorted(folder.rglob("*")) if each.is_file() and not each.is_symlink())
    return {str(each.relative_to(folder)): _text(each) for each in islice(found, ENTRIES)}


def _text(path: Path) -> str:
    return read_file(path, limit=VALUE_BYTES).decode("utf-8", "replace")


def _last_value(history: str) -> str:
    """The value of the last line, ``time value step``."""
    words = history.strip().rpartition("\n")[2].split()
    return words[1] if len(words) > 1 else ""
