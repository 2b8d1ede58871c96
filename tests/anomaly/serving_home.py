"""A home that serves, callers that remember every answer, and a server that is killed without warning.

The server is the real program, ``gatewright serve``, with its collector. Every attempt of a caller
has a request id of its own, so that a record can be matched with the answer that promised it.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from anomaly.clerks import Acts, Clerks
from anomaly.home_verbs import FOLDER, NAME, POLICY, write_inputs
from gatewright.adapters.key_files import KeyFolder
from gatewright.assembly.homes import create_home, open_home
from gatewright.assembly.verifying import verify_home
from gatewright.datasets.datasheet import Datasheet
from gatewright.ledger.receipts import PredictionRecord, Receipt, verify_receipt
from gatewright.ledger.segments import scan
from gatewright.operations import collect, data, models, ship

CALLERS = 4
READY_S = 120.0
STOP_S = 30.0
KILL_AFTER_S = (0.02, 0.4)
CALL_S = 60.0
VERIFY = 50


def program(*words: str) -> list[str]:
    """The command line of this installation."""
    return [sys.executable, "-m", "gatewright", *words]


def environment() -> dict[str, str]:
    """The environment without what would point to another home; modules are compiled once, as when installed."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("GATEWRIGHT_") and name != "PYTHONDONTWRITEBYTECODE"
    }


def make_serving_home(folder: Path, *, more_policy: str = "") -> str:
    """Make a home with one live endpoint, under some more rules of policy; returns its API key."""
    folder.mkdir(parents=True, exist_ok=True)
    write_inputs(folder)
    (folder / "policy.toml").write_text(POLICY.format(title="Tiny", least="0.1") + more_policy, "utf-8")
    create_home(folder, "ada")
    about = data.Description(target="ok", datasheet=Datasheet())
    with open_home(folder) as home:
        data.add(home, NAME, train=folder / "train.csv", test=folder / "test.csv", about=about)
        models.add(home, folder / "model.onnx", NAME, models.Declared(trained_on=NAME))
        return ship.ship(home, NAME).deployed.api_key


@dataclass
class Server:
    """``gatewright serve`` on one home and port, started again as often as wanted.

    ``words`` are further options, ``faults`` what its environment has besides (see ``faults.c``).
    """

    folder: Path
    key: str
    port: int = 0
    workers: int = 1
    words: tuple[str, ...] = ()
    faults: Mapping[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]

    def start(self) -> float:
        """Start, and wait until it answers; returns the seconds that took."""
        begun = time.monotonic()
        with (self.folder / "serve.log").open("ab") as log:
            self.process = subprocess.Popen(
                program("serve", "--port", str(self.port), "--workers", str(self.workers), *self.words),
                cwd=self.folder,
                env={**environment(), **self.faults},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        while not self._ready():
            assert self.process.poll() is None, (self.folder / "serve.log").read_text("utf-8")
            assert time.monotonic() - begun < READY_S, (self.folder / "serve.log").read_text("utf-8")
            time.sleep(0.01)
        return time.monotonic() - begun

    def _ready(self) -> bool:
        with contextlib.suppress(OSError, http.client.HTTPException):
            return self.probe("ready") == 200
        return False

    def probe(self, what: str) -> int:
        """The status with which ``/v2/health/WHAT`` answers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=CALL_S)
        with contextlib.closing(connection):
            connection.request("GET", f"/v2/health/{what}", headers={"Authorization": f"Bearer {self.key}"})
            return connection.getresponse().status

    def kill(self) -> None:
        """End the server and all its workers as a power cut does."""
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(STOP_S)
            self.process = None

    def stop(self) -> int:
        """End the server as a person does; its exit code."""
        if self.process is None:
            return 0
        self.process.terminate()
        code = self.process.wait(STOP_S)
        self.process = None
        return code

    def pid(self, slot: int) -> int:
        """The process that serves in a slot, or served last; 0 before the first."""
        folder = self.folder / FOLDER / "segments"
        place = (folder / f"worker-{slot}" if slot else folder) / "serve.json"
        with contextlib.suppress(FileNotFoundError):
            return int(json.loads(place.read_text("utf-8"))["pid"])
        return 0

    def replaced(self, slot: int) -> float:
        """Kill the worker of a slot, and wait for the next; returns the seconds that took."""
        begun, before = time.monotonic(), self.pid(slot)
        os.kill(before, signal.SIGKILL)
        while self.pid(slot) == before:
            assert self.process is not None
            assert self.process.poll() is None, (self.folder / "serve.log").read_text("utf-8")
            assert time.monotonic() - begun < READY_S, (self.folder / "serve.log").read_text("utf-8")
            time.sleep(0.01)
        return time.monotonic() - begun


@dataclass
class Callers:
    """Threads that ask on and on, and keep each receipt with the id of the request it answers."""

    server: Server
    held: list[tuple[str, str]] = field(default_factory=list)
    other: Counter[int] = field(default_factory=Counter)
    _stop: threading.Event = field(default_factory=threading.Event)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Ask from :data:`CALLERS` threads while the block runs."""
        threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(CALLERS)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in threads:
                thread.join(STOP_S)

    def _ask(self, caller: int) -> None:
        count = 0
        while not self._stop.is_set():
            connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=CALL_S)
            with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
                while not self._stop.is_set():
                    count += 1
                    self._one(connection, f"caller-{caller}-{count}")
            time.sleep(0.01)

    def _one(self, connection: http.client.HTTPConnection, request: str) -> None:
        tensor = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [0.25, 0.75]}
        connection.request(
            "POST",
            f"/v2/models/{NAME}/infer",
            json.dumps({"id": request, "inputs": [tensor]}),
            {"Authorization": f"Bearer {self.server.key}", "Content-Type": "application/json"},
        )
        response = connection.getresponse()
        body = response.read()
        if response.status == 200:
            self.held.append((request, json.loads(body)["parameters"]["receipt"]))
        else:
            self.other[response.status] += 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What a kill loop came to. ``unasked`` are records whose answer the kill cut off: allowed."""

    kills: int
    answered: int
    lost: int
    duplicated: int
    unasked: int
    torn: int
    other: int
    restarts: tuple[float, ...]


@dataclass
class Disk:
    """The records of a home as they lie on its disk, read anew only where something came."""

    folder: Path
    leaves: set[bytes] = field(default_factory=set)
    _sealed: set[str] = field(default_factory=set)
    _asked: int = 0

    def missing(self, callers: Callers) -> int:
        """How many answers since the last look have no record; the server is dead."""
        segments = self.folder / FOLDER / "segments"
        for path in [*segments.rglob("*.open"), *segments.rglob("*.sealed")]:
            if path.name not in self._sealed:
                self.leaves.update(scan(path.read_bytes()).leaves)
                if path.suffix == ".sealed":
                    self._sealed.add(path.name)
        told, self._asked = callers.held[self._asked :], len(callers.held)
        return sum(Receipt.parse(token).leaf not in self.leaves for _, token in told)


def kill_loop(folder: Path, key: str, *, kills: int, seed: int, verify: int = VERIFY) -> tuple[Tally, Acts]:
    """Kill the server and two clerks at random moments under callers; then count what became of it all.

    At each kill every answer has its record on the disk. Every ``verify`` kills, and at the end,
    everything of the home verifies; the ledger counts every record.
    """
    generator = random.Random(seed)  # noqa: S311 - when to kill, repeatably
    server, clerks, disk = Server(folder, key), Clerks(folder, NAME), Disk(folder)
    callers = Callers(server)
    restarts, lost = [server.start()], 0
    try:
        with callers.running(), clerks.working():
            for turn in range(1, kills + 1):
                time.sleep(generator.uniform(*KILL_AFTER_S))
                server.kill()
                clerks.kill()
                lost += disk.missing(callers)
                if turn % verify == 0:
                    assert list(verify_home(folder))
                clerks.start()
                restarts.append(server.start())
            time.sleep(KILL_AFTER_S[1])
    finally:
        server.stop()
    assert 0 == lost
    return tally(folder, callers, kills, tuple(restarts[1:])), clerks.judged()


def worker_kill_loop(folder: Path, key: str, *, kills: int, seed: int) -> Tally:
    """Kill one worker of two, again and again, under callers; then count like :func:`kill_loop`.

    Between two kills the server is ready all the time: each caller's next attempt is answered.
    """
    generator = random.Random(seed)  # noqa: S311 - whom to kill and when, repeatably
    server = Server(folder, key, workers=2)
    callers = Callers(server)
    server.start()
    try:
        with callers.running():
            wait_for_both(server)
            restarts = []
            for _ in range(kills):
                time.sleep(generator.uniform(*KILL_AFTER_S))
                restarts.append(server.replaced(generator.randrange(2)))
            time.sleep(KILL_AFTER_S[1])
    finally:
        code = server.stop()
    assert 0 == code
    return tally(folder, callers, kills, tuple(restarts))


def wait_for_both(server: Server) -> None:
    """Until both workers of a server answer."""
    begun = time.monotonic()
    while not (server.pid(0) and server.pid(1)):
        assert time.monotonic() - begun < READY_S, (server.folder / "serve.log").read_text("utf-8")
        time.sleep(0.01)


def _collected(folder: Path) -> int:
    with open_home(folder) as home:
        found = collect.collect(home)
    assert not found.problems, found.problems
    return found.segments


def tally(folder: Path, callers: Callers, kills: int, restarts: tuple[float, ...]) -> Tally:
    """Count what became of every answer; the server has ended, and what is sealed is recorded first."""
    while _collected(folder):
        pass
    worker = KeyFolder(folder=folder / FOLDER / "keys").worker.public
    segments = folder / FOLDER / "segments"
    assert not list(segments.rglob("*.open"))
    leaves = [leaf for path in segments.rglob("*.sealed") for leaf in scan(path.read_bytes()).leaves]
    known = set(leaves)
    times = Counter(PredictionRecord.decode(leaf).request for leaf in leaves)
    lost = 0
    for request, token in callers.held:
        receipt = Receipt.parse(token)
        assert request == verify_receipt(receipt, worker).request
        lost += receipt.leaf not in known
    found = list(verify_home(folder))
    counted = next(one.facts["predictions"] for one in found if one.kind == "segments")
    with open_home(folder) as home:
        recorded = sum(int(str(document["records"])) for _, document in home.archive.scan("segments"))
    assert len(leaves) == counted == recorded, (len(leaves), counted, recorded)
    return Tally(
        kills=kills,
        answered=len(callers.held),
        lost=lost,
        duplicated=sum(count - 1 for count in times.values()),
        unasked=len(leaves) - len(callers.held),
        torn=len(list(segments.rglob("*.damaged"))),
        other=sum(callers.other.values()),
        restarts=restarts,
    )
