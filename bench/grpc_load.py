"""gRPC: predictions with durable records beside a bare echo, 64 connections, server on one core, load on another.

``python bench/grpc_load.py [--rounds N] [--calls N]``. The echo (``grpc_echo.py``) is the same synchronous
server with a handler that answers constant bytes of the same length, and with as many threads as were
best for it. Rounds alternate, and the ratio is taken within a round. ``h2load`` makes the load (Debian and
Ubuntu: apt install nghttp2-client). On a machine that is busy with other work look at the processor time.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

import grpc
from endpoint import free_port
from prepared import NAME, READY_SECONDS, Prepared, prepare
from timing import CLIENT_CORE, SERVER_CORE, Python, Row, Section, pinned, python

from gatewright.serving.grpc_messages import MESSAGES, SERVICE

CONNECTIONS = 64
WARM_UP = 2_000
ECHO_THREADS = 8
METHOD = f"/{SERVICE}/ModelInfer"
_TICK_US = 1e6 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Round:
    """Calls a second, the server's processor time for each in microseconds, and bytes of each answer."""

    rate: float
    cpu: float
    length: float


@contextmanager
def served(python: Python, folder: Path, port: int, *words: str) -> Iterator[int]:
    """A server on the server's core, from when its port answers; gives the process's number."""
    with (folder / f"grpc-{port}.log").open("wb") as log, pinned(SERVER_CORE):
        process = subprocess.Popen(
            python.command(*words), cwd=folder, env=python.environment, stdout=log, stderr=log
        )
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            grpc.channel_ready_future(channel).result(READY_SECONDS)
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def request_of(home: Prepared) -> bytes:
    """One row, raw."""
    tensor = {"name": "input", "datatype": "FP32", "shape": home.row.shape}
    made = MESSAGES["ModelInferRequest"](
        model_name=NAME, inputs=[tensor], raw_input_contents=[home.row.tobytes()]
    )
    encoded: bytes = made.SerializeToString()
    return encoded


def answer_length(home: Prepared, port: int, request: bytes) -> int:
    """How long one answer is; raises what gRPC raises where it is none."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        metadata = (("authorization", f"Bearer {home.api_key}"),)
        return len(channel.unary_unary(METHOD)(request, metadata=metadata, timeout=60))


def _ticks(process: int) -> int:
    fields = Path(f"/proc/{process}/stat").read_text("ascii").rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def load(body: Path, key: str, port: int, process: int, calls: int) -> Round:
    """So many calls over all connections; raises RuntimeError when some were not answered."""
    before = _ticks(process)
    with pinned(CLIENT_CORE):
        said = subprocess.run(
            [
                "h2load", f"-c{CONNECTIONS}", "-m1", "-t1", f"-n{calls}", "-d", str(body),
                "-H", "content-type: application/grpc", "-H", "te: trailers",
                "-H", f"authorization: Bearer {key}", f"http://127.0.0.1:{port}{METHOD}",
            ],
            capture_output=True,
            text=True,
            check=True,
        ).stdout  # fmt: skip
    spent = (_ticks(process) - before) * _TICK_US
    rate = re.search(r"finished in [^,]+, ([\d.]+) req/s", said)
    done = re.search(r"(\d+) succeeded, (\d+) failed", said)
    data = re.search(r"\((\d+)\) data", said)
    if not (rate and done and data) or int(done[1]) != calls:
        raise RuntimeError(f"not all were answered: {said[-400:]}")
    return Round(float(rate[1]), spent / calls, int(data[1]) / calls)


def measure(python: Python, home: Prepared, *, rounds: int = 7, calls: int = 8_000) -> Section:
    """The table of the rounds."""
    section = Section(title=f"gRPC, {CONNECTIONS} connections (h2load)")
    if shutil.which("h2load") is None:
        section.skipped = "h2load is not installed (Debian and Ubuntu: apt install nghttp2-client)"
        return section
    request = request_of(home)
    body = home.folder / "request.grpc"
    body.write_bytes(b"\0" + len(request).to_bytes(4, "big") + request)
    port, echo_port = free_port(), free_port()
    words = ("-m", "gatewright", "serve", "--workers", "1", "--port", "0", "--grpc-port", str(port))
    with ExitStack() as stack:
        process = stack.enter_context(served(python, home.folder, port, *words))
        length = answer_length(home, port, request)
        script = str(Path(__file__).with_name("grpc_echo.py"))
        echo = (script, str(echo_port), str(length), str(ECHO_THREADS))
        echo_process = stack.enter_context(served(python, home.folder, echo_port, *echo))
        sides = {"ours": (port, process), "echo": (echo_port, echo_process)}
        found: dict[str, list[Round]] = {side: [] for side in sides}
        for side in sides.values():
            load(body, home.api_key, *side, WARM_UP)
        for _ in range(rounds):
            for side, each in found.items():
                each.append(load(body, home.api_key, *sides[side], calls))
    if any(one.length < length for one in found["ours"]):
        raise RuntimeError("some calls were refused: their answers are shorter than a prediction")
    section.rows = _rows(found["ours"], found["echo"])
    section.note = (
        f"{rounds} alternating rounds of {calls:,} calls, server on core {SERVER_CORE}, load on core "
        f"{CLIENT_CORE}; every answer durable, {length:,} bytes and more."
    )
    return section


def _rows(ours: list[Round], echo: list[Round]) -> list[Row]:
    rate = statistics.median(a.rate / b.rate for a, b in zip(ours, echo, strict=True))
    cpu = statistics.median(b.cpu / a.cpu for a, b in zip(ours, echo, strict=True))

    def middle(found: list[Round], name: str) -> float:
        return statistics.median(getattr(each, name) for each in found)

    return [
        Row(what="endpoint, every answer durable", value=middle(ours, "rate"), unit="calls/s", beside="of the echo", ratio=rate),
        Row(what="bare gRPC echo", value=middle(echo, "rate"), unit="calls/s"),
        Row(what="endpoint: processor time of a call", value=middle(ours, "cpu"), unit="µs", beside="echo's of ours", ratio=cpu),
        Row(what="bare gRPC echo: processor time of a call", value=middle(echo, "cpu"), unit="µs"),
    ]  # fmt: skip


def main() -> int:
    """Measure and print."""
    reader = argparse.ArgumentParser(description="gRPC beside a bare echo.")
    reader.add_argument("--rounds", type=int, default=7)
    reader.add_argument("--calls", type=int, default=8_000)
    options = reader.parse_args()
    with tempfile.TemporaryDirectory(prefix="gatewright-bench-") as place:
        folder = Path(place)
        interpreter = python(folder / "compiled")
        begun = time.perf_counter()
        section = measure(
            interpreter, prepare(interpreter, folder / "home"), rounds=options.rounds, calls=options.calls
        )
    print(f"{section.title}: {section.skipped or section.note}")
    for row in section.rows:
        beside = f"  ({row.beside}: {row.ratio:.2f})" if row.ratio is not None else ""
        print(f"{row.what:45s} {row.value:10,.0f} {row.unit}{beside}")
    print(f"load {os.getloadavg()[0]:.1f}; took {time.perf_counter() - begun:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
