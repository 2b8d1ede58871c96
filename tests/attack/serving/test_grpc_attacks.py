from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest

from gatewright.serving.grpc_messages import MESSAGES, SERVICE
from gatewright.serving.limits import ARRIVAL_TIME, BODY, GRPC_STREAMS, HEAD, KEY
from unit.serving.grpc_caller import ROW, Caller, Refused, address_of, calling, row_request, tensor
from unit.serving.rig import WAIT_S, Rig, Running, api_key, wait_for

SECRETS = ("Traceback", "onnx", "/home", "gatewright.", ".py", "blobs", "segments", "Exception")
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS, HEADERS, RESET, PING, CONTINUATION = 4, 1, 3, 6, 9
END_HEADERS = 4


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A worker that answers gRPC beside REST."""
    rig = Rig(tmp_path_factory.mktemp("attacked"))
    rig.publish(rig.plan(1, rig.make_release(1)))
    with rig.running(grpc_port=0) as found:
        yield found


@pytest.fixture
def caller(server: Running) -> Iterator[Caller]:
    """A caller with the right key, which is answered after the attack as before it."""
    found = calling(server)
    yield found
    assert "q-1" == found.infer(row_request()).id
    found.close()


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """One HTTP/2 frame (RFC 9113 section 4.1)."""
    return struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + payload


def head(*fields: tuple[str, str]) -> bytes:
    """A header block of literals without indexing (RFC 7541 section 6.2.2)."""
    return b"".join(
        b"\0" + bytes((len(name),)) + name.encode() + bytes((len(value),)) + value.encode()
        for name, value in fields
    )


def raw(server: Running, *parts: bytes) -> bytes:
    """What a connection answers to these bytes, until the server closes it or says nothing more."""
    host, _, port = address_of(server).rpartition(":")
    found = b""
    with socket.create_connection((host, int(port)), timeout=WAIT_S) as connection:
        try:
            for part in (PREFACE, frame(SETTINGS, 0, 0), *parts):
                connection.sendall(part)
            connection.shutdown(socket.SHUT_WR)
            while part := connection.recv(65_536):
                found += part
        except (ConnectionResetError, BrokenPipeError):
            pass
    return found


CALL = (
    (":method", "POST"), (":scheme", "http"), (":path", f"/{SERVICE}/ModelInfer"), (":authority", "localhost"),
    ("content-type", "application/grpc"), ("te", "trailers"), ("authorization", "Bearer gw_test-secret"),
)  # fmt: skip


def test_sv17_a_gzip_bomb_is_refused_unread(caller: Caller) -> None:
    """SV-17: a message that is small compressed and too long unpacked is refused as too long."""
    bomb = row_request(raw_input_contents=[bytes(4 * BODY.value)])
    found = caller.infer(bomb, compression=grpc.Compression.Gzip)

    assert grpc.StatusCode.RESOURCE_EXHAUSTED == found.code


def test_sv17_a_compressed_message_within_the_limit_is_read(caller: Caller) -> None:
    """SV-17: compression as such is no attack, and is answered."""
    assert "q-1" == caller.infer(row_request(), compression=grpc.Compression.Gzip).id


def test_sv21_streams_that_are_opened_and_reset_stop_nobody(server: Running, caller: Caller) -> None:
    """SV-21: while connections open and reset thousands of streams, another caller is answered each time."""
    refused: list[Any] = []
    stop = threading.Event()

    def behave() -> None:
        other = calling(server)
        while not stop.is_set():
            found = other.infer(row_request())
            if isinstance(found, Refused):
                refused.append(found)
        other.close()

    behaving = threading.Thread(target=behave)
    behaving.start()
    for _ in range(3):
        burst = b"".join(
            frame(HEADERS, END_HEADERS, stream, head(*CALL)) + frame(RESET, 0, stream, struct.pack(">I", 8))
            for stream in range(1, 4_001, 2)
        )
        raw(server, burst)
    stop.set()
    behaving.join()

    assert [] == refused
    assert "q-1" == caller.infer(row_request()).id


def test_sv21_calls_that_are_cancelled_stop_nobody(server: Running, caller: Caller) -> None:
    """SV-21: thousands of calls cancelled by an ordinary client: its connection may be refused, no other."""
    hostile = calling(server)
    ask = hostile.method("ModelInfer").future
    for _ in range(2_000):
        ask(row_request(), metadata=hostile.metadata(), timeout=WAIT_S).cancel()
    answered = [caller.infer(row_request()) for _ in range(20)]
    hostile.close()

    assert [] == [each for each in answered if isinstance(each, Refused)]
    assert 200 == server.infer().status_code


def test_a_connection_has_at_most_so_many_calls_open(server: Running) -> None:
    """The server tells each connection its limit of open calls (SETTINGS_MAX_CONCURRENT_STREAMS)."""
    told = raw(server)
    length = int.from_bytes(told[:3], "big")
    settings = dict(struct.iter_unpack(">HI", told[9 : 9 + length]))

    assert (SETTINGS, GRPC_STREAMS.value) == (told[3], settings[3])


def test_a_flood_of_pings_ends_the_connection(server: Running, caller: Caller) -> None:
    """CVE-2019-9512: a connection that pings without end is closed, and others go on."""
    pings = b"".join(frame(PING, 0, 0, struct.pack(">Q", number)) for number in range(2_000))
    answered = raw(server, pings)

    assert b"too_many_pings" in answered
    assert "q-1" == caller.infer(row_request()).id


def test_headers_without_end_end_the_connection(server: Running, caller: Caller) -> None:
    """CVE-2024-27316: header blocks that go on and on are not gathered for ever."""
    field = head(("x-long", "a" * 120))
    endless = frame(HEADERS, 0, 1, head(*CALL)) + frame(CONTINUATION, 0, 1, field * 100) * 400
    answered = raw(server, endless)

    assert b"gwr1." not in answered
    assert "q-1" == caller.infer(row_request()).id


def test_sv08_metadata_beyond_the_limit_are_refused(caller: Caller) -> None:
    """SV-08: metadata longer than the limit is refused, and the message is not run."""
    found = caller.infer(row_request(), ("x-long", "a" * (HEAD.value + 1)))

    assert grpc.StatusCode.RESOURCE_EXHAUSTED == found.code


def test_a_message_beyond_the_limit_is_refused(caller: Caller) -> None:
    """A message longer than a body may be is RESOURCE_EXHAUSTED."""
    found = caller.infer(row_request(raw_input_contents=[bytes(BODY.value + 1)]))

    assert grpc.StatusCode.RESOURCE_EXHAUSTED == found.code


@pytest.mark.parametrize(
    "method",
    [
        f"/{SERVICE}/RepositoryIndex", f"/{SERVICE}/RepositoryModelLoad", f"/{SERVICE}/SystemSharedMemoryRegister",
        f"/{SERVICE}/ModelStreamInfer", f"/{SERVICE}/TraceSetting", f"/{SERVICE}/LogSettings",
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", "/grpc.health.v1.Health/Check",
        "/grpc.channelz.v1.Channelz/GetServers", "/", "/inference", f"/{SERVICE}/modelinfer", f"/{SERVICE}/ModelInfer/",
    ],
)  # fmt: skip
def test_sv04_what_is_not_offered_is_unimplemented(caller: Caller, method: str) -> None:
    """SV-04: extensions, reflection and look-alikes are UNIMPLEMENTED, with the key as without it."""
    for metadata in (caller.metadata(), ()):
        with pytest.raises(grpc.RpcError) as caught:
            caller.channel.unary_unary(method)(b"", metadata=metadata, timeout=WAIT_S)
        assert grpc.StatusCode.UNIMPLEMENTED == caught.value.code()


@pytest.mark.parametrize(
    "request_",
    [
        b"\xff" * 100,
        b"\x0a\xff\xff\xff\xff\x0f",
        b"\x2a\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80",
        b"\x23" * 10_000,
        b"\x0a\x06\xff\xfe\xfd\xfc\xfb\xfa",
        row_request(inputs=[tensor(shape=[2**62, 2**62])]),
        row_request(inputs=[tensor(shape=[-1, 3])]),
        row_request(inputs=[tensor(shape=[0, 3])]),
        row_request(inputs=[tensor(shape=[1] * 65)]),
        row_request(inputs=[tensor()] * 2_000, raw_input_contents=[ROW.tobytes()] * 2_000),
        row_request(outputs=[{"name": f"o{number}"} for number in range(100_000)]),
        row_request(inputs=[tensor(name="X" * 100_000)]),
        row_request(inputs=[tensor(datatype="F" * 100_000)]),
        row_request(inputs=[tensor(name="../../etc/passwd")]),
        row_request(raw_input_contents=[b"\x00\x00\xc0\x7f" * 2 + b"\x00\x00\x80\x7f"]),
        row_request(model_version="1' OR 1=1", id="x" * 100),
    ],
)  # fmt: skip
def test_sv03_sv05_nonsense_is_refused_in_plain_words(caller: Caller, request_: Any) -> None:
    """SV-03, SV-05: what does not fit is refused with a sentence that names nothing of ours."""
    found = caller.infer(request_)

    assert isinstance(found, Refused)
    assert found.code in {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND}
    assert len(found.sentence) < 2_000
    assert not [secret for secret in SECRETS if secret in found.sentence]


@pytest.mark.parametrize(
    "metadata",
    [
        (),
        (("authorization", ""),),
        (("authorization", "Bearer"),),
        (("authorization", "Bearer gw_test-secre"),),
        (("authorization", "Bearer gw_test-secret2"),),
        (("authorization", "Basic gw_test-secret"),),
        (("authorization", "Bearer " + "a" * (KEY.value + 1)),),
        (("authorization-bin", b"Bearer gw_test-secret"),),
        (("x-authorization", "Bearer gw_test-secret"),),
        (("x-forwarded-for", "127.0.0.1"),),
    ],
)
def test_sv02_other_keys_are_refused_alike(server: Running, metadata: tuple[tuple[str, str], ...]) -> None:
    """SV-02, SV-12: no key, a wrong one and a part of the right one get the same status and sentence."""
    caller = calling(server, "")
    found = caller.infer(row_request(), *metadata)
    caller.close()

    assert grpc.StatusCode.UNAUTHENTICATED == found.code
    assert "A valid API key is needed: send 'Authorization: Bearer KEY'." == found.sentence


def test_two_keys_in_one_call_are_refused(caller: Caller) -> None:
    """A call with two keys is not answered by whichever of them a reader prefers."""
    found = caller.infer(row_request(), ("authorization", "Bearer other"))

    assert grpc.StatusCode.INVALID_ARGUMENT == found.code


def test_a_fault_of_ours_tells_nothing(
    server: Running, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exception nobody foresaw is INTERNAL and one sentence; its text stays here."""

    def broken(*_: object) -> None:
        raise RuntimeError("a password")

    before = len(server.rig.said)
    monkeypatch.setattr("gatewright.serving.grpc_calls.asked_of", broken)
    found = caller.infer(row_request())
    monkeypatch.undo()

    assert (grpc.StatusCode.INTERNAL, "The server failed to answer.") == (found.code, found.sentence)
    assert any("RuntimeError" in said for said in server.rig.said[before:])
    assert not any("password" in said for said in server.rig.said)


def open_calls(
    server: Running, connections: int, each: int, fields: tuple[tuple[str, str], ...] = CALL
) -> list[socket.socket]:
    """Connections with so many calls each, whose heads came and whose messages do not."""
    host, _, port = address_of(server).rpartition(":")
    held = []
    for _ in range(connections):
        connection = socket.create_connection((host, int(port)), timeout=WAIT_S)
        heads = b"".join(frame(HEADERS, END_HEADERS, 2 * place + 1, head(*fields)) for place in range(each))
        connection.sendall(PREFACE + frame(SETTINGS, 0, 0) + heads)
        held.append(connection)
    return held


def test_messages_that_never_come_shut_out_no_other_key(tmp_path: Path) -> None:
    """Calls without messages take a bounded number of places, those of their own key; another is answered."""
    rig = Rig(tmp_path)
    keys = (api_key("key-1", rig.secret), api_key("key-2", "gw_other"))
    rig.publish(rig.plan(1, rig.make_release(1), keys=keys))
    with rig.running(grpc_port=0) as server:
        held = open_calls(server, 8, GRPC_STREAMS.value // 2)
        own, other = calling(server), calling(server, "gw_other")
        wait_for(lambda: isinstance(own.infer(row_request()), Refused))
        found = own.infer(row_request())
        answered = [other.infer(row_request()) for _ in range(20)]
        for connection in held:
            connection.close()
        wait_for(lambda: not isinstance(own.infer(row_request()), Refused))
        own.close()
        other.close()

    assert grpc.StatusCode.RESOURCE_EXHAUSTED == found.code
    assert [] == [each for each in answered if isinstance(each, Refused)]


@pytest.mark.parametrize("method", ["ServerLive", "ServerReady", "ModelInfer"])
def test_strangers_hold_no_place(server: Running, caller: Caller, method: str) -> None:
    """Without a key any number of calls without messages shut nobody out."""
    fields = tuple(
        (name, f"/{SERVICE}/{method}" if name == ":path" else text)
        for name, text in CALL
        if name != "authorization"
    )
    held = open_calls(server, 4, GRPC_STREAMS.value, fields)
    answered = [caller.infer(row_request()) for _ in range(20)]
    for connection in held:
        connection.close()

    assert [] == [each for each in answered if isinstance(each, Refused)]


def test_calls_whose_messages_do_not_come_are_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call without its message is cancelled when the arrival time is over."""
    monkeypatch.setattr("gatewright.serving.grpc_calls.ARRIVAL_TIME", replace(ARRIVAL_TIME, value=0))
    rig = Rig(tmp_path)
    rig.publish(rig.plan(1, rig.make_release(1)))
    with rig.running(grpc_port=0) as server:
        (held,) = open_calls(server, 1, 1)
        found = b""
        while frame(RESET, 0, 1) not in found.replace(b"\0\0\4\3", b"\0\0\0\3"):
            found += held.recv(65_536)
            assert found
        held.close()


def test_liveness_needs_no_key_and_tells_nothing(server: Running) -> None:
    """The one method that answers everybody says that the server lives, and no more."""
    caller = calling(server, "")
    found = caller.ask("ServerLive")
    caller.close()

    assert MESSAGES["ServerLiveResponse"](live=True) == found
