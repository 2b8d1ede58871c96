"""One convert for every library: recognised by the model's classes, without importing another library."""

from __future__ import annotations

import subprocess
import sys

import lightgbm
import numpy as np
import pytest
import xgboost
from sklearn.linear_model import LogisticRegression

from gatewright.client.conversion import convert
from gatewright.kernel.errors import BadInput

ROWS = np.random.default_rng(0).normal(size=(200, 3))
LABELS = (ROWS[:, 0] > 0).astype(int)


@pytest.mark.parametrize(
    ("model", "library"),
    [
        (LogisticRegression(), "scikit-learn"),
        (xgboost.XGBClassifier(n_estimators=2, n_jobs=1), "xgboost"),
        (lightgbm.LGBMClassifier(n_estimators=2, n_jobs=1, verbose=-1), "lightgbm"),
    ],
)
def test_the_library_is_recognised(model: object, library: str) -> None:
    """A booster with scikit-learn's interface is its own library's."""
    assert library == convert(model.fit(ROWS, LABELS), ROWS).library  # type: ignore[attr-defined]


@pytest.mark.parametrize("model", [object(), lambda rows: rows, None, {"weights": [1.0]}])
def test_what_is_no_model_is_refused_with_the_libraries_that_are(model: object) -> None:
    """Anything else is refused with its type, what is converted, and the other way in."""
    with pytest.raises(
        BadInput, match=r"is no model of a library .* xgboost, lightgbm, scikit-learn"
    ) as caught:
        convert(model, ROWS)
    assert "client.unknown-library" == caught.value.code


def test_no_optional_library_is_imported_to_recognise_one() -> None:
    """Converting a scikit-learn model loads neither boosters nor networks."""
    code = (
        "import sys; from sklearn.linear_model import LogisticRegression\n"
        "from gatewright.client.conversion import convert\n"
        "convert(LogisticRegression().fit([[0.0], [1.0]], [0, 1]), __import__('numpy').eye(1))\n"
        "print(sorted({'xgboost', 'lightgbm', 'torch', 'keras'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "[]" == found.stdout.strip()
