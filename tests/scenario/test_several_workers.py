"""Several workers behind one port: asked as one, stopped as one, and nothing that was answered is lost."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection, HTTPResponse
from urllib.parse import urlsplit

import pytest

from gatewright.adapters.key_files import KeyFolder
from gatewright.ledger.receipts import Receipt, verify_receipt
from gatewright.ledger.segments import scan
from scenario.conftest import NewHome
from scenario.world import Home, Server, inside, loans, serving

CALLERS = 12
WAIT_S = 60.0


@contextmanager
def two_workers(home: Home) -> Iterator[Server]:
    """A server both of whose workers answer."""
    with serving(home, "--workers", "2") as server:
        until = time.monotonic() + WAIT_S
        while len(home.do("status")["workers"]) < 2:
            assert time.monotonic() < until, server.said()
            time.sleep(0.05)
        yield server


def question() -> bytes:
    """A request of one row."""
    rows, _ = loans(1, 3)
    tensor = {"name": "x", "shape": [1, rows.shape[1]], "datatype": "FP32", "data": rows[0].tolist()}
    return json.dumps({"inputs": [tensor]}).encode()


def begin(home: Home, server: Server, body: bytes) -> HTTPConnection:
    """A connection that a worker has taken, with half a request on it."""
    place = urlsplit(server.url)
    caller = HTTPConnection(place.hostname or "", place.port, timeout=WAIT_S)
    caller.request("GET", "/v2/health/live")
    assert b'{"live":true}' == caller.getresponse().read()
    caller.putrequest("POST", "/v2/models/loans/infer")
    caller.putheader("Authorization", f"Bearer {home.api_key}")
    caller.putheader("Content-Type", "application/json")
    caller.putheader("Content-Length", str(len(body)))
    caller.endheaders(body[: len(body) // 2])
    return caller


def finish(caller: HTTPConnection, body: bytes) -> HTTPResponse:
    """The answer, once the other half was sent."""
    caller.send(body[len(body) // 2 :])
    return caller.getresponse()


def test_a_stop_loses_no_request_of_any_worker(new_home: NewHome) -> None:
    """Requests that the workers have begun to read are answered after the stop, recorded, and verify."""
    home, body = new_home("live"), question()
    worker = KeyFolder(folder=home.folder / "keys").worker.public
    with two_workers(home) as server, ExitStack() as opened:
        callers = [begin(home, server, body) for _ in range(CALLERS)]
        for caller in callers:
            opened.callback(caller.close)
        server.process.terminate()
        answers = [finish(caller, body) for caller in callers]
        tokens = [json.loads(answer.read())["parameters"]["receipt"] for answer in answers]
        assert {200} == {answer.status for answer in answers}
        assert 0 == server.process.wait(WAIT_S)
        place = urlsplit(server.url)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((place.hostname or "", place.port or 0))

    sealed = home.folder.glob("segments/**/*.sealed")
    leaves = [leaf for path in sealed for leaf in scan(path.read_bytes()).leaves]
    receipts = [Receipt.parse(token) for token in tokens]
    assert {"loans"} == {verify_receipt(receipt, worker).endpoint for receipt in receipts}
    assert sorted(receipt.leaf for receipt in receipts) == sorted(leaves)


def test_status_and_verification_see_every_worker(new_home: NewHome) -> None:
    """Each worker says of itself what it serves, and the records of all are one history that verifies."""
    home, body = new_home("live"), question()
    with two_workers(home) as server:
        for _ in range(CALLERS):
            caller = begin(home, server, body)
            assert 200 == finish(caller, body).status
            caller.close()
        said = home.do("status")["workers"]
        assert [(True, server.process.pid, 2)] * 2 == [
            (each["serving"], each["server"], each["workers"]) for each in said
        ]
        assert 2 == len({each["pid"] for each in said})
        asked = [{"place": "champion", "version": 1, "requests": CALLERS}]
        assert asked == home.do("status")["counted"]["loans"]["answers"]
        shown = inside(home.root, "status").out
        assert f"loans: answered so far: {CALLERS} by the champion loans@1.\n" in shown
    assert 0 == server.process.returncode

    assert (CALLERS, 0) == tuple(home.do("status")[name] for name in ("predictions", "segments_waiting"))
    home.do("verify")
