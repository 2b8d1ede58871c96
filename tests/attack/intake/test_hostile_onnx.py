"""ONNX files that lie, point elsewhere or are damaged: refused with a reason, the parent unharmed."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from gatewright.kernel.errors import Refusal, Refused
from gatewright.models.facts import ModelFacts
from gatewright.models.fitting import fit_signature
from gatewright.models.onnx_reader import inspect
from gatewright.models.signature import ModelSignature, Task
from gatewright.operations.isolation import inspect_model, predict


def _model(*nodes: Any, initializers: tuple[Any, ...] = (), opset: int = 17) -> onnx.ModelProto:
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 4]) for name in ("x", "y")]
    graph = helper.make_graph(list(nodes), "g", ports[:1], ports[1:], list(initializers))
    imports = [helper.make_opsetid("", opset)]
    return helper.make_model(graph, opset_imports=imports, ir_version=8)


def _network() -> bytes:
    rng = np.random.default_rng(7)
    layers = [
        numpy_helper.from_array(rng.normal(size=(4, 4)).astype(np.float32), name) for name in ("v", "w")
    ]
    nodes = [
        helper.make_node("MatMul", ["x", "v"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("MatMul", ["r", "w"], ["s"]),
        helper.make_node("Softmax", ["s"], ["y"]),
    ]
    return bytes(_model(*nodes, initializers=tuple(layers)).SerializeToString())


@pytest.mark.parametrize("location", ["../canary", "/etc/passwd", "a/../../canary", "", "canary"])
def test_weights_elsewhere_are_refused_and_never_read(
    location: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """AI-08: a model that points outside itself is refused, whatever the path, even to a real file."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "canary").write_bytes(bytes(64))
    tensor = TensorProto(
        name="w", data_type=TensorProto.FLOAT, dims=[4, 4], data_location=TensorProto.EXTERNAL
    )
    tensor.external_data.add(key="location", value=location)
    model = _model(helper.make_node("MatMul", ["x", "w"], ["y"]), initializers=(tensor,))
    with pytest.raises(Refused) as caught:
        inspect_model(model.SerializeToString())

    assert "models.external-data" == caught.value.code


def test_graphs_that_crash_checkers_are_refused() -> None:
    """AI-09: an operator without inputs stops at inspection, ranks that disagree stop at the run."""
    upsample = _model(helper.make_node("Upsample", [], ["y"]), opset=9)
    with pytest.raises(Refused) as caught:
        inspect_model(upsample.SerializeToString())
    assert "models.operator-arity" == caught.value.code

    kernel = numpy_helper.from_array(np.ones((1, 1, 3, 3, 3, 3), np.float32), "k")
    conv = _model(helper.make_node("Conv", ["x", "k"], ["y"]), initializers=(kernel,)).SerializeToString()
    features = tuple((name, "number") for name in "abcd")
    signature = fit_signature(
        inspect_model(conv), features=features, task=Task.MULTICLASS, classes=tuple("abcd")
    )
    assert isinstance(signature, ModelSignature)
    with pytest.raises(Refused) as caught:
        predict(conv, signature, {name: np.ones(2) for name in "abcd"})
    assert "models.cannot-run" == caught.value.code


def _flipped(data: bytes, rng: random.Random) -> bytes:
    damaged = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 4, 16))):
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
    return bytes(damaged)


def test_bit_flips_are_refused_or_accepted_and_never_crash() -> None:
    """AI-09: 200 damaged copies of a valid model each give facts or a reasoned refusal."""
    rng, data = random.Random(7), _network()  # noqa: S311 - a repeatable choice, no secret
    found = [inspect(_flipped(data, rng)) for _ in range(200)]
    refused = [item for item in found if isinstance(item, Refusal)]

    assert isinstance(inspect(data), ModelFacts)
    assert all(item.code.startswith("models.") and item.what for item in refused)
    assert 20 < len(refused) < 200


def test_bit_flips_through_the_child_leave_the_parent_unharmed() -> None:
    """AI-09: the whole way through the child, a damaged model is facts or Refused, and nothing else."""
    rng, data = random.Random(11), _network()  # noqa: S311 - a repeatable choice, no secret
    codes = []
    for _ in range(12):
        try:
            codes.append(inspect_model(_flipped(data, rng)).graph and "accepted")
        except Refused as refused:
            codes.append(refused.code)

    assert 12 == len(codes)
    assert "g" == inspect_model(data).graph


def test_bytes_that_only_begin_like_onnx_are_refused() -> None:
    """AI-03: a file that passes recognition by design is still judged by its whole content."""
    for data in (
        b"\x08\x08" + b"\x3a\x00",
        b"\x08\x08\x3a\x00" + b"\x80\x04.",
        b"\x08\x08\x12\x05tests\x3a\xff\xff\xff\xff\x0f",
        b"\x08\x08\x3a\x02\x0a\x00\x42\x02\x10\x11",
    ):
        with pytest.raises(Refused):
            inspect_model(data)


def test_declared_sizes_allocate_nothing() -> None:
    """AI-07, AI-10: a tensor that declares 2**120 elements is refused by comparing, not allocating."""
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2**60, 2**60], raw_data=bytes(64))
    model = _model(helper.make_node("MatMul", ["x", "w"], ["y"]), initializers=(tensor,))
    with pytest.raises(Refused) as caught:
        inspect_model(model.SerializeToString())

    assert "models.tensor-size" == caught.value.code
