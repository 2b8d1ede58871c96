"""A small governed world for the serving tests: signed releases, plans, and a worker in a thread."""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from onnx import TensorProto, helper, numpy_helper

from gatewright.adapters.local_blobs import LocalBlobs
from gatewright.deployments.plan import (
    PLAN_TYPE,
    ApiKey,
    EndpointPlan,
    ReleaseRef,
    TrafficPlan,
    encode_plan,
)
from gatewright.kernel import canonical
from gatewright.kernel.digests import Digest
from gatewright.kernel.instants import Instant
from gatewright.kernel.names import Name
from gatewright.models.signature import DataType, ModelSignature, Task, TensorSpec
from gatewright.models.signature_format import encode_signature
from gatewright.releases.bundle import root_of_resources, sealed_bundle
from gatewright.releases.envelope import sealed
from gatewright.releases.keys import PublicKey
from gatewright.releases.manifest import ReleaseManifest
from gatewright.releases.statement import Countersignature, DeploymentDecision, sealed_claim
from gatewright.releases.trust import TrustRoot
from gatewright.serving.recorder import Recorder
from gatewright.serving.worker import Worker, WorkerSettings

COLUMNS = ("radius", "texture", "area")
SIGNATURE = ModelSignature(
    task=Task.BINARY,
    inputs=(TensorSpec(name="X", datatype=DataType.FP32, shape=(-1, 3), columns=COLUMNS),),
    outputs=(
        TensorSpec(name="label", datatype=DataType.INT64, shape=(-1,)),
        TensorSpec(name="probabilities", datatype=DataType.FP32, shape=(-1, 2)),
    ),
    label_output="label",
    scores_output="probabilities",
    classes=("benign", "malignant"),
)
NOW = Instant.parse("2026-03-03T14:05:00Z")
WAIT_S = 60.0


class TestSigner:
    """A private key in memory."""

    __test__ = False

    def __init__(self, private: Any) -> None:
        self._private = private
        der = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self._public = PublicKey.from_der(der)

    @property
    def public(self) -> PublicKey:
        """The public half."""
        return self._public

    def sign(self, message: bytes) -> bytes:
        """Sign in the raw form of the algorithm."""
        if isinstance(self._private, ec.EllipticCurvePrivateKey):
            return self._private.sign(message, ec.ECDSA(hashes.SHA256()))
        return bytes(self._private.sign(message))


def token_of(
    recorder: Recorder, parts: tuple[str, str, str], request: str, *, promised: bool = False
) -> asyncio.Future[str | None]:
    """A prediction handed to the recorder, on its loop: the token of its receipt, or None."""
    done: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
    recorder.submit(parts, request, b"in", b"out", done.set_result, promised=promised)
    return done


def linear_model(weight: float, name: str = "X") -> bytes:
    """ONNX: probabilities = sigmoid of a weighted sum of the input, label = argmax."""
    weights = np.array([[-weight, weight]] * 3, np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", [name, "W"], ["scores"]),
            helper.make_node("Softmax", ["scores"], ["probabilities"], axis=1),
            helper.make_node("ArgMax", ["scores"], ["label"], axis=1, keepdims=0),
        ],
        "linear",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 3])],
        [
            helper.make_tensor_value_info("label", TensorProto.INT64, [None]),
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, 2]),
        ],
        [numpy_helper.from_array(weights, "W")],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(made.SerializeToString())


def api_key(name: str, secret: str, **limits: Any) -> ApiKey:
    """A key of this secret."""
    return ApiKey(id=name, digest=Digest(hashlib.sha256(secret.encode()).hexdigest()), **limits)


@dataclass
class Rig:
    """Keys, blobs, a plan file and the worker's folders under one temporary folder."""

    folder: Path
    release: TestSigner = field(default_factory=lambda: TestSigner(ec.generate_private_key(ec.SECP256R1())))
    release_pq: TestSigner = field(default_factory=lambda: TestSigner(mldsa.MLDSA65PrivateKey.generate()))
    log: TestSigner = field(default_factory=lambda: TestSigner(ed25519.Ed25519PrivateKey.generate()))
    worker: TestSigner = field(default_factory=lambda: TestSigner(ed25519.Ed25519PrivateKey.generate()))
    data_key: bytes = bytes(range(32))
    secret: str = "gw_test-secret"  # noqa: S105 - the key of a test
    said: list[str] = field(default_factory=list)
    roots: dict[str, str] = field(default_factory=dict)
    """The version of every release made, by the hexadecimal of its root."""
    clock: Callable[[], Instant] = field(default_factory=lambda: lambda: Instant(time.time_ns()))

    def __post_init__(self) -> None:
        (self.folder / "blobs").mkdir()
        self.blobs = LocalBlobs(self.folder / "blobs", self.data_key)
        self.trust = TrustRoot(
            origin="test.example/home",
            release=self.release.public,
            release_pq=self.release_pq.public,
            log=self.log.public,
        )
        self.signers = (self.release, self.release_pq)

    @property
    def plan_path(self) -> Path:
        """Where the signed plan lies."""
        return self.folder / "plan.json"

    @property
    def segments(self) -> Path:
        """Where prediction records are kept."""
        return self.folder / "segments"

    def make_release(
        self,
        version: int,
        *,
        model: bytes | None = None,
        signature: ModelSignature = SIGNATURE,
        endpoint: str = "tumour",
        thresholds: Mapping[str, float] | None = None,
        policy: bytes = b"# rules\n",
    ) -> ReleaseRef:
        """A signed release with an allowing decision, all of it in the blobs."""
        model = linear_model(float(version)) if model is None else model
        report = canonical.encode({"model": Digest.of(model).hex})
        verdict = canonical.encode(
            {"decision": "allow", "policy": Digest.of(policy).hex, "report": Digest.of(report).hex}
        )
        manifest = ReleaseManifest(
            name="tumour",
            version=version,
            tier="low",
            model=Digest.of(model),
            dataset="wisconsin",
            data={},
            trained_on=None,
            created=NOW,
            thresholds=thresholds or {},
        )
        resources = {
            "model.onnx": model,
            "signature.json": encode_signature(signature),
            "report.json": report,
            "verdict.json": verdict,
            "policy.toml": policy,
            "release.json": manifest.encode(),
        }
        digests = {name: self.blobs.put(data) for name, data in resources.items()}
        root = root_of_resources(digests)
        self.roots[root.hex] = str(version)
        decision = DeploymentDecision(
            root=root, endpoint=endpoint, verdict=digests["verdict.json"], approvals=(), plan=1, time=NOW
        )
        claims = (Countersignature(root=root), decision)
        return ReleaseRef(
            root=root,
            model=Name("tumour"),
            version=version,
            resources=digests,
            bundle=self.blobs.put(sealed_bundle(digests, self.release)),
            statements=tuple(self.blobs.put(sealed_claim(each, self.signers).encode()) for each in claims),
        )

    def plan(
        self,
        number: int,
        champion: ReleaseRef,
        previous: ReleaseRef | None = None,
        *,
        endpoint: str = "tumour",
        others: tuple[EndpointPlan, ...] = (),
        keys: tuple[ApiKey, ...] = (),
        issued: Instant = NOW,
        expires: Instant | None = None,
        **traffic: Any,
    ) -> bytes:
        """A signed plan of one endpoint, whose key is :attr:`secret`; ``traffic`` as in its EndpointPlan."""
        found = EndpointPlan(
            endpoint=Name(endpoint),
            champion=champion,
            previous=previous,
            keys=keys or (api_key("key-1", self.secret),),
            **traffic,
        )
        plan = TrafficPlan(number=number, issued=issued, endpoints=(found, *others), expires=expires)
        return sealed(PLAN_TYPE, encode_plan(plan), self.signers).encode()

    def publish(self, envelope: bytes) -> None:
        """Swap the plan file by rename."""
        part = self.plan_path.with_suffix(".part")
        part.write_bytes(envelope)
        part.replace(self.plan_path)

    def start(self, **values: Any) -> Running:
        """A worker in a thread, once it answers."""
        disk, identity, verify = (values.pop(name, None) for name in ("disk", "identity", "verify"))
        settings = WorkerSettings(plan=self.plan_path, segments=self.segments, port=0, **values)
        return Running(self, settings, disk, identity=identity, verify=verify)

    @contextmanager
    def running(self, **values: Any) -> Iterator[Running]:
        """A worker in a thread, stopped at the end."""
        found = self.start(**values)
        try:
            yield found
        finally:
            found.stop()


class Running:
    """A worker that answers, and a client for it."""

    def __init__(
        self, rig: Rig, settings: WorkerSettings, disk: Any, identity: Any = None, verify: Any = None
    ) -> None:
        self.rig = rig
        answering = threading.Event()
        self.url = ""
        self.fault: BaseException | None = None

        def ready(url: str) -> None:
            self.url = url
            answering.set()

        self.worker = Worker(
            settings,
            blobs=rig.blobs,
            signer=rig.worker,
            data_key=rig.data_key,
            trust=rig.trust,
            clock=rig.clock,
            disk=disk,
            identity=identity,
            say=rig.said.append,
            ready=ready,
        )

        def run() -> None:
            try:
                self.worker.run()
            except BaseException as error:  # noqa: BLE001 - handed to the test below
                self.fault = error
                answering.set()

        self.thread = threading.Thread(target=run)
        self.thread.start()
        assert answering.wait(WAIT_S)
        if self.fault is not None:
            raise self.fault
        self.client = httpx.Client(
            base_url=self.url,
            headers={"authorization": f"Bearer {rig.secret}"},
            timeout=WAIT_S,
            verify=True if verify is None else verify,
        )

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        host, _, port = self.url.partition("://")[2].rpartition(":")
        return host, int(port)

    def infer(self, path: str = "/v2/models/tumour/infer", **change: Any) -> httpx.Response:
        """One good prediction, or one with some fields of its input changed."""
        return self.client.post(path, json=question(**change))

    def stop(self) -> None:
        """Drain and seal."""
        if self.thread.is_alive():
            self.worker.stop()
        self.thread.join(WAIT_S)
        self.client.close()
        assert not self.thread.is_alive()


def question(**change: Any) -> dict[str, Any]:
    """An inference request of one row."""
    tensor = {"name": "X", "shape": [1, 3], "datatype": "FP32", "data": [1.0, 2.0, 3.0]} | change
    return {"id": "q-1", "inputs": [tensor]}


def wait_for(condition: Callable[[], bool], seconds: float = WAIT_S) -> None:
    """Until the condition holds; fails when it does not."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def error_of(answer: httpx.Response) -> str:
    """The sentence of a refusal, whose body holds nothing else."""
    body = json.loads(answer.content)
    assert set(body) == {"error"}
    return str(body["error"])
