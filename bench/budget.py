"""The microseconds of one prediction, step by step, through the public seams of the data plane."""

from __future__ import annotations

import asyncio
import os
import time

import uvloop
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from prepared import NAME, Prepared
from timing import SERVER_CORE, Row, Section, per_call, pinned

from gatewright.adapters.key_files import KeyFolder
from gatewright.adapters.local_blobs import LocalBlobs
from gatewright.assembly.settings import passphrase
from gatewright.kernel.errors import Refusal
from gatewright.kernel.instants import Instant
from gatewright.ledger.receipts import SALT_BYTES
from gatewright.ledger.segments import pack_payload
from gatewright.releases.trust import TrustRoot
from gatewright.serving.admission import LOOPBACK_HOSTS, authenticate, check_content, check_host
from gatewright.serving.following import Believed, Following
from gatewright.serving.plans import Plans
from gatewright.serving.recorder import Recorder
from gatewright.serving.routing import Route, find
from gatewright.serving.segment_files import SegmentFiles

CALLS = 3_000
RECORDS = 2_000
LEAF_BYTES = 600
"""About as many bytes of a leaf are authenticated with the payload."""


class NoDisk:
    """Segments that are kept nowhere: what is left of the recorder is composing and handing over."""

    def create(self, name: str, head: bytes) -> int:
        """Begin nothing."""
        del name, head
        return 0

    def append(self, handle: int, data: bytes) -> None:
        """Append nothing."""

    def close(self, handle: int) -> None:
        """Let go of nothing."""

    def seal(self, name: str) -> None:
        """Seal nothing."""

    def discard(self, name: str) -> None:
        """Remove nothing."""

    def leftovers(self) -> list[str]:
        """No names."""
        return []


def measure(home: Prepared) -> Section:
    """Each step alone, in the order in which a request meets it."""
    folder = home.folder / ".gatewright"
    keys = KeyFolder(folder=folder / "keys", passphrase=passphrase(os.environ))
    plans = Plans(
        path=folder / "plan.dsse",
        blobs=LocalBlobs(folder / "blobs", keys.data_key()),
        following=Following(
            Believed(trust=TrustRoot.decode((folder / "trust.json").read_bytes()), signer=keys.worker),
            None,
            take=lambda _: None,
            report=lambda _: None,
        ),
        clock=lambda: Instant(time.time_ns()),
        report=lambda _: None,
        tell=lambda _: None,
    )
    plans.load()
    with pinned(SERVER_CORE):
        rows, record = _steps(plans, home)
        recording = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        with recording:
            submit = recording.run(_recording(keys, plans.table.routes[0], NoDisk(), *record))
        segments = home.folder / "bench-segments"
        segments.mkdir(mode=0o700)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            durable = runner.run(_recording(keys, plans.table.routes[0], SegmentFiles(segments), *record))
        signing = per_call(lambda: keys.worker.sign(bytes(200)), CALLS)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            hand_over = runner.run(_hand_over())
        sealing = _sealing(*record)
    whole = sum(row.value for row in rows) + submit * 1e6
    rows += [
        Row(
            what="recorder without its disk: leaf, digests, encryption, tree, signature, hand-over",
            value=submit * 1e6,
            unit="µs",
        ),
        Row(what="  the same with its disk, synced", value=durable * 1e6, unit="µs"),
        Row(what="  of it one Ed25519 signature", value=signing * 1e6, unit="µs"),
        Row(what="  of it to a thread and back (a bare executor call)", value=hand_over * 1e6, unit="µs"),
        Row(
            what="  of it encryption: two salts, AES-256-GCM of the payload",
            value=sealing * 1e6,
            unit="µs",
            beside="of all steps",
            ratio=sealing * 1e6 / whole,
        ),
    ]
    return Section(
        title="The budget of one prediction",
        rows=rows,
        note="Medians, each step alone with warm caches, on one core; HTTP and the sync of the disk are "
        "the yardsticks of the table above.",
    )


def _steps(plans: Plans, home: Prepared) -> tuple[list[Row], tuple[bytes, bytes]]:
    table = plans.table
    path, method = f"/v2/models/{NAME}/infer", "POST"
    raw = [
        (b"host", b"127.0.0.1:8080"),
        (b"authorization", f"Bearer {home.api_key}".encode()),
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(home.body)),
    ]

    def admit() -> None:
        headers = dict(raw)
        check_host(headers, LOOPBACK_HOSTS)
        find(table, path, method, authenticate(headers, table.callers))
        check_content(headers)

    release = table.routes[0].champion.release
    codec, engine = release.codec, release.engine
    asked = codec.read(home.body)
    arrays = engine.run(asked.inputs, asked.outputs)
    came = codec.inputs_encoding(asked.inputs)
    went = codec.outputs_encoding(arrays, asked.outputs)
    steps = {
        "admission and routing": admit,
        "codec: bytes to tensors, checked against the signature": lambda: codec.read(home.body),
        "engine: ONNX Runtime and the check of its answer": lambda: engine.run(asked.inputs, asked.outputs),
        "codec: tensors to the answer": lambda: codec.write(arrays, asked.outputs),
        "codec: encodings for the record": lambda: (
            codec.inputs_encoding(asked.inputs),
            codec.outputs_encoding(arrays, asked.outputs),
        ),
    }
    return [Row(what=what, value=per_call(call, CALLS) * 1e6, unit="µs") for what, call in steps.items()], (
        came,
        went,
    )


async def _recording(
    keys: KeyFolder, route: Route, disk: NoDisk | SegmentFiles, came: bytes, went: bytes
) -> float:
    said: list[Refusal] = []
    recorder = Recorder(
        disk=disk,  # type: ignore[arg-type]
        signer=keys.worker,
        home_key=keys.data_key(),
        clock=lambda: Instant(time.time_ns()),
        report=said.append,
    )
    recorder.start(asyncio.get_running_loop())
    parts = next(iter(route.champion.parts.values()))
    taken = []
    for _ in range(RECORDS):
        begun = time.perf_counter()
        done: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        recorder.submit(parts, "", came, went, done.set_result)
        await done
        taken.append(time.perf_counter() - begun)
    await asyncio.get_running_loop().run_in_executor(None, recorder.close)
    return sorted(taken)[len(taken) // 2]


def _sealing(came: bytes, went: bytes) -> float:
    """What encrypting the payload of one prediction costs, its salts included."""
    cipher, nonce, leaf = AESGCM(os.urandom(32)), bytes(12), bytes(LEAF_BYTES)

    def seal() -> None:
        cipher.encrypt(nonce, pack_payload(os.urandom(2 * SALT_BYTES), came, went), leaf)

    return per_call(seal, CALLS)


async def _hand_over() -> float:
    loop, taken = asyncio.get_running_loop(), []
    for _ in range(RECORDS):
        begun = time.perf_counter()
        await loop.run_in_executor(None, int)
        taken.append(time.perf_counter() - begun)
    return sorted(taken)[len(taken) // 2]
