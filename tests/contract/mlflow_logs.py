"""Run by a real MLflow: logs and registers a scikit-learn model and an ONNX model in each store named."""

from __future__ import annotations

import sys

import mlflow
import mlflow.onnx
import mlflow.sklearn
import numpy as np
import onnx
from sklearn.linear_model import LogisticRegression

MODEL, *STORES = sys.argv[1:]


def log(store: str) -> str:
    """Log a run with two models; returns the run's id."""
    mlflow.set_tracking_uri(store)
    mlflow.set_registry_uri(store)
    mlflow.set_experiment("loans")
    rows = np.random.default_rng(0).normal(size=(40, 3))
    fitted = LogisticRegression().fit(rows, rows[:, 0] > 0)
    with mlflow.start_run() as run:
        mlflow.log_params({"C": 1.0, "note": "clear\x1b[2J"})
        mlflow.log_metric("auc", 0.91, step=1)
        mlflow.log_metric("auc", 0.93, step=2)
        mlflow.sklearn.log_model(
            fitted,
            name="pickled",
            registered_model_name="pickled",
            serialization_format="pickle",
            pip_requirements=[],
        )
        mlflow.onnx.log_model(
            onnx.load(MODEL),
            name="loans",
            registered_model_name="loans",
            save_as_external_data=False,
            pip_requirements=[],
        )
    mlflow.MlflowClient().set_registered_model_alias("loans", "champion", "1")
    return str(run.info.run_id)


print("\n".join(log(store) for store in STORES))  # noqa: T201 - the answer
