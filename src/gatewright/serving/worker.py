"""The serving process: one worker, one event loop, one recorder.

It holds no database and asks nobody: blobs, the signed plan, its own key and the trust root are
all it needs, so it goes on serving when everything else is down.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import uvicorn
import uvloop

from gatewright.kernel.errors import DependencyFailed, Misuse, Refusal, Refused
from gatewright.kernel.instants import Instant
from gatewright.ports import Blobs, Signer
from gatewright.releases.trust import TrustRoot
from gatewright.serving.admission import LOOPBACK_HOSTS, is_loopback
from gatewright.serving.app import App
from gatewright.serving.limits import DRAIN_TIME, IDLE_TIME
from gatewright.serving.plans import Plans
from gatewright.serving.protocol import BoundedHttp
from gatewright.serving.recorder import SEGMENT_SECONDS, Recorder
from gatewright.serving.segment_disk import SegmentDisk
from gatewright.serving.segment_files import SegmentFiles, WorkerLock

STATUS_FILE = "serve.json"
BACKLOG = 1_024
WATCH_SECONDS = 0.5
PLAIN_TEXT = (
    "Traffic is NOT encrypted: whoever sees it can read and change it, and take the API keys. "
    "Let nothing reach this port but a mesh or an ingress that ends TLS."
)
SWITCH_SECONDS = 0.0005
"""How long the recorder's thread may wait for the interpreter while requests are decoded."""


class Reach(Enum):
    """From where a worker may be asked: this machine alone, or any network, in plain text."""

    LOOPBACK = "this machine alone"
    PLAIN = "any network, not encrypted"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """Where a worker finds its plan, keeps its segments, and listens. Port 0 takes a free one.

    ``hosts`` are names, beyond those of the loopback, that clients may ask for. ``whole``: a worker
    whose first plan cannot be taken ends, instead of waiting for the next.
    """

    plan: Path
    segments: Path
    host: str = "127.0.0.1"
    port: int = 8080
    hosts: frozenset[str] = frozenset()
    segment_seconds: float = SEGMENT_SECONDS
    reach: Reach = Reach.LOOPBACK
    whole: bool = False


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


class _Server(uvicorn.Server):
    """uvicorn's server without its signal handling: the worker ends by itself, after sealing."""

    def __init__(self, config: uvicorn.Config, announce: Callable[[], None]) -> None:
        super().__init__(config)
        self._announce = announce

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen, then say so."""
        await super().startup(sockets)
        self._announce()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the worker."""
        yield


def bind(host: str, port: int, reach: Reach = Reach.LOOPBACK) -> socket.socket:
    """A listening socket. Raises Misuse for an address beyond the reach, DependencyFailed when taken."""
    if reach is Reach.LOOPBACK and not is_loopback(host):
        raise Misuse(
            "serving.not-loopback",
            f"{host!r} is not an address of this machine alone.",
            why="Traffic is not encrypted yet, so the worker answers on the loopback only.",
            next="Serve on 127.0.0.1 and put a proxy that ends TLS in front.",
        )
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found = socket.socket(family, socket.SOCK_STREAM)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((host, port))
    except (OSError, OverflowError) as error:
        found.close()
        raise DependencyFailed(
            "serving.port",
            f"Port {port} on {host} cannot be used.",
            why=str(error),
            next="Choose another with --port, or 0 for any free one.",
        ) from None
    return found


class Worker:
    """A worker that runs until it is told to stop.

    ``ready`` is called with the URL once requests are taken. Raises Misuse when another worker
    serves this home, and DependencyFailed when folder or port cannot be used.
    """

    def __init__(
        self,
        settings: WorkerSettings,
        *,
        blobs: Blobs,
        signer: Signer,
        data_key: bytes,
        trust: TrustRoot,
        clock: Callable[[], Instant],
        disk: SegmentDisk | None = None,
        say: Callable[[str], None] = _say,
        ready: Callable[[str], None] | None = None,
    ) -> None:
        self._settings = settings
        self._say = say
        self._ready = ready
        self._url = ""
        self._stopping = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._server: _Server | None = None
        self.recorder = Recorder(
            disk=disk or SegmentFiles(settings.segments),
            signer=signer,
            home_key=data_key,
            clock=clock,
            report=self._tell,
            seconds=settings.segment_seconds,
        )
        self.plans = Plans(path=settings.plan, blobs=blobs, trust=trust, report=self._plan_changed)

    def run(self) -> None:
        """Serve until SIGTERM, SIGINT or :meth:`stop`; then finish what is in work, and seal."""
        lock = WorkerLock(self._settings.segments)
        try:
            listening = bind(self._settings.host, self._settings.port, self._settings.reach)
            with contextlib.closing(listening), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(self._main(listening))
        finally:
            lock.release()

    def stop(self) -> None:
        """Ask the worker to end; from any thread."""
        self._stopping.set()
        if self._server is not None:
            self._server.should_exit = True

    async def _main(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        host, port = listening.getsockname()[:2]
        self._url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        sys.setswitchinterval(SWITCH_SECONDS)
        self._take_signals(loop)
        self.recorder.start(loop)
        self._load()
        app = App(
            plans=self.plans,
            recorder=self.recorder,
            hosts=LOOPBACK_HOSTS | self._settings.hosts,
            report=self._tell,
        )
        self._server = _Server(_config(app), self._announce)
        self._server.should_exit = self._stopping.is_set()
        tasks = [asyncio.create_task(each) for each in (self.plans.watch(), self._watch())]
        gc.collect()
        gc.freeze()
        try:
            await self._server.serve([listening])
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            app.close()
            await loop.run_in_executor(None, self.recorder.close)
            self._write_status(serving=False)

    def _load(self) -> None:
        """Take the first plan; raises Refused where a whole worker is left without one."""
        self.plans.load()
        if self._settings.whole and not self.plans.table.number:
            why = "There is no plan." if self.plans.refusal is None else self.plans.refusal.sentence()
            self.recorder.close()
            raise Refused("serving.no-plan", "Nothing is served: the traffic plan was not taken.", why=why)

    def _take_signals(self, loop: asyncio.AbstractEventLoop) -> None:
        if threading.current_thread() is threading.main_thread():
            for each in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(each, self.stop)

    def _announce(self) -> None:
        """Say where the worker answers, once it does."""
        self._write_status(serving=True)
        self._say(f"Serving plan {self.plans.table.number} on {self._url} (stop with Ctrl-C).")
        if not is_loopback(self._settings.host):
            self._say(PLAIN_TEXT)
        if self._ready is not None:
            self._ready(self._url)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            self.recorder.refuse_stuck()

    def _tell(self, refusal: Refusal) -> None:
        self._say(refusal.sentence())

    def _plan_changed(self, refusal: Refusal | None) -> None:
        table = self.plans.table
        if refusal is None:
            names = ", ".join(
                f"{route.endpoint} answered by version {route.champion.version}" for route in table.routes
            )
            self._say(f"Plan {table.number} is in force: {names or 'no endpoints'}.")
        else:
            kept = f"Plan {table.number} stays in force" if table.number else "Nothing is served"
            self._say(f"A traffic plan was not taken. {refusal.sentence()} {kept}.")
        if self._url:
            self._write_status(serving=True)

    def _write_status(self, *, serving: bool) -> None:
        """What this worker does, for ``gatewright status``; swapped by rename."""
        refusal = self.plans.refusal
        status = {
            "pid": os.getpid(),
            "plan": self.plans.table.number,
            "refusal": None if refusal is None else {"code": refusal.code, "sentence": refusal.sentence()},
            "serving": serving,
            "url": self._url,
        }
        path = self._settings.segments / STATUS_FILE
        part = path.with_suffix(".part")
        try:
            part.write_text(json.dumps(status, sort_keys=True) + "\n", "utf-8")
            part.replace(path)
        except OSError as error:
            self._say(f"The worker's status could not be written: {error.strerror}.")


def _config(app: App) -> uvicorn.Config:
    return uvicorn.Config(
        app=app,
        loop="uvloop",
        http=BoundedHttp,
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        log_level="critical",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_keep_alive=IDLE_TIME.value,
        timeout_graceful_shutdown=DRAIN_TIME.value,
    )


def run_worker(
    settings: WorkerSettings,
    *,
    blobs: Blobs,
    signer: Signer,
    data_key: bytes,
    trust: TrustRoot,
    clock: Callable[[], Instant],
    ready: Callable[[str], None] | None = None,
) -> None:
    """Run a worker in this process until it is stopped; see :class:`Worker`."""
    Worker(
        settings, blobs=blobs, signer=signer, data_key=data_key, trust=trust, clock=clock, ready=ready
    ).run()
