"""The places of the workers of one server: their folders, their lock, and their sockets on one port.

Slot 0 keeps its segments in the server's folder itself, slot *i* in ``worker-i`` below it. Each slot
has a listening socket of its own on the same port (SO_REUSEPORT): the kernel deals connections out
over the sockets that listen. Sockets and lock are made once, before the first worker, and stay open
in the process that made them. So a connection that waits in a dead worker's queue is taken by the
worker that follows it, and the port never closes; and the lock, a file lock that children inherit,
stands until the last process of the server is gone.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from gatewright.kernel.errors import DependencyFailed, Misuse
from gatewright.serving.admission import is_loopback

WORKER_FOLDER = "worker-"
_FOLDER = 0o700


class Reach(Enum):
    """From where a worker may be asked, and how: beyond this machine in plain text only by an explicit word."""

    LOOPBACK = "this machine alone, not encrypted"
    TLS = "any network, TLS 1.3"
    PLAIN = "any network, not encrypted here: something in front ends TLS"


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """Which of the workers of a server this is.

    Alone (the default) a worker binds and locks for itself. Else its parent did: ``listening`` is the
    slot's socket, ``lock`` the server's lock, and through the pipe ``told`` the parent learns that
    requests are taken. All three are handles that the worker inherited.
    """

    index: int = 0
    workers: int = 1
    listening: int = -1
    told: int = -1
    lock: int = -1

    @property
    def alone(self) -> bool:
        """Whether no other process looks after this one."""
        return self.listening < 0

    def folder(self, segments: Path) -> Path:
        """Where this worker keeps its segments, below those of the server."""
        return segments if self.index == 0 else segments / f"{WORKER_FOLDER}{self.index}"

    def make_folder(self, segments: Path) -> Path:
        """The same, made where it is not there yet; raises DependencyFailed where it cannot be."""
        folder = self.folder(segments)
        try:
            folder.mkdir(mode=_FOLDER, parents=True, exist_ok=True)
        except OSError as error:
            raise DependencyFailed(
                "serving.segments-folder", "The segments folder cannot be used.", why=str(error)
            ) from None
        return folder

    def tell_parent(self) -> None:
        """Say that requests are taken; a parent that is gone hears nothing."""
        if self.told >= 0:
            with contextlib.suppress(BrokenPipeError):
                os.write(self.told, b"ready")
            os.close(self.told)


def left_folders(segments: Path, workers: int) -> list[Path]:
    """Folders of slots that no worker has any more, because fewer are started than before."""
    found = [
        (int(number), path)
        for path in segments.glob(WORKER_FOLDER + "*")
        if (number := path.name.removeprefix(WORKER_FOLDER)).isdecimal() and path.is_dir()
    ]
    return [folder for number, folder in sorted(found) if number >= workers]


def bind(host: str, port: int, reach: Reach = Reach.LOOPBACK) -> socket.socket:
    """A bound socket. Raises Misuse for an address beyond the reach, DependencyFailed when taken."""
    _require_reach(host, reach)
    return _bound(host, port, shared=False)


def _require_reach(host: str, reach: Reach) -> None:
    if reach is Reach.LOOPBACK and not is_loopback(host):
        raise Misuse(
            "serving.not-loopback",
            f"{host!r} is not an address of this machine alone.",
            why="Traffic would not be encrypted.",
            next="Serve it with TLS, or on 127.0.0.1.",
        )


def _bound(host: str, port: int, *, shared: bool) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found = socket.socket(family, socket.SOCK_STREAM)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
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


@contextlib.contextmanager
def hold_port(host: str, port: int) -> Iterator[int]:
    """A port (0: any free one) on which this user's processes listen, kept from all others meanwhile.

    A socket is bound alone, which fails where anybody has the port, and kept without listening; only
    then is the port shared, and with sockets of this user only (``socket(7)``). Raises
    DependencyFailed where it is taken.
    """
    with contextlib.closing(_bound(host, port, shared=False)) as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        number: int = held.getsockname()[1]
        yield number


def stop_listening(found: socket.socket) -> None:
    """Have the kernel deal no more connections to this socket, in every process that holds it.

    It can listen again later. One that does not listen is left alone: shut down, it would hand that
    on to every connection that it ever accepts.
    """
    if found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        found.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def bind_slots(
    host: str, port: int, count: int, reach: Reach = Reach.LOOPBACK
) -> Iterator[list[socket.socket]]:
    """One socket for each of ``count`` workers on one held port, closed at the end; raises like :func:`bind`."""
    _require_reach(host, reach)
    with contextlib.ExitStack() as opened:
        taken = opened.enter_context(hold_port(host, port))
        yield [
            opened.enter_context(contextlib.closing(_bound(host, taken, shared=True))) for _ in range(count)
        ]
