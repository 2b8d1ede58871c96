"""A witness as a process of its own, and callers that speak to it as any HTTP client does."""

from __future__ import annotations

import contextlib
import http.client
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from scenario.world import environment, inside
from unit.ledger.submitting_log import SubmittingLog

CALL_S = 60.0
READY_S = 120.0
NAME = "audit.example/w1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Status, content type and body."""

    status: int
    kind: str
    body: bytes


@dataclass(slots=True)
class WitnessProcess:
    """A served witness. ``log`` is what it said."""

    folder: Path
    process: subprocess.Popen[bytes]
    log: Path
    port: int = 0

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    def ask(self, method: str, path: str, body: bytes | None = None) -> Answer:
        """One request on a connection of its own."""
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=CALL_S)) as call:
            call.request(method, path, body)
            answer = call.getresponse()
            return Answer(status=answer.status, kind=answer.getheader("content-type", ""), body=answer.read())

    def submit(self, log: SubmittingLog, old: int, size: int) -> Answer:
        """Submit a head of a log in memory."""
        return self.ask("POST", "/add-checkpoint", log.submission(old, size).encode())

    def end(self, how: int = signal.SIGTERM) -> int:
        """End it; its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        return self.process.wait(CALL_S)


def made_witness(folder: Path, *logs: SubmittingLog) -> Path:
    """A new witness that knows these logs; its folder."""
    assert 0 == inside(folder.parent, "witness", "init", str(folder), "--name", NAME).code
    for log in logs:
        texts = [key.text() for key in log.known.keys]
        assert 0 == inside(folder.parent, "witness", "trust", str(folder), *texts).code
    return folder


@contextlib.contextmanager
def served_witness(
    folder: Path,
    *,
    port: int = 0,
    program: tuple[str, ...] = ("-m", "gatewright"),
    extra: Mapping[str, str] | None = None,
) -> Iterator[WitnessProcess]:
    """Serve a witness, on a free port where none is named, until the end of the block."""
    place = folder.parent / f"{folder.name}.log"
    with place.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, *program, "witness", "serve", str(folder), "--port", str(port)],
            env=environment({"PYTHONUNBUFFERED": "1", **(extra or {})}),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    made = WitnessProcess(folder=folder, process=process, log=place)
    try:
        until = time.monotonic() + READY_S
        while not made.port:
            said = place.read_text("utf-8", "replace")
            assert process.poll() is None, said
            assert time.monotonic() < until, said
            if " answers at " in said and said.endswith("\n"):
                made.port = int(said.rpartition(":")[2])
            time.sleep(0.01)
        yield made
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(CALL_S)
