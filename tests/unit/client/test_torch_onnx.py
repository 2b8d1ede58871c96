"""Modules of PyTorch become ONNX that answers as they do, and what cannot is told; the module stays as it is."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
import pytest

from gatewright.client import torch_onnx
from gatewright.client.conversion import convert
from gatewright.kernel.errors import BadInput
from gatewright.models.facts import ModelFacts
from gatewright.models.fitting import fit_signature
from gatewright.models.onnx_reader import inspect
from gatewright.models.outputs import labels
from gatewright.models.signature import ModelSignature, Task
from gatewright.operations.isolation import inspect_model, predict


class Late:
    """PyTorch, imported when it is first asked for: collecting these tests does not load it."""

    def __getattr__(self, name: str) -> Any:
        return getattr(import_module("torch"), name)


torch: Any = Late()
ROWS = np.random.default_rng(3).uniform(0, 16, size=(1_000, 16))
CLASSES = ("cat", "dog", "owl")


@pytest.fixture(scope="module", autouse=True)
def _loaded() -> None:
    """PyTorch on one thread, or a reason to skip."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("torch", reason="PyTorch is not installed: the extra torch brings it")
    torch.set_num_threads(1)


def forward(answer: Callable[[Any, Any], Any], **parts: Any) -> Any:
    """A module with parts (modules, or tensors that are no buffers) and what ``answer(module, rows)`` gives."""

    class Module(torch.nn.Module):  # type: ignore[misc]  # torch is an extra
        def __init__(self) -> None:
            super().__init__()
            for name, part in parts.items():
                setattr(self, name, part)

        def forward(self, rows: Any) -> Any:
            return answer(self, rows)

    return Module()


def cnn() -> Any:
    """A small network of images, in training mode, with all that behaves otherwise then."""
    torch.manual_seed(1)
    layers = (
        torch.nn.Unflatten(1, (1, 4, 4)),
        torch.nn.BatchNorm2d(1),
        torch.nn.Conv2d(1, 4, 3),
        torch.nn.ReLU(),
        torch.nn.Flatten(),
        torch.nn.Dropout(),
    )
    module = torch.nn.Sequential(*layers, torch.nn.Linear(16, 3))
    module(torch.rand(32, 16))  # running statistics
    return module.train()


@cache
def converted_cnn() -> tuple[Any, Any]:
    """The network and its conversion, made once: the first export takes seconds."""
    module = cnn()
    return module, convert(module, ROWS, classes=CLASSES)


def test_a_network_in_training_mode_is_converted_as_it_will_serve() -> None:
    """Dropout and batch statistics are off in the ONNX form, by the exporter on torch.export, with parity proven."""
    module, converted = converted_cnn()
    assert ("PyTorch", torch_onnx.BY_EXPORT) == (converted.library, converted.exporter)
    assert (1_000, 0) == (converted.parity.rows, converted.parity.labels_differ)
    assert converted.parity.largest <= 1e-5
    assert all(each.training for each in module.modules())


def test_the_module_stays_as_it_is() -> None:
    """Weights, statistics and modes of the caller's module are what they were."""
    module, fresh = converted_cnn()[0], cnn()
    held, wanted = module.state_dict(), fresh.state_dict()
    assert list(wanted) == list(held)
    assert all(torch.equal(wanted[name], held[name]) for name in wanted)
    assert all(each.grad is None for each in module.parameters())


def test_what_the_exporter_makes_passes_intake_and_answers_there() -> None:
    """The bytes are accepted in the isolated child, one row or many, with the class names of the network."""
    converted = converted_cnn()[1]
    features = tuple((f"pixel_{number}", "number") for number in range(16))
    signature = fit_signature(
        inspect_model(converted.onnx), features=features, task=Task.MULTICLASS, classes=tuple(sorted(CLASSES))
    )
    assert isinstance(signature, ModelSignature)
    columns = {name: ROWS[:, number] for number, (name, _) in enumerate(features)}
    found = predict(converted.onnx, signature, columns, samples=3)
    with torch.no_grad():
        best = cnn().eval()(torch.from_numpy(ROWS).float()).argmax(1)
    assert [CLASSES[each] for each in best] == labels(signature, found.outputs).tolist()
    assert 3 == len(found.single_row)


def test_no_path_of_this_machine_is_in_the_bytes() -> None:
    """Exporters note where the code stands; the bytes do not."""
    data = converted_cnn()[1].onnx
    assert isinstance(inspect(data), ModelFacts)
    assert __file__.encode() not in data
    assert b"site-packages" not in data


def test_what_torch_export_does_not_take_is_traced() -> None:
    """A scripted module, which torch.export refuses, is converted by tracing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scripted = torch.jit.script(torch.nn.Sequential(torch.nn.Linear(16, 3)))
    assert torch_onnx.BY_TRACING == convert(scripted, ROWS, classes=CLASSES).exporter


def test_a_masked_network_of_doubles_is_converted() -> None:
    """Minus infinity as a mask is no broken weight, and doubles stay doubles."""
    module = forward(
        lambda own, rows: own.last(torch.softmax(rows.masked_fill(rows > 14, float("-inf")), 1)),
        last=torch.nn.Linear(16, 3, dtype=torch.float64),
    )
    assert "FP64" == convert(module, ROWS, classes=CLASSES).parity.inputs


def test_a_path_that_depends_on_the_input_is_refused_with_its_line() -> None:
    """A branch on values is refused by both exporters, however well the traced side does on these rows."""
    module = forward(
        lambda own, rows: own.a(rows) if rows[0].sum() > 0 else own.b(rows),
        a=torch.nn.Linear(16, 3),
        b=torch.nn.Linear(16, 3),
    )
    with pytest.raises(BadInput) as error:
        convert(module, ROWS, classes=CLASSES)
    assert "client.not-convertible" == error.value.code
    assert "torch.export: GuardOnDataDependentSymNode" in error.value.refusal.why
    assert "test_torch_onnx.py, line" in error.value.refusal.why


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda: torch.nn.LSTM(16, 3), "client.several-outputs"),
        (lambda: forward(lambda own, rows: {"logits": own.a(rows)}, a=torch.nn.Linear(16, 3)), "client.several-outputs"),
        (lambda: torch.nn.Linear(16, 3, device="meta"), "client.not-copied"),
        (lambda: forward(lambda own, rows: own.a(rows) + own.b, a=torch.nn.Linear(16, 3), b=torch.zeros(3, device="meta")), "client.model-refused"),
        (lambda: torch.nn.Linear(9, 3), "client.model-refused"),
        (lambda: forward(lambda own, rows: own.a(rows.view(7, 16)), a=torch.nn.Linear(16, 3)), "client.model-refused"),
        (lambda: torch.nn.Linear(16, 3).half(), "client.short-numbers"),
        (lambda: forward(lambda own, rows: torch.nn.functional.dropout(own.a(rows)), a=torch.nn.Linear(16, 3)), "client.not-repeatable"),
        (lambda: torch.nn.Sequential(torch.nn.Linear(16, 3), torch.nn.Softmax(0)), "client.rows-mixed"),
        (lambda: forward(lambda own, rows: own.a(rows).mean(), a=torch.nn.Linear(16, 3)), "client.not-batched"),
    ],
)  # fmt: skip
def test_modules_that_cannot_be_served_are_told_why(make: Callable[[], Any], code: str) -> None:
    """Each fault of a module has its own refusal, before anything is exported."""
    with pytest.raises(BadInput) as error:
        convert(make(), ROWS, classes=CLASSES)
    assert code == error.value.code
    assert error.value.refusal.next


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder) -> None:
    """Neither a conversion that succeeds nor one that fails in both exporters says a word of its own."""
    convert(torch.nn.Linear(16, 1), ROWS, outputs="value")
    unknown = forward(lambda own, rows: own.a(torch.special.i1e(rows)), a=torch.nn.Linear(16, 3))
    with pytest.raises(BadInput):
        convert(unknown, ROWS, classes=CLASSES)
    assert ("", "") == capfd.readouterr()
    assert [] == list(recwarn)
