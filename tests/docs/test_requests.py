"""The pages on models and serving work as written: their code, their commands, their requests."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import httpx
import numpy as np
import pytest

from gatewright.models.signature import DataType, ModelSignature, Task, TensorSpec
from gatewright.serving.codec import Codec
from scenario.world import Home, environment, inside, serving

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
    pasted = shlex.split(inside(home.root, "example", "loans").out.replace("\\\n", " "))
    assert "\\" not in pasted
    assert 3 == len(json.loads(pasted[pasted.index("-d") + 1])["inputs"])
    (tmp_path / "request.json").write_text(body, "utf-8")
    turned = json.loads(body)
    turned["inputs"].reverse()
    (tmp_path / "turned.json").write_text(json.dumps(turned), "utf-8")
    (tmp_path / "answer.json").write_text(answer.text, "utf-8")
    for sent in ("request.json", "turned.json"):
        verified = home.do("verify", "answer.json", "--request", sent)
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
