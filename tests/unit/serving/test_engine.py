from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gatewright.kernel.errors import BadInput
from gatewright.models.signature import DataType, TensorSpec
from gatewright.serving.engine import Engine
from unit.serving.rig import SIGNATURE, linear_model


def test_a_model_runs_from_memory() -> None:
    """Outputs come in the order asked, from inputs in the signature's order."""
    engine = Engine(linear_model(1.0), SIGNATURE)

    [scores, label] = engine.run([np.ones((2, 3), np.float32)], (1, 0))

    assert [1, 1] == label.tolist()
    assert (2, 2) == scores.shape
    assert engine.inline


@pytest.mark.parametrize("model", [b"", b"not a model", linear_model(1.0)[:-40]])
def test_bytes_that_are_no_model_are_refused(model: bytes) -> None:
    """What ONNX Runtime cannot load is refused at load, not at the first request."""
    with pytest.raises(BadInput):
        Engine(model, SIGNATURE)


@pytest.mark.parametrize(
    "change",
    [
        {"inputs": (TensorSpec(name="Z", datatype=DataType.FP32, shape=(-1, 3)),)},
        {"inputs": (TensorSpec(name="X", datatype=DataType.INT64, shape=(-1, 3)),)},
        {"inputs": (TensorSpec(name="X", datatype=DataType.FP32, shape=(-1, 4)),)},
        {"outputs": (TensorSpec(name="label", datatype=DataType.FP32, shape=(-1,)),)},
        {"outputs": (TensorSpec(name="label", datatype=DataType.INT64, shape=(-1, 1)),)},
        {"outputs": (TensorSpec(name="nothing", datatype=DataType.INT64, shape=(-1,)),)},
    ],
)
def test_a_model_must_do_what_its_signature_says(change: dict[str, tuple[TensorSpec, ...]]) -> None:
    """A model that does not fit its signature is refused at load."""
    with pytest.raises(BadInput):
        Engine(linear_model(1.0), replace(SIGNATURE, **change))
