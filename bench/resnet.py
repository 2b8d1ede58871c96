"""A large model: ResNet-50 behind the endpoint, beside ONNX Runtime in this process on the same input.

    python bench/resnet.py [--rounds N] [--runs N] [--both] [--model FILE]

The weights are drawn from a seed; the architecture is that of He et al., "Deep Residual Learning for Image
Recognition" (CVPR 2016), with the stride in the 3x3 convolution: 25,557,032 parameters. One request is one
picture: 1 x 3 x 224 x 224 FP32, 602,112 bytes. Rounds alternate: N runs in this process with one thread,
then N requests with binary tensors, then as JSON; each answered only after its encrypted, signed record is
on the disk. Callers ask one at a time (``alone``) and two at a time (``two at once``: one is decoded and
recorded while the model runs for the other). All threads of the worker share one core; this process
and the callers have another. With ``--both`` the worker may use both, as a worker that has a neighbour: its
model still has one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from http.client import HTTPConnection
from pathlib import Path
from time import perf_counter

import numpy as np
import onnxruntime
import torch
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from numpy.typing import NDArray
from one_worker import KEYS, Serving, serving
from timing import CLIENT_CORE, SERVER_CORE, per_call, pinned
from torch import nn

from gatewright.models.signature import DataType, ModelSignature, Task, TensorSpec

SEED = 0
CLASSES = 1000
STAGES = ((3, 64, 1), (4, 128, 2), (6, 256, 2), (3, 512, 2))
"""Blocks, width and stride of each stage."""
SHAPE = (1, 3, 224, 224)
SIGNATURE = ModelSignature(
    task=Task.REGRESSION,
    inputs=(TensorSpec(name="image", datatype=DataType.FP32, shape=(-1, 3, 224, 224)),),
    outputs=(TensorSpec(name="scores", datatype=DataType.FP32, shape=(-1, CLASSES)),),
    label_output="scores",
)


def _convolution(width: int, out: int, size: int, stride: int = 1) -> list[nn.Module]:
    return [
        nn.Conv2d(width, out, size, stride, padding=size // 2, bias=False),
        nn.BatchNorm2d(out),
    ]


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1, and what came in added to what comes out."""

    def __init__(self, width: int, inner: int, stride: int) -> None:
        super().__init__()
        out = 4 * inner
        self.path = nn.Sequential(
            *_convolution(width, inner, 1),
            nn.ReLU(),
            *_convolution(inner, inner, 3, stride),
            nn.ReLU(),
            *_convolution(inner, out, 1),
        )
        same = width == out and stride == 1
        self.beside = nn.Identity() if same else nn.Sequential(*_convolution(width, out, 1, stride))

    def forward(self, found: torch.Tensor) -> torch.Tensor:
        """One block."""
        return torch.relu(self.path(found) + self.beside(found))


def resnet() -> nn.Module:
    """ResNet-50 with weights from the seed."""
    torch.manual_seed(SEED)
    layers = [*_convolution(3, 64, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    width = 64
    for blocks, inner, stride in STAGES:
        for place in range(blocks):
            layers.append(Bottleneck(width, inner, stride if place == 0 else 1))
            width = 4 * inner
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, CLASSES)).eval()


def exported() -> bytes:
    """The model as ONNX, its weights inside."""
    program = torch.onnx.export(
        resnet(),
        (torch.zeros(2, *SHAPE[1:]),),
        dynamo=True,
        input_names=["image"],
        output_names=["scores"],
        dynamic_shapes=({0: torch.export.Dim.DYNAMIC},),
        verbose=False,
    )
    if program is None:
        raise RuntimeError
    return bytes(program.model_proto.SerializeToString())


def inside(model: bytes) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """The model in this process, on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def run(picture: NDArray[np.float32]) -> NDArray[np.float32]:
        found: NDArray[np.float32] = session.run(None, {"image": picture})[0]
        return found

    return run


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One way of asking: headers and body, and how to read the scores."""

    name: str
    headers: dict[str, str]
    body: bytes


def _binary(picture: NDArray[np.float32]) -> Asked:
    raw = picture.tobytes()
    head = json.dumps(
        {
            "inputs": [
                {
                    "name": "image",
                    "shape": list(SHAPE),
                    "datatype": "FP32",
                    "parameters": {"binary_data_size": len(raw)},
                }
            ],
            "parameters": {"binary_data_output": True},
        }
    ).encode()
    headers = {
        "Content-Type": "application/octet-stream",
        "Inference-Header-Content-Length": str(len(head)),
    }
    return Asked(name="binary tensors", headers=headers, body=head + raw)


def _json(picture: NDArray[np.float32]) -> Asked:
    tensor = {"name": "image", "shape": list(SHAPE), "datatype": "FP32"}
    body = json.dumps({"inputs": [{**tensor, "data": [round(float(x), 6) for x in picture.ravel()]}]})
    return Asked(name="JSON", headers={"Content-Type": "application/json"}, body=body.encode())


class Client:
    """One connection that is kept."""

    def __init__(self, server: Serving) -> None:
        self._path = server.path
        self._connection = HTTPConnection("127.0.0.1", server.port, timeout=60)

    def ask(self, asked: Asked) -> NDArray[np.float32]:
        """The scores; raises RuntimeError for any other answer."""
        headers = {"Authorization": f"Bearer {KEYS[0]}", **asked.headers}
        self._connection.request("POST", self._path, asked.body, headers)
        answer = self._connection.getresponse()
        content = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{asked.name}: {answer.status} {content[:200]!r}")
        length = answer.headers.get("Inference-Header-Content-Length")
        if length is not None:
            return np.frombuffer(content[int(length) :], "<f4")
        return np.array(json.loads(content)["outputs"][0]["data"], np.float32)


def _each(call: Callable[[], object], runs: int) -> float:
    """Seconds of one of several calls in a row."""
    begun = perf_counter()
    for _ in range(runs):
        call()
    return (perf_counter() - begun) / runs


def _both(clients: list[Client], asked: Asked, runs: int, pool: ThreadPoolExecutor) -> float:
    """Seconds for each answer when two callers ask, each again as soon as it is answered."""
    begun = perf_counter()
    list(pool.map(lambda client: _each(lambda: client.ask(asked), runs), clients))
    return (perf_counter() - begun) / (len(clients) * runs)


def _processor(process: int) -> float:
    """Seconds of processor time that a process has taken."""
    fields = Path(f"/proc/{process}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(server: Serving, model: bytes, rounds: int, runs: int) -> None:
    """Alternate, and print."""
    run = inside(model)
    picture = np.random.default_rng(SEED).random(SHAPE, np.float32)
    ways = [_binary(picture), _json(picture)]
    clients = [Client(server) for _ in range(2)]
    expected = run(picture)[0]
    for asked in ways:
        off = float(np.abs(clients[0].ask(asked) - expected).max())
        same = f"scores differ by {off:.1e}" if off else "the same scores"
        print(f"{asked.name}: a body of {len(asked.body):,} bytes, {same}")
    took: dict[str, list[float]] = {}
    used: dict[str, float] = {}

    def keep(what: str, process: int, answers: int, seconds: Callable[[], float]) -> None:
        before = _processor(process)
        took.setdefault(what, []).append(seconds())
        used[what] = used.get(what, 0.0) + (_processor(process) - before) / answers / rounds

    with ThreadPoolExecutor(2) as pool:
        for _ in range(rounds):
            keep("in process", os.getpid(), runs, lambda: _each(lambda: run(picture), runs))
            for asked in ways:
                one = partial(clients[0].ask, asked)
                keep(f"{asked.name}, alone", server.process, runs, lambda one=one: _each(one, runs))
                both = partial(_both, clients, asked, runs, pool)
                keep(f"{asked.name}, two at once", server.process, 2 * runs, both)
    base = took["in process"]
    for what, found in took.items():
        ratio = statistics.median(one / other for one, other in zip(base, found, strict=True))
        middle = statistics.median(found)
        print(
            f"{what:<28} {middle * 1e3:7.2f} ms, {1 / middle:6.2f} /s, {ratio:6.1%} of in process; "
            f"{used[what] * 1e3:6.1f} ms of processor time"
        )


def parts(picture: NDArray[np.float32], folder: Path) -> None:
    """What the record of one picture takes, each step by itself."""
    raw = picture.tobytes()
    cipher, nonce = AESGCM(bytes(32)), bytes(12)
    path = folder / "written"
    handle = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)

    def write() -> None:
        os.write(handle, raw)
        os.fdatasync(handle)

    found = {
        "copy (tobytes)": per_call(picture.tobytes, 50),
        "SHA-256": per_call(lambda: sha256(raw).digest(), 50),
        "AES-256-GCM": per_call(lambda: cipher.encrypt(nonce, raw, None), 50),
        "write and fdatasync": per_call(write, 20),
    }
    os.close(handle)
    print(", ".join(f"{what} {seconds * 1e3:.2f} ms" for what, seconds in found.items()))


def main() -> None:
    """Measure and print."""
    reader = argparse.ArgumentParser(description="ResNet-50 behind the endpoint and in process.")
    reader.add_argument("--rounds", type=int, default=7)
    reader.add_argument("--runs", type=int, default=6, help="Predictions of each way in a round.")
    reader.add_argument("--both", action="store_true", help="Let the worker use the callers' core, too.")
    reader.add_argument("--model", type=Path, help="Keep the exported model here, and take it from here.")
    options = reader.parse_args()
    if options.model and options.model.exists():
        model = options.model.read_bytes()
    else:
        model = exported()
        if options.model:
            options.model.write_bytes(model)
    print(f"{len(model):,} bytes; load of the machine {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory(prefix="gatewright-resnet-") as place:
        parts(np.zeros(SHAPE, np.float32), Path(place))
        cores = (SERVER_CORE, CLIENT_CORE) if options.both else (SERVER_CORE,)
        with pinned(CLIENT_CORE), serving(Path(place) / "worker", model, SIGNATURE, *cores) as server:
            print(
                f"from start to first answers, verified: {server.started:.2f} s; {server.status.get('models')}"
            )
            measure(server, model, options.rounds, options.runs)


if __name__ == "__main__":
    main()
