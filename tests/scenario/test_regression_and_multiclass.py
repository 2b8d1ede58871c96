"""Other tasks than two classes, on public data that scikit-learn carries, with scikit-learn's own models."""

from __future__ import annotations

from typing import Any

import httpx
import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_wine
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import Ridge

from gatewright.client.conversion import convert
from scenario.conftest import NewHome
from scenario.world import Home, serving, write_csv

WHOLE = "performance.metrics"


def _metrics(checked: dict[str, Any]) -> dict[str, dict[str, Any]]:
    findings = checked["report_document"]["findings"]
    (found,) = (one for one in findings if one["check"] == WHOLE)
    return {one["name"]: one for one in found["metrics"] if not one["slice"]}


def _split(home: Home, name: str, source: Any, answers: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    columns = [str(column).replace("/", "_") for column in source.feature_names]
    write_csv(home.root / "all.csv", [*columns, "target"], source.data.astype(np.float32), answers)
    split = home.do(
        "data", "split", "all.csv", "--name", name, "--target", "target", "--seed", "3", "--test-share", "0.4"
    )
    tables = [
        np.genfromtxt(home.root / split["files"][part], delimiter=",", skip_header=1, dtype=str)
        for part in ("train", "test")
    ]
    train, test = tables
    return train[:, :-1].astype(np.float32), train[:, -1], test[:, :-1].astype(np.float32)


def _shipped(home: Home, name: str, estimator: Any, test: np.ndarray) -> dict[str, Any]:
    (home.root / "m.onnx").write_bytes(convert(estimator, test).onnx)
    home.do("model", "add", "m.onnx", "--name", name, "--trained-on", name)
    shipped: dict[str, Any] = home.do("ship", name)
    return shipped


def test_a_regression_on_the_diabetes_data(new_home: NewHome) -> None:
    """A ridge regression is checked by RMSE, MAE and R² with intervals, shipped, and answers like itself."""
    home = new_home("opened")
    source = load_diabetes()
    x, y, test = _split(home, "diabetes", source, source.target)
    estimator = Ridge(alpha=0.01).fit(x, y.astype(np.float64))
    shipped = _shipped(home, "diabetes", estimator, test)
    metrics = _metrics(shipped["check"])
    assert {"rmse", "mae", "r2"} <= set(metrics)
    assert all(one["low"] < one["value"] < one["high"] for one in metrics.values())
    assert 0 < metrics["r2"]["low"]
    with serving(home) as server:
        tensor = {
            "name": "input",
            "shape": list(test.shape),
            "datatype": "FP32",
            "data": test.ravel().tolist(),
        }
        answer = httpx.post(
            f"{server.url}/v2/models/diabetes/infer",
            json={"inputs": [tensor]},
            headers={"Authorization": f"Bearer {shipped['api_key']}"},
            timeout=60,
        )
        assert 200 == answer.status_code, answer.text
        np.testing.assert_allclose(
            estimator.predict(test), np.ravel(answer.json()["outputs"][0]["data"]), rtol=1e-4
        )


def test_three_classes_of_wine(new_home: NewHome) -> None:
    """A random forest over three classes is checked per class and shipped; its classes are the data's."""
    home = new_home("opened")
    source = load_wine()
    names = np.array(["barolo", "grignolino", "barbera"])[source.target]
    x, y, test = _split(home, "wine", source, names)
    estimator = RandomForestClassifier(20, random_state=0).fit(x, y)
    shipped = _shipped(home, "wine", estimator, test)
    metrics = _metrics(shipped["check"])
    assert {"accuracy", "balanced-accuracy", "log-loss"} <= set(metrics)
    assert 0.40 < metrics["balanced-accuracy"]["low"]
    assert ["barbera", "barolo", "grignolino"] == home.do("model", "show", "wine")["signature"]["classes"]
    assert "multiclass-classification" == home.do("data", "show", "wine")["target_kind"]


def test_whole_numbers_as_classes_must_be_told_from_regression(new_home: NewHome) -> None:
    """A target of few whole numbers is classified unless the owner says regression."""
    home = new_home("opened")
    rng = np.random.default_rng(0)
    write_csv(home.root / "a.csv", ("x", "y"), rng.normal(size=(60, 1)), rng.integers(0, 3, 60))
    write_csv(home.root / "b.csv", ("x", "y"), rng.normal(size=(60, 1)), rng.integers(0, 3, 60))
    add = ("data", "add", "counts", "--train", "a.csv", "--test", "b.csv", "--target", "y")
    assert "multiclass-classification" == home.do(*add)["target_kind"]
    told = home.do(*add, "--task", "regression")
    assert ("regression", "counts@2") == (told["target_kind"], told["ref"])


@pytest.mark.parametrize("text", ["[red]", "[/]", "a,b"])
def test_odd_column_names_go_through(new_home: NewHome, text: str) -> None:
    """Column names with markup or commas are kept and shown as they are."""
    home = new_home("opened")
    rows = [f'"{text}",y', *(f"{n},{'no' if n % 3 else 'yes'}" for n in range(40))]
    (home.root / "a.csv").write_text("\n".join(rows) + "\n", "utf-8")
    home.do("data", "add", "odd", "--train", "a.csv", "--test", "a.csv", "--target", "y", "--slice", text)
    assert [[text, "integer"]] == home.do("data", "show", "odd")["features"]
