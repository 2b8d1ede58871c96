from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gatewright.assembly.supervising import WORKER_PROGRAM, Asked, command, cores, serve, serve_command
from gatewright.kernel.errors import Misuse
from gatewright.serving.limits import WORKERS
from gatewright.serving.slots import Slot


@pytest.mark.parametrize(
    ("text", "most"), [("max 100000", None), ("150000 100000", 2), ("20000 100000", 1), ("", None)]
)
def test_cores_are_those_that_may_be_used(tmp_path: Path, text: str, most: int | None) -> None:
    """The group's share bounds the number of cores, a part of one counting as one; no share bounds nothing."""
    place = tmp_path / "cpu.max"
    place.write_text(text)
    mine = len(os.sched_getaffinity(0))

    assert (mine if most is None else min(mine, most)) == cores(place)
    assert mine == cores(tmp_path / "absent")


@pytest.mark.parametrize("workers", [0, -1, WORKERS.value + 1])
def test_a_number_of_workers_that_is_not_allowed_is_refused(workers: int) -> None:
    """Before anything is opened or bound."""
    with pytest.raises(Misuse) as caught:
        serve({"start": Path("absent")}, workers)

    assert "assembly.workers" == caught.value.code


def test_a_worker_is_told_all_that_was_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the command line asked for reaches the worker's process as it was: paths, tuples, nothing."""
    asked = {"start": tmp_path, "host": "h", "port": 1, "allowed_hosts": ("a", "b"), "tls_cert": None}
    slot = Slot(index=1, workers=2, listening=5, told=6, lock=7)
    program = command(asked, slot)
    heard: list[tuple[Asked, Slot]] = []

    def hear(asked: Asked, slot: Slot) -> int:
        heard.append((asked, slot))
        return 3

    monkeypatch.setattr("gatewright.assembly.supervising.serve_slot", hear)

    assert [sys.executable, "-m", WORKER_PROGRAM] == program[:3]
    assert 3 == serve_command(program[3])
    assert [(asked, slot)] == heard


def test_the_parent_imports_nothing_heavy() -> None:
    """The process that looks after the workers has neither NumPy, ONNX Runtime nor cryptography in it."""
    script = (
        "import json, sys, gatewright.cli.main, gatewright.assembly.supervising\n"
        "print(json.dumps([m for m in sys.modules if m in "
        "{'numpy', 'onnxruntime', 'cryptography', 'OpenSSL', 'sqlalchemy', 'msgspec', 'asyncio'}]))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert [] == json.loads(done.stdout)
