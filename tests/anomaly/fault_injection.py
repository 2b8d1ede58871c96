"""A laboratory that makes the n-th write of a verb fail, and hands back the home it leaves behind.

    with memory_folder() as folder, FaultLab(folder, paths=[Path(__file__).parent]) as lab:
        for outcome in lab.every("verbs:release", template, Mode.KILL_BEFORE):
            assert is_old_or_new(outcome.home)

A *verb* is ``module:function``; it is called as ``function(home, **arguments)`` in a copy of the
template folder. One process (the nursery) starts under the preloaded library ``faults.c`` with
everything imported, and forks a child for each point, so that a point costs milliseconds. What the
first run of a verb imports, the nursery imports too, for those that follow.

Points are the calls that change something below the home; ``faults.c`` lists them, and what it
cannot see. Judging what was left behind is the caller's part, in a process without faults.
"""

from __future__ import annotations

import contextlib
import ctypes
import enum
import gc
import importlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

SOURCE = Path(__file__).with_name("faults.c")
CHILD_SECONDS = 60.0
START_SECONDS = 120.0
INTERRUPTED = 130
OUTPUT_CHARACTERS = 4_000


class Mode(enum.IntEnum):
    """What happens at the point; the numbers are those of ``faults.c``."""

    COUNT = 0
    EIO = 1
    ENOSPC = 2
    SHORT_WRITE = 3
    KILL_BEFORE = 4
    KILL_TORN = 5
    KILL_AFTER = 6
    INTERRUPT = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How one run ended, and the home that it left.

    ``exit`` is None where the process was killed; ``fired`` says whether the point was reached;
    ``error`` is the exception's type and text; ``points`` names what was counted (only when
    counting). The home stands until the laboratory's next run.
    """

    mode: Mode
    point: int
    sticky: bool
    exit: int | None
    fired: bool
    error: str
    output: str
    points: tuple[str, ...]
    home: Path
    seconds: float

    @property
    def killed(self) -> bool:
        """Whether the process died at the point."""
        return self.exit is None


def unavailable() -> str:
    """Why faults cannot be injected here, or empty text."""
    if sys.platform != "linux":
        return "faults are injected through LD_PRELOAD and /proc, on Linux only"
    if not _compiler():
        return "faults.c needs a C compiler (cc, gcc or clang)"
    return ""


def _compiler() -> str:
    return next((found for name in ("cc", "gcc", "clang") if (found := shutil.which(name))), "")


def build(target: Path) -> Path:
    """Compile the preloaded library."""
    subprocess.run(
        [_compiler(), "-Wall", "-O2", "-shared", "-fPIC", "-o", str(target), str(SOURCE), "-ldl"], check=True
    )
    return target


@contextlib.contextmanager
def memory_folder() -> Iterator[Path]:
    """A temporary folder in memory where there is one: an fsync costs nothing there, and is still a point."""
    in_memory = Path("/dev/shm")  # noqa: S108 - a folder of our own is made in it
    place = in_memory if os.access(in_memory, os.W_OK | os.X_OK) else None
    with tempfile.TemporaryDirectory(prefix="gatewright-faults-", dir=place) as folder:
        yield Path(folder)


class FaultLab:
    """One nursery and one home; not for use by two threads."""

    def __init__(self, folder: Path, *, preload: Sequence[str] = (), paths: Sequence[Path] = ()) -> None:
        """Start the nursery; it imports ``preload``, looking in ``paths`` first."""
        self.folder = folder.resolve()
        self.home = self.folder / "run" / "home"
        self.home.parent.mkdir(parents=True, exist_ok=True)
        library = build(self.folder / "faults.so")
        single = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).resolve()), str(library)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **single, "LD_PRELOAD": str(library), "PYTHONWARNINGS": "ignore"},
        )
        self._ask({"preload": list(preload), "paths": [str(path.resolve()) for path in paths]}, START_SECONDS)

    def __enter__(self) -> Self:
        """The laboratory itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the nursery."""
        self.close()

    def close(self) -> None:
        """End the nursery."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                pipe.close()
        self._process.wait(START_SECONDS)

    def _ask(self, request: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        sent, received = self._process.stdin, self._process.stdout
        if sent is None or received is None:
            raise RuntimeError("The nursery has no pipes.")
        sent.write(json.dumps(request).encode() + b"\n")
        sent.flush()
        if not select.select([received], [], [], seconds)[0]:
            raise TimeoutError(f"The nursery did not answer within {seconds} s: {request}")
        line = received.readline()
        if not line:
            raise RuntimeError(f"The nursery died; its last request: {request}")
        answer: dict[str, Any] = json.loads(line)
        if "fault" in answer:
            raise RuntimeError(answer["fault"])
        return answer

    def _reset(self, template: Path | None) -> None:
        shutil.rmtree(self.home, ignore_errors=True)
        if template is None:
            self.home.mkdir()
        else:
            shutil.copytree(template, self.home, symlinks=True)

    def run(
        self,
        verb: str,
        template: Path | None,
        point: int,
        mode: Mode,
        *,
        sticky: bool = False,
        arguments: Mapping[str, Any] | None = None,
    ) -> Outcome:
        """Run the verb in a fresh copy of the template (an empty folder for None) with one fault."""
        started = time.perf_counter()
        self._reset(template)
        answer = self._ask(
            {
                "verb": verb,
                "arguments": dict(arguments or {}),
                "home": str(self.home),
                "scratch": str(self.folder / "run"),
                "point": point,
                "mode": int(mode),
                "sticky": sticky,
            },
            CHILD_SECONDS * 2,
        )
        return Outcome(
            mode=mode,
            point=point,
            sticky=sticky,
            exit=answer["exit"],
            fired=answer["fired"],
            error=answer["error"],
            output=answer["output"],
            points=tuple(answer["points"]),
            home=self.home,
            seconds=time.perf_counter() - started,
        )

    def points(
        self, verb: str, template: Path | None, *, arguments: Mapping[str, Any] | None = None
    ) -> tuple[str, ...]:
        """The verb's points in order, as ``call path``; raises where it does not succeed undisturbed."""
        outcome = self.run(verb, template, 0, Mode.COUNT, arguments=arguments)
        if outcome.exit != 0:
            raise RuntimeError(f"{verb} fails without any fault: {outcome.error}\n{outcome.output}")
        return outcome.points

    def journal(
        self, verb: str, template: Path | None, *, arguments: Mapping[str, Any] | None = None
    ) -> bytes:
        """Everything that the verb changes and syncs below the home, in order, as ``faults.c`` enters it.

        The verb runs undisturbed; what it leaves stands in the home. Raises where it does not succeed.
        """
        self._reset(template)
        request = {"verb": verb, "arguments": dict(arguments or {}), "home": str(self.home), "point": 0}
        request |= {"scratch": str(self.folder / "run"), "mode": int(Mode.COUNT), "sticky": False}
        answer = self._ask({**request, "journal": True}, CHILD_SECONDS * 2)
        if answer["exit"] != 0:
            raise RuntimeError(f"{verb} fails without any fault: {answer['error']}\n{answer['output']}")
        return (self.folder / "run" / "journal").read_bytes()

    def count(self, verb: str, template: Path | None, *, arguments: Mapping[str, Any] | None = None) -> int:
        """How many points the verb has."""
        return len(self.points(verb, template, arguments=arguments))

    def every(
        self,
        verb: str,
        template: Path | None,
        mode: Mode,
        *,
        sticky: bool = False,
        arguments: Mapping[str, Any] | None = None,
    ) -> Iterator[Outcome]:
        """One run for each point of the verb, up to the run that no longer reaches one."""
        self.points(verb, template, arguments=arguments)
        point = 1
        while (outcome := self.run(verb, template, point, mode, sticky=sticky, arguments=arguments)).fired:
            yield outcome
            point += 1


# ---- the nursery: its own process, under the preloaded library ------------------------------------


def _resolve(verb: str) -> Callable[..., object]:
    module, _, function = verb.partition(":")
    found: Callable[..., object] = getattr(importlib.import_module(module), function)
    return found


def _perform(library: ctypes.CDLL, request: Mapping[str, Any]) -> tuple[int, str]:
    """Run the verb with the fault armed; its exit status and its error, as a shell would see them."""
    verb = _resolve(request["verb"])
    home = request["home"]
    library.gw_arm(ctypes.c_long(request["point"]), request["mode"], int(request["sticky"]), home.encode())
    try:
        verb(Path(home), **request["arguments"])
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
        return status, "" if status == 0 else f"SystemExit: {error.code}"
    except KeyboardInterrupt:
        return INTERRUPTED, "KeyboardInterrupt"
    except BaseException as error:  # noqa: BLE001 - whatever the verb raises is what the caller asked about
        return 1, f"{type(error).__name__}: {error}"
    else:
        return 0, ""
    finally:
        library.gw_disarm()


def _child(library: ctypes.CDLL, request: Mapping[str, Any]) -> None:
    """The forked process: never returns."""
    os.setpgid(0, 0)
    scratch = Path(request["scratch"])
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    output = os.open(scratch / "output", flags)
    os.dup2(output, 1)
    os.dup2(output, 2)
    library.gw_trace(os.open(scratch / "points", flags) if request["mode"] == Mode.COUNT else -1)
    if request.get("journal"):
        library.gw_journal(os.open(scratch / "journal", flags | os.O_APPEND, 0o600))
    before = set(sys.modules)
    status, error = _perform(library, request)
    sys.stdout.flush()
    sys.stderr.flush()
    report = {
        "exit": status,
        "error": error,
        "fired": bool(library.gw_fired()),
        "imported": sorted(set(sys.modules) - before),
    }
    (scratch / "report").write_text(json.dumps(report), "utf-8")
    os._exit(0)


def _wait(child: int) -> None:
    """Wait for the child and end whatever it has started; a child that hangs is ended too."""
    handle = os.pidfd_open(child)
    ended = select.select([handle], [], [], CHILD_SECONDS)[0]
    os.close(handle)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if not ended:
        raise TimeoutError(f"The verb did not end within {CHILD_SECONDS} s.")
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) != signal.SIGKILL:
        raise RuntimeError(f"The verb crashed with signal {os.WTERMSIG(status)}.")


def _learn(names: Sequence[str]) -> None:
    """Import what a child had to import, so that the next one finds it here."""
    for name in names:
        with contextlib.suppress(Exception):
            importlib.import_module(name)


def _serve_one(library: ctypes.CDLL, request: Mapping[str, Any]) -> dict[str, Any]:
    if "preload" in request:
        sys.path[:0] = request["paths"]
        for name in request["preload"]:
            importlib.import_module(name)
        return {"ready": True}
    _resolve(request["verb"])
    scratch = Path(request["scratch"])
    for name in ("report", "output", "points"):
        (scratch / name).unlink(missing_ok=True)
    gc.freeze()
    child = os.fork()
    if child == 0:
        _child(library, request)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.setpgid(child, child)
    _wait(child)
    output = scratch / "output"
    answer: dict[str, Any] = {"exit": None, "error": "killed", "fired": True, "imported": [], "points": []}
    if (scratch / "report").exists():
        answer |= json.loads((scratch / "report").read_text("utf-8"))
    answer["output"] = output.read_text("utf-8", "replace")[-OUTPUT_CHARACTERS:] if output.exists() else ""
    if request["mode"] == Mode.COUNT and (scratch / "points").exists():
        answer["points"] = (scratch / "points").read_text("utf-8").splitlines()
    _learn(answer.pop("imported"))
    return answer


def _nursery() -> None:
    os.environ.pop("LD_PRELOAD", None)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    library = ctypes.CDLL(sys.argv[1])
    for line in sys.stdin.buffer:
        try:
            answer = _serve_one(library, json.loads(line))
        except Exception as error:  # noqa: BLE001 - told to the laboratory, which raises it
            answer = {"fault": f"{type(error).__name__}: {error}"}
        sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    _nursery()
