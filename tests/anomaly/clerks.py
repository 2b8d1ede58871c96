"""Clerks: processes that add to a home on and on, and that are killed without warning.

Each works as ``gatewright`` does (``gatewright.cli.main.run``), forked from one process that has
everything imported, so that a clerk that was killed is followed by the next within milliseconds.
A clerk writes down each act that was acknowledged; whatever is not written down may or may not have
been done.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from gatewright.assembly.homes import open_home
from gatewright.cli.main import run
from gatewright.operations import models
from gatewright.operations.approve import verified_approvals
from gatewright.operations.catalogue import Release
from gatewright.operations.released import release
from gatewright.operations.users import people

Act = tuple[str, ...]


def register(name: str, _who: str) -> tuple[Act, ...]:
    """A new version of the model."""
    return (("model", "add", "model.onnx", "--name", name, "--trained-on", name),)


def approve(name: str, who: str) -> tuple[Act, ...]:
    """A new person, and their approval of the first release."""
    return ("user", "add", who), ("approve", f"{name}@1", "--as", who)


TRADES: tuple[Callable[[str, str], tuple[Act, ...]], ...] = (register, approve)


def work(folder: Path, name: str, trade: int, turn: int) -> None:
    """Be a clerk until killed; each acknowledged act is a line of the trade's diary."""
    os.chdir(folder)
    for one in [one for one in os.environ if one.startswith("GATEWRIGHT_")]:
        del os.environ[one]
    diary = os.open(_diary(folder, trade), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere, contextlib.redirect_stderr(nowhere):
        for count in itertools.count():
            for words in TRADES[trade](name, f"p-{turn}-{count}"):
                told = io.StringIO()
                sys.argv = ["gatewright", *words, "--json"]
                with contextlib.redirect_stdout(told):
                    status = run()
                line = {"words": words, "status": status, "told": told.getvalue()}
                os.write(diary, json.dumps(line).encode() + b"\n")


def _diary(folder: Path, trade: int) -> Path:
    return folder / f"clerk-{trade}.diary"


@dataclass
class Clerks:
    """One clerk of each trade, in a home whose model is called ``name``."""

    folder: Path
    name: str
    turn: int = 0
    _nursery: subprocess.Popen[str] | None = None
    _pids: list[int] = field(default_factory=list)

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """Work while the block runs."""
        paths = {"PYTHONPATH": os.pathsep.join(sys.path)}
        words = [sys.executable, "-m", __name__, str(self.folder), self.name]
        with subprocess.Popen(
            words, env=os.environ | paths, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as self._nursery:
            self.start()
            try:
                yield
            finally:
                self.kill()
                assert self._nursery.stdin is not None
                self._nursery.stdin.close()

    def start(self) -> None:
        """Begin, where those before left off."""
        assert self._nursery is not None
        assert self._nursery.stdin is not None
        assert self._nursery.stdout is not None
        self.turn += 1
        for trade in range(len(TRADES)):
            self._nursery.stdin.write(f"{trade} {self.turn}\n")
            self._nursery.stdin.flush()
            self._pids.append(int(self._nursery.stdout.readline()))

    def kill(self) -> None:
        """End all as a power cut does, with what they have started."""
        for pid in self._pids:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
        self._pids.clear()

    def judged(self) -> Acts:
        """What became of every act; what a clerk was refused is told in ``refused``."""
        lines = [line for trade in range(len(TRADES)) for line in _lines(_diary(self.folder, trade))]
        done = [line for line in lines if not line["status"]]
        with open_home(self.folder) as home:
            found: Release = release(home, f"{self.name}@1")
            by_principal = {user.principal: user.name for user in people(home)}
            there = Counter(
                [
                    *(("model", each.ref) for each in models.versions(home)),
                    *(("user", user.name) for user in people(home)),
                    *(
                        ("approve", by_principal[each.principal])
                        for each, _ in verified_approvals(home, found)
                    ),
                ]
            )
        promised = Counter(_of(line["words"], str(line["told"])) for line in done)
        return Acts(
            acknowledged=len(done),
            lost=sum((promised - there).values()),
            duplicated=sum(count - 1 for count in there.values()),
            refused=tuple(str(line["told"]) for line in lines if line["status"]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Acts:
    """What became of the clerks' acts; ``refused`` are the answers of those that were not done."""

    acknowledged: int
    lost: int
    duplicated: int
    refused: tuple[str, ...]


def _lines(diary: Path) -> list[dict[str, object]]:
    """The whole lines of a diary: half a line was never acknowledged."""
    text = diary.read_text("utf-8") if diary.exists() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def _of(words: object, told: str) -> tuple[str, str]:
    """The name by which an acknowledged act is found again."""
    assert isinstance(words, list)
    if words[0] == "model":
        return "model", str(json.loads(told)["ref"])
    return words[0], words[-1]


def _nursery(folder: Path, name: str) -> None:
    """Fork a clerk for each line that says which, and tell its process, which is the head of a group."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    for line in sys.stdin:
        trade, turn = map(int, line.split())
        pid = os.fork()
        if not pid:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            work(folder, name, trade, turn)
        with contextlib.suppress(PermissionError, ProcessLookupError):
            os.setpgid(pid, pid)
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _nursery(Path(sys.argv[1]), sys.argv[2])
