"""From a regression to a governed endpoint: the diabetes data that scikit-learn carries (442 people).

    python examples/diabetes.py

docs/walk-diabetes.md tells this walk; examples/diabetes.ipynb is the same in a notebook.
"""

# %%
import tempfile
from pathlib import Path

from sklearn.datasets import load_diabetes
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeRegressor

import gatewright as gw

rows = load_diabetes(as_frame=True, scaled=False).frame.rename(columns={"target": "progression"})
train, test = train_test_split(rows, test_size=0.4, random_state=7)
x, y = train.drop(columns="progression"), train["progression"]

# %%
home = Path(tempfile.mkdtemp(prefix="diabetes-"))
print(gw.init(home, owner="ada"))

# %%
diabetes = {"name": "diabetes", "train": train, "test": test, "target": "progression", "home": home}
first = gw.submit(
    make_pipeline(StandardScaler(), DecisionTreeRegressor(random_state=0)).fit(x, y), **diabetes
)
print(first.check())

# %%
mended = gw.submit(make_pipeline(StandardScaler(), RidgeCV()).fit(x, y), **diabetes)
print(mended.ship())

# %%
server = gw.serve(home)
answers = mended.predict(test)
print(answers)

# %%
receipts = answers.verify()
server.stop()
print(receipts)
