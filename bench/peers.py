"""The endpoint beside other servers: one small model, and the Adult pipeline with its texts.

``python bench/peers.py [--small] [ADULT_FOLDER] [--only PEER]... [--rounds N] [--seconds S] [--json FILE]``, or
``make bench-peers``. Each peer gets an environment of its own under ``.state/peers`` from its hashed list
in ``bench/peers``, trains the same pipeline there, and serves it in the way its documentation gives
for one process. One peer at a time stands beside ours, and rounds of the two alternate; servers have
core 0, the caller core 1. Ours is governed: key check, typed decoding, encryption and a synced record
before every answer; the peers do none of it. A peer that does not run is told with the reason.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).with_name("peers")))

import pandas as pd
from adult_pipeline import fitted
from endpoint import free_port
from prepared import NAME, Prepared, prepare, product
from timing import CLIENT_CORE, SERVER_CORE, Python, pinned, python

import gatewright as gw

LISTS = Path(__file__).with_name("peers")
STATE = Path(__file__).parents[1] / ".state" / "peers"
READY_SECONDS = 180.0
STOP_SECONDS = 30.0
SETTLE_SECONDS = 1.0
CONNECTIONS = 64
# Triton's Python backend loads the system's libpython, so its callable has to run on that Python.
PYTHONS = {"pytriton": "/usr/bin/python3"}
PACKAGES = {"pytriton": "nvidia-pytriton"}
QUIET = {
    "BENTOML_DO_NOT_TRACK": "True",
    "DO_NOT_TRACK": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "RAY_USAGE_STATS_ENABLED": "0",
}
_UNITS_MS = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One run of the caller: requests a second, latencies in milliseconds, answers that failed or did not come."""

    rate: float
    p50: float
    p99: float
    errors: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Medians over a contender's rounds; ``ours_is`` is the median of the rounds' ratios, ``why`` a peer's absence."""

    server: str
    requests_per_second: float = 0.0
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    errors: int = 0
    ours_is: float | None = None
    why: str = ""

    def line(self) -> str:
        """A line of a Markdown table."""
        if self.why:
            return f"| {self.server} | not measured: {self.why} | | | | |"
        times = "" if self.ours_is is None else f"{self.ours_is:.1f} times"
        figures = f"{self.requests_per_second:,.0f} | {self.p50_ms:.1f} ms | {self.p99_ms:.1f} ms"
        return f"| {self.server} | {figures} | {self.errors} | {times} |"


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


@contextmanager
def serving(server: Server) -> Iterator[None]:
    """Run a server on the server's core until the context ends; it has answered once."""
    paths = [str(server.tools)] if server.tools else []
    found = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"} | QUIET
    found["PATH"] = os.pathsep.join([*paths, os.environ["PATH"]])
    found["BENTOML_HOME"] = str(server.folder / "bentoml")
    log = server.folder / "server.log"
    with log.open("wb") as handle, pinned(SERVER_CORE):
        process = subprocess.Popen(
            server.command, cwd=server.folder, env=found, stdout=handle, stderr=handle, start_new_session=True
        )
    try:
        deadline = time.monotonic() + READY_SECONDS
        while not answer_of(server):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"it does not answer: {last_line(log.read_text('utf-8', 'replace'))}")
            time.sleep(0.2)
        yield
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # what it started and left behind
        process.wait()


def answer_of(server: Server) -> bytes:
    """The body of one answer; empty while the server does not answer with 200."""
    request = urllib.request.Request(  # noqa: S310 - loopback
        server.url, server.body.encode(), {"Content-Type": "application/json", **server.headers}
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - loopback
            found: bytes = answer.read()
            return found
    except (urllib.error.URLError, OSError):
        return b""


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


def small_mlserver(row: list[float], folder: Path) -> Server:
    """MLServer's scikit-learn runtime, no worker pool, as its documentation has it for speed."""
    tools = saved("mlserver", "small_pipeline.py", folder)
    tensor = {"name": "input", "shape": [1, len(row)], "datatype": "FP32", "data": row}
    asked = [{"name": "predict"}, {"name": "predict_proba"}]
    return with_mlserver(tools, folder, NAME, {"inputs": [tensor], "outputs": asked})


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
        body=json.dumps({"row": row}),
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
        peer("mlserver", "MLServer", partial(small_mlserver, row)),
        peer("litserve", "LitServe", partial(small_litserve, row)),
        peer("bentoml", "BentoML", partial(small_bentoml, row)),
        peer("ray", "Ray Serve", partial(small_ray, row)),
        peer("mlflow", "MLflow", partial(small_mlflow, row)),
        peer("pytriton", "Triton with Python backend (PyTriton)", partial(small_pytriton, row)),
    ]


def peer(name: str, title: str, made: Callable[[Path], Server]) -> Contender:
    """A contender with the version of its list in its title."""
    return Contender(name=name, label=f"{title} {version(name)}", made=made)


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


def adult_mlserver(adult: Path, folder: Path) -> Server:
    """The pipeline in MLServer, asked for pandas' columns."""
    tools = saved("mlserver", "adult_pipeline.py", folder, str(adult / "train.csv"))
    inputs = tensors(adult_row(adult / "test.csv"), named=True)
    return with_mlserver(tools, folder, "adult", {"parameters": {"content_type": "pd"}, "inputs": inputs})


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
        peer("mlserver", "MLServer", partial(adult_mlserver, adult)),
        peer("mlflow", "MLflow", partial(adult_mlflow, adult)),
    ]


# What both parts need of the peers that have a format of their own for models.


def saved(name: str, script: str, folder: Path, *sources: str) -> Path:
    """Train in the peer's environment and save under ``folder / "model"``; its folder of commands."""
    tools = environment(name)
    said([str(tools / "python"), str(LISTS / script), name, *sources, str(folder / "model")])
    return tools


def with_mlserver(tools: Path, folder: Path, model: str, body: dict[str, Any]) -> Server:
    """Start MLServer on a saved model, in one process."""
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


# Measuring.


def load(server: Server, seconds: int) -> Round:
    """One round of wrk."""
    script = server.folder / "post.lua"
    headers = {"Content-Type": "application/json", **server.headers}
    lines = "\n".join(f'wrk.headers["{name}"] = "{value}"' for name, value in headers.items())
    script.write_text(f'wrk.method = "POST"\nwrk.body = [==[{server.body}]==]\n{lines}\n', "utf-8")
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--timeout", "10s", "--latency"]
    with pinned(CLIENT_CORE):
        found = said([*command, "-s", str(script), server.url])
    time.sleep(SETTLE_SECONDS)  # what was still asked when the caller hung up must not burden the next round
    rate = re.search(r"Requests/sec:\s*([\d.]+)", found)
    at = {
        share: (float(value), unit) for share, value, unit in re.findall(r"(\d+)%\s+([\d.]+)([a-z]+)", found)
    }
    failed = re.search(r"Non-2xx or 3xx responses: (\d+)", found)
    lost = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", found)
    return Round(
        rate=float(rate[1]) if rate else 0.0,
        p50=at["50"][0] * _UNITS_MS[at["50"][1]],
        p99=at["99"][0] * _UNITS_MS[at["99"][1]],
        errors=(int(failed[1]) if failed else 0) + (sum(map(int, lost.groups())) if lost else 0),
    )


def beside(
    us: Server, other: Contender, folder: Path, options: argparse.Namespace
) -> list[tuple[Round, Round]]:
    """Alternating rounds of ours and of one other, which runs only meanwhile."""
    folder.mkdir()
    them = other.made(folder)
    with serving(them):
        print(f"{other.label}: {answer_of(them)[:200]!r}", flush=True)
        load(them, 2)
        return [(load(us, options.seconds), load(them, options.seconds)) for _ in range(options.rounds)]


def row_of(label: str, rounds: list[Round], ratios: list[float]) -> Row:
    """The medians."""
    return Row(
        server=label,
        requests_per_second=statistics.median(each.rate for each in rounds),
        p50_ms=statistics.median(each.p50 for each in rounds),
        p99_ms=statistics.median(each.p99 for each in rounds),
        errors=sum(each.errors for each in rounds),
        ours_is=statistics.median(ratios) if ratios else None,
    )


def measured(contenders: list[Contender], folder: Path, options: argparse.Namespace) -> list[Row]:
    """A row for each contender; the first is ours."""
    first, *others = contenders
    (folder / first.name).mkdir()
    us = first.made(folder / first.name)
    own: list[Round] = []
    rows: list[Row] = []
    with serving(us):
        print(f"{first.label}: {answer_of(us)[:200]!r}", flush=True)
        load(us, 2)
        for other in (each for each in others if not options.only or each.name in options.only):
            try:
                pairs = beside(us, other, folder / other.name, options)
                ratios = [a.rate / b.rate for a, b in pairs]
            except (RuntimeError, OSError, KeyError, ZeroDivisionError) as error:
                rows.append(Row(server=other.label, why=str(error)))
                continue
            own += [a for a, _ in pairs]
            rows.append(row_of(other.label, [b for _, b in pairs], ratios))
    return [row_of(first.label, own, []), *rows] if own else rows


def main() -> int:
    """Measure, print, keep."""
    reader = argparse.ArgumentParser(description="The endpoint beside other servers.")
    reader.add_argument("adult", type=Path, nargs="?", help="Folder with Adult's train.csv and test.csv.")
    reader.add_argument("--small", action="store_true", help="Measure the small model; needs no folder.")
    reader.add_argument(
        "--only", action="append", metavar="PEER", help="Only this one beside ours; may be repeated."
    )
    reader.add_argument("--seconds", type=int, default=4, help="Length of a round.")
    reader.add_argument("--rounds", type=int, default=5, help="Alternating rounds of each pair.")
    reader.add_argument("--json", type=Path, help="Also write the figures to this file.")
    options = reader.parse_args()
    if not (options.small or options.adult):
        reader.error("name --small, or the folder with Adult's train.csv and test.csv, or both")
    tables: dict[str, list[Row]] = {}
    with tempfile.TemporaryDirectory(prefix="gatewright-peers-") as place, ExitStack() as stack:
        stack.callback(print, flush=True)
        folder = Path(place)
        parts = {"small": small(python(folder / "compiled"), folder)} if options.small else {}
        parts |= {"adult": of_adult(options.adult.resolve())} if options.adult else {}
        for part, contenders in parts.items():
            (folder / part).mkdir()
            tables[part] = measured(contenders, folder / part, options)
    for part, rows in tables.items():
        print(f"\n{part}, {CONNECTIONS} connections, {options.rounds} rounds of {options.seconds} s\n")
        print("| server | requests/s | p50 | p99 | errors | ours is |\n|---|---:|---:|---:|---:|---:|")
        print("\n".join(row.line() for row in rows))
    if options.json:
        figures = {part: [asdict(row) for row in rows] for part, rows in tables.items()}
        options.json.write_text(json.dumps(figures, indent=2) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
