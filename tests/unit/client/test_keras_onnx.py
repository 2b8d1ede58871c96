"""Models of Keras become ONNX that answers as they do, by their own export or by PyTorch's."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gatewright.client import keras_onnx
from gatewright.client.conversion import convert
from gatewright.kernel.errors import BadInput
from gatewright.models.facts import ModelFacts
from gatewright.models.onnx_reader import inspect

ROWS = np.random.default_rng(3).uniform(0, 1, size=(1_000, 16))


@pytest.fixture(scope="module")
def keras(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Keras on the PyTorch backend, with its settings in a folder of the test."""
    pytest.importorskip("torch", reason="PyTorch is not installed: the extra torch brings it")
    before = dict(os.environ)
    os.environ["KERAS_HOME"] = str(tmp_path_factory.mktemp("keras"))
    os.environ["KERAS_BACKEND"] = "torch"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = pytest.importorskip("keras", reason="Keras is not installed")
        found.utils.set_random_seed(1)
    yield found
    os.environ.clear()
    os.environ.update(before)


def network(keras: Any, *layers: Any, shape: tuple[int, ...] = (16,)) -> Any:
    """A sequential model of the layers."""
    return keras.Sequential([keras.Input(shape), *layers])


def test_a_model_is_converted_by_its_own_export(keras: Any) -> None:
    """A classifier that ends in a softmax keeps its class names; one row or many are answered alike."""
    layers = keras.layers
    model = network(
        keras,
        layers.Dense(8, "relu"),
        layers.BatchNormalization(),
        layers.Dropout(0.5),
        layers.Dense(3, "softmax"),
    )
    converted = convert(model, ROWS, classes=("cat", "dog", "owl"))
    facts = inspect(converted.onnx)

    assert ("Keras", keras_onnx.OWN) == (converted.library, converted.exporter)
    assert (1_000, 0) == (converted.parity.rows, converted.parity.labels_differ)
    assert isinstance(facts, ModelFacts)
    assert ("cat", "dog", "owl") == facts.labels


def test_a_model_of_images_gets_its_columns_as_an_image(keras: Any) -> None:
    """Sixteen columns fill an input of 4 by 4, row by row."""
    layers = keras.layers
    model = network(keras, layers.Conv2D(2, 3), layers.Flatten(), layers.Dense(1), shape=(4, 4, 1))
    converted = convert(model, ROWS, outputs="value")
    facts = inspect(converted.onnx)
    assert converted.parity.holds
    assert isinstance(facts, ModelFacts)
    assert [(-1, 16)] == [spec.shape for spec in facts.inputs]


def test_what_the_own_export_cannot_goes_through_pytorch(
    keras: Any, capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    """A layer on which Keras' export fails is converted by torch.export, and nothing of the failure is printed."""
    layers = keras.layers
    model = network(keras, layers.LayerNormalization(), layers.Dense(3))
    converted = convert(model, ROWS, classes=(0, 1, 2))
    assert "torch.export" == converted.exporter
    assert ("", "") == capfd.readouterr()
    assert [] == list(recwarn)


def test_the_model_stays_as_it_is(keras: Any) -> None:
    """Weights and modes are what they were, and the model trains on."""
    model = network(keras, keras.layers.Dropout(0.5), keras.layers.Dense(1, "sigmoid"))
    model.train()
    modes = [each.training for each in model.modules()]
    weights = {name: values.clone() for name, values in model.state_dict().items()}
    convert(model, ROWS, classes=("no", "yes"))
    assert modes == [each.training for each in model.modules()]
    assert all(bool((weights[name] == values).all()) for name, values in model.state_dict().items())


def _two_inputs(keras: Any) -> Any:
    first, second = keras.Input((16,)), keras.Input((16,))
    return keras.Model([first, second], keras.layers.Dense(3)(first + second))


def _two_outputs(keras: Any) -> Any:
    first = keras.Input((16,))
    return keras.Model(first, [keras.layers.Dense(3)(first), keras.layers.Dense(3)(first)])


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (_two_inputs, "client.several-inputs"),
        (_two_outputs, "client.several-outputs"),
        (lambda keras: network(keras, keras.layers.Dense(3), shape=(9,)), "client.model-refused"),
        (lambda keras: network(keras, keras.layers.Flatten(), shape=(3, 3, 1)), "client.model-refused"),
        (lambda keras: network(keras, keras.layers.Dense(3, "relu")), "client.outputs-unsaid"),
    ],
)
def test_models_that_cannot_be_served_are_told_why(keras: Any, make: Callable[[Any], Any], code: str) -> None:
    """Each fault of a model has its own refusal."""
    with pytest.raises(BadInput) as error:
        convert(make(keras), ROWS, classes=(0, 1, 2))
    assert code == error.value.code
    assert error.value.refusal.next


def test_no_file_is_left_behind(keras: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The export writes a file on the way; nothing of it stays."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    convert(network(keras, keras.layers.Dense(1)), ROWS, outputs="value")
    assert [] == list(tmp_path.iterdir())
