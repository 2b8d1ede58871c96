from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from gatewright.kernel.errors import DependencyFailed
from gatewright.ledger.receipts import Receipt
from gatewright.ledger.segments import scan
from gatewright.serving.app import INLINE_BYTES
from gatewright.serving.grpc_messages import MESSAGES
from unit.serving.grpc_caller import ROW, Caller, Refused, address_of, calling, row_request, tensor
from unit.serving.rig import WAIT_S, Rig, Running

NOT_FOUND = "There is no such model or version for this API key."


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A worker that answers gRPC beside REST."""
    rig = Rig(tmp_path_factory.mktemp("grpc"))
    rig.publish(rig.plan(1, rig.make_release(2)))
    with rig.running(grpc_port=0) as found:
        yield found


@pytest.fixture
def caller(server: Running) -> Iterator[Caller]:
    """A caller with the right key."""
    found = calling(server)
    yield found
    found.close()


@pytest.fixture
def stranger(server: Running) -> Iterator[Caller]:
    """A caller without a key."""
    found = calling(server, "")
    yield found
    found.close()


def arrays_of(answer: Any) -> dict[str, np.ndarray[Any, Any]]:
    """The outputs of an answer, by name."""
    kinds = {"INT64": np.int64, "FP32": np.float32}
    return {
        each.name: np.frombuffer(raw, kinds[each.datatype]).reshape(list(each.shape))
        for each, raw in zip(answer.outputs, answer.raw_output_contents, strict=True)
    }


def test_both_protocols_give_the_same_answer(server: Running, caller: Caller) -> None:
    """One row has the same outputs over gRPC and over REST, with a receipt each."""
    over_rest = server.infer().json()
    answer = caller.infer(row_request())
    receipt = Receipt.parse(answer.parameters["receipt"].string_param)

    assert ("tumour", "2", "q-1") == (answer.model_name, answer.model_version, answer.id)
    assert {each["name"]: each["data"] for each in over_rest["outputs"]} == {
        name: array.ravel().tolist() for name, array in arrays_of(answer).items()
    }
    assert receipt.id != Receipt.parse(over_rest["parameters"]["receipt"]).id


def test_contents_and_raw_contents_are_the_same(caller: Caller) -> None:
    """A tensor in its typed field is answered as the same tensor in bytes."""
    raw = caller.infer(row_request())
    typed = caller.infer(
        row_request(inputs=[tensor(contents={"fp32_contents": ROW.ravel()})], raw_input_contents=[])
    )

    assert list(raw.raw_output_contents) == list(typed.raw_output_contents)


def test_a_version_pins_and_an_output_is_chosen(caller: Caller) -> None:
    """The version that is live may be named, and only the outputs that are asked for are answered."""
    answer = caller.infer(row_request(model_version="2", outputs=[{"name": "probabilities"}]))

    assert ["probabilities"] == [each.name for each in answer.outputs]


def test_a_long_message_is_answered_beside_the_loop(caller: Caller) -> None:
    """A message that would hold up the event loop is answered with a receipt all the same."""
    rows = INLINE_BYTES // ROW.nbytes + 1
    many = np.repeat(ROW, rows, axis=0)
    answer = caller.infer(row_request(inputs=[tensor(shape=[rows, 3])], raw_input_contents=[many.tobytes()]))

    assert (rows, 2) == arrays_of(answer)["probabilities"].shape
    assert answer.parameters["receipt"].string_param.startswith("gwr1.")


def test_the_server_and_its_models_tell_of_themselves(server: Running, caller: Caller) -> None:
    """Liveness, readiness and metadata say what REST says."""
    told = server.client.get("/v2/models/tumour").json()
    model = caller.ask("ModelMetadata", MESSAGES["ModelMetadataRequest"](name="tumour"))

    assert caller.ask("ServerLive").live and caller.ask("ServerReady").ready  # noqa: PT018
    assert caller.ask("ModelReady", MESSAGES["ModelReadyRequest"](name="tumour", version="2")).ready
    assert "gatewright" == caller.ask("ServerMetadata").name
    assert (told["name"], told["versions"], told["platform"]) == (
        model.name,
        list(model.versions),
        model.platform,
    )
    assert told["inputs"] == [
        {"datatype": each.datatype, "name": each.name, "shape": list(each.shape)} for each in model.inputs
    ]


def test_without_a_key_only_liveness_answers(stranger: Caller) -> None:
    """Every method but ServerLive is UNAUTHENTICATED without a key, whatever its message."""
    names = ("ServerReady", "ServerMetadata", "ModelReady", "ModelMetadata", "ModelInfer")
    found = [stranger.ask(name, b"\xff not a message") for name in names]

    assert [grpc.StatusCode.UNAUTHENTICATED] * len(names) == [each.code for each in found]
    assert stranger.ask("ServerLive").live


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("nothing", ""),
        ("other", ""),
        ("tumour", "9"),
        ("tumour/versions/2", ""),
        ("", ""),
        ("tumour", "2/infer"),
    ],
)
def test_what_is_not_there_and_what_is_not_admitted_are_one(caller: Caller, name: str, version: str) -> None:
    """A model that is not there, one of another key and a path in a name give the same NOT_FOUND."""
    found = caller.infer(row_request(model_name=name, model_version=version))

    assert (grpc.StatusCode.NOT_FOUND, NOT_FOUND) == (found.code, found.sentence)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"raw_input_contents": [b"1234"]}, "does not fit"),
        ({"raw_input_contents": [ROW.tobytes()] * 2}, "1 inputs and 2 raw contents"),
        ({"inputs": [tensor(contents={"fp32_contents": [1.0]})]}, "both contents and raw contents"),
        ({"inputs": [tensor(contents={"fp64_contents": [1.0]})], "raw_input_contents": []}, "fp32_contents alone"),
        (
            {"inputs": [tensor(datatype="FP16", contents={"fp32_contents": [1.0]})], "raw_input_contents": []},
            "raw_input_contents alone",
        ),
        ({"inputs": [tensor(contents={"fp32_contents": [1.0, 2.0]})], "raw_input_contents": []}, "2 values"),
        ({"inputs": [tensor()], "raw_input_contents": []}, "0 values"),
        ({"inputs": [], "raw_input_contents": []}, "Missing inputs"),
        ({"inputs": [tensor(), tensor()], "raw_input_contents": [ROW.tobytes()] * 2}, "given twice"),
        ({"inputs": [tensor(datatype="FP7")]}, "unknown datatype"),
        ({"outputs": [{"name": "nothing"}]}, "no outputs named"),
        ({"parameters": {"subject": {"int64_param": 3}}}, "string_param"),
        ({"parameters": {"subject": {"string_param": "s" * 300}}}, "subject"),
        ({"id": "q" * 129}, "id has more than"),
        ({"inputs": [tensor(parameters={"shared_memory_region": {"string_param": "r"}})]}, "Shared memory"),
        (
            {"outputs": [{"name": "label", "parameters": {"shared_memory_region": {"string_param": "r"}}}]},
            "Shared memory",
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_with_a_reason(
    caller: Caller, change: dict[str, Any], sentence: str
) -> None:
    """A request that does not fit is INVALID_ARGUMENT, and the sentence says why."""
    found = caller.infer(row_request(**change))

    assert isinstance(found, Refused)
    assert (grpc.StatusCode.INVALID_ARGUMENT, True) == (found.code, sentence in found.sentence), found


def test_metadata_and_parameters_may_not_name_two_subjects(caller: Caller) -> None:
    """A subject may come in metadata, in parameters, or in both when they agree."""
    named = row_request(parameters={"subject": {"string_param": "a"}})
    agreed = caller.infer(named, ("gatewright-subject", "a"))
    found = caller.infer(named, ("gatewright-subject", "b"))

    assert "q-1" == agreed.id
    assert grpc.StatusCode.INVALID_ARGUMENT == found.code


def test_a_request_id_comes_back(caller: Caller) -> None:
    """The caller's id of a request is in the trailing metadata of its answer, and of a refusal."""
    metadata = caller.metadata((("x-request-id", "r-1"),))
    _, call = caller.method("ModelInfer").with_call(row_request(), metadata=metadata, timeout=WAIT_S)
    refused = caller.infer(row_request(model_name="nothing"), ("x-request-id", "r-2"))

    assert ("x-request-id", "r-1") in [tuple(each) for each in call.trailing_metadata()]
    assert "r-2" == refused.trailing["x-request-id"]


def test_what_cannot_be_now_says_when_to_come_again(tmp_path: Path) -> None:
    """Without a plan the server lives, is not ready, and tells a client when to try again."""
    rig = Rig(tmp_path)
    rig.publish(rig.plan(1, rig.make_release(1)))
    with rig.running(grpc_port=0) as server:
        caller = calling(server)
        server.worker.recorder._opened = False  # as after a full disk
        found = caller.infer(row_request())
        ready = caller.ask("ServerReady")
        server.worker.recorder._opened = True
        caller.close()

    assert [grpc.StatusCode.UNAVAILABLE] * 2 == [found.code, ready.code]
    assert ("1", "1000") == (found.trailing["retry-after"], found.trailing["grpc-retry-pushback-ms"])


def test_callers_at_once_get_their_own_answers(server: Running) -> None:
    """Many calls at once, good and bad, on many connections: nobody gets another's answer."""
    wrong: list[str] = []

    def ask(number: int) -> None:
        caller = calling(server)
        for turn in range(20):
            id_ = f"{number}-{turn}"
            row = np.full((1, 3), number - 8, np.float32)
            answer = caller.infer(row_request(id=id_, raw_input_contents=[row.tobytes()]))
            bad = caller.infer(row_request(id=id_, raw_input_contents=[b""]))
            if answer.id != id_ or arrays_of(answer)["label"].tolist() != [int(number > 8)]:
                wrong.append(id_)
            if bad.code != grpc.StatusCode.INVALID_ARGUMENT:
                wrong.append(f"bad {id_}")
        caller.close()

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [] == wrong


def test_a_call_in_work_ends_before_the_worker_does(tmp_path: Path) -> None:
    """A stop lets the calls that run end: as many are recorded as are answered; the others never began."""
    rig = Rig(tmp_path)
    rig.publish(rig.plan(1, rig.make_release(1)))
    server = rig.start(grpc_port=0)
    caller = calling(server)
    ask = caller.method("ModelInfer").future
    calls = [ask(row_request(), metadata=caller.metadata(), timeout=WAIT_S) for _ in range(200)]
    calls[0].result()
    server.stop()
    codes = [call.code() for call in calls]
    caller.close()
    sealed = [path for path in rig.segments.iterdir() if path.suffix == ".sealed"]

    assert {*codes} <= {grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}
    assert codes.count(grpc.StatusCode.OK) == sum(len(scan(path.read_bytes()).leaves) for path in sealed)


def test_a_port_that_is_taken_ends_the_start(tmp_path: Path) -> None:
    """A worker whose gRPC port is taken does not serve at all, and says why."""
    rig = Rig(tmp_path)
    rig.publish(rig.plan(1, rig.make_release(1)))
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(DependencyFailed) as caught:
            rig.start(grpc_port=other.getsockname()[1])

    assert "serving.grpc-port" == caught.value.refusal.code


def test_without_the_option_there_is_no_grpc(tmp_path: Path) -> None:
    """A worker that was not asked for gRPC has no address of it."""
    rig = Rig(tmp_path)
    rig.publish(rig.plan(1, rig.make_release(1)))
    with rig.running() as server, pytest.raises(AssertionError):
        address_of(server)
