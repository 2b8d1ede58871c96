"""``gatewright serve`` as a child process, for a notebook or a walk: started, found, stopped."""

from __future__ import annotations

import atexit
import os
import signal
import ssl
import subprocess
import sys
import tempfile
import time
from http.client import HTTPException
from pathlib import Path
from types import TracebackType
from typing import Self

from gatewright.assembly.calling import Trust, connection_to
from gatewright.assembly.certificates import AUTHORITY_FILE
from gatewright.assembly.homes import read_home
from gatewright.client.display import Mark, Sheet, Shown
from gatewright.client.opening import Place, root_of
from gatewright.kernel.errors import DependencyFailed
from gatewright.operations.status import status

START_S = 120.0
STOP_S = 30.0
ANSWER_S = 5.0
LOG_CHARACTERS = 500
LIVE = "/v2/health/live"

# What was started in this process, by home: called again, a cell of a notebook gets the same server.
_STARTED: dict[Path, Server] = {}


class Server(Shown):
    """The server of a home. ``url`` is where it answers; :meth:`stop` ends what :func:`serve` started.

    It is a context manager, too, and a server that was started here ends with this process.
    """

    __slots__ = ("_process", "root", "url")

    def __init__(self, root: Path, url: str, process: subprocess.Popen[bytes] | None) -> None:
        self.root = root
        self.url = url
        self._process = process

    def sheet(self) -> Sheet:
        """Where it answers, and whose it is."""
        whose = "It ends with this process." if self._process else "It was started elsewhere."
        lead = (
            (Mark(word="live"), f"It answers at {self.url}. {whose}")
            if answers(self.url, trust_of(self.root))
            else (Mark(word="note"), f"It does not answer any more; it did at {self.url}.")
        )
        return Sheet(title="The server of this home", lead=(lead,))

    def stop(self) -> None:
        """End it, after what is in work; a server that was started elsewhere goes on."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.stop()


def serve(home: Place = None) -> Server:
    """Start the server of a home on a free port of this machine alone, or find the one that runs.

    Raises DependencyFailed (``client.server``) with what it said where it does not start.
    """
    root = root_of(home)
    running = url_of(root)
    if running:
        own = _STARTED.get(root)
        return own if own is not None and own.url == running else Server(root, running, None)
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "gatewright", "serve", "--port", "0"],
            cwd=root,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, "GATEWRIGHT_HOME": str(root)},
            start_new_session=True,
        )
        server = Server(root, "", process)
        atexit.register(server.stop)
        try:
            server.url = _awaited(root, process)
        except BaseException:
            server.stop()
            raise
        if server.url:
            _STARTED[root] = server
            return server
        server.stop()
        log.seek(0)
        said = log.read().decode("utf-8", "replace")[-LOG_CHARACTERS:]
    raise DependencyFailed(
        "client.server",
        "The server did not start.",
        why=" ".join(said.split()),
        next="In a terminal, in the folder of the home: gatewright serve",
    )


def _awaited(root: Path, process: subprocess.Popen[bytes]) -> str:
    """Where it answers, once it does; empty where it ended or took too long."""
    until = time.monotonic() + START_S
    while process.poll() is None and time.monotonic() < until:
        found = url_of(root)
        if found:
            return found
        time.sleep(0.05)
    return ""


def url_of(root: Path, trust: Trust | None = None) -> str:
    """Where the server of a home answers now, however it is known; empty where none does."""
    with read_home(root) as home:
        said = status(home).worker or {}
    url = str(said.get("url", "")) if said.get("serving") is True else ""
    return url if url and answers(url, trust_of(root) if trust is None else trust) else ""


def trust_of(root: Path) -> Trust:
    """How the server of a home is known: by the home's own authority, where it has one."""
    authority = root / ".gatewright" / AUTHORITY_FILE
    return Trust(authority=authority if authority.exists() else None)


def answers(url: str, trust: Trust) -> bool:
    """Whether a server is live at an address. One that this caller does not know, or that does not know it, is."""
    connection = connection_to(url, trust, wait_s=ANSWER_S)
    try:
        connection.request("GET", LIVE)
        return connection.getresponse().status == 200
    except ssl.SSLError:
        return True
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()
