"""How each server is prepared and started, and what it is asked; see peers.py.

A server has a folder of its own, which is also its home, and one request. The files of the peers stand in
``peers``: a hashed list of what is installed, and a script where the server wants one.
"""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).with_name("peers")))

import pandas as pd
from adult_pipeline import fitted
from endpoint import free_port
from prepared import NAME, Prepared, prepare, product
from timing import Python

import gatewright as gw

LISTS = Path(__file__).with_name("peers")
STATE = Path(__file__).parents[1] / ".state" / "peers"
# For MLServer, which gathers requests when told to: rows of a batch, seconds that a request waits for others.
BATCH = {"max_batch_size": 64, "max_batch_time": 0.005}
# Triton's Python backend loads the system's libpython, so its callable has to run on that Python.
PYTHONS = {"pytriton": "/usr/bin/python3"}
PACKAGES = {"pytriton": "nvidia-pytriton"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """How a server is started in its folder, and the one request that it is asked."""

    command: list[str]
    folder: Path
    url: str
    body: str
    headers: dict[str, str] = field(default_factory=dict)
    tools: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """A row of the table: its name, and what prepares its server in an empty folder."""

    name: str
    label: str
    made: Callable[[Path], Server]


def version(peer: str) -> str:
    """The version in the peer's list."""
    package = PACKAGES.get(peer, peer)
    found = re.search(rf"^{package}==(\S+)", (LISTS / f"{peer}.txt").read_text("utf-8"), re.MULTILINE)
    return found[1] if found else "?"


def environment(peer: str) -> Path:
    """The peer's own environment, made once; its folder of commands."""
    folder, listed = STATE / peer, LISTS / f"{peer}.txt"
    mark = folder / "installed.txt"
    if not (mark.is_file() and mark.read_bytes() == listed.read_bytes()):
        print(f"Installing {peer} into {folder}; this takes a minute or two.", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        said([PYTHONS.get(peer, sys.executable), "-m", "venv", str(folder)])
        pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
        said([*pip, "--require-hashes", "-r", str(listed)])
        mark.write_bytes(listed.read_bytes())
    return folder / "bin"


def said(command: list[str]) -> str:
    """What a command prints; raises RuntimeError with its last line when it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{Path(command[0]).name} failed: {last_line(done.stderr or done.stdout)}")
    return done.stdout


def last_line(text: str) -> str:
    """The last line that says something, short enough for a table."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1].replace("|", "/")[:200] if lines else "it said nothing"


# The small model: 30 numbers of the breast-cancer data, a logistic regression behind a scaler.


def small_ours(home: Prepared) -> Server:
    """Serve a home that ``prepare`` made."""
    port = free_port()
    return Server(
        command=[sys.executable, "-m", "gatewright", "serve", "--workers", "1", "--port", str(port)],
        folder=home.folder,
        url=f"http://127.0.0.1:{port}/v2/models/{NAME}/infer",
        body=home.body.decode(),
        headers={"Authorization": f"Bearer {home.api_key}"},
    )


def small_asynchronous(interpreter: Python, folder: Path) -> Server:
    """Ours again, with receipts that are given before the record is on disk."""
    home = prepare(interpreter, folder / "home")
    product(interpreter, home.folder, "limit", NAME, "--recording", "asynchronous")
    return small_ours(home)


def small_mlserver(row: list[float], folder: Path, *, batches: bool = False) -> Server:
    """MLServer's scikit-learn runtime."""
    tools = saved("mlserver", "small_pipeline.py", folder)
    tensor = {"name": "input", "shape": [1, len(row)], "datatype": "FP32", "data": row}
    asked = [{"name": "predict"}, {"name": "predict_proba"}]
    return with_mlserver(tools, folder, NAME, {"inputs": [tensor], "outputs": asked}, batches=batches)


def small_mlflow(row: list[float], folder: Path) -> Server:
    """MLflow's scoring server, one worker."""
    return with_mlflow(saved("mlflow", "small_pipeline.py", folder), folder, {"inputs": [row]})


def small_litserve(row: list[float], folder: Path) -> Server:
    """LitServe: one process for the API and one for the model."""
    tools, port = environment("litserve"), free_port()
    return Server(
        command=[str(tools / "python"), str(LISTS / "with_litserve.py"), str(port)],
        folder=folder,
        url=f"http://127.0.0.1:{port}/predict",
        body=json.dumps({"input": row}),
    )


def small_bentoml(row: list[float], folder: Path) -> Server:
    """BentoML: one worker of one service."""
    tools, port = environment("bentoml"), free_port()
    command = [str(tools / "bentoml"), "serve", "with_bentoml:Tumours", "--working-dir", str(LISTS)]
    return Server(
        command=[*command, "--host", "127.0.0.1", "--port", str(port)],
        folder=folder,
        url=f"http://127.0.0.1:{port}/predict",
        body=json.dumps({"rows": [row]}),
        tools=tools,
    )


def small_ray(row: list[float], folder: Path) -> Server:
    """Ray Serve: one node, one HTTP proxy, one replica."""
    tools, port = environment("ray"), free_port()
    return Server(
        command=[str(tools / "python"), str(LISTS / "with_ray.py"), str(port), str(folder)],
        folder=folder,
        url=f"http://127.0.0.1:{port}/",
        body=json.dumps({"input": row}),
        tools=tools,
    )


def small_pytriton(row: list[float], folder: Path) -> Server:
    """Triton's server and Python backend, by PyTriton: one inference callable."""
    tools, ports = environment("pytriton"), [free_port() for _ in range(3)]
    script = [str(LISTS / "with_pytriton.py"), str(folder / "workspace"), *map(str, ports)]
    tensor = {"name": "rows", "shape": [1, len(row)], "datatype": "FP32", "data": row}
    return Server(
        command=[str(tools / "python"), *script],
        folder=folder,
        url=f"http://127.0.0.1:{ports[0]}/v2/models/{NAME}/infer",
        body=json.dumps({"inputs": [tensor]}),
        tools=tools,
    )


def small(interpreter: Python, folder: Path) -> list[Contender]:
    """Ours first, then the others."""
    home = prepare(interpreter, folder / "home")
    row = home.row[0].tolist()
    return [
        Contender(name="gatewright", label="Gatewright, durable receipts", made=lambda _: small_ours(home)),
        Contender(
            name="asynchronous",
            label="Gatewright, asynchronous receipts",
            made=partial(small_asynchronous, interpreter),
        ),
        *both_ways(partial(small_mlserver, row)),
        peer("litserve", "LitServe", partial(small_litserve, row)),
        peer("bentoml", "BentoML", partial(small_bentoml, row)),
        peer("ray", "Ray Serve", partial(small_ray, row)),
        peer("mlflow", "MLflow", partial(small_mlflow, row)),
        peer("pytriton", "Triton with Python backend (PyTriton)", partial(small_pytriton, row)),
    ]


def peer(name: str, title: str, made: Callable[[Path], Server]) -> Contender:
    """A contender with the version of its list in its title."""
    return Contender(name=name, label=f"{title} {version(name)}", made=made)


def both_ways(made: Callable[..., Server]) -> list[Contender]:
    """MLServer as it comes, and gathering requests, which its documentation calls adaptive batching."""
    label = f"MLServer {version('mlserver')}"
    return [
        Contender(name="mlserver", label=label, made=made),
        Contender(
            name="mlserver-batches", label=f"{label}, adaptive batches", made=partial(made, batches=True)
        ),
    ]


# Adult: 14 named inputs, eight of them texts; one-hot columns and boosted trees.


def adult_row(path: Path) -> dict[str, Any]:
    """The first test row: whole numbers as numbers, texts as texts, no target."""
    with path.open(newline="") as lines:
        row = next(csv.DictReader(lines))
    row.pop("income")
    return {
        name: int(text) if text.lstrip("-").isdigit() else text.replace("?", "") for name, text in row.items()
    }


def tensors(row: dict[str, Any], *, named: bool) -> list[dict[str, Any]]:
    """One tensor a column, as the Open Inference Protocol has them; ``named`` adds MLServer's content types."""
    return [
        {
            "name": name,
            "shape": [1, 1],
            "datatype": "BYTES" if isinstance(value, str) else "INT64",
            "data": [value],
        }
        | ({"parameters": {"content_type": "str"}} if named and isinstance(value, str) else {})
        for name, value in row.items()
    ]


def adult_ours(adult: Path, folder: Path) -> Server:
    """Ship the pipeline and serve it."""
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
    return Server(
        command=[sys.executable, "-m", "gatewright", "serve", "--workers", "1", "--port", str(port)],
        folder=home,
        url=f"http://127.0.0.1:{port}/v2/models/adult/infer",
        body=json.dumps({"inputs": tensors(adult_row(adult / "test.csv"), named=False)}),
        headers={"Authorization": f"Bearer {model.api_key}"},
    )


def adult_mlserver(adult: Path, folder: Path, *, batches: bool = False) -> Server:
    """The pipeline in MLServer, asked for pandas' columns."""
    tools = saved("mlserver", "adult_pipeline.py", folder, str(adult / "train.csv"))
    body = {
        "parameters": {"content_type": "pd"},
        "inputs": tensors(adult_row(adult / "test.csv"), named=True),
    }
    return with_mlserver(tools, folder, "adult", body, batches=batches)


def adult_mlflow(adult: Path, folder: Path) -> Server:
    """The pipeline in MLflow's own scikit-learn flavour."""
    tools = saved("mlflow", "adult_pipeline.py", folder, str(adult / "train.csv"))
    row = adult_row(adult / "test.csv")
    return with_mlflow(
        tools, folder, {"dataframe_split": {"columns": list(row), "data": [list(row.values())]}}
    )


def of_adult(adult: Path) -> list[Contender]:
    """Ours first, then the others."""
    return [
        Contender(name="gatewright", label="Gatewright, durable receipts", made=partial(adult_ours, adult)),
        *both_ways(partial(adult_mlserver, adult)),
        peer("mlflow", "MLflow", partial(adult_mlflow, adult)),
    ]


# What both parts need of the peers that have a format of their own for models.


def saved(name: str, script: str, folder: Path, *sources: str) -> Path:
    """Train in the peer's environment and save under ``folder / "model"``; its folder of commands."""
    tools = environment(name)
    said([str(tools / "python"), str(LISTS / script), name, *sources, str(folder / "model")])
    return tools


def with_mlserver(tools: Path, folder: Path, model: str, body: dict[str, Any], *, batches: bool) -> Server:
    """Start MLServer on a saved model: no worker pool, as its documentation has it for speed."""
    place = folder / "model" / "model-settings.json"
    if batches:
        place.write_text(json.dumps(json.loads(place.read_text()) | BATCH))
    http, grpc, metrics = (free_port() for _ in range(3))
    settings = {"host": "127.0.0.1", "parallel_workers": 0, "debug": False}
    ports = {"http_port": http, "grpc_port": grpc, "metrics_port": metrics}
    (folder / "model" / "settings.json").write_text(json.dumps(settings | ports))
    return Server(
        command=[str(tools / "mlserver"), "start", str(folder / "model")],
        folder=folder,
        url=f"http://127.0.0.1:{http}/v2/models/{model}/infer",
        body=json.dumps(body),
        tools=tools,
    )


def with_mlflow(tools: Path, folder: Path, body: dict[str, Any]) -> Server:
    """Start MLflow's scoring server on a saved model, with one worker."""
    port = free_port()
    command = [str(tools / "mlflow"), "models", "serve", "-m", str(folder / "model" / "model")]
    return Server(
        command=[*command, "-p", str(port), "--env-manager", "local", "--workers", "1"],
        folder=folder,
        url=f"http://127.0.0.1:{port}/invocations",
        body=json.dumps(body),
        tools=tools,
    )
