from __future__ import annotations

import hmac
import json
import pickle
import socket
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

from gatewright.serving.limits import HEADERS
from unit.serving.rig import Running, error_of, question

INFER = "/v2/models/tumour/infer"
SECRETS = ("Traceback", "onnx", "/home", "gatewright.", ".py", "blobs", "segments")


def post(server: Running, body: bytes, **headers: str) -> httpx.Response:
    """A body as it is, with these headers."""
    return server.client.post(
        INFER, content=body, headers={name.replace("_", "-"): text for name, text in headers.items()}
    )


def raw(server: Running, data: bytes) -> bytes:
    """What the server answers to these bytes before it closes."""
    with socket.create_connection(server.address, timeout=60) as connection:
        found = b""
        try:
            connection.sendall(data)
            while part := connection.recv(65_536):
                found += part
        except (ConnectionResetError, BrokenPipeError):
            pass
        return found


@pytest.mark.parametrize(
    "kind",
    [
        "application/x-python-pickle", "application/python-pickle", "application/octet-stream", "application/x-pickle",
        "application/vnd.cloudpickle", "application/x-msgpack", "application/vnd.bentoml+pickle", "multipart/form-data",
        "text/plain", "application/x-www-form-urlencoded", "application/json+pickle",
    ],
)  # fmt: skip
def test_sv01_code_bearing_types_are_not_read(server: Running, kind: str) -> None:
    """SV-01: bodies of other types than JSON, pickles above all, are 415 and never opened."""
    assert 415 == post(server, pickle.dumps({"a": 1}), content_type=kind).status_code


def test_sv01_payload_containers_are_not_read(server: Running) -> None:
    """SV-01: a header that asks for another container is 415 too."""
    assert 415 == post(server, b"{}", payload_container="NdarrayContainer").status_code


@pytest.mark.parametrize(
    "path",
    [
        "/", "/v2", "/v2/health/ready", "/v2/models/tumour", "/v2/models/tumour/ready", INFER, "/v2/repository/index",
        "/metrics", "/docs", "/openapi.json", "/api/jobs/", "/models", "/admin", "/v2/logging", "/nothing",
    ],
)  # fmt: skip
def test_sv02_without_a_key_only_liveness_answers(server: Running, path: str) -> None:
    """SV-02: every path but liveness is 401 without a key, whether it exists or not."""
    with httpx.Client(base_url=server.url) as stranger:
        for method in ("GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"):
            assert 401 == stranger.request(method, path).status_code
        assert 200 == stranger.get("/v2/health/live").status_code


def test_sv02_only_the_loopback_listens(server: Running) -> None:
    """SV-02: the listening socket is bound to the loopback address."""
    port = f"{server.address[1]:04X}"
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    listening = {line[1] for line in lines if line[3] == "0A" and line[1].endswith(f":{port}")}

    assert {f"0100007F:{port}"} == listening


@pytest.mark.parametrize(
    "change",
    [
        {"shape": [2**63, 2**63]},
        {"shape": [2**32, 2**32, 2]},
        {"shape": [-1, 3]},
        {"shape": [0, 3]},
        {"shape": [1] * 65},
        {"shape": []},
        {"shape": [10**400, 3]},
        {"shape": [1, 3], "data": [1.0] * 4},
        {"shape": [4_194_305, 1]},
    ],
)
def test_sv03_shapes_are_computed_without_overflow(server: Running, change: dict[str, Any]) -> None:
    """SV-03: shapes that do not fit their data, or anything, are 400."""
    assert 400 == server.infer(**change).status_code


def test_sv03_output_names_are_bounded(server: Running) -> None:
    """SV-03: a hundred thousand output names are one refusal."""
    body = question() | {"outputs": [{"name": f"o{each}"} for each in range(100_000)]}

    assert 400 == server.client.post(INFER, json=body).status_code


@pytest.mark.parametrize(
    "path",
    [
        "/v2/systemsharedmemory/status", "/v2/cudasharedmemory/region/r/register", "/v2/repository/models/tumour/load",
        "/v2/repository/models/tumour/unload", "/v2/logging", "/v2/trace/setting", "/v2/models/tumour/trace/setting",
        "/v2/models/tumour/config", "/v2/models/tumour/stats", "/v2/models/tumour/generate",
    ],
)  # fmt: skip
def test_sv04_management_routes_are_not_offered(server: Running, path: str) -> None:
    """SV-04: extension and management routes do not exist."""
    assert {404} == {server.client.request(method, path).status_code for method in ("GET", "POST")}


@pytest.mark.parametrize(
    "body",
    [
        b"", b"null", b"[]", b"{}", b"{", b'{"inputs":[]}', b'{"inputs":null}', b'{"inputs":[{}]}', b"\x80\x04N.", b"\xff" * 100,
        b'{"inputs":[{"name":"X","shape":[1,3],"datatype":"FP32","data":[[[[1,2,3]]]]}]}',
        b'{"inputs":[{"name":"X","shape":[1,3],"datatype":"FP32","data":[NaN,1,2]}]}',
        b'{"inputs":[{"name":"X","shape":[1,3],"datatype":"FP32","data":[1e400,1,2]}]}',
        b'{"inputs":[{"name":"X","shape":[1,3],"datatype":"BYTES","data":["1","2","3"]}]}',
        b'{"inputs":[{"name":"X","name":"Y","shape":[1,3],"datatype":"FP32","data":[1,2,3]}]}',
        b"[" * 1_000_000, b'{"a":' * 100_000, b'{"inputs":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
)  # fmt: skip
def test_sv04_sv05_what_is_no_request_is_400_and_tells_nothing(server: Running, body: bytes) -> None:
    """SV-04, SV-05: any other body is a 400 whose sentence names nothing of the inside."""
    answer = post(server, body)

    assert 400 == answer.status_code
    assert not any(word in error_of(answer) for word in SECRETS)


def test_sv05_repeated_and_unknown_parts(server: Running) -> None:
    """SV-05: a repeated input is refused; unknown fields are data that nobody reads."""
    tensor = question()["inputs"][0]

    assert 400 == server.client.post(INFER, json={"inputs": [tensor, tensor]}).status_code
    assert 200 == server.client.post(INFER, json=question() | {"__class__": "os.system"}).status_code


def test_sv07_names_that_are_sent_are_not_kept(server: Running) -> None:
    """SV-07: thousands of distinct paths and header values leave the tables as they were."""
    table = server.worker.plans.table
    before = len(table.targets)
    for each in range(1_000):
        path = f"/v2/models/m{each}/versions/{each}/infer"
        assert 404 == server.client.get(path, headers={"x-request-id": str(each)}).status_code

    assert before == len(server.worker.plans.table.targets)
    assert table is server.worker.plans.table


@pytest.mark.parametrize(
    "head",
    [
        b"X-Long: " + b"a" * 2**20 + b"\r\n",
        b"".join(b"X-%d: 1\r\n" % each for each in range(10_000)),
        b"".join(b"X-%d: 1\r\n" % each for each in range(HEADERS.value + 1)),
        b"X-Long: " + b"a" * 17_000 + b"\r\n",
    ],
)
def test_sv08_heads_are_bounded(server: Running, head: bytes) -> None:
    """SV-08: a megabyte of header, or thousands of them, is 431 and the connection closes."""
    found = raw(server, b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\n" + head + b"\r\n")

    assert found.startswith(b"HTTP/1.1 431 ") or found == b""
    if len(head) < 100_000:
        assert found.startswith(b"HTTP/1.1 431 ")
        assert b"connection: close" in found


def test_sv08_a_long_request_line_is_bounded(server: Running) -> None:
    """SV-08: the request line counts as well."""
    found = raw(server, b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n")

    assert found.startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        b"Content-Length: 5\r\nContent-Length: 6\r\n",
        b"Content-Length: 5, 6\r\n",
        b"Transfer-Encoding : chunked\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        b"Content-Length: +5\r\n",
        b" folded: 1\r\n",
    ],
)
def test_sv11_ambiguous_messages_are_not_answered_twice(server: Running, head: bytes) -> None:
    """SV-11: a message whose length can be read in two ways is refused; what it smuggles is not answered."""
    smuggled = b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    found = raw(
        server,
        b"POST " + INFER.encode() + b" HTTP/1.1\r\nHost: localhost\r\n" + head + b"\r\n0\r\n\r\n" + smuggled,
    )

    assert b'{"live":true}' not in found
    assert b" 200 " not in found


def test_sv12_a_guess_tells_nothing_of_how_right_it_is(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SV-12: keys meet by their SHA-256: a near guess is found as little as a far one, a right key in constant time."""
    compared: list[tuple[int, int]] = []
    constant = hmac.compare_digest

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((len(one), len(other)))
        return constant(one, other)

    monkeypatch.setattr("gatewright.serving.admission.hmac.compare_digest", compare)
    secret = server.rig.secret
    with httpx.Client(base_url=server.url) as stranger:
        for key in ("x" * len(secret), secret[:-1] + "x", "x"):
            assert 401 == stranger.get("/v2", headers={"authorization": f"Bearer {key}"}).status_code
    wrong = list(compared)
    assert 200 == server.client.get("/v2").status_code

    assert [] == wrong
    assert [(32, 32)] == compared


@pytest.mark.parametrize(
    "data", [{"path": "/etc/passwd"}, "file:///etc/passwd", ["http://127.0.0.1:1/", 1, 2], {"url": "x"}]
)
def test_sv13_what_looks_like_a_place_is_only_data(server: Running, data: Any) -> None:
    """SV-13: URLs and paths in the place of data are refused as data; nothing is opened."""
    answer = server.infer(data=data)

    assert 400 == answer.status_code
    assert "root:" not in answer.text


@pytest.mark.parametrize(
    "path",
    [
        "/static/js/../../../../etc/passwd", "/v2/models/..%2f..%2fetc%2fpasswd", "/v2/models/tumour/versions/..%2f1",
        "/logs?filename=../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "//etc/passwd", "/v2/models/tumour%00", "/v2/models/%ff",
        "/v2/models/tumour/../tumour", "/v2/models/tumour;a=b",
    ],
)  # fmt: skip
def test_sv15_no_path_leads_to_a_file(server: Running, path: str) -> None:
    """SV-15: traversal in any spelling is a path that does not exist."""
    head = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {server.rig.secret}\r\nConnection: close\r\n\r\n"

    assert raw(server, head.encode()).startswith(b"HTTP/1.1 404 ")


def test_sv16_forwarded_addresses_are_not_believed(server: Running) -> None:
    """SV-16: forwarding headers neither admit nor rename a caller or a host."""
    forged = {
        "x-forwarded-for": "127.0.0.1",
        "x-real-ip": "127.0.0.1",
        "forwarded": "for=127.0.0.1;host=localhost",
    }
    with httpx.Client(base_url=server.url, headers=forged) as stranger:
        assert 401 == stranger.get("/v2").status_code
        assert (
            421
            == stranger.get(
                "/v2", headers={"host": "evil.example", "x-forwarded-host": "localhost"}
            ).status_code
        )


def test_sv17_compressed_bodies_are_not_expanded(server: Running) -> None:
    """SV-17: a compressed body is refused by its header, before anything is expanded."""
    assert 415 == post(server, b"\x1f\x8b" + bytes(100), content_encoding="gzip, gzip").status_code


EVIL_PATTERNS = ("(a+)+$", "(a|aa)*b", "a{1,65535}{1,65535}", "[" * 5_000)


@pytest.mark.parametrize("pattern", EVIL_PATTERNS)
def test_sv06_a_pattern_is_only_text(server: Running, pattern: str) -> None:
    """SV-06: no field is read as a pattern: in parameters it is not looked at, as a name it is not found."""
    parameters = {"filter": pattern, "guided_regex": pattern, "schema": {"pattern": pattern}}
    body = question(parameters=parameters) | {"parameters": parameters}

    assert 200 == post(server, json.dumps(body).encode()).status_code
    assert 400 == post(server, json.dumps(body | {"outputs": [{"name": pattern}]}).encode()).status_code


@pytest.mark.parametrize(
    "kind",
    [
        "multipart/form-data; boundary=" + "x" * 4_000,
        "application/x-www-form-urlencoded; !=" + '"' + "\\" * 4_000,
        "application/json" + "; a=b" * 1_000,
        "multipart/form-data; " + "=" * 8_000,
    ],
)
def test_sv09_options_of_a_type_are_not_parsed(server: Running, kind: str) -> None:
    """SV-09: however long the options of a type, only what stands before them counts (a form may be JSON)."""
    expected = 415 if kind.startswith("multipart") else 200
    assert expected == post(server, json.dumps(question()).encode(), content_type=kind).status_code


def test_sv10_parts_and_ranges_are_not_known(server: Running) -> None:
    """SV-10: a multipart body is refused by its head, and a list of ranges changes no answer."""
    ranges = "bytes=" + ",".join(f"{at}-" for at in range(2_000))
    part = b'--x\r\nContent-Disposition: form-data; name="f"\r\n\r\n' + b"y" * 100_000

    assert 415 == post(server, part, content_type="multipart/form-data; boundary=x").status_code
    assert 200 == server.client.get("/v2", headers={"range": ranges}).status_code


@pytest.mark.parametrize("rows", [500, 8_000])
def test_sv18_many_rows_are_one_answer(server: Running, rows: int) -> None:
    """SV-18: thousands of rows in one request are answered, one answer a row."""
    body = json.dumps(question(shape=[rows, 3], data=[[1.5, 2.5, 3.5]] * rows)).encode()
    answer = post(server, body)

    assert 200 == answer.status_code
    assert {rows} == {output["shape"][0] for output in answer.json()["outputs"]}


def test_a_slow_reader_of_its_own_request_does_not_stop_others(server: Running) -> None:
    """A caller who sends half a request and waits holds nobody else."""
    with socket.create_connection(server.address) as half:
        half.sendall(b"POST " + INFER.encode() + b" HTTP/1.1\r\nHost: localhost\r\nContent-Le")
        assert 200 == server.infer().status_code


def test_many_callers_at_once_are_each_answered_their_own(server: Running) -> None:
    """Answers are never mixed: each caller gets the id that it sent."""
    wrong: list[str] = []

    def ask(name: str) -> None:
        with httpx.Client(base_url=server.url, headers=dict(server.client.headers)) as client:
            for each in range(20):
                found = client.post(INFER, json=question() | {"id": f"{name}-{each}"}).json()
                if found.get("id") != f"{name}-{each}":
                    wrong.append(json.dumps(found))

    threads = [threading.Thread(target=ask, args=(f"caller-{each}",)) for each in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [] == wrong


def test_a_pickle_is_never_opened(server: Running, tmp_path: Path) -> None:
    """A pickle that would make a file when opened makes none, whatever it is called."""
    mark = tmp_path / "opened"
    opened = b"cos\nmkdir\n(V%s\ntR." % str(mark).encode()

    statuses = {
        post(server, opened, content_type=kind).status_code
        for kind in ("application/json", "", "application/x-pickle")
    }

    assert {400, 415} == statuses
    assert not mark.exists()
    pickle.loads(opened)  # noqa: S301 - shows that the pickle does what it is feared for
    assert mark.exists()
