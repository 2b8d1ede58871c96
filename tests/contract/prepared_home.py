"""A home with one live release, made by the development environment for a bare one to serve."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from gatewright.client.conversion import convert

NAME = "tumours"
TRAIN_ROWS = 400
READY_SECONDS = 120.0
COMMAND_SECONDS = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the endpoint answered: HTTP status, body, and whether a receipt came with it."""

    status: int
    body: str
    has_receipt: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedHome:
    """The home's folder, the API key of its endpoint, one row to predict, and the exported release."""

    folder: Path
    api_key: str
    row: tuple[float, ...]
    release: Path

    @property
    def model(self) -> Path:
        """The model inside the exported release."""
        return self.release / "release" / "model.onnx"

    @property
    def verify_arguments(self) -> tuple[str, ...]:
        """What ``gatewright verify`` is told, to verify the exported release offline."""
        return (str(self.release), "--trust", str(self.release / "trust.json"))

    def predict(self, gatewright: Path) -> Answer:
        """Serve this home with the given program, and ask it for one prediction."""
        request = {
            "inputs": [
                {"name": "input", "shape": [1, len(self.row)], "datatype": "FP32", "data": list(self.row)}
            ]
        }
        key = {"Authorization": f"Bearer {self.api_key}"}
        with _serving(gatewright, self.folder, key) as address:
            answered = httpx.post(
                f"{address}/v2/models/{NAME}/infer",
                json=request,
                headers=key,
                timeout=60,
            )
        receipt = answered.json().get("parameters", {}).get("receipt", "")
        return Answer(status=answered.status_code, body=answered.text, has_receipt=bool(receipt))


@contextlib.contextmanager
def _serving(gatewright: Path, home: Path, key: dict[str, str]) -> Iterator[str]:
    """The address of a server that is ready; it is ended with the context."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = home / "serve.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [str(gatewright), "serve", "--port", str(port)],
            cwd=home,
            env={"PATH": "/usr/bin:/bin", "HOME": str(home), "NO_COLOR": "1"},
            stdout=output,
            stderr=output,
        )
    try:
        address = f"http://127.0.0.1:{port}"
        _wait_until_ready(address, key, server, log)
        yield address
    finally:
        server.terminate()
        server.wait(READY_SECONDS)


def _wait_until_ready(address: str, key: dict[str, str], server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{address}/v2/health/ready", headers=key, timeout=2).status_code == 200:
                return
        time.sleep(0.05)
    raise AssertionError(f"The server is not ready (exit {server.poll()}):\n{log.read_text('utf-8')}")


def _gatewright(home: Path, *arguments: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "gatewright", *arguments, "--json"],
        cwd=home,
        env={**os.environ, "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"gatewright {' '.join(arguments)}: {done.stdout}{done.stderr}"
    return json.loads(done.stdout)


def _write_csv(path: Path, columns: list[str], rows: np.ndarray, labels: np.ndarray) -> None:
    lines = [",".join([*columns, "diagnosis"])]
    lines += [
        ",".join([*(repr(float(value)) for value in row), str(label)])
        for row, label in zip(rows, labels, strict=True)
    ]
    path.write_text("\n".join(lines) + "\n", "utf-8")


def prepare(folder: Path) -> PreparedHome:
    """Take the breast cancer data and a logistic regression from files to a live, exported release."""
    source = load_breast_cancer()
    columns = [str(name).replace(" ", "_") for name in source.feature_names]
    rows = source.data.astype(np.float32)
    labels = np.array(["malignant", "benign"])[source.target]
    _write_csv(folder / "train.csv", columns, rows[:TRAIN_ROWS], labels[:TRAIN_ROWS])
    _write_csv(folder / "test.csv", columns, rows[TRAIN_ROWS:], labels[TRAIN_ROWS:])
    estimator = make_pipeline(StandardScaler(), LogisticRegression())
    estimator.fit(rows[:TRAIN_ROWS], labels[:TRAIN_ROWS])
    (folder / "model.onnx").write_bytes(convert(estimator, rows[TRAIN_ROWS:]).onnx)

    _gatewright(folder, "init", "--owner", "ada")
    _gatewright(
        folder, "data", "add", NAME, "--train", "train.csv", "--test", "test.csv", "--target", "diagnosis"
    )
    _gatewright(folder, "model", "add", "model.onnx", "--name", NAME, "--trained-on", NAME)
    shipped = _gatewright(folder, "ship", NAME)
    _gatewright(folder, "release", "export", NAME, "--to", "exported")
    return PreparedHome(
        folder=folder,
        api_key=shipped["api_key"],
        row=tuple(float(value) for value in rows[TRAIN_ROWS]),
        release=folder / "exported",
    )
