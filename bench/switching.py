"""The champion switches every second while predictions are asked for: what callers notice of it.

    python bench/switching.py [COUNT]

The load is a process of its own, with a few connections that ask again as soon as they are answered.
It keeps when each answer came and which version gave it. A switch is timed from the moment its record
in the ledger tells (taken before the record is committed) to the last answer of the old version.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

COUNT = 1_000_000
CONNECTIONS = 8
SWITCH_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Switched:
    """Answers, those that failed, and seconds of each switch to the last old answer.

    ``switches`` are from the time in the record, ``after`` from the moment the operation had returned.
    """

    answers: int
    failed: int
    switches: tuple[float, ...]
    after: tuple[float, ...]


class Asking(asyncio.Protocol):
    """One connection; what it is answered goes to ``seen`` as (nanoseconds since 1970, version; 0: failed)."""

    def __init__(self, request: bytes, count: list[int], seen: list[tuple[int, int]]) -> None:
        self._request, self._count, self._seen = request, count, seen
        self._buffer = b""
        self._open = False
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to ask."""
        self._transport = cast("asyncio.Transport", transport)
        self._ask()

    def _ask(self) -> None:
        if self._count[0] <= 0:
            self.done.set_result(None)
            self._transport.close()
            return
        self._count[0] -= 1
        self._open = True
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Some of an answer; when it is whole, the next request."""
        self._buffer += data
        head, found, body = self._buffer.partition(b"\r\n\r\n")
        if not found or len(body) < int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0]):
            return
        version = body.partition(b'"model_version":"')[2].partition(b'"')[0]
        good = head.startswith(b"HTTP/1.1 200") and b'"receipt":"' in body
        self._seen.append((time.time_ns(), int(version) if good else 0))
        self._buffer, self._open = b"", False
        self._ask()

    def connection_lost(self, _error: Exception | None) -> None:
        """Hung up: an open request has failed."""
        if self._open:
            self._seen.append((time.time_ns(), 0))
        if not self.done.done():
            self.done.set_result(None)


async def _load(port: int, request: bytes, count: int) -> list[tuple[int, int]]:
    left, seen = [count], list[tuple[int, int]]()
    loop = asyncio.get_running_loop()
    while left[0] > 0:  # again where all connections were lost
        made = [
            await loop.create_connection(lambda: Asking(request, left, seen), "127.0.0.1", port)
            for _ in range(CONNECTIONS)
        ]
        await asyncio.gather(*(asking.done for _, asking in made))
    return seen


def switch_under_load(count: int, folder: Path) -> Switched:
    """Ask ``count`` times while the endpoint is rolled back and forth every second."""
    from anomaly.home_verbs import NAME  # noqa: PLC0415 - the process of the load does without
    from anomaly.serving_home import Server, make_serving_home  # noqa: PLC0415
    from gatewright.assembly.homes import open_home  # noqa: PLC0415
    from gatewright.operations import models, ship  # noqa: PLC0415
    from gatewright.operations.catalogue import Endpoint, read  # noqa: PLC0415
    from gatewright.operations.deploy import roll_back_endpoint  # noqa: PLC0415

    key = make_serving_home(folder)
    with open_home(folder) as home:
        models.add(home, folder / "model.onnx", NAME, models.Declared(trained_on=NAME))
        ship.ship(home, NAME)
    server = Server(folder, key)
    server.start()
    tensor = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [0.25, 0.75]}
    asked = {"port": server.port, "path": f"/v2/models/{NAME}/infer", "key": key, "count": count}
    words = [
        sys.executable,
        __file__,
        "load",
        json.dumps({**asked, "body": json.dumps({"inputs": [tensor]})}),
    ]
    returned: list[int] = []
    try:
        with (folder / "answers").open("wb") as answers:
            load = subprocess.Popen(words, stdout=answers)
            while load.poll() is None:
                time.sleep(SWITCH_SECONDS)
                with open_home(folder) as home:
                    roll_back_endpoint(home, NAME)
                    returned.append(time.time_ns())
        if load.returncode:
            raise RuntimeError(f"the load ended with {load.returncode}")
    finally:
        server.stop()
    seen = np.fromfile(folder / "answers", np.int64).reshape(-1, 2)
    with open_home(folder) as home:
        made = [
            (each.time.ns, int(read(Endpoint, each.draft.body).ref.rpartition("@")[2]))
            for each in home.archive.history(("endpoint.rolled-back",), None)
        ]
    return Switched(
        answers=len(seen),
        failed=int(np.count_nonzero(seen[:, 1] == 0)),
        switches=_switches(seen, made, [when for when, _ in made]),
        after=_switches(seen, made, returned),
    )


def _switches(
    seen: NDArray[np.int64], made: Sequence[tuple[int, int]], begun: Sequence[int]
) -> tuple[float, ...]:
    """Seconds from the moments ``begun`` to the last answer of another version, up to the next record."""
    found = []
    ends = [*(when for when, _ in made[1:]), int(seen[-1, 0]) + 1]
    for (_, version), begin, end in zip(made, begun, ends, strict=True):
        within = seen[(seen[:, 0] >= begin) & (seen[:, 0] < end)]
        old = within[(within[:, 1] != version) & (within[:, 1] != 0), 0]
        if len(within):
            found.append((int(old.max()) - begin) / 1e9 if len(old) else 0.0)
    return tuple(found)


def _run_load(asked: dict[str, object]) -> None:
    body = str(asked["body"]).encode()
    request = (
        f"POST {asked['path']} HTTP/1.1\r\nHost: 127.0.0.1:{asked['port']}\r\n"
        f"Authorization: Bearer {asked['key']}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body
    seen = asyncio.run(_load(int(str(asked["port"])), request, int(str(asked["count"]))))
    sys.stdout.buffer.write(np.array(seen, np.int64).tobytes())


if __name__ == "__main__":
    if sys.argv[1:2] == ["load"]:
        _run_load(json.loads(sys.argv[2]))
    else:
        with tempfile.TemporaryDirectory(prefix="gatewright-switching-") as place:
            print(switch_under_load(int(sys.argv[1]) if len(sys.argv) > 1 else COUNT, Path(place)))
