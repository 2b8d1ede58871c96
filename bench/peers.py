"""The Adult endpoint beside MLServer and MLflow: one pipeline, one request of 14 named inputs, texts included.

``python bench/peers.py ADULT_FOLDER [--seconds S] [--rounds N] [--json FILE]``, or ``make bench-peers``. Each
peer gets an environment of its own under ``.state/peers`` from its hashed list in ``bench/peers``,
trains the same pipeline there, and serves it in the way its documentation gives for one process. All
servers have core 0, the caller core 1; rounds alternate. Ours is governed: key check, typed
decoding, encryption and a synced record before every answer; the peers do none of it.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).with_name("peers")))

import pandas as pd
from adult_pipeline import fitted
from endpoint import free_port
from timing import CLIENT_CORE, SERVER_CORE, pinned

import gatewright as gw

ROOT = Path(__file__).parents[1]
STATE = ROOT / ".state" / "peers"
READY_SECONDS = 120.0
CONNECTIONS = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A running server: where it answers one request, and what it answered to it."""

    name: str
    url: str
    body: str
    headers: dict[str, str]


def environment(peer: str) -> Path:
    """The peer's own environment, made once."""
    folder = STATE / peer
    wanted = (ROOT / "bench" / "peers" / f"{peer}.txt").read_bytes()
    mark = folder / "installed.txt"
    if not (mark.is_file() and mark.read_bytes() == wanted):
        print(f"Installing {peer} into {folder}; this takes a minute or two.", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
        subprocess.run(
            [*pip, "--require-hashes", "-r", str(ROOT / "bench" / "peers" / f"{peer}.txt")], check=True
        )
        mark.write_bytes(wanted)
    return folder / "bin"


@contextmanager
def served(command: list[str], folder: Path, peer: Peer, tools: Path | None = None) -> Iterator[Peer]:
    """Run a server on the server's core until the context ends; it has answered once."""
    paths = [str(tools)] if tools else []
    found = {**os.environ, "PATH": os.pathsep.join([*paths, os.environ["PATH"]])}
    with (folder / f"{peer.name}.log").open("wb") as log, pinned(SERVER_CORE):
        process = subprocess.Popen(command, cwd=folder, env=found, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + READY_SECONDS
        while not _answer(peer):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{peer.name} does not answer; see {folder / f'{peer.name}.log'}")
            time.sleep(0.2)
        yield peer
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()


def _answer(peer: Peer) -> bytes:
    request = urllib.request.Request(  # noqa: S310 - loopback
        peer.url, peer.body.encode(), {"Content-Type": "application/json", **peer.headers}
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - loopback
            found: bytes = answer.read()
            return found
    except (urllib.error.URLError, ConnectionError):
        return b""


def rows(path: Path) -> dict[str, Any]:
    """The first test row: whole numbers as numbers, texts as texts, no target."""
    with path.open(newline="") as lines:
        row = next(csv.DictReader(lines))
    row.pop("income")
    return {
        name: int(text) if text.lstrip("-").isdigit() else text.replace("?", "") for name, text in row.items()
    }


def tensors(row: dict[str, Any], *, whole: str, named: bool) -> list[dict[str, Any]]:
    """One tensor a column, as the Open Inference Protocol has them; ``named`` adds MLServer's content types."""
    return [
        {
            "name": name,
            "shape": [1, 1],
            "datatype": "BYTES" if isinstance(value, str) else whole,
            "data": [value],
        }
        | ({"parameters": {"content_type": "str"}} if named and isinstance(value, str) else {})
        for name, value in row.items()
    ]


def ours(adult: Path, folder: Path, row: dict[str, Any]) -> tuple[list[str], Peer]:
    """Ship the pipeline; the command that serves it, and how it is asked."""
    train, test = (
        pd.read_csv(adult / f"{part}.csv", keep_default_na=False).replace("?", "")
        for part in ("train", "test")
    )
    home = folder / "home"
    gw.init(home, owner="bench")
    model = gw.submit(
        fitted(adult / "train.csv"), name="adult", train=train, test=test, target="income", home=home
    )
    model.ship()
    port = free_port()
    peer = Peer(
        name="gatewright",
        url=f"http://127.0.0.1:{port}/v2/models/adult/infer",
        body=json.dumps({"inputs": tensors(row, whole="INT64", named=False)}),
        headers={"Authorization": f"Bearer {model.api_key}"},
    )
    return [sys.executable, "-m", "gatewright", "serve", "--port", str(port)], peer


def mlserver(adult: Path, folder: Path, row: dict[str, Any]) -> tuple[list[str], Peer, Path]:
    """Train and configure for MLServer: one process, no worker pool, as its documentation has it for speed."""
    tools = environment("mlserver")
    place = folder / "mlserver"
    script = str(ROOT / "bench" / "peers" / "adult_pipeline.py")
    subprocess.run(
        [str(tools / "python"), script, "mlserver", str(adult / "train.csv"), str(place)], check=True
    )
    ports = [free_port() for _ in range(3)]
    names = ("http_port", "grpc_port", "metrics_port")
    settings = {
        "host": "127.0.0.1",
        "parallel_workers": 0,
        "debug": False,
        **dict(zip(names, ports, strict=True)),
    }
    (place / "settings.json").write_text(json.dumps(settings))
    body = {"parameters": {"content_type": "pd"}, "inputs": tensors(row, whole="INT64", named=True)}
    peer = Peer(
        name="mlserver",
        url=f"http://127.0.0.1:{ports[0]}/v2/models/adult/infer",
        body=json.dumps(body),
        headers={},
    )
    return [str(tools / "mlserver"), "start", str(place)], peer, tools


def mlflow(adult: Path, folder: Path, row: dict[str, Any]) -> tuple[list[str], Peer, Path]:
    """Train and save with MLflow; one worker of its scoring server."""
    tools = environment("mlflow")
    place = folder / "mlflow"
    script = str(ROOT / "bench" / "peers" / "adult_pipeline.py")
    subprocess.run(
        [str(tools / "python"), script, "mlflow", str(adult / "train.csv"), str(place)], check=True
    )
    port = free_port()
    split = {"columns": list(row), "data": [list(row.values())]}
    peer = Peer(
        name="mlflow",
        url=f"http://127.0.0.1:{port}/invocations",
        body=json.dumps({"dataframe_split": split}),
        headers={},
    )
    command = [str(tools / "mlflow"), "models", "serve", "-m", str(place / "model"), "-p", str(port)]
    return [*command, "--env-manager", "local", "--workers", "1"], peer, tools


def load(peer: Peer, folder: Path, seconds: int) -> tuple[float, float]:
    """Requests a second, and the median latency in milliseconds, of one round of wrk."""
    script = folder / f"{peer.name}.lua"
    headers = {"Content-Type": "application/json", **peer.headers}
    lines = "\n".join(f'wrk.headers["{name}"] = "{value}"' for name, value in headers.items())
    script.write_text(f'wrk.method = "POST"\nwrk.body = [==[{peer.body}]==]\n{lines}\n', "utf-8")
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--timeout", "10s", "--latency"]
    with pinned(CLIENT_CORE):
        said = subprocess.run(
            [*command, "-s", str(script), peer.url], capture_output=True, text=True, check=True
        ).stdout
    if "Non-2xx" in said:
        raise RuntimeError(f"{peer.name} answered with errors: {said}")
    rate = next(float(line.split()[1]) for line in said.splitlines() if "Requests/sec" in line)
    median = next(line.split()[1] for line in said.splitlines() if line.strip().startswith("50%"))
    units = {"us": 1e-3, "ms": 1.0, "s": 1e3}
    unit = next(each for each in ("us", "ms", "s") if median.endswith(each))
    return rate, float(median.removesuffix(unit)) * units[unit]


def main() -> int:
    """Measure and print."""
    reader = argparse.ArgumentParser(description="The Adult endpoint beside MLServer and MLflow.")
    reader.add_argument("adult", type=Path, help="Folder with Adult's train.csv and test.csv.")
    reader.add_argument("--seconds", type=int, default=5, help="Length of a round.")
    reader.add_argument("--rounds", type=int, default=5, help="Alternating rounds of each.")
    reader.add_argument("--json", type=Path, help="Also write the figures to this file.")
    options = reader.parse_args()
    adult = options.adult.resolve()
    row = rows(adult / "test.csv")
    with tempfile.TemporaryDirectory(prefix="gatewright-peers-") as place, ExitStack() as servers:
        folder = Path(place)
        command, us = ours(adult, folder, row)
        running = [servers.enter_context(served(command, folder / "home", us))]
        for made in (mlserver, mlflow):
            command, peer, tools = made(adult, folder, row)
            running.append(servers.enter_context(served(command, folder, peer, tools)))
        found: dict[str, list[tuple[float, float]]] = {peer.name: [] for peer in running}
        for peer in running:
            print(f"{peer.name}: {_answer(peer)[:160]!r}")
            load(peer, folder, 1)
        for _ in range(options.rounds):
            for peer in running:
                found[peer.name].append(load(peer, folder, options.seconds))
    table = {
        name: {
            "requests_per_second": statistics.median(rate for rate, _ in rounds),
            "p50_ms": statistics.median(median for _, median in rounds),
            "ours_is_times": statistics.median(
                a[0] / b[0] for a, b in zip(found["gatewright"], rounds, strict=True)
            ),
        }
        for name, rounds in found.items()
    }
    for name, figures in table.items():
        print(
            f"{name:12s} {figures['requests_per_second']:9.1f} requests/s   p50 {figures['p50_ms']:8.2f} ms   "
            f"ours is {figures['ours_is_times']:.1f} times"
        )
    if options.json:
        options.json.write_text(json.dumps(table, indent=2) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
