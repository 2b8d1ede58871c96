"""Modules of PyTorch as ONNX: by the exporter on ``torch.export``, else by tracing, whichever proves parity.

The module is copied: the copy goes to the processor and into evaluation mode, and the caller's stays as it
is. It takes one matrix, ``input`` (rows, columns), float32, or float64 where its own numbers are; a
network of images reshapes inside (``torch.nn.Unflatten(1, (1, 8, 8))`` as its first layer).

Tracing follows one example down one path. Where code of the owner turns a number of the input into a
Python value on the way (``if x.sum() > 0``), the trace may be wrong for other rows, and is not accepted,
however well it does on these.
"""

from __future__ import annotations

import copy
import io
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from gatewright.client.extras import need_extra
from gatewright.client.networks import (
    EXAMPLE_ROWS,
    INPUT_NAME,
    OPSET,
    Said,
    ask_all,
    matrix,
    mute,
    prove_network,
    quiet,
)
from gatewright.client.parity import Parity, reason
from gatewright.kernel.errors import BadInput

BY_EXPORT = "torch.export"
BY_TRACING = "tracing"


def convert(
    module: Any, features: Any, *, outputs: str = "", classes: Sequence[Any] = ()
) -> tuple[bytes, Parity, str]:
    """Convert a module and prove that both answer alike on ``features``; the last value names the exporter.

    ``outputs`` is ``logits``, ``probabilities`` or ``value``; ``classes`` the names of the classes in the
    order of the outputs. See ``networks`` for what is evident without.

    Raises DependencyFailed without onnxscript, which ``torch.export`` needs (``client.extra-absent``);
    BadInput where the module cannot be copied (``client.not-copied``), does not take these rows
    (``client.model-refused``) or gives no single tensor (``client.several-outputs``), and what
    :func:`networks.ask_all` and :func:`networks.prove_network` raise.
    """
    need_extra("onnxscript", "torch")
    torch = sys.modules["torch"]  # loaded, since a module of it is here
    said = Said.of(outputs, classes)
    network = _copied(getattr(module, "_orig_mod", module))  # what torch.compile was given
    rows = matrix(features).astype(_number_type(torch, network))
    raw = ask_all(lambda part: _ask(torch, network, part), rows)
    return prove_network(raw, rows, said, exporters(torch, network, rows))


def _copied(module: Any) -> Any:
    try:
        with quiet():
            return copy.deepcopy(module).cpu().eval()
    except Exception as error:  # noqa: BLE001 - what a copy calls is the owner's code
        raise BadInput(
            "client.not-copied",
            "The module cannot be copied to the processor.",
            why=reason(error),
            next="Give a module whose weights are loaded, and that holds no files, locks or tensors with a history.",
        ) from None


def _number_type(torch: Any, network: Any) -> type[np.floating[Any]]:
    """The type of the network's numbers: that of its first weight."""
    held = (*network.parameters(), *network.buffers())
    kind = next((each.dtype for each in held if each.is_floating_point()), torch.float32)
    if kind not in (torch.float32, torch.float64):
        raise BadInput(
            "client.short-numbers",
            f"The network computes in {str(kind).removeprefix('torch.')}.",
            why="ONNX Runtime has few operators for it on processors.",
            next="Give module.float(), and see that it is still as good.",
        )
    return np.float64 if kind is torch.float64 else np.float32


def _ask(torch: Any, network: Any, rows: NDArray[Any]) -> NDArray[Any]:
    try:
        with torch.no_grad(), quiet():
            answer = network(torch.from_numpy(np.array(rows)))
    except Exception as error:
        raise BadInput(
            "client.model-refused",
            "The network does not take these rows.",
            why=reason(error),
            next="It gets one matrix (rows, columns): let it reshape inside (torch.nn.Unflatten(1, (1, 8, 8)) as its "
            "first layer), and register as buffers what has to move with it.",
        ) from error
    if not isinstance(answer, torch.Tensor):
        names = f" ({', '.join(map(str, answer))})" if isinstance(answer, dict) else ""
        raise BadInput(
            "client.several-outputs",
            f"The network gives {type(answer).__name__}{names[:80]}, not one tensor.",
            next="Wrap it in a module whose forward returns the one output that counts.",
        )
    found: NDArray[Any] = answer.to(torch.float64).numpy()
    return found


def exporters(
    torch: Any, network: Any, rows: NDArray[Any]
) -> tuple[tuple[str, Callable[[], onnx.ModelProto]], ...]:
    """Both ways from a module that takes one matrix to a graph, the sounder one first; it must not train."""
    example = torch.from_numpy(np.resize(rows, (EXAMPLE_ROWS, rows.shape[1])))
    return (
        (BY_EXPORT, lambda: _export(torch, network, example)),
        (BY_TRACING, lambda: _trace(torch, network, example)),
    )


def _export(torch: Any, network: Any, example: Any) -> onnx.ModelProto:
    program = torch.onnx.export(
        network,
        (example,),
        dynamo=True,
        input_names=[INPUT_NAME],
        output_names=["raw"],
        dynamic_shapes=({0: torch.export.Dim("rows")},),
        opset_version=OPSET,
        external_data=False,
        verbose=False,
    )
    return named(
        onnx.ModelProto.FromString(program.model_proto.SerializeToString()), f"PyTorch ({BY_EXPORT})", torch
    )


def _trace(torch: Any, network: Any, example: Any) -> onnx.ModelProto:
    out = io.BytesIO()
    with mute(), quiet() as warned:
        torch.onnx.export(
            network,
            (example,),
            out,
            dynamo=False,
            input_names=[INPUT_NAME],
            output_names=["raw"],
            dynamic_axes={INPUT_NAME: {0: "rows"}, "raw": {0: "rows"}},
            opset_version=OPSET,
        )
    require_one_path(torch, warned, (torch,))
    return named(onnx.ModelProto.FromString(out.getvalue()), f"PyTorch ({BY_TRACING})", torch)


def named(model: onnx.ModelProto, producer: str, library: Any) -> onnx.ModelProto:
    """The graph with what made it: the library, the exporter, the version."""
    model.producer_name, model.producer_version = producer, str(library.__version__)
    return model


def require_one_path(torch: Any, warned: Sequence[warnings.WarningMessage], known: Sequence[Any]) -> None:
    """Raise BadInput (``client.traced-path``) where code outside the ``known`` packages left the trace."""
    homes = [Path(str(package.__file__)).parent for package in known]
    for each in warned:
        place = Path(each.filename)
        if issubclass(each.category, torch.jit.TracerWarning) and not any(
            home in place.parents for home in homes
        ):
            raise BadInput(
                "client.traced-path",
                "The network's path depends on the values of its input.",
                why=f"{place.name}, line {each.lineno}, makes a Python value of a number.",
                next="Write it with torch.where, which computes both sides and keeps one for each row.",
            )
