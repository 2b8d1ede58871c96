"""From a fitted model to ONNX bytes, with the proof that both answer alike.

    converted = convert(pipeline, x_test)
    Path("model.onnx").write_bytes(converted.onnx)
    print(converted.parity.sentence())

The library is recognised by the classes of the model, so none that is not loaded already is
imported. Runs in the owner's environment; nothing here is trusted later: the service reads the bytes
as it reads any other model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gatewright.client import keras_onnx, lightgbm_onnx, sklearn_onnx, torch_onnx, xgboost_onnx
from gatewright.client.parity import Parity
from gatewright.kernel.errors import BadInput


@dataclass(frozen=True, slots=True, kw_only=True)
class Converted:
    """A model as ONNX bytes, how it was compared with its source, and the library that it came from.

    ``exporter`` tells which of a network library's exporters made it.
    """

    onnx: bytes
    parity: Parity
    library: str
    exporter: str = ""


# By the package of the model's classes: what the library is called, and what converts its models.
# The order decides where a model has classes of several: a booster with scikit-learn's interface is
# its own library's.
LIBRARIES: Mapping[str, tuple[str, Callable[[Any, Any], tuple[bytes, Parity]]]] = {
    "xgboost": ("xgboost", xgboost_onnx.convert),
    "lightgbm": ("lightgbm", lightgbm_onnx.convert),
    "sklearn": ("scikit-learn", sklearn_onnx.convert),
}

# Networks; a Keras model is a PyTorch module too where that is its backend.
NETWORKS: Mapping[str, tuple[str, Callable[..., tuple[bytes, Parity, str]]]] = {
    "keras": ("Keras", keras_onnx.convert),
    "torch": ("PyTorch", torch_onnx.convert),
}


def convert(model: Any, features: Any, *, outputs: str = "", classes: Sequence[Any] = ()) -> Converted:
    """Convert a fitted model and compare it with its ONNX form on ``features``.

    ``features`` is a matrix of shape (rows, columns) in the order that the model was fitted on, or a
    DataFrame (pandas or polars) or mapping of named columns, of which those that the model was not
    fitted on are left out. NaN is a missing number, "" (or none) a missing text. Use rows that the
    model has not seen, and as many as there are. Of a network, ``outputs`` says what it gives (``logits``,
    ``probabilities`` or ``value``), where that is not evident, and ``classes`` names its classes in order.

    Raises BadInput where the model is of no known library, not fitted, has no ONNX form or does not
    take these rows; Refused (``client.parity``) where the ONNX form answers otherwise.
    """
    packages = {each.__module__.partition(".")[0] for each in type(model).__mro__}
    for package, (library, convert_model) in LIBRARIES.items():
        if package in packages:
            onnx, parity = convert_model(model, features)
            return Converted(onnx=onnx, parity=parity, library=library)
    for package, (library, convert_network) in NETWORKS.items():
        if package in packages:
            onnx, parity, exporter = convert_network(model, features, outputs=outputs, classes=classes)
            return Converted(onnx=onnx, parity=parity, library=library, exporter=exporter)
    raise BadInput(
        "client.unknown-library",
        f"{type(model).__module__}.{type(model).__qualname__} is no model of a library that is converted here.",
        why=f"Converted are models of {', '.join(name for name, _ in (*LIBRARIES.values(), *NETWORKS.values()))}.",
        next="Export it to ONNX yourself, and add the file with `gatewright model add`.",
    )
