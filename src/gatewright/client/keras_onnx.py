"""Models of Keras 3 as ONNX: by their own export, and on the PyTorch backend else by PyTorch's.

A model that takes one matrix gets the data columns; one that takes images (its input is (8, 8, 1), say)
gets as many columns as an image has numbers, row by row, and reshapes inside.

Keras' own export traces on the PyTorch backend, and fails there on some layers
(``LayerNormalization``, for one, in Keras 3.15): then PyTorch's exporter is asked. Other backends need
their own converter, which Keras names (``tf2onnx``, ``jax2onnx``).
"""

from __future__ import annotations

import contextlib
import math
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from gatewright.client import torch_onnx
from gatewright.client.networks import (
    INPUT_NAME,
    OPSET,
    Exporter,
    Said,
    ask_all,
    matrix,
    mute,
    prove_network,
    quiet,
)
from gatewright.client.parity import Parity, reason
from gatewright.kernel.errors import BadInput

OWN = "Keras' own export"


def convert(
    model: Any, features: Any, *, outputs: str = "", classes: Sequence[Any] = ()
) -> tuple[bytes, Parity, str]:
    """Convert a model and prove that both answer alike on ``features``; the last value names the exporter.

    ``outputs`` and ``classes`` as in :func:`torch_onnx.convert`. The model's weights and modes stay as
    they are.

    Raises BadInput where the model does not take these rows (``client.model-refused``), takes or gives
    several tensors (``client.several-inputs``, ``client.several-outputs``), and what
    :func:`networks.ask_all` and :func:`networks.prove_network` raise.
    """
    keras = sys.modules["keras"]  # loaded, since a model of it is here
    said = Said.of(outputs, classes)
    rows = matrix(features).astype(np.float32)
    _ask(keras, model, rows[:1])  # builds what is not built yet
    with _unchanged(model):
        raw = ask_all(lambda part: _ask(keras, model, part), rows)
        whole = _from_columns(keras, model, rows.shape[1])
        return prove_network(raw, rows, said, _exporters(keras, whole, rows))


@contextlib.contextmanager
def _unchanged(model: Any) -> Iterator[None]:
    """Put the modes back that an export sets: on the PyTorch backend a model is a module with modes."""
    modules = list(model.modules()) if hasattr(model, "modules") else []
    modes = [module.training for module in modules]
    try:
        yield
    finally:
        for module, mode in zip(modules, modes, strict=True):
            module.training = mode


def _image(model: Any) -> tuple[int, ...]:
    """What the input of one row looks like where Keras knows it, else nothing.

    Raises BadInput where there are several inputs.
    """
    shape = getattr(model, "input_shape", None) if getattr(model, "built", False) else None
    if isinstance(shape, (list, dict)):
        raise BadInput(
            "client.several-inputs",
            f"The model takes {len(shape)} inputs; one is supported.",
            next="Let it take one matrix of all columns, and split it inside.",
        )
    known = isinstance(shape, tuple) and len(shape) > 2 and all(shape[1:])
    return tuple(int(size) for size in shape[1:]) if known and shape is not None else ()


def _ask(keras: Any, model: Any, rows: NDArray[Any]) -> NDArray[Any]:
    image = _image(model)
    try:
        with quiet():
            answer = model(rows.reshape(len(rows), *(image or rows.shape[1:])), training=False)
    except Exception as error:
        raise BadInput(
            "client.model-refused",
            "The network does not take these rows.",
            why=f"It takes {list(image)} of a row, {math.prod(image):,} numbers; there are {rows.shape[1]:,} columns."
            if image
            else reason(error),
            next="Give the columns that it was trained on; it gets one matrix (rows, columns).",
        ) from error
    if isinstance(answer, (list, tuple, dict)):
        raise BadInput(
            "client.several-outputs",
            f"The network gives {len(answer)} outputs, not one.",
            next="Make a model of the one output that counts: keras.Model(model.input, model.output[0]).",
        )
    with quiet():
        return np.asarray(keras.ops.convert_to_numpy(answer), np.float64)


def _from_columns(keras: Any, model: Any, columns: int) -> Any:
    """The model behind one matrix, called once, as its own export asks; the weights are shared."""
    image = _image(model)
    layers = keras.layers
    first = [keras.Input((columns,), name=INPUT_NAME), *([layers.Reshape(image)] if image else [])]
    with quiet():
        whole = keras.Sequential([*first, model])
        whole(np.zeros((1, columns), np.float32), training=False)
    return whole


def _exporters(keras: Any, whole: Any, rows: NDArray[Any]) -> tuple[Exporter, ...]:
    own = ((OWN, lambda: _own_export(keras, whole, rows.shape[1])),)
    if keras.backend.backend() != "torch":
        return own
    torch = sys.modules["torch"]
    return (*own, torch_onnx.exporters(torch, _module(torch, whole), rows)[0])


def _module(torch: Any, model: Any) -> Any:
    """The model as a module whose forward takes nothing but the rows."""

    class Forward(torch.nn.Module):  # type: ignore[misc]  # torch is an extra, and no type here
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, rows: Any) -> Any:
            return self.model(rows, training=False)

    return Forward().eval()


def _own_export(keras: Any, whole: Any, columns: int) -> onnx.ModelProto:
    with tempfile.TemporaryDirectory(prefix="gatewright-keras-") as folder, mute(), quiet() as warned:
        path = Path(folder) / "model.onnx"
        spec = keras.InputSpec(shape=(None, columns), dtype="float32", name=INPUT_NAME)
        whole.export(str(path), format="onnx", verbose=False, input_signature=[spec], opset_version=OPSET)
        model = onnx.load(path)
    if keras.backend.backend() == "torch":
        torch = sys.modules["torch"]
        torch_onnx.require_one_path(torch, warned, (torch, keras))
    return torch_onnx.named(model, "Keras (model.export)", keras)
