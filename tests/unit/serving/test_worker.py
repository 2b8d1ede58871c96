from __future__ import annotations

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from gatewright.kernel.errors import DependencyFailed, Misuse
from gatewright.ledger.receipts import Receipt, matches, verify_receipt
from gatewright.models.tensors import encode_arrays
from gatewright.serving import app, overload, recorder
from gatewright.serving.limits import BODY, RECORD_TIME, REQUESTS
from gatewright.serving.segment_files import WorkerLock
from gatewright.serving.slots import bind
from gatewright.serving.worker import STATUS_FILE, WorkerSettings
from unit.serving.rig import WAIT_S, Rig, Running, error_of, question, wait_for
from unit.serving.test_recorder import FailingFiles, recorded


def serve_first(rig: Rig, **values: Any) -> Running:
    """A worker with version 1 live."""
    rig.publish(rig.plan(1, rig.make_release(1)))
    return rig.start(**values)


def test_an_answer_carries_a_receipt_about_its_own_tensors(rig: Rig) -> None:
    """Id, model, version and outputs come back, with a receipt that the caller can check alone."""
    running = serve_first(rig)
    body = running.infer().json()
    running.stop()

    held = Receipt.parse(body["parameters"]["receipt"])
    record = verify_receipt(held, rig.worker.public)
    by_name = {each["name"]: each["data"] for each in body["outputs"]}
    inputs = encode_arrays([("X", np.array([[1, 2, 3]], np.float32))])
    outputs = encode_arrays(
        [
            ("label", np.array(by_name["label"], np.int64)),
            ("probabilities", np.array([by_name["probabilities"]], np.float32)),
        ]
    )
    assert ("tumour", "1", "q-1") == (body["model_name"], body["model_version"], body["id"])
    assert ("tumour", 1, "key-1", "q-1") == (record.endpoint, record.plan, record.key, record.request)
    assert matches(held, inputs, outputs)
    assert [record] == recorded(rig)


def test_without_an_id_none_is_answered(rig: Rig) -> None:
    """The id is echoed only when it was given."""
    running = serve_first(rig)
    body = question()
    del body["id"]
    answer = running.client.post("/v2/models/tumour/versions/1/infer", json=body)
    running.stop()

    assert "id" not in answer.json()


def test_a_large_request_is_answered_as_a_small_one(rig: Rig) -> None:
    """A body beyond the inline size goes through a thread and comes back the same way."""
    rows = 8_000
    running = serve_first(rig)
    answer = running.infer(shape=[rows, 3], data=[1.0] * 3 * rows)
    running.stop()

    assert 200 == answer.status_code
    assert [rows] == answer.json()["outputs"][0]["shape"]


def test_a_switch_under_load_loses_no_request(rig: Rig) -> None:
    """While releases go live and are rolled back, every request is answered, by one of them."""
    first, second = rig.make_release(1), rig.make_release(2)
    rig.publish(rig.plan(1, first))
    answers: list[tuple[int, str]] = []
    done = threading.Event()

    def load(url: str) -> None:
        with httpx.Client(base_url=url, headers={"authorization": f"Bearer {rig.secret}"}) as client:
            while not done.is_set():
                answer = client.post("/v2/models/tumour/infer", json=question())
                answers.append((answer.status_code, answer.json().get("model_version", "")))

    with rig.running() as running:
        threads = [threading.Thread(target=load, args=(running.url,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for number in range(2, 8):
            pair = (second, first) if number % 2 == 0 else (first, second)
            rig.publish(rig.plan(number, *pair))
            wait_for(lambda number=number: running.worker.plans.table.number == number)
            before = len(answers)
            wait_for(lambda before=before: len(answers) > before + 20)
        done.set()
        for thread in threads:
            thread.join()

    assert {200} == {status for status, _ in answers}
    assert {"1", "2"} == {version for _, version in answers}
    assert len(answers) == len(recorded(rig))


def _status(rig: Rig) -> dict[str, Any]:
    """What the worker's status file says."""
    found: dict[str, Any] = json.loads((rig.segments / STATUS_FILE).read_text())
    return found


def test_a_tampered_model_is_not_loaded_and_the_old_one_serves_on(rig: Rig) -> None:
    """A flipped byte of a stored model keeps the plan out; the worker says so and keeps what it had."""
    running = serve_first(rig)
    ref = rig.make_release(2)
    path = rig.blobs.path_of(ref.resources["model.onnx"])
    data = bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(bytes(data))
    rig.publish(rig.plan(2, ref))
    wait_for(lambda: running.worker.plans.refusal is not None)
    wait_for(lambda: any("was not taken" in text for text in rig.said))
    wait_for(lambda: bool(_status(rig)["refusal"]))
    status = _status(rig)
    answer = running.infer()
    running.stop()

    assert ("1", 1, True) == (answer.json()["model_version"], status["plan"], status["serving"])
    assert status["refusal"]["sentence"]
    assert not _status(rig)["serving"]


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_without_a_durable_record_there_is_no_answer(rig: Rig, code: int) -> None:
    """When the disk fails: 503 with Retry-After, not ready but live; when it works again, answers come by themselves."""
    disk = FailingFiles(rig.segments)
    running = serve_first(rig, disk=disk)
    first = running.infer()
    disk.faults = {"append": code, "create": code}
    failed = [running.infer() for _ in range(3)]
    ready = running.client.get("/v2/health/ready")
    model_ready = running.client.get("/v2/models/tumour/ready")
    live = running.client.get("/v2/health/live")
    disk.faults = {}
    wait_for(lambda: running.worker.recorder.healthy)
    last = running.infer()
    running.stop()

    assert (200, 200) == (first.status_code, last.status_code)
    assert {(503, "1")} == {(each.status_code, each.headers["retry-after"]) for each in failed}
    assert (503, 503, 200) == (ready.status_code, model_ready.status_code, live.status_code)
    assert all("recorded" in error_of(each) for each in failed)
    assert 2 == len(recorded(rig))


def test_a_disk_that_hangs_does_not_hold_the_callers(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that does not come back within its time is answered with 503."""
    disk = FailingFiles(rig.segments)
    hanging = threading.Event()
    append = disk.append

    def slow(handle: int, data: bytes) -> None:
        hanging.wait(10)
        append(handle, data)

    running = serve_first(rig, disk=disk)
    monkeypatch.setattr(recorder, "RECORD_TIME", replace(RECORD_TIME, value=0))
    disk.append = slow  # type: ignore[method-assign]
    answer = running.infer()
    hanging.set()
    monkeypatch.undo()
    running.stop()

    assert 503 == answer.status_code


def test_a_second_worker_is_refused_and_told_which_one_serves(rig: Rig) -> None:
    """One home has one worker; the lock ends with the first one."""
    running = serve_first(rig)
    with pytest.raises(Misuse) as caught:
        rig.start()
    running.stop()

    assert "serving.second-worker" == caught.value.code
    assert str(os.getpid()) in caught.value.refusal.what
    WorkerLock(rig.segments).release()


def test_addresses_beyond_the_loopback_are_refused() -> None:
    """What is neither encrypted nor said to be so in front listens on the loopback only; a taken port fails."""
    with pytest.raises(Misuse):
        bind("0.0.0.0", 0)  # noqa: S104 - that it is refused is the point
    taken = bind("127.0.0.1", 0)
    taken.listen()
    with taken, pytest.raises(DependencyFailed):
        bind("127.0.0.1", taken.getsockname()[1])


def test_without_a_plan_the_worker_lives_and_is_not_ready(rig: Rig) -> None:
    """With nothing published there is no key, so only liveness answers; the first plan is taken by itself."""
    running = rig.start()
    live, before = running.client.get("/v2/health/live"), running.client.get("/v2/health/ready")
    rig.publish(rig.plan(1, rig.make_release(1)))
    wait_for(lambda: running.worker.plans.table.number == 1)
    after = running.client.get("/v2/health/ready")
    running.stop()

    assert (200, 401, 200) == (live.status_code, before.status_code, after.status_code)


def test_a_sigterm_drains_and_seals(rig: Rig) -> None:
    """The process ends by itself after SIGTERM, with every answered prediction in a sealed segment."""
    ref = rig.make_release(1)
    rig.publish(rig.plan(1, ref))
    (rig.folder / "trust.json").write_bytes(rig.trust.encode())
    script = (
        "import sys, time\nfrom pathlib import Path\n"
        "from gatewright.adapters.local_blobs import LocalBlobs\n"
        "from gatewright.kernel.instants import Instant\n"
        "from gatewright.releases.trust import TrustRoot\n"
        "from gatewright.serving.worker import Worker, WorkerSettings\n"
        "from gatewright.testing.signers import SeedSigner\n"
        "folder = Path(sys.argv[1])\n"
        "Worker(WorkerSettings(plan=folder / 'plan.json', segments=folder / 'segments', port=0),\n"
        "  blobs=LocalBlobs(folder / 'blobs', bytes(range(32))), signer=SeedSigner('w'), data_key=bytes(range(32)),\n"
        "  trust=TrustRoot.decode((folder / 'trust.json').read_bytes()), clock=lambda: Instant(time.time_ns()),\n"
        "  ready=lambda url: (folder / 'url').write_text(url)).run()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(rig.folder)], stderr=subprocess.PIPE, text=True
    )
    url = rig.folder / "url"
    wait_for(lambda: url.exists() and url.read_text() != "", 20)
    with httpx.Client(base_url=url.read_text(), headers={"authorization": f"Bearer {rig.secret}"}) as client:
        answers = [client.post("/v2/models/tumour/infer", json=question()) for _ in range(5)]
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)

    assert {200} == {each.status_code for each in answers}
    assert 0 == process.returncode
    assert "Serving plan 1 on http://127.0.0.1:" in said
    assert 1 == len(list(rig.segments.glob("*.sealed")))
    assert [] == list(rig.segments.glob("*.open"))


def test_a_kill_loses_no_acknowledged_prediction(rig: Rig) -> None:
    """What was answered before the process was killed is in the segments after the next start."""
    running = serve_first(rig, segment_seconds=60.0)
    tokens = [running.infer().json()["parameters"]["receipt"] for _ in range(3)]
    [left] = rig.segments.glob("*.open")
    copy = left.read_bytes()
    running.stop()
    for path in rig.segments.glob("*.sealed"):
        path.unlink()
    left.write_bytes(copy + b"torn")

    with rig.running():
        wait_for(lambda: len(recorded(rig)) == 3)

    assert [verify_receipt(Receipt.parse(each), rig.worker.public) for each in tokens] == recorded(rig)


def test_settings_are_closed_by_default() -> None:
    """Without further words the worker listens on the loopback and answers for nobody else."""
    settings = WorkerSettings(plan=Path("p"), segments=Path("s"))

    assert ("127.0.0.1", frozenset()) == (settings.host, settings.hosts)


def test_a_body_is_bounded_while_it_streams(rig: Rig) -> None:
    """A chunked body is cut off at the limit, however it was announced."""
    running = serve_first(rig)
    chunks = (b"x" * 2**20 for _ in range(BODY.value // 2**20 + 2))
    try:
        answer = running.client.post("/v2/models/tumour/infer", content=chunks)
        status = answer.status_code
    except httpx.WriteError:
        status = 413
    again = running.infer()
    running.stop()

    assert (413, 200) == (status, again.status_code)


def test_a_model_that_gives_no_number_is_not_answered(rig: Rig) -> None:
    """An undefined output is a 500 that says so, and no record is made of it."""
    running = serve_first(rig)
    answer = running.infer(data=[3e38, 3e38, 3e38])
    running.stop()

    assert 500 == answer.status_code
    assert [] == recorded(rig)


def test_more_requests_than_the_limit_are_asked_to_come_again(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond the number of requests in work, predictions are 503 with Retry-After, before their body is read."""
    running = serve_first(rig)
    monkeypatch.setattr(overload, "REQUESTS", replace(REQUESTS, value=1))
    head = (
        f"POST /v2/models/tumour/infer HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {rig.secret}\r\n"
        "Content-Length: 10\r\nExpect: 100-continue\r\n\r\n"
    )
    with socket.create_connection(running.address, WAIT_S) as first:
        first.sendall(head.encode())
        assert first.recv(100).startswith(b"HTTP/1.1 100 ")
        answer = running.infer()
        live = running.client.get("/v2/health/live")
    running.stop()

    assert (503, "1", 200) == (answer.status_code, answer.headers["retry-after"], live.status_code)


def test_a_fault_that_nobody_hears_of_is_answered_and_counted_out(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When a request fails and its report fails, too, the caller gets its 500, and nothing stays in work."""
    places: list[overload.Place] = []
    leave = overload.Load.leave

    def boom(*_: object) -> None:
        raise RuntimeError

    def counted(load: overload.Load, place: overload.Place) -> None:
        places.append(place)
        leave(load, place)

    running = serve_first(rig)
    monkeypatch.setattr(overload.Load, "leave", counted)
    monkeypatch.setattr(app, "check_form", boom)
    monkeypatch.setattr(running.worker._log, "_write", boom)
    found = running.infer()
    monkeypatch.undo()
    running.stop()

    assert 500 == found.status_code
    assert 1 == len(places)


def test_after_a_header_that_comes_twice_nothing_is_read(rig: Rig) -> None:
    """What decides a request and is said twice is refused, and the connection closes."""
    running = serve_first(rig)
    with socket.create_connection(running.address, timeout=WAIT_S) as connection:
        connection.sendall(b"GET /v2 HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n")
        found = b""
        while part := connection.recv(65_536):
            found += part
    running.stop()

    assert found.startswith(b"HTTP/1.1 400 ")
    assert b"connection: close" in found
