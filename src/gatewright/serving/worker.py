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
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

import uvloop

from gatewright.kernel.canonical import JsonObject
from gatewright.kernel.errors import Refusal, Refused
from gatewright.kernel.instants import Instant
from gatewright.ports import Blobs, Signer
from gatewright.releases.trust import TrustRoot
from gatewright.serving.admission import LOOPBACK_HOSTS
from gatewright.serving.allowances import FILE as ALLOWANCES_FILE
from gatewright.serving.allowances import Allowances
from gatewright.serving.answering import Answering
from gatewright.serving.app import App
from gatewright.serving.batching import cores
from gatewright.serving.board import BOARD_FILE, SLOTS, Board
from gatewright.serving.certificates import Certificates, Source
from gatewright.serving.following import Believed, Following
from gatewright.serving.following import Source as KeySource
from gatewright.serving.limits import DRAIN_TIME
from gatewright.serving.logs import Level, Log
from gatewright.serving.plans import Plans
from gatewright.serving.protocol import Connections
from gatewright.serving.recorder import SEGMENT_SECONDS, Recorder
from gatewright.serving.seen import Seen, SeenSettings
from gatewright.serving.segment_disk import SegmentDisk
from gatewright.serving.segment_files import SegmentFiles, WorkerLock, enlist
from gatewright.serving.shadow import Shadow
from gatewright.serving.slots import Reach, Slot, bind, left_folders, stop_listening
from gatewright.serving.tls import Handshakes
from gatewright.serving.traffic import traffic_status
from gatewright.serving.watching import Collecting, Watch

if TYPE_CHECKING:
    from gatewright.serving.grpc_plane import GrpcPlane

STATUS_FILE = "serve.json"
BACKLOG = 1_024
WATCH_SECONDS = 0.5
DRAIN_STEP_SECONDS = 0.02
PLAIN_TEXT = (
    "Traffic is NOT encrypted here: whoever sees it can read and change it, and take the API keys. "
    "Let nothing reach this port but what was named to end TLS: {}."
)
SWITCH_SECONDS = 0.0005
"""How long the recorder's thread may wait for the interpreter while requests are decoded."""
GRPC_SWITCH_SECONDS = 0.005
"""The same beside the many threads of gRPC, each of which would else interrupt the loop: measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """Where a worker finds its plan, keeps its segments, and listens. Port 0 takes a free one.

    ``hosts`` are names, beyond those of the loopback, that clients may ask for. ``whole``: a worker
    whose first plan cannot be taken ends, instead of waiting for the next. ``ended_by`` names what ends
    TLS in front of a worker that any network reaches in plain text. ``segments`` is the folder
    of the whole server; ``slot`` says which of its workers this one is. With ``grpc_port`` it answers
    gRPC, too, on the same host.
    """

    plan: Path
    segments: Path
    host: str = "127.0.0.1"
    port: int = 8080
    hosts: frozenset[str] = frozenset()
    segment_seconds: float = SEGMENT_SECONDS
    reach: Reach = Reach.LOOPBACK
    ended_by: str = ""
    whole: bool = False
    slot: Slot = field(default_factory=Slot)
    seen: SeenSettings = field(default_factory=SeenSettings)
    grpc_port: int | None = None


def _say(text: str) -> None:
    with contextlib.suppress(OSError, ValueError):  # nobody may read it any more; serving goes on
        sys.stderr.write(text + "\n")
        sys.stderr.flush()


class Worker:
    """A worker that runs until it is told to stop.

    ``identity`` gives the certificates of TLS; without it traffic is plain. ``ready`` is called with the
    URL once requests are taken; ``collecting`` is asked for the metrics; ``source`` tells of new keys.
    Raises Misuse when another worker serves this home, and DependencyFailed when folder or port cannot be used.
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
        identity: Source | None = None,
        say: Callable[[str], None] = _say,
        ready: Callable[[str], None] | None = None,
        collecting: Collecting | None = None,
        source: KeySource | None = None,
    ) -> None:
        self._settings = settings
        self._slot = settings.slot
        self._clock = clock
        self._folder = settings.slot.folder(settings.segments)
        self._log = Log(say, settings.seen.log, worker=settings.slot.index, among=settings.slot.workers)
        self._say = partial(self._log.say, "note")
        self._ready = ready
        self._collecting = collecting
        self.certificates = None if identity is None else Certificates(identity, clock=clock, tell=self._tell)
        self._url = ""
        self._announced = False
        self._parent = os.getppid()
        self._stopping = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._end: asyncio.Event | None = None
        self._plane: GrpcPlane | None = None
        self._record_to = partial(
            Recorder,
            signer=signer,
            home_key=data_key,
            clock=clock,
            report=self._tell,
            seconds=settings.segment_seconds,
        )
        self.recorder = self._record_to(disk=disk or SegmentFiles(self._folder))
        self.plans = Plans(
            path=settings.plan,
            blobs=blobs,
            following=Following(
                Believed(trust=trust, signer=signer), source, take=self._take_signer, report=self._tell
            ),
            clock=clock,
            report=self._plan_changed,
            tell=self._tell,
        )
        self.shadow = Shadow(self.recorder, self._tell)
        self._traffic: list[JsonObject] = []
        self._told_keys: JsonObject = {}

    def run(self) -> None:
        """Serve until SIGTERM, SIGINT or :meth:`stop`; then finish what is in work, and seal."""
        with contextlib.ExitStack() as held:
            if self._slot.alone:
                held.callback(WorkerLock(self._settings.segments).release)
                listening = bind(self._settings.host, self._settings.port, self._settings.reach)
            else:
                enlist(self._slot.lock)
                listening = socket.socket(fileno=self._slot.listening)
            held.enter_context(contextlib.closing(listening))
            self._slot.make_folder(self._settings.segments)
            self.board = self._open_board()
            held.callback(self.board.close)
            self.plans.allowances = self._open_allowances()
            held.callback(self.plans.allowances.close)
            self.seen = Seen(self.board, self._log, self._settings.seen)
            held.callback(self.seen.close)
            self.seen.start()
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(self._main(listening))

    def _open_board(self) -> Board:
        """The counters of all workers; alone with its own, a worker whose disk has no room serves, too."""
        try:
            return Board.open(self._settings.segments / BOARD_FILE, self._slot.index)
        except OSError as error:
            self._say(f"The workers' shared counters cannot be used: {error.strerror}.")
            return Board.alone(self._slot.index)

    def _open_allowances(self) -> Allowances:
        """What all workers know of rates and quotas; alone with its own, a worker allows as much again."""
        try:
            return Allowances.open(
                self._settings.segments / ALLOWANCES_FILE, self._slot.index, self._slot.workers
            )
        except OSError as error:
            self._say(f"The workers' shared allowances cannot be used: {error.strerror}.")
            return Allowances.alone(self._slot.index)

    def _recover_left(self) -> None:
        """Seal what workers left whose slots nobody has any more; the first worker does so for them."""
        if self._slot.index == 0:
            for folder in left_folders(self._settings.segments, self._slot.workers):
                self._record_to(disk=SegmentFiles(folder)).recover()
                (folder / STATUS_FILE).unlink(missing_ok=True)
            for index in range(self._slot.workers, SLOTS):
                self.board.clear_gauges(index)

    def stop(self) -> None:
        """Ask the worker to end; from any thread."""
        self._stopping.set()
        if self._loop is not None and self._end is not None:
            with contextlib.suppress(RuntimeError):  # it has ended already
                self._loop.call_soon_threadsafe(self._end.set)

    async def _main(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        host, port = listening.getsockname()[:2]
        scheme = "http" if self.certificates is None else "https"
        self._url = f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
        sys.setswitchinterval(SWITCH_SECONDS if self._settings.grpc_port is None else GRPC_SWITCH_SECONDS)
        self._take_signals(loop)
        self.recorder.start(loop)
        self._recover_left()
        self._load()
        threads = max(1, cores() // self._slot.workers)
        answering = Answering(self.recorder, threads, seen=self.seen, shadow=self.shadow, soon=loop.call_soon)
        app = App(
            plans=self.plans,
            answering=answering,
            hosts=LOOPBACK_HOSTS | self._settings.hosts,
            report=self._tell,
            scrape=lambda: watch.scrape(),  # noqa: PLW0108 - it is made below
        )
        connections = Connections(app)
        watch = Watch(
            self.seen,
            plans=self.plans,
            answering=answering,
            connections=connections.open,
            clock=self._clock,
            collecting=self._collecting,
        )
        self._loop, self._end = loop, asyncio.Event()
        tasks = [
            asyncio.create_task(each)
            for each in (self.plans.watch(), self._watch(watch), connections.sweep())
        ]
        gc.collect()
        gc.freeze()
        gc.enable()
        try:
            handshakes = None if self.certificates is None else Handshakes(self.certificates, connections)
            listener = connections if handshakes is None else handshakes
            self._plane = self._open_plane(loop, answering)
            server = await loop.create_server(listener, sock=listening, backlog=BACKLOG)
            if self._plane is not None:
                self._plane.start()
            self._announce()
            if not self._stopping.is_set():
                await self._end.wait()
            if not self._slot.alone:  # the parent keeps the socket open: that nobody waits in its queue
                stop_listening(listening)
            server.close()
            if self._plane is not None:
                self._plane.drain()
            if handshakes is not None:
                handshakes.end()
            await self._drain(connections)
        finally:
            await self._finish(tasks, app)
            watch.pull()
            self._log.stopped()
            self._write_status(serving=False)

    async def _finish(self, tasks: list[asyncio.Task[None]], app: App) -> None:
        """End what runs, each before what it needs."""
        loop = asyncio.get_running_loop()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._plane is not None:
            await loop.run_in_executor(None, self._plane.stop)
        app.close()
        await loop.run_in_executor(None, self.shadow.close)
        await loop.run_in_executor(None, self.recorder.close)

    def _open_plane(self, loop: asyncio.AbstractEventLoop, answering: Answering) -> GrpcPlane | None:
        """The gRPC server, bound, where one is asked for; the extra ``grpc`` is installed then."""
        port = self._settings.grpc_port
        if port is None:
            return None
        from gatewright.serving.grpc_plane import GrpcPlane, credentials_of  # noqa: PLC0415 - an extra installs it

        return GrpcPlane(
            loop=loop,
            plans=self.plans,
            answering=answering,
            report=self._tell,
            host=self._settings.host,
            port=port,
            credentials=None if self.certificates is None else credentials_of(self.certificates),
            reuse_port=not self._slot.alone,
        )

    def _grpc_address(self) -> str | None:
        """Where gRPC is answered, as its clients name it."""
        if self._plane is None:
            return None
        host = self._settings.host
        return f"[{host}]:{self._plane.port}" if ":" in host else f"{host}:{self._plane.port}"

    async def _drain(self, connections: Connections) -> None:
        """Let requests in work end, for as long as they may take."""
        connections.end()
        last = monotonic() + DRAIN_TIME.value
        while connections.open and monotonic() < last:  # noqa: ASYNC110 - what ends first, they or the time
            await asyncio.sleep(DRAIN_STEP_SECONDS)
        connections.abort()

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
        self._announced = True
        self._write_status(serving=True)
        number = self.plans.table.number
        sentence = f"Serving plan {number} on {self._url} (stop with Ctrl-C)."
        self._log.say("start", sentence, plan=number, url=self._url)
        if self._plane is not None:
            self._log.say(
                "start-grpc", f"gRPC is answered on {self._grpc_address()}.", address=self._grpc_address()
            )
        if self._settings.reach is Reach.PLAIN and self._slot.index == 0:
            self._say(PLAIN_TEXT.format(self._settings.ended_by))
        self._slot.tell_parent()
        if self._ready is not None:
            self._ready(self._url)

    async def _watch(self, watch: Watch) -> None:
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            self.recorder.refuse_stuck()
            watch.pull()
            self._tell_traffic()
            if self._plane is not None:
                self._plane.sweep()
            if self.certificates is not None and self.certificates.refresh():
                self._say("A new certificate is in force.")

    def _tell_traffic(self) -> None:
        """Have the status say what breakers and shadows did since it was written, and which keys are used."""
        traffic = traffic_status(self.plans.table.routes)
        keys = self._keys()
        if (traffic, keys) != (self._traffic, self._told_keys) and self._announced:
            self._traffic = traffic
            self._write_status(serving=True)

    def _take_signer(self, signer: Signer) -> None:
        self.recorder.take(signer)
        self._log.say("worker-key", "Records are signed with a new key.", key=signer.public.id)

    def _tell(self, refusal: Refusal) -> None:
        self._log.refusal(refusal)

    def _plan_changed(self, refusal: Refusal | None) -> None:
        table = self.plans.table
        if refusal is None:
            names = ", ".join(
                f"{route.endpoint} answered by version {route.champion.release.version}"
                for route in table.routes
            )
            sentence = f"Plan {table.number} is in force: {names or 'no endpoints'}."
            self._log.say("plan-taken", sentence, plan=table.number)
        elif refusal is self.plans.expired:
            sentence = f"{refusal.sentence()} Every endpoint answers 503 until then."
            self._log.say("plan-expired", sentence, Level.WARNING, plan=table.number)
        else:
            kept = f"Plan {table.number} stays in force" if table.routes else "Nothing is served"
            self._log.say(
                "plan-refused",
                f"A traffic plan was not taken. {refusal.sentence()} {kept}.",
                Level.WARNING,
                code=refusal.code,
            )
        if self._announced:
            self._write_status(serving=True)

    def _keys(self) -> JsonObject:
        """The version of the public keys that plans are proved by, and the id of the key that signs records."""
        believed = self.plans.following.believed
        return {"trust": believed.trust.version, "worker": believed.signer.public.id}

    def _write_status(self, *, serving: bool) -> None:
        """What this worker does, for ``gatewright status``; swapped by rename."""
        refusal = self.plans.refusal
        self._told_keys = self._keys()
        status = {
            "models": [
                {
                    "endpoint": route.endpoint,
                    "place": served.place,
                    "root": served.release.root.hex,
                    "version": served.release.version,
                    **served.release.engine.manner(),
                }
                for route in self.plans.table.routes
                for served in route.served()
            ],
            "grpc": self._grpc_address(),
            "keys": self._told_keys,
            "pid": os.getpid(),
            "plan": self.plans.table.number,
            "refusal": None if refusal is None else {"code": refusal.code, "sentence": refusal.sentence()},
            "server": os.getpid() if self._slot.alone else self._parent,
            "serving": serving,
            "slot": self._slot.index,
            "tls_ended_by": self._settings.ended_by,
            "traffic": self._traffic,
            "url": self._url,
            "workers": self._slot.workers,
        }
        path = self._folder / STATUS_FILE
        part = path.with_suffix(".part")
        try:
            part.write_text(json.dumps(status, sort_keys=True) + "\n", "utf-8")
            part.replace(path)
        except OSError as error:
            self._say(f"The worker's status could not be written: {error.strerror}.")
