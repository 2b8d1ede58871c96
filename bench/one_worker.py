"""One worker of its own process that serves one model: for benches of the data plane alone.

The release, its signatures and the plan are those of the small world of the serving tests; the worker
proves them as any other. ``python bench/one_worker.py FOLDER`` is the process: it reads ``model.onnx`` and
``signature.json`` there, and writes what it says to ``worker.json``: the URL, its keys, and the seconds
from its start until it took requests.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

from gatewright.models.signature import ModelSignature
from gatewright.models.signature_format import encode_signature

KEYS = ("gw_first-key", "gw_second-key")
ENDPOINT = "bench"
READY_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """A worker that answers on ``port``; ``status`` is what it wrote about itself."""

    port: int
    process: int
    started: float
    status: dict[str, Any]

    @property
    def path(self) -> str:
        """Where predictions are asked for."""
        return f"/v2/models/{ENDPOINT}/infer"


@contextmanager
def serving(folder: Path, model: bytes, signature: ModelSignature, *cores: int) -> Iterator[Serving]:
    """A worker on these cores, with one thread for its model, until the context ends."""
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(model)
    (folder / "signature.json").write_bytes(encode_signature(signature))
    told = folder / "worker.json"
    process = subprocess.Popen(
        [sys.executable, __file__, str(folder)],
        stderr=(folder / "worker.log").open("wb"),
        preexec_fn=lambda: os.sched_setaffinity(0, set(cores) & os.sched_getaffinity(0) or {0}),  # noqa: PLW1509
    )
    deadline = time.monotonic() + READY_SECONDS
    try:
        while not told.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((folder / "worker.log").read_text("utf-8", "replace")[-800:])
            time.sleep(0.01)
        found = json.loads(told.read_text("utf-8"))
        status = json.loads(Path(found["status"]).read_text("utf-8")) if found["status"] else {}
        yield Serving(port=found["port"], process=process.pid, started=found["started"], status=status)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _serve(folder: Path) -> None:
    """The process."""
    from gatewright.deployments.plan import (  # noqa: PLC0415
        PLAN_TYPE,
        ApiKey,
        EndpointPlan,
        TrafficPlan,
        encode_plan,
    )
    from gatewright.kernel.digests import Digest  # noqa: PLC0415
    from gatewright.kernel.instants import Instant  # noqa: PLC0415
    from gatewright.kernel.names import Name  # noqa: PLC0415
    from gatewright.models.signature_format import decode_signature  # noqa: PLC0415
    from gatewright.releases.envelope import sealed  # noqa: PLC0415
    from gatewright.serving.slots import Slot  # noqa: PLC0415
    from gatewright.serving.worker import Worker, WorkerSettings  # noqa: PLC0415
    from unit.serving.rig import NOW, Rig  # noqa: PLC0415 - the parent does without it

    home = folder / "home"
    home.mkdir()
    rig = Rig(home)
    release = rig.make_release(
        1,
        model=(folder / "model.onnx").read_bytes(),
        signature=decode_signature((folder / "signature.json").read_bytes()),
        endpoint=ENDPOINT,
    )
    keys = tuple(
        ApiKey(id=f"key-{place}", digest=Digest(sha256(secret.encode()).hexdigest()))
        for place, secret in enumerate(KEYS)
    )
    endpoint = EndpointPlan(endpoint=Name(ENDPOINT), champion=release, previous=None, keys=keys)
    plan = TrafficPlan(number=1, issued=NOW, endpoints=(endpoint,))
    rig.publish(sealed(PLAN_TYPE, encode_plan(plan), rig.signers).encode())
    begun = time.perf_counter()

    def ready(url: str) -> None:
        status = rig.segments / "serve.json"
        told = {
            "port": int(url.rpartition(":")[2]),
            "started": time.perf_counter() - begun,
            "status": str(status) if status.exists() else "",
        }
        part = folder / "worker.part"
        part.write_text(json.dumps(told), "utf-8")
        part.rename(folder / "worker.json")

    Worker(
        WorkerSettings(
            plan=rig.plan_path,
            segments=rig.segments,
            port=0,
            slot=Slot(workers=len(os.sched_getaffinity(0))),  # as one of so many: one thread for its model
        ),
        blobs=rig.blobs,
        signer=rig.worker,
        data_key=rig.data_key,
        trust=rig.trust,
        clock=lambda: Instant(time.time_ns()),
        ready=ready,
    ).run()


if __name__ == "__main__":
    _serve(Path(sys.argv[1]))
