"""ONNX models as canonical bytes: inputs named like the columns, and each operator set named once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import onnx

from gatewright.client.trees_onnx import ML, ML_OPSET, TREE_ENSEMBLE


def canonical_bytes(model: Any, names: Mapping[str, str]) -> bytes:
    """The bytes of a model whose inputs are renamed as ``names`` (old to new) says.

    Inputs that nothing reads are left out; equal models give equal bytes.
    """
    _rename(model.graph, names)
    read = {name for node in model.graph.node for name in node.input}
    for unread in [each for each in model.graph.input if each.name not in read]:
        model.graph.input.remove(unread)
    versions = {each.domain: each.version for each in model.opset_import}
    if any(node.op_type == TREE_ENSEMBLE for node in model.graph.node):
        versions[ML] = max(versions.get(ML, ML_OPSET), ML_OPSET)
    del model.opset_import[:]
    model.opset_import.extend(
        onnx.helper.make_opsetid(domain, version) for domain, version in sorted(versions.items())
    )
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def _rename(graph: Any, names: Mapping[str, str]) -> None:
    """Give the inputs their names; a value inside the graph that has such a name already gives way."""
    taken = set(names.values())
    inside = {name for node in graph.node for name in node.output} | {each.name for each in graph.initializer}
    every = inside | taken | {each.name for each in graph.input}
    renamed = dict(names)
    for name in sorted(inside & taken):
        fresh = next(
            f"{name}_{number}" for number in range(len(every) + 1) if f"{name}_{number}" not in every
        )
        every.add(fresh)
        renamed[name] = fresh
    for node in graph.node:
        for held in (node.input, node.output):
            held[:] = [renamed.get(name, name) for name in held]
    for each in (*graph.input, *graph.output, *graph.initializer, *graph.value_info):
        each.name = renamed.get(each.name, each.name)


def divide_input(model: Any, columns: int) -> None:
    """Let a model of one matrix take its columns, shape (rows, 1) each, as inputs of their own in their order."""
    (whole,) = model.graph.input
    element = whole.type.tensor_type.elem_type
    parts = [f"{whole.name}_column_{place}" for place in range(columns)]
    nodes = [onnx.helper.make_node("Concat", parts, [whole.name], axis=1), *model.graph.node]
    del model.graph.input[:], model.graph.node[:]
    model.graph.input.extend(onnx.helper.make_tensor_value_info(name, element, [None, 1]) for name in parts)
    model.graph.node.extend(nodes)


def take_floats(model: Any) -> None:
    """Let a model that computes in float64 take its float64 inputs as float32."""
    casts = []
    for each in model.graph.input:
        held = each.type.tensor_type
        if held.elem_type == onnx.TensorProto.DOUBLE:
            held.elem_type = onnx.TensorProto.FLOAT
            wide = f"{each.name}_float64"
            casts.append(onnx.helper.make_node("Cast", [each.name], [wide], to=onnx.TensorProto.DOUBLE))
    renamed = {node.input[0]: node.output[0] for node in casts}
    for node in model.graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def join_in_float64(model: Any) -> None:
    """Put ``Concat`` where skl2onnx joins float64 columns by ``FeatureVectorizer``, which gives float32."""
    nodes = []
    for node in model.graph.node:
        if node.op_type != "FeatureVectorizer":
            nodes.append(node)
            continue
        wide = [f"{node.output[0]}_{place}_float64" for place in range(len(node.input))]
        nodes += [
            onnx.helper.make_node("Cast", [name], [cast], to=onnx.TensorProto.DOUBLE)
            for name, cast in zip(node.input, wide, strict=True)
        ]
        nodes.append(onnx.helper.make_node("Concat", wide, list(node.output), axis=1))
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def hold_outputs(model: Any) -> None:
    """Give float outputs the type that they are declared with, whatever the last node computes in."""
    for each in model.graph.output:
        declared = each.type.tensor_type.elem_type
        if declared in (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE):
            inner = f"{each.name}_computed"
            for node in model.graph.node:
                node.input[:] = [inner if name == each.name else name for name in node.input]
                node.output[:] = [inner if name == each.name else name for name in node.output]
            model.graph.node.append(onnx.helper.make_node("Cast", [inner], [each.name], to=declared))
