"""The small model, trained in a peer's own environment: breast cancer, 30 features, a logistic regression.

``python small_pipeline.py mlserver|mlflow FOLDER`` saves it as that peer wants it; the other peers'
files import ``fitted`` and train when they start, which takes milliseconds.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

NAME = "tumours"
FEATURES = 30
TRAIN_ROWS = 400


def fitted() -> Pipeline:
    """The pipeline of ../prepared.py: the same rows, scaler and classes."""
    source = load_breast_cancer()
    classes = np.array(["malignant", "benign"])[source.target]
    rows = source.data.astype(np.float32)[:TRAIN_ROWS]
    return make_pipeline(StandardScaler(), LogisticRegression()).fit(rows, classes[:TRAIN_ROWS])


def answers(model: Pipeline, rows: Any) -> list[dict[str, Any]]:
    """Label and probabilities of each row, by one call of the model."""
    shares = model.predict_proba(rows)
    labels = model.classes_[shares.argmax(axis=1)]
    return [
        {"label": str(label), "probabilities": each.tolist()}
        for label, each in zip(labels, shares, strict=True)
    ]


def for_mlserver(folder: Path) -> None:
    """A model folder for the scikit-learn runtime of MLServer."""
    import joblib  # noqa: PLC0415 - only in its own environment

    folder.mkdir(parents=True)
    joblib.dump(fitted(), folder / "model.joblib")
    settings = {
        "name": NAME,
        "implementation": "mlserver_sklearn.SKLearnModel",
        "parameters": {"uri": "./model.joblib"},
    }
    (folder / "model-settings.json").write_text(json.dumps(settings))


def for_mlflow(folder: Path) -> None:
    """A model folder of MLflow: its scikit-learn flavour tells labels or probabilities; this, both."""
    import mlflow.pyfunc  # noqa: PLC0415 - only in its own environment

    class Tumours(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
        """Label and probabilities of each row."""

        def __init__(self, model: Pipeline) -> None:
            self._model = model

        def predict(self, context, model_input, params=None) -> list[dict[str, Any]]:  # noqa: ARG002 - its names
            """One entry a row."""
            return answers(self._model, model_input)

    mlflow.pyfunc.save_model(folder / "model", python_model=Tumours(fitted()))


if __name__ == "__main__":
    {"mlserver": for_mlserver, "mlflow": for_mlflow}[sys.argv[1]](Path(sys.argv[2]))
