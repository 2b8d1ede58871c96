"""More is asked than can be done: what is answered, what is turned away, and what it was like after.

In small; ``bench/overload.py`` does the same for a minute and measures it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from gatewright.deployments.plan import PLAN_TYPE, ApiKey, EndpointPlan, TrafficPlan, encode_plan
from gatewright.kernel.digests import Digest
from gatewright.kernel.names import Name
from gatewright.ledger.receipts import Receipt
from gatewright.ledger.segments import scan
from gatewright.releases.envelope import sealed
from gatewright.serving.batching import cores
from gatewright.serving.slots import Slot
from unit.serving.rig import NOW, WAIT_S, Rig, Running, error_of, question

SIZE, LAYERS = 32, 200
"""200 convolutions of 4.7 million steps each: no core answers all callers in the time that may wait."""
CALLERS = 24
POLITE = "gw_polite"
PATH = "/v2/models/tumour/infer"


def slow_model() -> bytes:
    """ONNX: the rig's inputs and outputs, and much to do between them."""
    rng = np.random.default_rng(0)
    width = 16 * SIZE * SIZE
    weights = [
        numpy_helper.from_array((rng.standard_normal((3, width)) / 2).astype(np.float32), "W"),
        numpy_helper.from_array(np.array([-1, 16, SIZE, SIZE], np.int64), "square"),
        numpy_helper.from_array((rng.standard_normal((16, 16, 3, 3)) / 12).astype(np.float32), "K"),
        numpy_helper.from_array(np.array([-1, width], np.int64), "flat"),
        numpy_helper.from_array((rng.standard_normal((width, 2)) / width).astype(np.float32), "V"),
    ]
    nodes = [
        helper.make_node("MatMul", ["X", "W"], ["wide"]),
        helper.make_node("Reshape", ["wide", "square"], ["p0"]),
        *(
            helper.make_node("Conv", [f"p{place}", "K"], [f"p{place + 1}"], pads=[1, 1, 1, 1])
            for place in range(LAYERS)
        ),
        helper.make_node("Reshape", [f"p{LAYERS}", "flat"], ["row"]),
        helper.make_node("MatMul", ["row", "V"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["probabilities"], axis=1),
        helper.make_node("ArgMax", ["scores"], ["label"], axis=1, keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "slow",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, 3])],
        [
            helper.make_tensor_value_info("label", TensorProto.INT64, [None]),
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, 2]),
        ],
        weights,
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(made.SerializeToString())


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[Running]:
    """A worker with the slow model and two keys."""
    rig = Rig(tmp_path)
    release = rig.make_release(1, model=slow_model())
    keys = tuple(
        ApiKey(id=id_, digest=Digest(hashlib.sha256(secret.encode()).hexdigest()))
        for id_, secret in (("flood", rig.secret), ("polite", POLITE))
    )
    endpoint = EndpointPlan(endpoint=Name("tumour"), champion=release, previous=None, keys=keys)
    plan = TrafficPlan(number=1, issued=NOW, endpoints=(endpoint,))
    rig.publish(sealed(PLAN_TYPE, encode_plan(plan), rig.signers).encode())
    with rig.running(
        slot=Slot(workers=cores())
    ) as running:  # one thread, as a worker with so many neighbours has
        yield running


def client(url: str, secret: str) -> httpx.Client:
    """A client that keeps its connection."""
    return httpx.Client(base_url=url, headers={"authorization": f"Bearer {secret}"}, timeout=WAIT_S)


def test_more_than_can_be_done_is_turned_away_and_the_rest_is_answered(slow: Running) -> None:
    """Under a flood some are answered, the others told to come again; another key is answered always."""
    url = slow.url

    def flood(place: int) -> list[httpx.Response]:
        with client(url, "gw_test-secret") as http:
            return [http.post(PATH, json={**question(), "id": f"{place}-{turn}"}) for turn in range(4)]

    with ThreadPoolExecutor(CALLERS) as callers, client(url, POLITE) as polite:
        flooding = callers.map(flood, range(CALLERS))
        asked = [polite.post(PATH, json=question()) for _ in range(4)]
        answers = [answer for several in flooding for answer in several]
        after = polite.post(PATH, json=question())
        with client(url, "gw_test-secret") as http:
            again = http.post(PATH, json=question())

    assert [200] * 4 == [each.status_code for each in asked]
    assert {200, 503} == {each.status_code for each in answers}
    assert (200, 200) == (after.status_code, again.status_code)
    for each in answers:
        if each.status_code == 503:
            assert "1" == each.headers["retry-after"]
            assert "more to do" in error_of(each)


def test_only_what_was_answered_is_recorded(slow: Running) -> None:
    """Each answer has a receipt of its own, and its own id; a request that was turned away left no record."""
    url = slow.url

    def ask(place: int) -> tuple[str, httpx.Response]:
        with client(url, "gw_test-secret") as http:
            return f"q-{place}", http.post(PATH, json={**question(), "id": f"q-{place}"})

    with ThreadPoolExecutor(CALLERS) as callers:
        answers = [
            (id_, each.json()) for id_, each in callers.map(ask, range(CALLERS)) if each.status_code == 200
        ]
    slow.stop()
    told = [Receipt.parse(body["parameters"]["receipt"]).id for _, body in answers]
    kept = [
        f"{found.header.segment}/{seq}"
        for path in slow.rig.segments.glob("*.sealed")
        for found in [scan(path.read_bytes())]
        for seq in range(len(found.leaves))
    ]

    assert [id_ for id_, _ in answers] == [body["id"] for _, body in answers]
    assert sorted(kept) == sorted(told)
    assert 1 == len({str(body["outputs"]) for _, body in answers})
