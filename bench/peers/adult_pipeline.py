"""Train the Adult pipeline in a peer's own environment and save it as that peer wants it.

``python adult_pipeline.py mlserver|mlflow TRAIN.csv FOLDER``
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder


def fitted(train: Path) -> Pipeline:
    """The pipeline of examples/adult.py: one-hot texts, boosted trees, a fixed seed."""
    rows = pd.read_csv(train, keep_default_na=False).replace("?", "")
    x, y = rows.drop(columns="income"), rows["income"]
    columns = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore", min_frequency=20), list(x.select_dtypes("str"))),
        remainder="passthrough",
    )
    trees = GradientBoostingClassifier(n_estimators=40, max_depth=4, learning_rate=0.2, random_state=0)
    return make_pipeline(columns, trees).fit(x, y)


def main(peer: str, train: Path, folder: Path) -> None:
    """Save the fitted pipeline under ``folder``."""
    model = fitted(train)
    if peer == "mlflow":
        import mlflow.sklearn  # noqa: PLC0415 - only in its own environment

        mlflow.sklearn.save_model(model, folder / "model", serialization_format="cloudpickle")
        return
    import joblib  # noqa: PLC0415 - only in its own environment

    folder.mkdir(parents=True)
    joblib.dump(model, folder / "model.joblib")
    settings = {
        "name": "adult",
        "implementation": "mlserver_sklearn.SKLearnModel",
        "parameters": {"uri": "./model.joblib"},
    }
    (folder / "model-settings.json").write_text(json.dumps(settings))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
