"""Recipes that attack: each gets a clear refusal, nothing of it stays, and nothing is changed."""

from __future__ import annotations

import json
import platform
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from gatewright.assembly.homes import create_home, open_home
from gatewright.datasets.table import Table
from gatewright.kernel.errors import BadInput, DependencyFailed, GatewrightError
from gatewright.operations import recipes, sandbox
from gatewright.operations.home import Home
from gatewright.testing.cases import number_column, text_column
from scenario.world import COMMAND_S, digests, environment

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is Linux only")

ROWS = Table(columns=(number_column("a", np.array([1.0, np.nan, 3.0])), text_column("b", ["x", "", "z"])))

ATTEMPTS = {
    "open a socket": "socket.create_connection(('127.0.0.1', PORT), 1)",
    "open a local socket": "socket.socket(socket.AF_UNIX)",
    "make a pair of sockets": "socket.socketpair()",
    "fork": "os.fork() or os._exit(0)",
    "start a program": "subprocess.run([sys.executable, '-c', f'open({MARK!r}, \"w\")'])",
    "start a daemon": "os.posix_spawn('/bin/sh', ['sh', '-c', f'sleep 9 & touch {MARK}'], {}, setsid=True)",
    "become a program": "os.execv('/bin/true', ['true'])",
    "kill the parent": "os.kill(os.getppid(), 15)",
    "kill everybody": "os.kill(-1, 15)",
    "kill its group": "os.killpg(os.getpgid(os.getppid()), 15)",
    "limit the parent": "resource.prlimit(os.getppid(), resource.RLIMIT_CPU, (1, 1))",
    "have the parent signalled": "fcntl.fcntl(0, fcntl.F_SETOWN, os.getppid())",
    "trace the parent": "call(libc.ptrace(16, os.getppid(), 0, 0))",
    "read the parent's memory": "open(f'/proc/{os.getppid()}/mem', 'rb')",
    "read the parent's variables": "open(f'/proc/{os.getppid()}/environ', 'rb').read()",
    "outlive the parent": "call(libc.prctl(1, 0, 0, 0, 0))",
    "slow the parent down": "os.setpriority(os.PRIO_PROCESS, os.getppid(), 19)",
    "read the user's key": "open(KEY).read()",
    "list the user's folder": "os.listdir(os.path.dirname(KEY))",
    "read the home's keys": "[open(os.path.join(HOME, 'keys', n)) for n in os.listdir(HOME + '/keys')]",
    "read the ledger": "open(LEDGER, 'rb')",
    "write over the ledger": "open(LEDGER, 'r+b')",
    "cut the ledger off": "os.truncate(LEDGER, 0)",
    "remove the ledger": "os.unlink(LEDGER)",
    "rename the ledger": "os.rename(LEDGER, LEDGER + '.old')",
    "lock the ledger's file up": "os.chmod(LEDGER, 0)",
    "date the ledger back": "os.utime(LEDGER, (0, 0))",
    "mark the ledger": "os.setxattr(LEDGER, 'user.x', b'1')",
    "reach the ledger by a link": "os.symlink(LEDGER, 'l'), open('l', 'rb')",
    "write outside": "open(MARK, 'w')",
    "change a library": "open(np.__file__, 'a')",
    "cut a library off": "os.close(os.open(np.__file__, os.O_RDONLY | os.O_TRUNC))",
    "add a library": "os.mkdir(os.path.dirname(np.__file__) + '/planted')",
    "watch the user's folder": "call(libc.inotify_add_watch(libc.inotify_init(), os.path.dirname(KEY).encode(), 0xFFF))",
    "watch a library": "call(libc.inotify_add_watch(libc.inotify_init(), np.__file__.encode(), 0xFFF))",
    "watch every file": "call(libc.fanotify_init(0x200, 0))",
    "keep shared memory": "shared_memory.SharedMemory(create=True, size=10)",
    "keep memory in a file": "os.memfd_create('x')",
    "keep System V memory": "call(libc.shmget(0, 4096, 0o1666))",
    "mount": "call(libc.mount(b'x', b'.', b'tmpfs', 0, None))",
    "enter a new namespace": "call(libc.unshare(0x10000000))",
    "get its privileges back": "call(libc.capset(bytes([0x22, 5, 8, 0x20, 0, 0, 0, 0]), b'\\xff' * 24))",
    "fill the disk": "[open(f'f{n}', 'wb').write(bytes(1 << 26)) for n in range(20)]",
    "write one endless file": "open('endless', 'wb').truncate(1 << 40)",
    "make endless files": "[open(f'n{n}', 'w').close() for n in range(20_000)]",
}

TRIES = """
import ctypes, fcntl, json, os, resource, socket, subprocess, sys
from multiprocessing import shared_memory
import numpy as np

libc = ctypes.CDLL(None, use_errno=True)

def call(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), "refused")

def train(rows, seed):
    said = {}
    for name, attempt in ATTEMPTS.items():
        try:
            exec(attempt, globals())
            said[name] = "did it"
        except OSError as error:
            said[name] = "refused"
        except BaseException as error:
            said[name] = repr(error)
        for left in os.listdir():
            os.unlink(left)
    return json.dumps(said).encode()
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attacked:
    """What was tried, how each try ended, and the world around it before and after."""

    said: dict[str, str]
    protections: tuple[str, ...]
    before: dict[str, str]
    after: dict[str, str]
    visitors: int


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a home, the key of a user, and nothing else."""
    root = tmp_path_factory.mktemp("attacked")
    create_home(root / "project", "ada")
    key = root / "user" / ".ssh" / "id_ed25519"
    key.parent.mkdir(parents=True)
    key.write_text("marker: a private key")
    return root


@pytest.fixture
def home(folder: Path) -> Iterator[Home]:
    """The home, opened."""
    with open_home(folder / "project") as opened:
        yield opened


@pytest.fixture(scope="session")
def attacked(folder: Path) -> Attacked:
    """Every attempt, made by one recipe."""
    with socket.create_server(("127.0.0.1", 0)) as listener, open_home(folder / "project") as home:
        names = {
            "ATTEMPTS": ATTEMPTS,
            "HOME": str(home.folder),
            "KEY": str(folder / "user" / ".ssh" / "id_ed25519"),
            "LEDGER": str(home.folder / "ledger.db"),
            "MARK": str(folder / "mark"),
            "PORT": listener.getsockname()[1],
        }
        source = "\n".join(f"{name} = {value!r}" for name, value in names.items()) + TRIES
        before = digests(folder)
        trained = recipes.run(source.encode(), ROWS, seed=1, home=home, seconds=300)
        listener.setblocking(False)
        try:
            listener.accept()
        except BlockingIOError:
            visitors = 0
        else:
            visitors = 1
        return Attacked(
            said=json.loads(trained.onnx), protections=trained.protections, before=before,
            after=digests(folder), visitors=visitors,
        )  # fmt: skip


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_what_is_not_a_recipes_business_is_refused(attacked: Attacked, attempt: str) -> None:
    """A recipe cannot do this: the kernel refuses it."""
    assert "refused" == attacked.said[attempt]


def test_the_world_around_a_recipe_is_as_it_was(attacked: Attacked) -> None:
    """After all attempts every file is as before, none was added, and nobody called."""
    assert attacked.before == attacked.after
    assert 0 == attacked.visitors


def test_every_needed_protection_is_told(attacked: Attacked) -> None:
    """The answer says what protected, and nothing that is needed lacks."""
    assert set(sandbox.REQUIRED) <= set(attacked.protections)


FORGED = """
import os
from gatewright.operations import child_protocol as p
from gatewright.kernel.errors import Misuse
def train(rows, seed):
    refusal = p.REFUSAL + p.encode_refusal(Misuse("ledger.all-is-well", "Nothing to see."))
    for place in range(3, 20):
        try:
            os.write(place, p.frame(refusal))
        except OSError:
            pass
    os._exit(0)
"""
PATCHED = """
import sys
sys.modules["__main__"].frame = lambda data: data
def train(rows, seed):
    return b"x"
"""

# Written as the process's own answer: small enough to be read, a hundred times as large as values.
BOMB = """
import os, stat
from gatewright.operations import child_protocol as p
def train(rows, seed):
    told = b'{"a":[' + b'[],' * 15_000_000 + b'[]]}'
    left = memoryview(p.frame(p.RESULT + p.pack([b"m", told])))
    place = next(n for n in range(3, 20) if stat.S_ISFIFO(os.fstat(n).st_mode))
    while left:
        left = left[os.write(place, left):]
    os._exit(0)
"""

ENDINGS = {
    "nothing": ("def train(rows, seed): return None", "recipes.no-model"),
    "a model that is no bytes": (
        "class M: onnx = 'text'\ndef train(rows, seed): return M()",
        "recipes.no-model",
    ),
    "three gigabytes": ("def train(rows, seed): return bytes(3 << 30)", "recipes.model-too-large"),
    "an error": ("def train(rows, seed): raise ValueError('marker')", "recipes.raised"),
    "an error that cannot be told": (
        "class E(Exception):\n    def __str__(self): raise self\ndef train(rows, seed): raise E",
        "recipes.raised",
    ),
    "an exit": ("import sys\ndef train(rows, seed): sys.exit(0)", "recipes.raised"),
    "a silent exit": ("import os\ndef train(rows, seed): os._exit(0)", "recipes.nonsense"),
    "a loud exit": ("import os\ndef train(rows, seed): os._exit(7)", "recipes.crash"),
    "a crash": ("import ctypes\ndef train(rows, seed): ctypes.string_at(0)", "recipes.crash"),
    "hunger": ("def train(rows, seed): return bytearray(1 << 36)", "recipes.memory"),
    "no end": ("import time\nwhile True: time.sleep(1)", "recipes.timeout"),
    "no end, deaf": (
        "import signal, os\nsignal.signal(15, signal.SIG_IGN)\nos.close(1)\nos.close(2)\nwhile True: pass",
        "recipes.timeout",
    ),
    "a flood": (
        "import os\nwhile True:\n    os.write(3, bytes(1 << 24))",
        "recipes.nonsense",
    ),
    "no train": ("def trian(rows, seed): return b''", "recipes.raised"),
    "a syntax error": ("def train(rows, seed) return b''", "recipes.raised"),
    "deep brackets": ("x = " + "(" * 100_000, "recipes.raised"),
    "a forged refusal": (FORGED, "recipes.nonsense"),
    "another protocol": (PATCHED, "recipes.nonsense"),
    "millions of lists as libraries": (BOMB, "recipes.nonsense"),
}


@pytest.mark.parametrize("name", ENDINGS)
def test_every_bad_end_is_a_refusal(home: Home, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nonsense, errors, exits, hunger, floods and endless runs each have their code, and leave no process."""
    source, code = ENDINGS[name]
    monkeypatch.setattr(recipes, "LIMITS", replace(recipes.LIMITS, answer_bytes=1 << 26))
    with pytest.raises(GatewrightError) as caught:
        recipes.run(source.encode(), ROWS, seed=1, home=home, seconds=2 if "no end" in name else 120)

    assert code == caught.value.code
    assert "" == running()


def running() -> str:
    """The command lines of this process's children that are sandboxes."""
    children = [place.read_text().split() for place in Path("/proc/self/task").glob("*/children")]
    lines = [Path(f"/proc/{child}/cmdline").read_text() for each in children for child in each]
    return "".join(line for line in lines if "gatewright.operations.children" in line)


def test_endless_threads_are_stopped(home: Home) -> None:
    """Neither the kernel nor, for root, the parent lets a recipe start threads without end."""
    source = "import threading, time\ndef train(rows, seed):\n    while True: threading.Thread(target=time.sleep, args=(99,)).start()"
    with pytest.raises(GatewrightError) as caught:
        recipes.run(source.encode(), ROWS, seed=1, home=home, seconds=120)

    assert caught.value.code in {"recipes.threads", "recipes.raised"}


def test_what_a_recipe_prints_is_read_and_dropped(home: Home) -> None:
    """Much output neither stops a recipe nor becomes its answer."""
    source = "def train(rows, seed):\n    for _ in range(200): print('x' * 500_000)\n    return b'model'"

    assert b"model" == recipes.run(source.encode(), ROWS, seed=1, home=home).onnx


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"# \xff\xfe", "recipes.not-text"),
        (b"def train(rows, seed):\0 return b''", "recipes.not-text"),
        (b"#" * 50_000_000, "recipes.too-large"),
    ],
)
def test_what_is_no_recipe_is_not_started(home: Home, content: bytes, code: str) -> None:
    """Bytes that are no text, and fifty megabytes of it, are refused before anything runs."""
    with pytest.raises(BadInput) as caught:
        recipes.run(content, ROWS, seed=1, home=home)

    assert code == caught.value.code


def test_libraries_that_lie_around_the_home_stay_closed(home: Home) -> None:
    """Where a library folder holds the home, the folder stays closed, even if nothing runs then."""
    inside = replace(home, folder=Path(np.__file__).parents[1] / ".gatewright")
    with pytest.raises(DependencyFailed) as caught:
        recipes.run(b"def train(rows, seed): return b''", ROWS, seed=1, home=inside)

    assert "operations.child-start" == caught.value.code


WITHOUT = """
import ctypes, struct, sys
from pathlib import Path
from gatewright.assembly.homes import read_home
from gatewright.kernel.errors import GatewrightError
from gatewright.operations import recipes, sandbox
from attack.recipes.test_hostile_recipes import ROWS

number, place = int(sys.argv[1]), Path(sys.argv[2])
steps = [(0x20, 0, 0, 0), (0x15, 0, 1, number), (6, 0, 0, 0x50000 | 38), (6, 0, 0, 0x7FFF0000)]
program = b"".join(struct.pack("=HBBI", *step) for step in steps)
held = ctypes.create_string_buffer(program, len(program))
whole = struct.pack("=HxxxxxxQ", 4, ctypes.addressof(held))
libc = ctypes.CDLL(None)
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, whole, 0, 0) == 0
source = b'''
import json, os, socket
def train(rows, seed):
    said = []
    for attempt in (socket.socket, lambda: open("scratch", "w").write("x")):
        try:
            attempt()
            said.append("did it")
        except OSError:
            said.append("refused")
    return json.dumps(said).encode()
'''
with read_home(place) as home:
    try:
        trained = recipes.run(source, ROWS, seed=1, home=home)
        print(trained.onnx.decode(), sandbox.NAMESPACE in trained.protections)
    except GatewrightError as error:
        print(error.code, error.refusal.why.split(".")[0])
"""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the numbers of system calls are x86's")
@pytest.mark.parametrize(
    ("number", "said"),
    [
        (444, "recipes.no-sandbox Missing: files of libraries only (Landlock)"),
        (272, '["refused", "refused"] False'),
    ],
)
def test_a_kernel_that_lacks_a_protection_is_never_passed_over(folder: Path, number: int, said: str) -> None:
    """Without Landlock nothing runs; without namespaces a recipe runs, still without a network, and writes nothing."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, str(number), str(folder / "project")],
        env={**environment(), "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=COMMAND_S,
        check=False,
    )
    assert (said, "") == (done.stdout.strip(), done.stderr)
