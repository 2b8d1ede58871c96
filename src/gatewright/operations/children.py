"""The isolated child: it gives up its rights, reads hostile bytes, does one named job, answers.

A parser gives up what ``protect`` names, a recipe, which is code, everything in ``sandbox``.

``python -I -B -m gatewright.operations.children JOB LIMITS`` is started by ``isolation`` only. The
order matters: limits and the empty network come first, then the imports that the job needs, then
the untrusted bytes.

Jobs are modules loaded by name from one table: each child imports one reader (a few hundred
milliseconds at most) and not all of them, and none before the limits stand.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import resource
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from gatewright.kernel.errors import GatewrightError
from gatewright.operations import sandbox
from gatewright.operations.child_protocol import (
    EXIT_CANNOT_START,
    EXIT_MEMORY,
    REFUSAL,
    RESULT,
    Job,
    Limits,
    encode_refusal,
    frame,
)

# Each module holds ``work(data: bytes) -> bytes``.
JOB_MODULES: Mapping[Job, str] = MappingProxyType(
    {
        Job.INSPECT_ONNX: "gatewright.operations.child_inspection",
        Job.READ_CSV: "gatewright.operations.child_csv",
        Job.READ_PARQUET: "gatewright.operations.child_parquet",
        Job.PREDICT: "gatewright.operations.child_prediction",
        Job.TRAIN: "gatewright.operations.child_recipe",
    }
)

OPEN_FILES = 256
_CLONE_NEWUSER = 0x10000000  # linux/sched.h
_CLONE_NEWNET = 0x40000000
_PR_SET_NO_NEW_PRIVS = 38  # linux/prctl.h


def main(arguments: list[str]) -> int:
    """Do the job that the arguments name; returns the exit status."""
    job, limits = Job(arguments[0]), Limits.decode(arguments[1])
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not look like an answer
    if job is Job.TRAIN:
        active = sandbox.enter(limits, str(Path.cwd()), arguments[2:])
    else:
        gc.disable()  # one job and out: collecting only slows the building of millions of cells
        active = protect(limits)
    answers.write(frame(json.dumps(active).encode("ascii")))
    answers.flush()
    if job is Job.TRAIN and not set(sandbox.REQUIRED) <= set(active):
        return EXIT_CANNOT_START
    try:
        job_module = importlib.import_module(JOB_MODULES[job])
    except (ImportError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_CANNOT_START
    try:
        answer = RESULT + job_module.work(sys.stdin.buffer.read())
    except MemoryError:
        return EXIT_MEMORY
    except ImportError as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_CANNOT_START
    except GatewrightError as error:
        answer = REFUSAL + encode_refusal(error)
    answers.write(frame(answer))
    answers.close()
    return 0


def protect(limits: Limits) -> list[str]:
    """Give up every right that the platform lets us give up; returns which ones are gone, in words."""
    active = _without_network() if sys.platform == "linux" else []
    bounds = {
        "memory": (resource.RLIMIT_AS, limits.memory_bytes),
        "processor time": (resource.RLIMIT_CPU, limits.seconds),
        "file writing": (resource.RLIMIT_FSIZE, 0),
        "open files": (resource.RLIMIT_NOFILE, OPEN_FILES),
        "core dumps": (resource.RLIMIT_CORE, 0),
    }
    if not limits.tasks or "user namespace" in active:
        # Elsewhere the bound counts all tasks of the user, and only "none" can be asked for.
        bounds["tasks"] = (resource.RLIMIT_NPROC, limits.tasks)
    for name, (which, bound) in bounds.items():
        try:
            resource.setrlimit(which, (bound, bound))
        except (ValueError, OSError):
            continue
        active.append(f"limit on {name}")
    return active


def _without_network() -> list[str]:
    """Leave for an empty network and a user namespace without rights in the outer one."""
    system = ctypes.CDLL(None, use_errno=True)
    active = []
    if system.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0:
        active.append("no new privileges")
    if system.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) == 0:
        active += ["user namespace", "no network"]
    return active


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
