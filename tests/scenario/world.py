"""The world that the stories happen in: small data, small models, homes, the command line, a server.

Commands run either in a process of their own, as a user's do, or through the same entry point in
this process, where a story needs many of them: the exit code and the printed words are the same.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from gatewright.assembly.homes import open_home
from gatewright.cli import main as entry
from gatewright.cli import show

COMMAND_S = 240.0
READY_S = 120.0
STOP_S = 15.0
LOCKS = {"lock", "ledger.db-shm", "serve.lock"}
"""Files that only serve to keep processes apart; SQLite's -shm is its lock index."""

FEATURES = ("income", "debts", "age")
WEIGHTS = (2.0, -1.5, 0.0)
BETTER = (2.1, -1.6, 0.0)
"""Two models that both learned something, and answer differently."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """How a command ended: exit code, what it printed, and the one JSON document, if it is one."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The JSON document on standard output."""
        return json.loads(self.out)

    @property
    def error(self) -> dict[str, str]:
        """The error that the document carries."""
        found: dict[str, str] = self.document["error"]
        return found

    @property
    def said(self) -> str:
        """Everything that the error says, in one text."""
        error = self.error
        return " ".join(error[part] for part in ("what", "why", "next", "place"))


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment without settings of the product, plus ``extra``."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("GATEWRIGHT_")}
    return {**plain, "NO_COLOR": "1", "COLUMNS": "200", **(extra or {})}


def command(folder: Path, *arguments: str, extra: Mapping[str, str] | None = None) -> Ran:
    """Run ``gatewright`` as a user does: a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "gatewright", *arguments],
        cwd=folder,
        env=environment(extra),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=COMMAND_S,
        check=False,
    )
    return Ran(code=done.returncode, out=done.stdout, err=done.stderr)


def inside(folder: Path, *arguments: str, extra: Mapping[str, str] | None = None) -> Ran:
    """Run a command through the program's own entry point in this process; no start-up to wait for."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("GATEWRIGHT_")]:
            patch.delenv(name)
        for name, value in (extra or {}).items():
            patch.setenv(name, value)
        patch.setattr(sys, "argv", ["gatewright", *arguments])
        patch.setattr(
            show.out, "width", int((extra or {}).get("COLUMNS", "80"))
        )  # else that of the first import
        patch.chdir(folder)
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = entry.run()
    return Ran(code=code, out=out.getvalue(), err=err.getvalue())


@dataclass(slots=True)
class Home:
    """A home of a story, driven by commands.

    ``broken`` says that the story damaged it on purpose, ``untouched`` that it was shown to be equal,
    byte for byte, to the home it was copied from.
    """

    root: Path
    extra: dict[str, str] = field(default_factory=dict)
    broken: bool = False
    untouched: bool = False
    api_key: str = ""

    @property
    def folder(self) -> Path:
        """Where everything is kept."""
        return self.root / ".gatewright"

    def run(self, *arguments: str) -> Ran:
        """A command with ``--json``, quickly."""
        return inside(self.root, *arguments, "--json", extra=self.extra)

    def do(self, *arguments: str) -> Any:
        """A command that must succeed; its document."""
        ran = self.run(*arguments)
        assert 0 == ran.code, f"gatewright {' '.join(arguments)}: {ran.out}{ran.err}"
        return ran.document

    def user(self, *arguments: str) -> Any:
        """A command that must succeed, in a process of its own; its document."""
        ran = command(self.root, *arguments, "--json", extra=self.extra)
        assert 0 == ran.code, f"gatewright {' '.join(arguments)}: {ran.out}{ran.err}"
        return ran.document

    def documents(self) -> list[tuple[str, str, int, bytes]]:
        """Every projected document, as the database holds it."""
        return documents(self.folder / "ledger.db")

    def digest(self) -> dict[str, str]:
        """SHA-256 of every file of the home and beside it, locks left out."""
        return digests(self.root)

    def kinds(self) -> list[str]:
        """The kinds of all records, in order."""
        with contextlib.closing(sqlite3.connect(self.folder / "ledger.db")) as opened:
            return [kind for (kind,) in opened.execute("SELECT kind FROM records ORDER BY seq")]

    def rebuilt(self) -> None:
        """Drop every projection, make them again, and see that nothing changed and all of it holds."""
        before = self.documents()
        with pytest.MonkeyPatch.context() as patch:
            for name, value in self.extra.items():
                patch.setenv(name, value)
            with open_home(self.root) as home:
                home.archive.rebuild()
        assert before == self.documents()
        self.do("verify")


def documents(database: Path) -> list[tuple[str, str, int, bytes]]:
    """Every projected document of a ledger, ordered."""
    with contextlib.closing(sqlite3.connect(database)) as opened:
        found = opened.execute(
            "SELECT collection, key, seq, document FROM projections ORDER BY collection, key"
        )
        return found.fetchall()


def digests(root: Path) -> dict[str, str]:
    """SHA-256 of every regular file under ``root`` but locks and an empty write-ahead log."""
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
        and not path.is_symlink()
        and path.name not in LOCKS
        and not (path.name == "ledger.db-wal" and path.stat().st_size == 0)
    }


# ---- data and models ------------------------------------------------------------------------------


def loans(rows: int, seed: int) -> tuple[NDArray[np.float64], NDArray[np.str_]]:
    """Features of shape (rows, 3) and answers drawn with the probabilities that WEIGHTS give."""
    rng = np.random.default_rng(seed)
    values = np.round(rng.normal(size=(rows, len(FEATURES))), 6)
    chance = 1 / (1 + np.exp(-values @ np.array(WEIGHTS)))
    return values, np.where(rng.random(rows) < chance, "yes", "no")


def write_csv(path: Path, header: Sequence[str], columns: NDArray[Any], answers: Sequence[Any]) -> Path:
    """Write features and answers as CSV."""
    lines = [",".join(header)]
    lines += [
        ",".join([*(repr(float(value)) for value in row), str(answer)])
        for row, answer in zip(columns, answers, strict=True)
    ]
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


def write_loans(path: Path, rows: int, seed: int) -> Path:
    """Write a file of loans."""
    return write_csv(path, (*FEATURES, "repaid"), *loans(rows, seed))


def classifier(
    weights: Sequence[float] = WEIGHTS,
    *,
    nodes: Sequence[Any] = (),
    initializers: Sequence[Any] = (),
    opsets: Sequence[tuple[str, int]] = (("", 17), ("ai.onnx.ml", 3)),
    input_names: Sequence[str] = ("x",),
) -> bytes:
    """A logistic model of two classes as ONNX: one matrix in, label and probabilities out."""
    two = np.stack([np.zeros(len(weights)), np.array(weights)], axis=1).astype(np.float32)
    width = len(weights) if len(input_names) == 1 else 1
    joined = "joined" if len(input_names) > 1 else input_names[0]
    concat = (
        [helper.make_node("Concat", list(input_names), ["joined"], axis=1)] if len(input_names) > 1 else []
    )
    graph = helper.make_graph(
        [
            *concat,
            helper.make_node("MatMul", [joined, "w"], ["scores"]),
            helper.make_node("Softmax", ["scores"], ["probabilities"], axis=1),
            helper.make_node("ArgMax", ["scores"], ["label"], axis=1, keepdims=0),
            *nodes,
        ],
        "loans",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, width]) for name in input_names],
        [
            helper.make_tensor_value_info("label", TensorProto.INT64, [None]),
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, 2]),
        ],
        [numpy_helper.from_array(two, "w"), *initializers],
    )
    made = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid(domain, number) for domain, number in opsets],
        ir_version=8,
        producer_name="tests",
    )
    return bytes(made.SerializeToString())


def changed(model: bytes) -> onnx.ModelProto:
    """A parsed copy, to be changed."""
    return onnx.load_model_from_string(model)


# ---- serving --------------------------------------------------------------------------------------


@dataclass(slots=True)
class Server:
    """A server that answers. ``log`` is what it said."""

    process: subprocess.Popen[bytes]
    log: Path
    url: str = ""

    def said(self) -> str:
        """What it said until now."""
        return self.log.read_text("utf-8", "replace")

    def wait_for(self, words: str, *, within_s: float = READY_S) -> str:
        """Wait for a line that holds ``words``; returns it."""
        until = time.monotonic() + within_s
        while time.monotonic() < until:
            for line in self.said().splitlines():
                if words in line:
                    return line
            if self.process.poll() is not None:
                break
            time.sleep(0.02)
        raise AssertionError(f"The server never said {words!r} (exit {self.process.poll()}):\n{self.said()}")

    def stop(self) -> int:
        """End it as an operator does; returns its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        return self.process.returncode


@contextlib.contextmanager
def serving(
    home: Home, *options: str, log: str = "serve.log", ready: str = "Serving plan"
) -> Iterator[Server]:
    """``gatewright serve`` on a free port until the end of the block, whatever happens in it."""
    place = home.root.parent / log
    with place.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "gatewright", "serve", "--port", "0", *options],
            cwd=home.root,
            env=environment(home.extra),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    server = Server(process=process, log=place)
    try:
        server.url = server.wait_for(ready).split(" on ")[1].split(" ")[0]
        yield server
    finally:
        server.stop()


def ask(
    client: httpx.Client, server: Server, endpoint: str, api_key: str, rows: NDArray[Any]
) -> httpx.Response:
    """One request of the Open Inference Protocol v2."""
    values = np.asarray(rows, dtype=np.float32)
    tensor = {
        "name": "x",
        "shape": list(values.shape),
        "datatype": "FP32",
        "data": [float(value) for value in values.ravel()],
    }
    return client.post(
        f"{server.url}/v2/models/{endpoint}/infer",
        json={"inputs": [tensor]},
        headers={"Authorization": f"Bearer {api_key}"},
        timeout=60,
    )
