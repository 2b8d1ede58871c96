"""The pages on models and serving work as written: their code, their commands, their requests."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from gatewright.ledger.receipts import Receipt, commit, verify_receipt
from gatewright.models.signature import DataType, ModelSignature, Task, TensorSpec
from gatewright.models.tensors import raw_of
from gatewright.operations.answers import inputs_are, outputs_encoding, request_in, saved_in
from gatewright.serving.codec import Codec
from scenario.world import Home, environment, inside, serving
from unit.serving.rig import SIGNATURE, Rig, Running, linear_model

DOCS = Path(__file__).parents[2] / "docs"
SECTION = (DOCS / "models.md").read_text("utf-8").partition("## Missing cells")[2].partition("\n## ")[0]
PYTHON = re.findall(r"```python\n(.*?)```", SECTION, re.DOTALL)
SHELL = re.findall(r"```sh\n(.*?)```", SECTION, re.DOTALL)
PORT = "8620"


def request_of(block: str) -> tuple[str, dict[str, str], str]:
    """The address, headers and body of a page's ``curl``."""
    words = shlex.split(block.replace("\\\n", " "))
    headers = [words[at + 1].split(": ", 1) for at, word in enumerate(words) if word == "-H"]
    return words[2], dict(headers), words[words.index("-d") + 1]


def write_loans(path: Path) -> None:
    """The file that the page describes: an id, numbers and texts with gaps, and the answer."""
    rng = np.random.default_rng(11)
    rows = 800
    income, debt = rng.normal(45, 12, rows).round(2), rng.normal(10, 4, rows).round(2)
    region = rng.choice(["north", "south", "west", ""], rows)
    repaid = income - 2 * debt + 12 * (region == "north") + rng.normal(0, 6, rows) > 25
    lines = [
        f"L{at},{'' if at % 9 == 0 else income[at]},{'' if at % 13 == 0 else debt[at]},{region[at]},{int(repaid[at])}"
        for at in range(rows)
    ]
    path.write_text("\n".join(["loan_id,income,debt,region,repaid", *lines]) + "\n", "utf-8")


def as_binary(body: str) -> tuple[bytes, int]:
    """The same request with all its tensors as binary data, and the length of its JSON."""
    asked, parts = json.loads(body), []
    for tensor in asked["inputs"]:
        values = np.array(tensor.pop("data"), object if tensor["datatype"] == "BYTES" else np.float32)
        parts.append(raw_of(values))
        tensor["parameters"] = {"binary_data_size": len(parts[-1])}
    head = json.dumps(asked | {"parameters": {"binary_data_output": True}}).encode()
    return head + b"".join(parts), len(head)


def python(code: str, folder: Path) -> None:
    """Run a page's code as its reader does."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert 0 == done.returncode, done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="files are read in a sandbox, which is Linux only")
def test_missing_cells_texts_and_ids_travel_from_the_file_to_the_answer(tmp_path: Path) -> None:
    """The section's code, commands and request work in order, and so does the model made by hand."""
    write_loans(tmp_path / "loans.csv")
    home = Home(root=tmp_path)
    home.do("init", "--owner", "ada")
    before, after, asked = SHELL
    home.do(*shlex.split(before)[1:])
    python("\n".join(PYTHON), tmp_path)
    add, ship, serve = (shlex.split(line)[1:] for line in after.strip().splitlines())
    by_hand = [word.replace("loans.onnx", "by-hand.onnx") for word in add]
    home.do(*by_hand)
    home.do(*add)
    key = home.do(*ship)["api_key"]
    address, headers, body = request_of(asked)
    assert ["serve"] == serve
    assert f":{PORT}/" in address
    with serving(home) as server, httpx.Client() as client:
        place = server.url + address.partition(PORT)[2]
        headers["Authorization"] = headers["Authorization"].replace("$KEY", key)
        answer = client.post(place, content=body, headers=headers)
        assert 200 == answer.status_code, answer.text
        found = {each["name"]: each["shape"] for each in answer.json()["outputs"]}
        assert {"label": [2], "probabilities": [2, 2]} == found
        told = client.get(place.removesuffix("/infer"), headers=headers).json()
        assert {"income": ["income"], "debt": ["debt"], "region": ["region"]} == told["parameters"]["columns"]
        del headers["Content-Type"]
        as_curl_does = headers | {"Content-Type": "application/x-www-form-urlencoded"}
        assert 200 == client.post(place, content=body, headers=as_curl_does).status_code
        binary, length = as_binary(body)
        octets = client.post(
            place, content=binary, headers=headers | {"Inference-Header-Content-Length": str(length)}
        )
        assert "application/octet-stream" == octets.headers["content-type"], octets.text
    pasted = shlex.split(inside(home.root, "example", "loans").out.replace("\\\n", " "))
    assert "\\" not in pasted
    assert 3 == len(json.loads(pasted[pasted.index("-d") + 1])["inputs"])
    (tmp_path / "request.json").write_text(body, "utf-8")
    turned = json.loads(body)
    turned["inputs"].reverse()
    (tmp_path / "turned.json").write_text(json.dumps(turned), "utf-8")
    (tmp_path / "answer.json").write_text(answer.text, "utf-8")
    (tmp_path / "request.bin").write_bytes(binary)
    (tmp_path / "answer.bin").write_bytes(octets.content)
    saved = [("answer.json", "request.json"), ("answer.json", "turned.json"), ("answer.bin", "request.bin")]
    for got, sent in saved:
        verified = home.do("verify", got, "--request", sent)
        assert "outputs and the inputs are those that were signed" in json.dumps(verified)


def test_the_request_in_the_page_on_serving_is_read() -> None:
    """The page's request fits the model that the tour makes, at the port and endpoint of the tour."""
    page = (DOCS / "serving.md").read_text("utf-8")
    block = next(each for each in re.findall(r"```sh\n(.*?)```", page, re.DOTALL) if "curl" in each)
    address, headers, body = request_of(block)
    spec = TensorSpec(
        name="input", datatype=DataType.FP32, shape=(-1, 3), columns=("income", "debt", "years")
    )
    asked = Codec(ModelSignature(task=Task.REGRESSION, inputs=(spec,), outputs=(spec,))).read(body.encode())
    assert f"http://127.0.0.1:{PORT}/v2/models/loans/infer" == address
    assert "application/json" == headers["Content-Type"]
    assert json.loads(body)["id"] == asked.id
    assert [False, False, True] == np.isnan(asked.inputs[0]).tolist()[0]


PAGE = (DOCS / "requests.md").read_text("utf-8")
LOANS = ModelSignature(
    task=Task.BINARY,
    inputs=(
        TensorSpec(name="input", datatype=DataType.FP32, shape=(-1, 3), columns=("income", "debt", "years")),
    ),
    outputs=SIGNATURE.outputs,
    classes=("no", "yes"),
    label_output="label",
    scores_output="probabilities",
)


@pytest.fixture(scope="module")
def loans(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The endpoint that the page on requests asks."""
    rig = Rig(tmp_path_factory.mktemp("loans"))
    model = linear_model(1.0, name="input")
    rig.publish(
        rig.plan(1, rig.make_release(1, model=model, signature=LOANS, endpoint="loans"), endpoint="loans")
    )
    with rig.running() as found:
        yield found


def test_the_request_in_the_page_on_requests_is_answered(loans: Running) -> None:
    """Every field of the page's request does what the page says."""
    [asked] = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)]
    found = Codec(LOANS).read(json.dumps(asked).encode())
    assert ("q-1", "customer 17", (1, 0), frozenset()) == (
        found.id,
        found.subject,
        found.outputs,
        found.binary,
    )
    assert [[False] * 3, [False, False, True]] == np.isnan(found.inputs[0]).tolist()
    asked["inputs"][0]["data"][1][2] = 2
    answer = loans.client.post("/v2/models/loans/infer", json=asked)
    assert ["probabilities", "label"] == [each["name"] for each in answer.json()["outputs"]]


def test_the_code_in_the_page_on_requests_works(loans: Running) -> None:
    """Both ways of sending binary tensors run as written, and what they save is what the receipt is about."""
    by_client, by_hand = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    host, port = loans.address
    found: dict[str, Any] = {}
    for code in (by_client, by_hand):
        own = code.replace(f"127.0.0.1:{PORT}", f"{host}:{port}").replace(
            f'"127.0.0.1", {PORT}', f'"{host}", {port}'
        )
        assert own != code
        found = {"key": loans.rig.secret}
        exec(own, found)  # noqa: S102 - the page's code is what is tested
        for name in ("client", "connection"):
            if name in found:
                found[name].close()
        if code is by_client:
            assert (2,) == found["labels"].shape
            verify_receipt(Receipt.parse(found["receipt"]), loans.rig.worker.public)
    assert ["label", "probabilities"] == [each["name"] for each in found["outputs"]]
    saved = saved_in(found["body"])
    held = Receipt.parse(saved.token)
    record = verify_receipt(held, loans.rig.worker.public)
    assert commit(held.output_salt, outputs_encoding(saved.answer or {})) == record.output
    sent = request_in(found["request"])
    assert inputs_are(sent, LOANS, lambda encoding: commit(held.input_salt, encoding) == record.input)


def test_the_page_on_requests_names_every_type_and_the_clients_that_were_asked() -> None:
    """The table of types is whole, and the clients' versions are those of their lists."""
    types = PAGE.partition("## Data types")[2].partition("\n\n| datatype")[2].partition("\n\n")[0]
    named = re.findall(r"^\| ([A-Z0-9, ]+) \|", types, re.MULTILINE)
    assert {str(kind) for kind in DataType} == {kind for row in named for kind in row.split(", ")}
    lists = {path.stem: path.read_text("utf-8") for path in (DOCS.parent / "bench" / "clients").glob("*.txt")}
    clients = re.findall(r"^\| `([a-z-]+)` \| ([0-9.]+) \|", PAGE, re.MULTILINE)
    assert len(lists) == len(clients)
    for name, version in clients:
        assert any(f"\n{name}=={version} " in f"\n{text}" for text in lists.values())
