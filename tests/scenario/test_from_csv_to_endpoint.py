"""A data scientist with a CSV and a model of their own takes it to an endpoint, and can answer for it."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from gatewright.checks.suite import known_checks
from gatewright.client.conversion import convert
from scenario.conftest import NewHome
from scenario.world import Home, command, inside, serving, write_csv

ROWS = 20


def _own_data(home: Home) -> None:
    source = load_breast_cancer()
    columns = [str(name).replace(" ", "_") for name in source.feature_names]
    answers = np.array(["malignant", "benign"])[source.target]
    write_csv(home.root / "tumours.csv", [*columns, "diagnosis"], source.data.astype(np.float32), answers)


def _rows(path: Path) -> tuple[np.ndarray, np.ndarray]:
    table = np.genfromtxt(path, delimiter=",", skip_header=1, dtype=str)
    return table[:, :-1].astype(np.float32), table[:, -1]


def _now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


def test_a_model_of_one_s_own_goes_from_a_file_to_answers_with_receipts(
    new_home: NewHome, tmp_path: Path
) -> None:
    """Every command of the way works as a user types it, and every answer can be proven offline."""
    home = new_home("nothing")
    _own_data(home)
    made = home.user("init", "--owner", "ada")
    assert ("ada", False) == (made["owner"], made["passphrase"])
    split = home.do(
        "data", "split", "tumours.csv", "--name", "tumours", "--target", "diagnosis", "--seed", "7",
        "--licence", "CC-BY-4.0",
    )  # fmt: skip
    assert 569 == split["train_rows"] + split["test_rows"]
    x, y = _rows(home.root / split["files"]["train"])
    test_x, _ = _rows(home.root / split["files"]["test"])
    estimator = make_pipeline(StandardScaler(), LogisticRegression()).fit(x, y)
    (home.root / "own.onnx").write_bytes(convert(estimator, test_x).onnx)

    added = home.do("model", "add", "own.onnx", "--name", "tumours", "--trained-on", "tumours")
    assert ("tumours@1", split["train"]) == (added["ref"], added["trained_on"])
    checked = home.do("check", "tumours")
    assert set(known_checks()) == set(checked["outcomes"])
    assert {"passed", "skipped"} == set(checked["outcomes"].values())
    assert "needs-approval" == checked["decision"]
    root = home.do("release", "create", "tumours")["root"]
    assert "owner" == home.do("approve", root[:12], "--as", "ada")["role"]
    before = _now()
    deployed = home.user("deploy", "tumours")
    after = _now()
    assert (root, 1) == (deployed["root"], deployed["plan_number"])

    assert [] == home.do("history", "--at", before)["endpoints"]
    assert [root] == [one["root"] for one in home.do("history", "--at", deployed["committed"])["endpoints"]]
    assert [root] == [one["root"] for one in home.do("history", "--at", after)["endpoints"]]
    assert ["endpoint.deployed"] == [one["kind"] for one in home.do("history")]
    home.api_key = deployed["api_key"]
    answers = _answers(home, test_x[:ROWS])
    assert list(estimator.predict(test_x[:ROWS])) == [one["outputs"][0]["data"][0] for one in answers]
    _receipts_hold_elsewhere(home, [one["parameters"]["receipt"] for one in answers], root, tmp_path)

    collected = home.do("status")
    assert (ROWS, 0, 1) == (collected["predictions"], collected["segments_waiting"], collected["plan_number"])
    assert {"ledger", "tables", "blobs", "plan", "release", "segments"} == {
        one["kind"] for one in home.do("verify")
    }


def _answers(home: Home, rows: np.ndarray) -> list[Any]:
    """Ask the endpoint for each row; nobody without the key is answered."""
    answers = []
    with (
        serving(home) as server,
        httpx.Client(headers={"Authorization": f"Bearer {home.api_key}"}) as client,
    ):
        place = f"{server.url}/v2/models/tumours/infer"
        for row in rows:
            tensor = {"name": "input", "shape": [1, len(row)], "datatype": "FP32", "data": row.tolist()}
            answer = client.post(place, json={"inputs": [tensor]}, timeout=60)
            assert 200 == answer.status_code, answer.text
            answers.append(answer.json())
        assert 401 == httpx.post(place, json={}, timeout=60).status_code
        assert server.url == home.do("status")["worker"]["url"]
    return answers


def _receipts_hold_elsewhere(home: Home, receipts: list[str], root: str, folder: Path) -> None:
    """Each is its own; one is verified where only public keys are, and refused with one letter changed."""
    assert ROWS == len(set(receipts))
    trust = folder / "elsewhere" / "trust"
    shutil.copytree(home.folder / "workers", trust / "workers")
    shutil.copy(home.folder / "trust.json", trust)
    place = trust.parent / "receipt.txt"
    place.write_text(receipts[0], "utf-8")
    verified = command(trust.parent, "verify", "receipt.txt", "--trust", "trust", "--json")
    assert 0 == verified.code, verified.out + verified.err
    (found,) = verified.document
    assert (root, "tumours") == (found["facts"]["release"], found["facts"]["endpoint"])
    place.write_text(receipts[0].replace("I", "J", 1), "utf-8")
    changed = inside(trust.parent, "verify", "receipt.txt", "--trust", "trust", "--json")
    assert changed.code in {2, 3}, changed.out


def test_a_second_person_reads_the_same_history(new_home: NewHome) -> None:
    """What was live before, between and after two deployments is read from the records."""
    home = new_home("live")
    home.do("release", "create", "loans@2")
    home.do("approve", "loans@2", "--as", "ada")
    first = home.do("history")[0]["time"]
    second = home.do("deploy", "loans@2")["committed"]
    live = {
        moment: [one["ref"] for one in home.do("history", "--at", moment)["endpoints"]]
        for moment in ("2001-01-01", first, second, "2099-01-01T00:00:00+02:00")
    }
    assert {"2001-01-01": [], first: ["loans@1"], second: ["loans@2"]} == {
        key: live[key] for key in ("2001-01-01", first, second)
    }
    assert ["loans@2"] == live["2099-01-01T00:00:00+02:00"]
    assert [] == home.do("history", "another")
    assert 2 == len(home.do("history", "loans"))
