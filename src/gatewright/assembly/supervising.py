"""``serve`` with one worker for each core: a light parent, and workers that are processes of their own.

Nothing here imports NumPy, ONNX Runtime or the worker itself, except in the worker's own process.
"""

from __future__ import annotations

import gc
import json
import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import asdict
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

from gatewright.assembly.collector import collector
from gatewright.assembly.settings import Settings, find_root
from gatewright.assembly.transport import TLS_OPTIONS, only_localhost, reach_of
from gatewright.kernel.errors import Misuse
from gatewright.serving.limits import WORKERS
from gatewright.serving.logs import Level, Log, LogForm
from gatewright.serving.segment_files import WorkerLock
from gatewright.serving.slots import Slot, bind_slots, hold_port
from gatewright.serving.supervisor import Supervisor, say

WORKER_PROGRAM = "gatewright.cli.worker"
Asked = Mapping[str, object]
"""What a server was asked for: the keywords of ``serve_home``, or of ``serve_folder`` with ``folder``."""
_CPU_MAX = Path("/sys/fs/cgroup/cpu.max")


def cores(limit: Path = _CPU_MAX) -> int:
    """How many cores this process may use: of its affinity, and of the share its group was given.

    Source: the kernel's cgroup-v2.rst, ``cpu.max``: quota and period in microseconds, or ``max``.
    """
    if sys.platform != "linux":  # elsewhere the kernel does not deal connections out over several sockets
        return 1
    mine = len(os.sched_getaffinity(0))
    try:
        quota, period = limit.read_text("ascii").split()
        return min(mine, max(1, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):  # no such file, or "max": no share
        return mine


def serve(asked: Asked, workers: int | None = None) -> int:
    """Serve until told to stop, with so many workers (default: one for each core); the exit code.

    One worker runs in this process. Raises Misuse for a number of workers that is not allowed, and
    what the serving functions raise.
    """
    workers = min(cores(), WORKERS.value) if workers is None else workers
    if not 1 <= workers <= WORKERS.value:
        raise Misuse(
            "assembly.workers",
            f"A server has 1 to {WORKERS.value} workers, not {workers}.",
            next="Leave --workers out for one worker for each core.",
        )
    _require_grpc(asked)
    _require_observable(asked)
    _warn_of_hosts(asked)
    if workers == 1:
        return serve_slot(asked, Slot())
    root = None if "folder" in asked else find_root(Path(str(asked["start"])), os.environ)
    segments = Path(str(asked["segments"])) if root is None else Settings.read(root).folder / "segments"
    return _supervise(asked, workers, root, segments)


def _warn_of_hosts(asked: Asked) -> None:
    own = bool(asked.get("tls_cert") or asked.get("tls_ended_by"))
    allowed = cast("tuple[str, ...]", asked.get("allowed_hosts") or ())
    warning = only_localhost(str(asked.get("host", "")), allowed, own_certificate=own)
    if warning:
        _teller(asked)(warning)


def _require_grpc(asked: Asked) -> None:
    """Raise Misuse where gRPC is asked for and the extra that answers it is not installed."""
    if asked.get("grpc_port") is not None and (find_spec("grpc") is None or find_spec("google") is None):
        raise Misuse(
            "assembly.grpc-missing",
            "gRPC cannot be answered: the packages grpcio and protobuf are not installed.",
            next="Install gatewright[grpc], or leave --grpc-port out.",
        )


def _require_observable(asked: Asked) -> None:
    """Raise here, once, what each worker would raise for an option that cannot be."""
    given = {
        name: asked[name] for name in ("log", "metrics_key_file", "proxies", "traces") if asked.get(name)
    }
    if given:
        from gatewright.assembly.observing import seen_settings  # noqa: PLC0415 - the parent stays light

        seen_settings(**cast("dict[str, Any]", given))


def _teller(asked: Asked) -> Callable[[str], None]:
    """How the parent says something: as its workers do. It speaks where something ended, and never else."""
    form = LogForm(str(asked.get("log") or LogForm.TEXT))
    return partial(Log(say, form).say, "server", level=Level.WARNING)


@contextmanager
def _with_grpc_port(asked: Asked) -> Iterator[Asked]:
    """The same, naming the gRPC port that all workers share, where one is asked for."""
    port = asked.get("grpc_port")
    if port is None:
        yield asked
        return
    with hold_port(str(asked["host"]), int(str(port))) as number:
        yield {**asked, "grpc_port": number}


def _supervise(asked: Asked, workers: int, root: Path | None, segments: Path) -> int:
    tell = _teller(asked)

    def beside() -> AbstractContextManager[object]:
        return nullcontext() if root is None else collector(root, segments, tell)

    options = cast("dict[str, Any]", {name: asked[name] for name in TLS_OPTIONS if name in asked})
    reach = reach_of(str(asked["host"]), **options)
    host, port = str(asked["host"]), int(str(asked["port"]))
    with (
        closing(_Held(segments)) as held,
        bind_slots(host, port, workers, reach) as sockets,
        _with_grpc_port(asked) as named,
    ):
        return Supervisor(
            sockets,
            command=lambda slot: command(named, slot),
            lock=held.handle,
            beside=beside,
            say=tell,
        ).run()


class _Held(WorkerLock):
    """The server's lock, for as long as a block runs."""

    close = WorkerLock.release


def command(asked: Asked, slot: Slot) -> list[str]:
    """The command line of a worker's process; it inherits the handles that ``slot`` names."""
    text = json.dumps({"asked": {name: _plain(value) for name, value in asked.items()}, "slot": asdict(slot)})
    return [sys.executable, "-m", WORKER_PROGRAM, text]


def _plain(value: object) -> object:
    return {"path": str(value)} if isinstance(value, Path) else value


def _value(plain: object) -> object:
    if isinstance(plain, dict):
        return Path(plain["path"])
    return tuple(plain) if isinstance(plain, list) else plain


def serve_command(text: str) -> int:
    """In a worker's process: serve as :func:`command` said; returns the exit code."""
    found = json.loads(text)
    asked = {name: _value(plain) for name, plain in found["asked"].items()}
    return serve_slot(MappingProxyType(asked), Slot(**found["slot"]))


def serve_slot(asked: Asked, slot: Slot) -> int:
    """Run one worker in this process.

    What is imported stays, so nothing is gained by looking for garbage in it: that was an eighth of the
    time to start. The worker collects once, when it has loaded all.
    """
    gc.disable()
    from gatewright.assembly.serving import (  # noqa: PLC0415 - the parent stays without the worker
        serve_folder,
        serve_home,
    )

    keywords = cast("dict[str, Any]", dict(asked))
    if "folder" in asked:
        return serve_folder(**keywords, slot=slot)
    return serve_home(**keywords, slot=slot)
