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

import random
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from anomaly.fault_injection import FaultLab

ROOT = 0
NOTHING = "nothing pending is there"
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

    def key(self) -> tuple[tuple[str, int, int], ...]:
        """The same for two disks that hold the same: Python keeps the hash of bytes beside them."""
        return tuple(
            (path, node.mode, 0 if path.endswith(OF_A_MAP) else hash(node.data))
            for path, node in self.files()
        )

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
    """A power loss after so many of the changes, and what became of those that were pending.

    ``lost`` are the numbers of those that are not there, ``torn`` is one of which half the bytes are.
    """

    after: int
    how: str
    lost: frozenset[int] = frozenset()
    torn: int = -1

    @property
    def name(self) -> str:
        """For the one who reads a failure."""
        return f"power lost after change {self.after}: {self.how}"

    def leaves(self, disk: Disk, changes: Sequence[Change]) -> Disk:
        """What is left of a disk, as it was before the changes."""
        left = disk.copy()
        for number, change in enumerate(changes[: self.after]):
            if number == self.torn:
                left.apply(replace(change, data=change.data[: len(change.data) // 2]))
            elif number not in self.lost:
                left.apply(change)
        return left


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


def losses(changes: Sequence[Change]) -> Iterator[Loss]:
    """Every loss that is tried, those of the last moment at the end."""
    for after in range(len(changes) + 1):
        yield from _losses(after, changes)


def _losses(after: int, changes: Sequence[Change]) -> Iterator[Loss]:
    waiting = pending(changes[:after])
    all_of_them = frozenset(waiting)
    names = frozenset(each for each in waiting if changes[each].what in NAMES)
    yield Loss(after=after, how=NOTHING, lost=all_of_them)
    yield Loss(after=after, how="all of it is there")
    yield Loss(after=after, how="no pending name is there", lost=names)
    yield Loss(after=after, how="no pending bytes are there", lost=all_of_them - names)
    for each in waiting:
        told = f"{_told(changes[each])} (change {each + 1})"
        yield Loss(after=after, how=f"all but {told}", lost=frozenset((each,)))
        yield Loss(after=after, how=f"nothing but {told}", lost=all_of_them - {each})
        if len(changes[each].data) > 1:
            yield Loss(after=after, how=f"half of {told}", torn=each)


def distinct(disk: Disk, changes: Sequence[Change]) -> Iterator[Loss]:
    """The losses that leave different states; all of those after the last change."""
    seen: set[object] = set()
    for loss in losses(changes):
        key = loss.leaves(disk, changes).key()
        if key not in seen or _strictest(loss, changes):
            seen.add(key)
            yield loss


def _strictest(loss: Loss, changes: Sequence[Change]) -> bool:
    """Whether nothing pending is left after all changes: what is acknowledged must be there all the same."""
    return loss.after == len(changes) and loss.how == NOTHING


def _told(change: Change) -> str:
    return f"{change.what} {change.name or f'of file {change.node}'}"


def sampled(changes: Sequence[Change], count: int, seed: int) -> list[Loss]:
    """The loss of all that is pending after the last change, and others by the seed."""
    found = list(losses(changes))
    strict = [one for one in found if _strictest(one, changes)]
    others = [one for one in found if not _strictest(one, changes)]
    generator = random.Random(seed)  # noqa: S311 - which losses, repeatably
    return strict + generator.sample(others, min(len(others), count - 1))


def held(root: Path) -> Mapping[str, tuple[int, bytes]]:
    """The permissions and bytes of every file below a root."""
    return {
        path: (node.mode, b"" if node.names is not None or path.endswith(OF_A_MAP) else node.data)
        for path, node in Disk.of(root).files()
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One undisturbed run of a verb: the disk before it, and its changes."""

    disk: Disk
    changes: tuple[Change, ...]

    def replayed(self, root: Path) -> Mapping[str, tuple[int, bytes]]:
        """What all changes make of the disk before, written to a folder and read back."""
        left = Loss(after=len(self.changes), how="").leaves(self.disk, self.changes)
        left.write(root)
        return held(root)


def journaled(lab: FaultLab, verb: str, template: Path, arguments: Mapping[str, object]) -> Run:
    """Run a verb in a copy of the template; what it left stands in the laboratory's home."""
    journal = lab.journal(verb, template, arguments=arguments)
    disk = Disk.of(template)
    return Run(disk=disk, changes=tuple(read_journal(journal, lab.home, disk)))
