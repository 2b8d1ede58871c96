"""From a scikit-learn pipeline with text columns to a governed endpoint: the Adult data ("Census Income").

    GATEWRIGHT_ADULT=folder/with/both/files python examples/adult.py

docs/walk-adult.md tells this walk; examples/adult.ipynb is the same in a notebook.
"""

# %%
import os
import tempfile
from pathlib import Path

import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.utils.class_weight import compute_sample_weight

import gatewright as gw

source = Path(os.environ["GATEWRIGHT_ADULT"])
train, test = (
    pd.read_csv(source / f"{name}.csv", keep_default_na=False).replace("?", "") for name in ("train", "test")
)
x, y = train.drop(columns="income"), train["income"]


# %%
def fit(weights: object = None) -> Pipeline:
    """Columns as they are: texts become categories, then come boosted trees."""
    texts = list(x.select_dtypes("str"))
    columns = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore", min_frequency=20), texts), remainder="passthrough"
    )
    trees = GradientBoostingClassifier(n_estimators=40, max_depth=4, learning_rate=0.2, random_state=0)
    return make_pipeline(columns, trees).fit(x, y, gradientboostingclassifier__sample_weight=weights)


# %%
home = Path(tempfile.mkdtemp(prefix="adult-"))
print(gw.init(home, owner="ada"))

# %%
adult = {
    "name": "adult",
    "train": train,
    "test": test,
    "target": "income",
    "sensitive": ["sex"],
    "home": home,
}
first = gw.submit(fit(compute_sample_weight("balanced", y)), **adult)
print(first)

# %%
print(first.check())

# %%
mended = gw.submit(fit(), **adult)
print(mended.ship())

# %%
server = gw.serve(home)
answers = mended.predict(test.head(1000))
print(answers)

# %%
receipts = answers.verify()
server.stop()
print(receipts)
