"""A server whose disk for records falls ill and gets well again, and callers of both protocols.

The server is the real program under the preloaded library ``faults.c``; what its disk is like is one
byte of a file. Nothing but the segments' folder is touched.
"""

from __future__ import annotations

import enum
import http.client
import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import numpy as np

from anomaly.fault_injection import build
from anomaly.home_verbs import FOLDER, NAME
from anomaly.serving_home import CALL_S, READY_S, Server, environment, program
from gatewright.ledger.receipts import PredictionRecord, Receipt
from gatewright.ledger.segments import scan
from gatewright.serving.grpc_messages import MESSAGES
from unit.serving.grpc_caller import Caller, Refused

RECEIPT = "receipt"
POLICY_MORE = "\n[recording]\nasynchronous = true\n"
REQUESTS = 5
PACE_S = 0.01
METRICS_KEY = "a-secret-of-forty-characters-for-metrics"


class Disk(enum.IntEnum):
    """What a disk is like; the numbers are those of ``faults.c``."""

    FINE = 0
    FULL = 1
    READ_ONLY = 2
    NO_SYNC = 3


@dataclass
class SickDisk:
    """The disk of the records of the home in ``folder``."""

    folder: Path

    def __post_init__(self) -> None:
        self.control = self.folder / "disk"
        self.trace = self.folder / "disk.trace"
        self.be(Disk.FINE)
        self.library = self.folder / "faults.so"
        if not self.library.exists():
            build(self.library)

    @property
    def segments(self) -> Path:
        """Where the records are."""
        return self.folder / FOLDER / "segments"

    @property
    def environment(self) -> dict[str, str]:
        """What the server is to be started with."""
        return {
            "LD_PRELOAD": str(self.library),
            "FAULTS_CONTROL": str(self.control),
            "FAULTS_BELOW": str(self.segments.resolve()),
            "FAULTS_TRACE": str(self.trace),
        }

    def be(self, disk: Disk) -> None:
        """From now on; in place, for the server has the byte mapped."""
        handle = os.open(self.control, os.O_WRONLY | os.O_CREAT, 0o600)
        os.pwrite(handle, bytes([disk]), 0)
        os.close(handle)

    def calls(self) -> list[tuple[bool, str, str]]:
        """What the server asked of the disk: whether it failed, the call, and the file."""
        lines = [line.partition(" ") for line in self.trace.read_text("utf-8").splitlines()]
        return [(call.startswith("!"), call.removeprefix("!"), file) for call, _, file in lines]

    def written_after_a_failed_sync(self) -> list[tuple[str, str]]:
        """Calls that trusted a file again whose sync had failed."""
        distrusted: set[str] = set()
        found = []
        for failed, call, file in self.calls():
            if file in distrusted and call in {"write", "pwrite", "writev", "fsync", "fdatasync"}:
                found.append((call, file))
            if failed and call in {"fsync", "fdatasync"} and file.endswith((".open", ".part")):
                distrusted.add(file)
            if call in {"create", "empty"}:  # a new file of that name
                distrusted.discard(file)
        return found

    def recorded(self) -> set[tuple[str, bytes]]:
        """Every record of a sealed segment, by the request's id; the server has ended."""
        assert not list(self.segments.rglob("*.open"))
        leaves = [leaf for path in self.segments.rglob("*.sealed") for leaf in scan(path.read_bytes()).leaves]
        found = {(PredictionRecord.decode(leaf).request, leaf) for leaf in leaves}
        assert len(leaves) == len(found)
        return found


@dataclass
class Asker:
    """Asks by one protocol, one request after the other; ``held`` are the receipts, by the request's id."""

    name: str
    send: Callable[[str], tuple[int, str]]
    held: dict[str, bytes] = field(default_factory=dict)
    asked: int = 0

    def ask(self) -> int:
        """One prediction: 200, or the status of the refusal."""
        self.asked += 1
        request = f"{self.name}-{self.asked}"
        status, receipt = self.send(request)
        if status == 200:
            self.held[request] = Receipt.parse(receipt).leaf
        return status


@contextmanager
def asker_by_rest(server: Server) -> Iterator[Asker]:
    """One connection that is kept."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=CALL_S)

    def send(request: str) -> tuple[int, str]:
        tensor = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [0.25, 0.75]}
        connection.request(
            "POST",
            f"/v2/models/{NAME}/infer",
            json.dumps({"id": request, "inputs": [tensor]}),
            {"Authorization": f"Bearer {server.key}", "Content-Type": "application/json"},
        )
        response = connection.getresponse()
        said = json.loads(response.read())
        return response.status, said["parameters"][RECEIPT] if response.status == 200 else ""

    with closing(connection):
        yield Asker("rest", send)


@contextmanager
def asker_by_grpc(server: Server) -> Iterator[Asker]:
    """One channel that is kept; UNAVAILABLE is told as 503."""
    status = json.loads((server.folder / FOLDER / "segments" / "serve.json").read_text("utf-8"))
    row = np.array([[0.25, 0.75]], np.float32).tobytes()
    caller = Caller(status["grpc"], server.key)

    def send(request: str) -> tuple[int, str]:
        answer = caller.infer(
            MESSAGES["ModelInferRequest"](
                model_name=NAME,
                id=request,
                inputs=[{"name": "x", "datatype": "FP32", "shape": [1, 2]}],
                raw_input_contents=[row],
            )
        )
        if isinstance(answer, Refused):
            return 503 if answer.code is grpc.StatusCode.UNAVAILABLE else int(answer.code.value[0]), ""
        return 200, answer.parameters[RECEIPT].string_param

    with closing(caller):
        yield Asker("grpc", send)


class World:
    """A home with a server on a disk that can fall ill, and an asker for each protocol."""

    def __init__(self, folder: Path, key: str, stack: ExitStack, *, asynchronous: bool = False) -> None:
        """Serve the home in ``folder``, made under :data:`POLICY_MORE`, until the stack ends."""
        if asynchronous:
            limit = program("limit", NAME, "--recording", "asynchronous")
            subprocess.run(limit, cwd=folder, env=environment(), check=True, capture_output=True)
        metrics = folder / "metrics.key"
        metrics.write_text(METRICS_KEY + "\n", "utf-8")
        metrics.chmod(0o600)
        self.disk = SickDisk(folder)
        words = ("--grpc-port", "0", "--metrics-key-file", str(metrics))
        self.server = Server(folder, key, words=words, faults=self.disk.environment)
        self.server.start()
        stack.callback(self.server.kill)
        self.askers = [
            stack.enter_context(asker_by_rest(self.server)),
            stack.enter_context(asker_by_grpc(self.server)),
        ]

    def ask(self, count: int = REQUESTS) -> set[int]:
        """So many of each protocol; the statuses."""
        return {self.one(asker) for _ in range(count) for asker in self.askers}

    def one(self, asker: Asker) -> int:
        """About a hundred a second."""
        time.sleep(PACE_S)
        return asker.ask()

    def wait_until_ready_is(self, status: int) -> None:
        """Until readiness says so; what is bounded is the wait, and nothing is promised about it."""
        begun = time.monotonic()
        while self.server.probe("ready") != status:
            assert time.monotonic() - begun < READY_S, (self.server.folder / "serve.log").read_text("utf-8")
            time.sleep(PACE_S)

    def metric(self, name: str) -> int:
        """A counter, as a scraper reads it."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=CALL_S)
        connection.request("GET", "/metrics", headers={"Authorization": f"Bearer {METRICS_KEY}"})
        text = connection.getresponse().read().decode()
        connection.close()
        found = re.search(rf"^gatewright_{name}(?:{{[^}}]*}})? (\d+)", text, re.MULTILINE)
        assert found, text
        return int(found[1])

    def held(self) -> dict[str, bytes]:
        """Every receipt, by the request's id."""
        return {request: leaf for asker in self.askers for request, leaf in asker.held.items()}
