"""From a network to a governed endpoint: a small CNN on the digits that scikit-learn carries (1,797 images).

    python examples/digits.py

Needs PyTorch: pip install 'gatewright[studio,torch]'. docs/walk-digits.md tells this walk;
examples/digits.ipynb is the same in a notebook.
"""

# %%
import tempfile
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

import gatewright as gw

rows = load_digits(as_frame=True).frame.rename(columns={"target": "digit"})
train, test = train_test_split(rows, test_size=0.5, random_state=7, stratify=rows["digit"])
images = torch.tensor(train.drop(columns="digit").to_numpy(), dtype=torch.float32)
digits = torch.tensor(train["digit"].to_numpy())

# %%
torch.manual_seed(7)
torch.set_num_threads(1)  # so small a network learns fastest on one
network = nn.Sequential(
    nn.Unflatten(1, (1, 8, 8)), nn.BatchNorm2d(1),
    nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
    nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.Flatten(),
    nn.Dropout(0.3), nn.Linear(512, 10),
)  # fmt: skip
learning = torch.optim.Adam(network.parameters(), lr=0.005)
for _ in range(10):
    for batch in torch.randperm(len(images)).split(64):
        learning.zero_grad()
        nn.functional.cross_entropy(network(images[batch]), digits[batch]).backward()
        learning.step()

# %%
home = Path(tempfile.mkdtemp(prefix="digits-"))
print(gw.init(home, owner="ada"))

# %%
model = gw.submit(network, name="digits", train=train, test=test, target="digit", home=home)
print(model)

# %%
print(model.check())

# %%
print(model.ship())

# %%
server = gw.serve(home)
answers = model.predict(test.head(5))
print(answers)

# %%
receipts = answers.verify()
server.stop()
print(receipts)
