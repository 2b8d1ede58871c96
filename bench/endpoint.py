"""One prediction at a time, and many at once, beside what any server of that model would pay.

Rounds alternate between the endpoint and its yardsticks, so that a noisy minute meets them all; a
ratio and a difference are taken within a round, and the median of the rounds is told.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import statistics
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import onnxruntime
from prepared import NAME, Prepared, product, started
from timing import CLIENT_CORE, SERVER_CORE, Python, Row, Section, pinned, quantile, timed

ROUNDS = 9
REQUESTS = 400
WARM_UP = 100
SYNCS = 100
WRK_ROUNDS = 5
WRK_SECONDS = 3
CONNECTIONS = 64
_READ = 1 << 16
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}


class Caller:
    """One kept connection, by a bare socket: what it adds to an answer is a few microseconds."""

    def __init__(self, port: int, request: bytes) -> None:
        self._request = request
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self) -> bytes:
        """The whole answer, head and body; raises RuntimeError for anything but 200."""
        self._socket.sendall(self._request)
        found = self._socket.recv(_READ)
        while b"\r\n\r\n" not in found:
            found += self._more()
        head, _, body = found.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(found.decode("utf-8", "replace")[:300])
        declared = _LENGTH.search(head)
        size = int(declared[1]) if declared else 0
        while len(body) < size:
            body += self._more()
        return head + b"\r\n\r\n" + body

    def _more(self) -> bytes:
        part = self._socket.recv(_READ)
        if not part:
            raise RuntimeError("the server closed the connection")
        return part

    def close(self) -> None:
        """Hang up."""
        self._socket.close()


@dataclass(slots=True)
class Alone:
    """Seconds by round of one connection and its yardsticks."""

    endpoint: list[list[float]] = field(default_factory=list)
    echo: list[list[float]] = field(default_factory=list)
    model: list[list[float]] = field(default_factory=list)
    sync: list[list[float]] = field(default_factory=list)

    def middles(self, name: str) -> list[float]:
        """The median of each round."""
        return [statistics.median(samples) for samples in getattr(self, name)]

    def overhead(self) -> list[float]:
        """What is left of the endpoint's median when the yardsticks are taken off, by round."""
        return self._left(0.5)

    def undisturbed(self) -> list[float]:
        """The same from the fastest tenth of each: what a busy machine disturbs least."""
        return self._left(0.1)

    def _left(self, share: float) -> list[float]:
        parts = zip(
            *(
                [quantile(samples, share) for samples in found]
                for found in (self.endpoint, self.echo, self.model, self.sync)
            ),
            strict=True,
        )
        return [endpoint - echo - model - sync for endpoint, echo, model, sync in parts]


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def request_of(home: Prepared, port: int) -> bytes:
    """The bytes of one prediction's request."""
    head = (
        f"POST /v2/models/{NAME}/infer HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
        f"Authorization: Bearer {home.api_key}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(home.body)}\r\n\r\n"
    )
    return head.encode() + home.body


def measure(python: Python, home: Prepared) -> list[Section]:
    """Single-connection latency, then throughput at 64 connections, durable and asynchronous."""
    with ExitStack() as stack:
        port = free_port()
        serving = stack.enter_context(
            started(
                python,
                home.folder,
                port,
                "-m",
                "gatewright",
                "serve",
                "--workers",
                "1",
                "--port",
                str(port),
                path="/v2/health/live",
            )
        )
        caller = Caller(port, request_of(home, port))
        stack.callback(caller.close)
        answer = caller.ask().partition(b"\r\n\r\n")[2]
        echo_port = free_port()
        script = str(Path(__file__).with_name("echo.py"))
        stack.enter_context(
            started(python, home.folder, echo_port, script, str(echo_port), str(len(answer)), path="/")
        )
        echo = Caller(echo_port, request_of(home, echo_port))
        stack.callback(echo.close)
        alone, record = _alone(home, caller, echo)
        told = _told(alone, record, serving.started)
        durable = _many(home, port, echo_port, "durable")
        product(python, home.folder, "limit", NAME, "--recording", "asynchronous")
        time.sleep(1.0)  # the worker looks for a plan a hundred times a second
        promised = _many(home, port, echo_port, "asynchronous")
        product(python, home.folder, "limit", NAME, "--recording", "durable")
        return [told, durable, promised]


def _alone(home: Prepared, caller: Caller, echo: Caller) -> tuple[Alone, int]:
    """The rounds, and the bytes that one prediction adds to the segments."""
    model = _model(home)
    alone = Alone()
    before, asked = _segment_bytes(home.folder), 0
    for _ in range(ROUNDS):
        with pinned(CLIENT_CORE):
            for one, samples in ((caller, alone.endpoint), (echo, alone.echo)):
                timed(one.ask, WARM_UP)
                samples.append(timed(one.ask, REQUESTS))
        asked += WARM_UP + REQUESTS
        size = max(1, (_segment_bytes(home.folder) - before) // asked)
        with pinned(SERVER_CORE):
            # Before the model's calls: the scheduler wakes a thread late that has just burnt its core.
            alone.sync.append(_syncs(home.folder, size))
            timed(model, WARM_UP)
            alone.model.append(timed(model, REQUESTS))
    return alone, (_segment_bytes(home.folder) - before) // asked


def _model(home: Prepared) -> Callable[[], object]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(home.model, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda: session.run(None, {name: home.row})


def _segment_bytes(folder: Path) -> int:
    return sum(
        path.stat().st_size
        for path in (folder / ".gatewright" / "segments").rglob("*")
        if path.suffix in {".open", ".sealed"}
    )


def _syncs(folder: Path, size: int) -> list[float]:
    """Append a record of that size and sync it, on the disk that holds the segments."""
    place = folder / ".gatewright" / "bench-sync"
    handle = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    data = os.urandom(size)

    def append() -> None:
        os.write(handle, data)
        os.fdatasync(handle)

    try:
        timed(append, 10)
        return timed(append, SYNCS)
    finally:
        os.close(handle)
        place.unlink()


def _told(alone: Alone, record: int, started_s: float) -> Section:
    endpoint = alone.middles("endpoint")
    rows = []
    for name, title in (
        ("endpoint", "endpoint, every answer durable"),
        ("echo", "bare echo, same body sizes"),
        ("model", "bare ONNX Runtime call, same row"),
        ("sync", f"write + fdatasync of {record:,} bytes"),
    ):
        samples = [one for round_ in getattr(alone, name) for one in round_]
        middle = alone.middles(name)
        ratio = statistics.median(a / b for a, b in zip(endpoint, middle, strict=True))
        rows += [
            Row(
                what=f"{title}: p50",
                value=statistics.median(middle) * 1e6,
                unit="µs",
                beside="" if name == "endpoint" else "endpoint is",
                ratio=None if name == "endpoint" else ratio,
            ),
            Row(what="  p95", value=quantile(samples, 0.95) * 1e6, unit="µs"),
            Row(what="  p99", value=quantile(samples, 0.99) * 1e6, unit="µs"),
        ]
    own = alone.overhead()
    rows += [
        Row(
            what="own overhead: endpoint - echo - model - sync", value=statistics.median(own) * 1e6, unit="µs"
        ),
        Row(what="  least of the rounds", value=min(own) * 1e6, unit="µs"),
        Row(what="  greatest of the rounds", value=max(own) * 1e6, unit="µs"),
        Row(what="  from p10 instead of p50", value=statistics.median(alone.undisturbed()) * 1e6, unit="µs"),
        Row(what="start of serve to first answer", value=started_s, unit="s"),
    ]
    return Section(
        title="One connection, kept alive",
        rows=rows,
        note=("The disk was disturbed, so the difference means nothing in this run. " if min(own) < 0 else "")
        + f"{ROUNDS} alternating rounds of {REQUESTS}; server on core {SERVER_CORE}, caller on core "
        f"{CLIENT_CORE}; p50 is the median of the rounds' medians, p95 and p99 are over all samples.",
    )


def _many(home: Prepared, port: int, echo_port: int, recording: str) -> Section:
    section = Section(
        title=f"{CONNECTIONS} connections (wrk), {recording} receipts",
        note=f"{WRK_ROUNDS} alternating rounds of {WRK_SECONDS} s, one wrk thread on core {CLIENT_CORE}.",
    )
    if shutil.which("wrk") is None:
        section.skipped = "wrk is not installed (Debian and Ubuntu: apt install wrk)"
        return section
    script = home.folder / "post.lua"
    script.write_text(
        'wrk.method = "POST"\n'
        f"wrk.body = [==[{home.body.decode()}]==]\n"
        'wrk.headers["Content-Type"] = "application/json"\n'
        f'wrk.headers["Authorization"] = "Bearer {home.api_key}"\n',
        "utf-8",
    )
    found: dict[int, list[tuple[float, float, int]]] = {port: [], echo_port: []}
    for _ in range(WRK_ROUNDS):
        for each, rounds in found.items():
            rounds.append(_wrk(script, f"http://127.0.0.1:{each}/v2/models/{NAME}/infer"))
    ours, theirs = found[port], found[echo_port]
    ratio = statistics.median(a[0] / b[0] for a, b in zip(ours, theirs, strict=True))
    section.rows = [
        Row(
            what=f"endpoint, {recording} receipts",
            value=statistics.median(one[0] for one in ours),
            unit="requests/s",
            beside="of the echo",
            ratio=ratio,
        ),
        Row(what="bare echo", value=statistics.median(one[0] for one in theirs), unit="requests/s"),
        Row(what="endpoint: p99", value=statistics.median(one[1] for one in ours) * 1e3, unit="ms"),
        Row(what="bare echo: p99", value=statistics.median(one[1] for one in theirs) * 1e3, unit="ms"),
        Row(what="endpoint: answers other than 200", value=sum(one[2] for one in ours), unit=""),
    ]
    return section


def _wrk(script: Path, url: str) -> tuple[float, float, int]:
    """Requests a second, p99 in seconds, answers that were not 2xx or did not come."""
    with pinned(CLIENT_CORE):
        said = subprocess.run(
            ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{WRK_SECONDS}s", "--latency", "-s", str(script), url],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    time.sleep(0.2)
    rate = re.search(r"Requests/sec:\s*([\d.]+)", said)
    p99 = re.search(r"99%\s*([\d.]+)(us|ms|s|m)", said)
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", said)
    errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", said)
    return (
        float(rate[1]) if rate else 0.0,
        float(p99[1]) * _UNITS[p99[2]] if p99 else 0.0,
        (int(bad[1]) if bad else 0) + (sum(map(int, errors.groups())) if errors else 0),
    )
