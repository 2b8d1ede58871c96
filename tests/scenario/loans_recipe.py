"""A recipe on the loans of these stories: quick, because it needs neither scikit-learn nor a converter."""

from __future__ import annotations

RECIPE = """
import numpy as np
from onnx import TensorProto, helper, numpy_helper

FEATURES = ["income", "debts", "age"]
NAME = "loans"
JITTER = 0.0


def train(rows, seed):
    x = rows.select(FEATURES).to_numpy()
    y = np.where(rows["repaid"].to_numpy() == "yes", 1.0, -1.0)
    weights = 3 * np.linalg.lstsq(x, y, rcond=None)[0]
    weights += JITTER * np.random.default_rng(seed).normal(size=3)
    two = np.stack([np.zeros(3), weights], axis=1).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "w"], ["scores"]),
            helper.make_node("Softmax", ["scores"], ["probabilities"], axis=1),
            helper.make_node("ArgMax", ["scores"], ["label"], axis=1, keepdims=0),
        ],
        NAME,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 3])],
        [
            helper.make_tensor_value_info("label", TensorProto.INT64, [None]),
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, 2]),
        ],
        [numpy_helper.from_array(two, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return model.SerializeToString()
"""
"""The same rows give the same bytes."""

RENAMED = RECIPE.replace('NAME = "loans"', "import os\nNAME = os.urandom(8).hex()")
"""Other bytes every time, and the same answers."""

SEEDED = RECIPE.replace("JITTER = 0.0", "JITTER = 5.0")
"""Much hangs on the seed."""

FAILING = "def train(rows, seed):\n    raise ValueError('too few rows' if len(rows) < 200 else 'no')\n"
"""Never gives a model."""
