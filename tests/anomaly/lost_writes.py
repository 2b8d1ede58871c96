"""What a power loss can leave of a verb's changes, built from their journal: unsynced ones may be lost.

A killed process leaves everything that it wrote; a machine without power leaves what was synced, and
of the rest any part. So a verb runs once, undisturbed, under the journal of ``faults.c``: each change
with its bytes, each sync. For any moment of it the changes then are *durable* or *pending*:

- bytes, sizes and permissions of a file are durable once that file is synced after them;
- a name (made, linked, moved, removed) is durable once the folder that it is in is synced after it.

From one moment several states are built, each a folder of its own: without what was pending; without
the pending names, or bytes, alone; without one pending change, or with nothing but one of them; with
half of the last write. A change that cannot be there without a lost one (a file in a lost folder) is
lost with it. That is stricter than the usual file systems are, which keep most changes of names in
order. See Pillai et al., "All File Systems Are Not Created Equal" (OSDI 2014), and Mohan et al.,
"Finding Crash-Consistency Bugs with Bounded Black-Box Crash Testing" (OSDI 2018).
"""

from __future__ import annotations

import hashlib
import random
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

ROOT = 0
NAMES = {"create", "mkdir", "link", "unlink", "rename"}
OF_A_MAP = "-shm"
"""SQLite's index of its write-ahead log is a memory map, which no call shows; after a loss it is made anew."""


@dataclass(slots=True)
class Node:
    """One file or folder, whatever its names are."""

    mode: int
    data: bytes = b""
    names: dict[str, int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One change, sync or mark of the caller's.

    ``node`` is the file or folder; ``folder`` with ``name`` is where a name is made, or goes away;
    ``source`` is where a moved name was.
    """

    what: str
    node: int = -1
    folder: int = -1
    name: str = ""
    source: tuple[int, str] = (-1, "")
    offset: int = 0
    mode: int = 0
    data: bytes = b""


@dataclass(slots=True)
class Disk:
    """The files and folders below one root."""

    nodes: dict[int, Node] = field(default_factory=lambda: {ROOT: Node(0o700, names={})})

    @classmethod
    def of(cls, root: Path) -> Disk:
        """What lies there now."""
        disk = cls()
        disk._load(root, ROOT)
        return disk

    def _load(self, folder: Path, at: int) -> None:
        names = self.nodes[at].names
        assert names is not None
        self.nodes[at].mode = folder.stat().st_mode & 0o7777
        for path in sorted(folder.iterdir()):
            number = names[path.name] = len(self.nodes)
            if path.is_dir():
                self.nodes[number] = Node(0, names={})
                self._load(path, number)
            else:
                self.nodes[number] = Node(path.stat().st_mode & 0o7777, path.read_bytes())

    def copy(self) -> Disk:
        """Another one like it."""
        return Disk(
            {
                number: Node(one.mode, one.data, None if one.names is None else dict(one.names))
                for number, one in self.nodes.items()
            }
        )

    def find(self, place: Sequence[str]) -> int:
        """The file or folder of a path; raises KeyError where there is none."""
        at = ROOT
        for name in place:
            at = (self.nodes[at].names or {})[name]
        return at

    def apply(self, change: Change) -> None:
        """Make the change; one that rests on a lost one is lost, too."""
        if change.what in NAMES:
            self._name(change)
        elif (node := self.nodes.get(change.node)) is not None:
            if change.what == "write":
                before = node.data[: change.offset].ljust(change.offset, b"\0")
                node.data = before + change.data + node.data[change.offset + len(change.data) :]
            elif change.what == "size":
                node.data = node.data[: change.offset].ljust(change.offset, b"\0")
            elif change.what == "room":
                node.data = node.data.ljust(change.offset, b"\0")
            elif change.what == "chmod":
                node.mode = change.mode

    def _name(self, change: Change) -> None:
        folder = self.nodes.get(change.folder)
        if folder is None or folder.names is None:
            return
        if change.what in ("create", "mkdir"):
            self.nodes[change.node] = Node(change.mode, names={} if change.what == "mkdir" else None)
            folder.names[change.name] = change.node
        elif change.what == "unlink":
            if folder.names.get(change.name) == change.node:
                del folder.names[change.name]
        elif change.node in self.nodes:
            if change.what == "rename":
                at, old = change.source
                names = self.nodes[at].names if at in self.nodes else None
                if names is None or names.get(old) != change.node:
                    return
                del names[old]
            folder.names[change.name] = change.node

    def files(self) -> Iterator[tuple[str, Node]]:
        """Every file and folder with its path, those above first."""
        waiting = [("", ROOT)]
        while waiting:
            path, number = waiting.pop()
            yield path, self.nodes[number]
            for name, below in sorted((self.nodes[number].names or {}).items(), reverse=True):
                waiting.append((f"{path}/{name}".lstrip("/"), below))

    def digest(self) -> bytes:
        """The same for two disks that hold the same."""
        state = hashlib.sha256()
        for path, node in self.files():
            data = b"" if path.endswith(OF_A_MAP) else node.data
            state.update(f"{path} {node.mode} {node.names is None} {len(data)}\n".encode() + data)
        return state.digest()

    def write(self, root: Path) -> None:
        """Make it a folder, in place of what is there."""
        shutil.rmtree(root, ignore_errors=True)
        for path, node in self.files():
            place = root / path
            if node.names is None:
                place.write_bytes(node.data)
            else:
                place.mkdir()
        for path, node in reversed(list(self.files())):
            (root / path).chmod(node.mode)


def read_journal(content: bytes, root: Path, disk: Disk) -> list[Change]:
    """The changes of a journal, each about a file or folder of ``disk``, which is as it was before."""
    now = disk.copy()
    changes: list[Change] = []
    at = 0
    while at < len(content):
        end = content.index(b"\n", at)
        what, offset, mode, size, path, other = content[at:end].decode().split("\t")
        at = end + 1 + int(size)
        if path.endswith(" (deleted)"):
            continue
        if what == "mark":
            changes.append(Change(what="mark", name=path))
            continue
        change = _change(what, _parts(path, root), _parts(other, root), now)
        change = replace(change, offset=int(offset), mode=int(mode), data=content[end + 1 : at])
        now.apply(change)
        changes.append(change)
    return changes


def _parts(path: str, root: Path) -> tuple[str, ...]:
    return Path(path).relative_to(root).parts if path else ()


def _change(what: str, path: tuple[str, ...], other: tuple[str, ...], now: Disk) -> Change:
    if what in ("create", "mkdir"):
        return Change(what=what, node=len(now.nodes), folder=now.find(path[:-1]), name=path[-1])
    node = now.find(path)
    if what == "unlink":
        return Change(what=what, node=node, folder=now.find(path[:-1]), name=path[-1])
    if what in ("link", "rename"):
        source = (now.find(path[:-1]), path[-1])
        return Change(what=what, node=node, folder=now.find(other[:-1]), name=other[-1], source=source)
    if what not in ("write", "size", "room", "empty", "chmod", "sync"):
        raise ValueError(f"The journal has an unknown word: {what}.")
    return Change(what="size" if what == "empty" else what, node=node)


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """One state after a power loss: how many changes had been made, and what became of the pending ones."""

    after: int
    how: str
    disk: Disk

    @property
    def name(self) -> str:
        """For the one who reads a failure."""
        return f"power lost after change {self.after}: {self.how}"


def pending(changes: Sequence[Change]) -> list[int]:
    """Which changes need not be there if the power is lost after the last of them."""
    waiting: list[int] = []
    for number, change in enumerate(changes):
        if change.what == "sync":
            waiting = [each for each in waiting if not _settles(change.node, changes[each])]
        elif change.what != "mark":
            waiting.append(number)
    return waiting


def _settles(node: int, change: Change) -> bool:
    return node == (change.folder if change.what in NAMES else change.node)


def losses(disk: Disk, changes: Sequence[Change], seen: set[bytes] | None = None) -> Iterator[Loss]:
    """Every different state that a loss at any moment leaves, those of the last moment at the end."""
    seen = set() if seen is None else seen
    for after in range(len(changes) + 1):
        for how, kept in _ways(changes[:after]):
            left = disk.copy()
            for change in kept:
                left.apply(change)
            digest = left.digest()
            if digest not in seen or after == len(changes):
                seen.add(digest)
                yield Loss(after=after, how=how, disk=left)


def _ways(changes: Sequence[Change]) -> Iterator[tuple[str, list[Change]]]:
    """What is kept of the changes, in each way that is tried."""
    waiting = pending(changes)
    lost = set(waiting)
    names = {each for each in lost if changes[each].what in NAMES}
    ways: dict[str, set[int]] = {"nothing pending is there": lost, "all of it is there": set()}
    ways["no pending name is there"] = names
    ways["no pending bytes are there"] = lost - names
    for each in waiting:
        told = _told(changes[each])
        ways[f"all but {told} ({each})"] = {each}
        ways[f"nothing but {told} ({each})"] = lost - {each}
    for how, without in ways.items():
        yield how, [change for number, change in enumerate(changes) if number not in without]
    if changes and changes[-1].what == "write" and len(changes[-1].data) > 1:
        last = changes[-1]
        torn = replace(last, data=last.data[: len(last.data) // 2])
        yield f"half of {_told(last)}", [*changes[:-1], torn]


def _told(change: Change) -> str:
    return f"{change.what} {change.name or f'of file {change.node}'}"


def sampled(found: Sequence[Loss], count: int, seed: int) -> list[Loss]:
    """The last state with nothing pending, which must hold all that was acknowledged, and others by the seed."""
    last = max(one.after for one in found)
    strict = [one for one in found if one.after == last and one.how.startswith("nothing pending")]
    others = [one for one in found if one not in strict]
    generator = random.Random(seed)  # noqa: S311 - which states, repeatably
    return strict + generator.sample(others, min(len(others), max(0, count - len(strict))))


def held(root: Path) -> Mapping[str, tuple[int, bytes]]:
    """The permissions and bytes of every file below a root."""
    return {
        path: (node.mode, b"" if node.names is not None or path.endswith(OF_A_MAP) else node.data)
        for path, node in Disk.of(root).files()
    }
