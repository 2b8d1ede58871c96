"""One worker asked for five times what it can do: how much it still does, and how fast it says no.

    python bench/overload.py [--seconds N] [--times N] [--batched]

A model of about 5 ms is served by one worker on one core. First its capacity: 16 callers that ask again
as soon as they are answered. Then an open load of so many times that, whose callers do not wait for
one another, for so many seconds; beside it, with a key of its own, a caller that asks five times a second.
Then the capacity again. Goodput is what was answered with 200 in that time, as part of the capacity.
The load comes from another core.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import tempfile
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter, thread_time

import numpy as np
import uvloop
from numpy.typing import NDArray
from one_worker import KEYS, Serving, serving
from onnx import TensorProto, helper, numpy_helper
from timing import CLIENT_CORE, SERVER_CORE, pinned, quantile

from gatewright.models.signature import DataType, ModelSignature, Task, TensorSpec
from gatewright.serving.engine import Engine

CALLERS = 16
WARM_SECONDS = 2.0
CAPACITY_SECONDS = 5.0
AFTER_SECONDS = 8.0
POLITE_PER_SECOND = 5.0
MODEL_SECONDS = 0.005
SIZE = 24

SIGNATURE = ModelSignature(
    task=Task.REGRESSION,
    inputs=(TensorSpec(name="X", datatype=DataType.FP32, shape=(-1, 4)),),
    outputs=(TensorSpec(name="Y", datatype=DataType.FP32, shape=(-1, 1)),),
    label_output="Y",
)


def _layers(count: int, *, batched: bool) -> bytes:
    """Four numbers to one, through ``count`` layers: of pictures, or (batched) of large matrices."""
    rng = np.random.default_rng(0)
    nodes, weights = [], []

    def keep(name: str, values: NDArray[np.float32] | NDArray[np.int64]) -> str:
        weights.append(numpy_helper.from_array(values, name))
        return name

    def drawn(*shape: int) -> NDArray[np.float32]:
        scale = np.sqrt(np.prod(shape[1:]) if len(shape) > 2 else shape[0])
        return (rng.standard_normal(shape) / scale).astype(np.float32)

    width = 1024 if batched else 16 * SIZE * SIZE
    nodes.append(helper.make_node("MatMul", ["X", keep("W", drawn(4, width))], ["h0"]))
    if not batched:
        shape = keep("S", np.array([-1, 16, SIZE, SIZE], np.int64))
        nodes.append(helper.make_node("Reshape", ["h0", shape], ["p0"]))
    for place in range(count):
        if batched:
            weight = keep(f"w{place}", drawn(width, width))
            nodes.append(helper.make_node("MatMul", [f"h{place}", weight], [f"m{place}"]))
            nodes.append(helper.make_node("Relu", [f"m{place}"], [f"h{place + 1}"]))
        else:
            weight = keep(f"w{place}", drawn(16, 16, 3, 3))
            nodes.append(
                helper.make_node("Conv", [f"p{place}", weight], [f"p{place + 1}"], pads=[1, 1, 1, 1])
            )
    if not batched:
        flat = keep("F", np.array([-1, width], np.int64))
        nodes.append(helper.make_node("Reshape", [f"p{count}", flat], [f"h{count}"]))
    nodes.append(helper.make_node("MatMul", [f"h{count}", keep("V", drawn(width, 1))], ["Y"]))
    graph = helper.make_graph(
        nodes,
        "slow",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, 4])],
        [helper.make_tensor_value_info("Y", TensorProto.FLOAT, [None, 1])],
        weights,
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(made.SerializeToString())


def slow_model(*, batched: bool) -> bytes:
    """A model of about 5 ms on this machine; ``batched``: one that is served in joined runs."""
    few, many = 2, 10
    took = {count: _processor_time(_layers(count, batched=batched)) for count in (few, many)}
    each = (took[many] - took[few]) / (many - few)
    return _layers(max(1, round((MODEL_SECONDS - took[few]) / each) + few), batched=batched)


def _processor_time(model: bytes) -> float:
    """Least seconds of a run of one row, without what others do on the machine."""
    engine, row, found = Engine(model, SIGNATURE), np.ones((1, 4), np.float32), []
    for _ in range(9):
        begun = thread_time()
        engine.run([row], (0,))
        found.append(thread_time() - begun)
    return min(found)


@dataclass(slots=True)
class Seen:
    """What callers were answered: (when it came, seconds it took), by status; 0 is none."""

    answers: dict[int, list[tuple[float, float]]] = field(default_factory=dict)

    def add(self, status: int, begun: float) -> None:
        """One answer."""
        now = perf_counter()
        self.answers.setdefault(status, []).append((now, now - begun))

    def took(self, status: int) -> list[float]:
        """Seconds of each answer of a status."""
        return [took for _, took in self.answers.get(status, [])] or [float("nan")]

    def good(self, begin: float, end: float) -> int:
        """Answers with 200 that came between the two times."""
        return sum(begin <= when < end for when, _ in self.answers.get(200, []))


class Caller:
    """Connections to the worker that are kept, as many as are needed at once."""

    def __init__(self, server: Serving, key: str) -> None:
        self._port = server.port
        body = json.dumps(
            {"inputs": [{"name": "X", "shape": [1, 4], "datatype": "FP32", "data": [1.0, 2.0, 3.0, 4.0]}]}
        ).encode()
        self._request = (
            f"POST {server.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        ).encode() + body
        self._free: deque[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = deque()

    async def ask(self, seen: Seen) -> None:
        """One prediction."""
        begun = perf_counter()
        try:
            while self._free and self._free[-1][1].is_closing():
                self._free.pop()
            if self._free:
                reader, writer = self._free.pop()
            else:
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            writer.write(self._request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0])
            await reader.readexactly(length)
        except (OSError, asyncio.IncompleteReadError):
            seen.add(0, begun)
            return
        seen.add(int(head[9:12]), begun)
        self._free.append((reader, writer))


async def _closed(caller: Caller, seconds: float) -> Seen:
    """As much as can be had: callers that ask again at once."""
    seen, end = Seen(), perf_counter() + seconds

    async def one() -> None:
        while perf_counter() < end:
            await caller.ask(seen)

    await asyncio.gather(*(one() for _ in range(CALLERS)))
    return seen


async def _open(caller: Caller, rate: float, seconds: float) -> Seen:
    """Requests that come at a rate, whatever becomes of those before (Poisson)."""
    seen, end = Seen(), perf_counter() + seconds
    random = np.random.default_rng(1)
    tasks = set()
    due = perf_counter()
    while due < end:
        due += random.exponential(1 / rate)
        wait = due - perf_counter()
        if wait > 0:
            await asyncio.sleep(wait)
        task = asyncio.create_task(caller.ask(seen))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    await asyncio.gather(*tasks)
    return seen


def _rate(seen: Seen, seconds: float) -> float:
    return len(seen.answers.get(200, [])) / seconds


async def _measure(server: Serving, seconds: float, times: float) -> None:
    first, second = Caller(server, KEYS[0]), Caller(server, KEYS[1])
    await _closed(first, WARM_SECONDS)
    capacity = _rate(await _closed(first, CAPACITY_SECONDS), CAPACITY_SECONDS)
    alone = await _open(second, POLITE_PER_SECOND, CAPACITY_SECONDS)
    flood, polite = await asyncio.gather(
        _open(first, times * capacity, seconds), _open(second, POLITE_PER_SECOND, seconds)
    )
    over = perf_counter()
    after = await _open(second, 0.5 * capacity, AFTER_SECONDS)
    late = [took for when, took in after.answers.get(200, []) if when - over > 1.0]
    last = await _closed(first, CAPACITY_SECONDS)
    again = _rate(last, CAPACITY_SECONDS)
    good = _rate(flood, seconds) + _rate(polite, seconds)
    turned = flood.took(503)
    _tell("capacity", f"{capacity:.0f} predictions/s")
    _tell(f"asked for {times:g} times that", f"{sum(map(len, flood.answers.values())) / seconds:.0f} /s")
    _tell("goodput", f"{good:.0f} /s, {good / capacity:.0%} of the capacity")
    _tell("answers took", _quantiles(flood.took(200)))
    _tell("refusals took", f"{len(turned):,}: {_quantiles(turned)}")
    others = {status: len(found) for status, found in flood.answers.items() if status not in {200, 503}}
    _tell("other answers", str(others or "none"))
    served = len(polite.answers.get(200, []))
    asked = sum(map(len, polite.answers.values()))
    _tell("the other key", f"{served} of {asked} answered; {_quantiles(polite.took(200))}")
    _tell("  before the flood", _quantiles(alone.took(200)))
    _tell("half the capacity, after", f"{len(after.answers.get(503, []))} refused; {_quantiles(late)}")
    _tell(
        "capacity, after",
        f"{again:.0f} predictions/s, {again / capacity:.0%}; {len(last.answers.get(503, []))} refused",
    )


def _quantiles(took: Sequence[float]) -> str:
    return ", ".join(f"p{share} {quantile(took, share / 100) * 1e3:.1f}" for share in (50, 99, 100)) + " ms"


def _tell(what: str, found: str) -> None:
    print(f"{what:<26} {found}", flush=True)


def main() -> None:
    """Measure and print."""
    reader = argparse.ArgumentParser(description="One worker, asked for more than it can do.")
    reader.add_argument("--seconds", type=float, default=15.0, help="How long the overload lasts.")
    reader.add_argument("--times", type=float, default=5.0, help="How many times the capacity is asked for.")
    reader.add_argument("--batched", action="store_true", help="A model that is served in joined runs.")
    options = reader.parse_args()
    model = slow_model(batched=options.batched)
    with (
        tempfile.TemporaryDirectory(prefix="gatewright-overload-") as place,
        pinned(CLIENT_CORE),
        serving(Path(place) / "worker", model, SIGNATURE, SERVER_CORE) as server,
    ):
        _tell("load of the machine", f"{os.getloadavg()[0]:.1f}")
        _tell("the worker says", json.dumps(server.status.get("models", [])))
        uvloop.run(_measure(server, options.seconds, options.times))


if __name__ == "__main__":
    main()
