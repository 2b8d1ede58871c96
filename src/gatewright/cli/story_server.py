"""The demo's server process and its callers, who use a client that this project did not write."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from gatewright.kernel.errors import DependencyFailed, Misuse

START_S = 30.0
STOP_S = 10.0


def client_library() -> Any:
    """``tritonclient.http``, or a sentence that says how to get it."""
    try:
        from tritonclient import http
    except ImportError:
        raise Misuse(
            "cli.demo-client",
            "The demo calls the endpoint with tritonclient, which is not installed.",
            next="Install it with: pip install 'gatewright[studio,demo]'",
        ) from None
    return http


class Server:
    """``gatewright serve`` as a process of its own."""

    def __init__(self, root: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.log = root / "serve.log"
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own program with our own arguments
                [sys.executable, "-m", "gatewright", "serve", "--port", str(self.port)],
                cwd=root,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "GATEWRIGHT_HOME": str(root)},
                start_new_session=True,
            )

    def wait_ready(self) -> float:
        """Wait until it answers; returns the seconds it took."""
        begun = time.monotonic()
        caller = client_library().InferenceServerClient(f"127.0.0.1:{self.port}")
        while time.monotonic() - begun < START_S:
            if self._process.poll() is not None:
                break
            try:
                if caller.is_server_live():
                    return time.monotonic() - begun
            except OSError:
                pass
            time.sleep(0.02)
        raise DependencyFailed(
            "cli.demo-server", "The server did not start.", why=self.log.read_text("utf-8", "replace")[-500:]
        )

    def said(self, word: str, *, within_s: float) -> str:
        """The first line of its log that holds ``word``, waiting for it; empty if none came."""
        until = time.monotonic() + within_s
        while time.monotonic() < until:
            for line in self.log.read_text("utf-8", "replace").splitlines():
                if word in line:
                    return line.strip()
            time.sleep(0.05)
        return ""

    def wait(self) -> None:
        """Until it ends by itself."""
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


@dataclass(slots=True)
class Answer:
    """One answer: when it came (ns since the epoch), which version gave it, its receipt."""

    came: int
    version: str
    receipt: str
    body: dict[str, Any]


class Caller:
    """Calls one endpoint with ``tritonclient``, JSON tensors both ways.

    That client asks for binary outputs unless it is told otherwise for each output by its name.
    """

    def __init__(
        self, server: Server, endpoint: str, api_key: str, input_name: str, output_names: Iterable[str]
    ) -> None:
        self._http = client_library()
        self._client = self._http.InferenceServerClient(f"127.0.0.1:{server.port}")
        self._headers = {"Authorization": f"Bearer {api_key}"}
        self._endpoint = endpoint
        self._input = input_name
        self._outputs = [self._http.InferRequestedOutput(name, binary_data=False) for name in output_names]

    def ask(self, row: NDArray[np.float32]) -> Answer:
        """One prediction for one row."""
        answer = self._client.infer(
            self._endpoint, self._inputs(row), outputs=self._outputs, headers=self._headers
        ).get_response()
        return Answer(time.time_ns(), answer["model_version"], answer["parameters"]["receipt"], answer)

    def request(self, row: NDArray[np.float32]) -> bytes:
        """What :meth:`ask` sends for one row."""
        body, _ = self._client.generate_request_body(self._inputs(row), outputs=self._outputs)
        return bytes(body)

    def _inputs(self, row: NDArray[np.float32]) -> list[Any]:
        tensor = self._http.InferInput(self._input, [1, len(row)], "FP32")
        tensor.set_data_from_numpy(row.reshape(1, -1), binary_data=False)
        return [tensor]


@dataclass(slots=True)
class Load:
    """Callers that keep asking in the background until told to stop."""

    answers: list[Answer] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def start(self, callers: list[Caller], rows: NDArray[np.float32]) -> None:
        """Begin, one thread for each caller."""
        for caller in callers:
            thread = threading.Thread(target=self._run, args=(caller, rows), daemon=True)
            thread.start()
            self._threads.append(thread)

    def _run(self, caller: Caller, rows: NDArray[np.float32]) -> None:
        count = 0
        while not self._stop.is_set():
            try:
                self.answers.append(caller.ask(rows[count % len(rows)]))
            except Exception as error:  # noqa: BLE001 - every failure of a request counts
                self.failures.append(str(error))
            count += 1

    def stop(self) -> None:
        """End, and wait for the last answers."""
        self._stop.set()
        for thread in self._threads:
            thread.join()
