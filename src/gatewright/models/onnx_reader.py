"""ONNX bytes, read and never run: what is in the model, or why it is refused.

The protobuf message is parsed (its reader refuses nesting beyond 100 levels) and walked with every
nested graph and function. No shape inference and no checker run here, since both are large native
programs with a history of crashes on hostile models; operators run this in a child process anyway.

Accepted operators are those of the standard domains ``ai.onnx`` and ``ai.onnx.ml`` and functions
that the file itself defines from them. Operators of ``com.microsoft`` are refused: they belong to
one runtime and have no frozen specification.

A ``Loop`` must have a constant, bounded trip count, since an input could make another one endless;
``Scan`` is bounded by what it goes over.

Not proven here: that the model computes what its owner says, or how long it takes; running it, with
limits, is ``operations.isolation.predict``.
"""

from __future__ import annotations

from collections import ChainMap, Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TypeAlias

import numpy as np
from google.protobuf.message import DecodeError  # it ships no types
from onnx import (
    AttributeProto,
    FunctionProto,
    GraphProto,
    ModelProto,
    NodeProto,
    TensorProto,
    ValueInfoProto,
    defs,
)

from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import Refusal, Refused
from gatewright.models import limits
from gatewright.models.facts import ModelFacts
from gatewright.models.onnx_tensors import require_sparse, require_tensor
from gatewright.models.signature import DataType, TensorSpec

MAIN = "ai.onnx"
ML = "ai.onnx.ml"
_TEXT = 200  # characters of free text that facts keep

_DATATYPES: Mapping[int, DataType] = {
    1: DataType.FP32, 2: DataType.UINT8, 3: DataType.INT8, 4: DataType.UINT16, 5: DataType.INT16,
    6: DataType.INT32, 7: DataType.INT64, 8: DataType.BYTES, 9: DataType.BOOL, 10: DataType.FP16,
    11: DataType.FP64, 12: DataType.UINT32, 13: DataType.UINT64, 16: DataType.BF16,
}  # fmt: skip

# Attributes whose NaN is a marker ("this is what missing looks like", "here a set ends") and not a weight.
_MARKERS = {
    ("Imputer", "replaced_value_float"),
    ("LabelEncoder", "default_float"),
    ("LabelEncoder", "default_tensor"),
    ("LabelEncoder", "keys_floats"),
    ("LabelEncoder", "keys_tensor"),
    ("TreeEnsemble", "membership_values"),
}
_LABELS = ("classlabels_int64s", "classlabels_ints", "classlabels_strings")

_Functions: TypeAlias = Mapping[tuple[str, str], FunctionProto]
_Counts: TypeAlias = ChainMap[str, int]
_NOT_CONSTANT = -1


@dataclass(slots=True)
class _Found:
    """What the walk has counted so far."""

    operators: Counter[str] = field(default_factory=Counter)
    parameters: int = 0
    labels: list[tuple[str, ...]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Scope:
    """What the names of operators mean where a node stands."""

    versions: Mapping[str, int]
    functions: _Functions
    where: str


def inspect(data: bytes, *, opset_newest: int = limits.OPSET_NEWEST) -> ModelFacts | Refusal:
    """The facts about ONNX bytes, or the reason why they are refused.

    ``opset_newest`` is the newest version of the main operator set that the runtime supports.
    """
    try:
        return _inspect(data, opset_newest)
    except Refused as refused:
        return refused.refusal
    except (DecodeError, UnicodeDecodeError):
        return Refusal(
            code="models.unreadable",
            what="The ONNX file is cut off or damaged.",
            next="Copy or export it again; a whole file loads with onnx.load.",
        )


def _inspect(data: bytes, opset_newest: int) -> ModelFacts:
    if len(data) > limits.MODEL_BYTES:
        raise Refused(
            "models.too-large", f"The model has {len(data):,} bytes; the limit is {limits.MODEL_BYTES:,}."
        )
    model = ModelProto.FromString(data)
    _require_known_content(model)
    versions = _versions(model, opset_newest)
    functions = _functions(model)
    found = _Found()
    _walk(model.graph, _Scope(versions, functions, "graph"), found)
    for function in functions.values():
        where = f"function {function.name!r}"
        _walk_nodes(function.node, _Scope(_function_versions(function, versions), functions, where), found, 1)
    _require_ends(model.graph, functions)
    held = {tensor.name for tensor in model.graph.initializer}
    inputs = tuple(_spec(value, "input") for value in model.graph.input if value.name not in held)
    outputs = tuple(_spec(value, "output") for value in model.graph.output)
    _require_ports(model.graph, inputs, outputs)
    return ModelFacts(
        graph=model.graph.name[:_TEXT],
        producer=f"{model.producer_name} {model.producer_version}".strip()[:_TEXT],
        ir_version=model.ir_version,
        opsets={domain: versions[domain] for domain in sorted(versions)},
        operators=dict(sorted(found.operators.items())),
        parameters=found.parameters,
        inputs=inputs,
        outputs=outputs,
        labels=found.labels[0] if len(set(found.labels)) == 1 else (),
        bytes=len(data),
        digest=Digest.of(data),
    )


def _require_known_content(model: ModelProto) -> None:
    size = model.ByteSize()
    model.DiscardUnknownFields()
    if model.ByteSize() != size:
        raise Refused(
            "models.unknown-content",
            "The file holds fields that the ONNX format does not know.",
            next="Export it again, with a released version of its converter.",
        )
    _require_text(model.producer_name, model.producer_version, model.graph.name)
    if not model.HasField("graph"):
        raise Refused("models.no-graph", "The ONNX file holds no graph.", next="Export the model again.")
    if not limits.IR_OLDEST <= model.ir_version <= limits.IR_NEWEST:
        raise Refused(
            "models.ir-version",
            f"The model has the IR version {model.ir_version}; {limits.IR_OLDEST} to {limits.IR_NEWEST} "
            "are supported.",
            next=f"Set model.ir_version = {limits.IR_NEWEST} or lower when saving, or use a fitting converter.",
        )
    if model.training_info or model.configuration:
        raise Refused(
            "models.training-info",
            "The model carries training or device information.",
            next="Export it for inference only.",
        )


def _require_text(*texts: object) -> None:
    """Protobuf hands out names that are not UTF-8 as bytes; a sound file has none."""
    for text in texts:
        if not isinstance(text, str):
            raise Refused(
                "models.unreadable",
                "A name in the ONNX file is not text.",
                why=repr(text)[:_TEXT],
                next="The file is damaged: copy or export it again.",
            )


def _domain(name: str) -> str:
    return name or MAIN


def _versions(model: ModelProto, newest: int) -> dict[str, int]:
    versions: dict[str, int] = {}
    for entry in model.opset_import:
        _require_text(entry.domain)
        domain = _domain(entry.domain)
        if versions.get(domain, entry.version) != entry.version:
            raise Refused(
                "models.opset", f"The model imports two versions of the operator set {domain[:_TEXT]!r}."
            )
        versions[domain] = entry.version
    bounds = {
        MAIN: (limits.OPSET_OLDEST, newest),
        ML: (limits.ML_OPSET_OLDEST, limits.ML_OPSET_NEWEST),
    }
    for domain, (oldest, latest) in bounds.items():
        if domain in versions and not oldest <= versions[domain] <= latest:
            raise Refused(
                "models.opset",
                f"The model uses version {versions[domain]} of the operator set {domain}; "
                f"{oldest} to {latest} are supported.",
                next=f"Export it with target_opset={{'': {newest}, 'ai.onnx.ml': {limits.ML_OPSET_NEWEST}}} "
                "or lower.",
            )
    if not versions:
        raise Refused("models.opset", "The model names no operator set.", next="Export the model again.")
    return versions


def _functions(model: ModelProto) -> _Functions:
    functions: dict[tuple[str, str], FunctionProto] = {}
    for function in model.functions:
        _require_text(function.name, function.domain, *(entry.domain for entry in function.opset_import))
        key = (_domain(function.domain), function.name)
        if key in functions or key[0] in (MAIN, ML):
            raise Refused(
                "models.function", f"The function {function.name[:_TEXT]!r} is defined twice or replaces a standard operator."
            )  # fmt: skip
        functions[key] = function
    return _leaves_first(functions)


def _leaves_first(functions: _Functions) -> _Functions:
    """The functions, each after those that it calls; raises :class:`Refused` where there is a circle."""
    order: list[tuple[str, str]] = []
    calls = {
        key: {called for node in _every_node(function.node) if (called := _key(node)) in functions}
        for key, function in functions.items()
    }
    while calls:
        leaves = {key for key, called in calls.items() if not called}
        if not leaves:
            raise Refused("models.function", "Functions of the model call each other in a circle.")
        order += sorted(leaves)
        calls = {key: called - leaves for key, called in calls.items() if key not in leaves}
    return {key: functions[key] for key in order}


def _key(node: NodeProto) -> tuple[str, str]:
    return _domain(node.domain), node.op_type


def _every_node(nodes: Sequence[NodeProto]) -> Iterator[NodeProto]:
    stack = list(nodes)
    while stack:
        node = stack.pop()
        yield node
        for attribute in node.attribute:
            for graph in _graphs(attribute):
                stack.extend(graph.node)


def _graphs(attribute: AttributeProto) -> list[GraphProto]:
    return [*attribute.graphs, attribute.g] if attribute.HasField("g") else list(attribute.graphs)


def _function_versions(function: FunctionProto, outer: Mapping[str, int]) -> dict[str, int]:
    own = {_domain(entry.domain): entry.version for entry in function.opset_import}
    for domain in (MAIN, ML):
        if domain in own and domain in outer and own[domain] > outer[domain]:
            raise Refused(
                "models.opset",
                f"The function {function.name[:_TEXT]!r} uses a newer operator set than the model.",
            )
    return own


def _walk(graph: GraphProto, scope: _Scope, found: _Found, depth: int = 1) -> None:
    _require_distinct(graph, scope.where)
    for tensor in graph.initializer:
        found.parameters += require_tensor(tensor, f"initialiser {tensor.name[:_TEXT]!r}")
    for sparse in graph.sparse_initializer:
        found.parameters += require_sparse(sparse, f"sparse initialiser {sparse.values.name[:_TEXT]!r}")
    _walk_nodes(graph.node, scope, found, depth)


def _walk_nodes(nodes: Sequence[NodeProto], scope: _Scope, found: _Found, depth: int) -> None:
    if depth > limits.GRAPH_DEPTH:
        raise Refused("models.too-deep", f"Graphs are nested deeper than {limits.GRAPH_DEPTH} levels.")
    for index, node in enumerate(nodes):
        _require_text(node.name, node.op_type, node.domain, *node.input, *node.output)
        _require_text(*(attribute.name for attribute in node.attribute))
        place = f"{scope.where}, node {index} {node.name[:_TEXT]!r} ({node.op_type[:_TEXT]})"
        _require_operator(node, scope, place)
        domain, operator = _key(node)
        found.operators[f"{domain}:{operator}"[:_TEXT]] += 1
        if found.operators.total() > limits.NODES:
            raise Refused("models.too-many-nodes", f"The model has more than {limits.NODES:,} nodes.")
        for attribute in node.attribute:
            _attribute(node, attribute, found, place)
            for graph in _graphs(attribute):
                _walk(graph, scope, found, depth + 1)


def _attribute(node: NodeProto, attribute: AttributeProto, found: _Found, place: str) -> None:
    place = f"{place}, attribute {attribute.name[:_TEXT]!r}"
    finite = (node.op_type, attribute.name) not in _MARKERS
    tensors = [*attribute.tensors, attribute.t] if attribute.HasField("t") else attribute.tensors
    for tensor in tensors:
        found.parameters += require_tensor(tensor, place, finite=finite)
    sparse = (
        [*attribute.sparse_tensors, attribute.sparse_tensor]
        if attribute.HasField("sparse_tensor")
        else attribute.sparse_tensors
    )
    for held in sparse:
        found.parameters += require_sparse(held, place)
    numbers = np.array([*attribute.floats, attribute.f], dtype=np.float64)
    if finite and not np.isfinite(numbers).all():
        raise Refused(
            "models.not-finite",
            "The model's parameters hold NaN or infinity.",
            why="Predictions from them would not be numbers.",
            next="Train again on cleaned data; give finite bounds instead of infinite ones.",
            place=place,
        )
    found.parameters += len(attribute.floats)
    if attribute.name in _LABELS:
        labels = attribute.strings or attribute.ints
        found.labels.append(tuple(_label(label) for label in labels[: limits.CLASSES]))


def _label(label: bytes | int) -> str:
    return label.decode("utf-8") if isinstance(label, bytes) else str(label)


def _require_operator(node: NodeProto, scope: _Scope, place: str) -> None:
    domain, operator = _key(node)
    if (domain, operator) in scope.functions:
        return
    known = domain in (MAIN, ML) and domain in scope.versions
    bounds = _arity(domain, operator, scope.versions[domain]) if known else None
    if bounds is None:
        raise Refused(
            "models.custom-operator",
            f"The operator {operator[:_TEXT]!r} of the domain {domain[:_TEXT]!r} is not one of the standard "
            "operators at the model's version.",
            why="Custom operators need code that the model does not carry.",
            next=f"Export the model with operators of {MAIN} and {ML} only, without runtime optimisation.",
            place=place,
        )
    (least_in, most_in), (least_out, most_out) = bounds
    if not (least_in <= len(node.input) <= most_in and least_out <= len(node.output) <= most_out):
        raise Refused(
            "models.operator-arity",
            f"The operator {operator} has {len(node.input)} inputs and {len(node.output)} outputs, "
            "which it cannot have.",
            next="The file is damaged: export it again.",
            place=place,
        )


@lru_cache(maxsize=4096)
def _arity(domain: str, operator: str, version: int) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """How many inputs and outputs the operator may have; None where the version does not know it."""
    try:
        schema = defs.get_schema(operator, version, "" if domain == MAIN else domain)
    except (defs.SchemaError, ValueError):
        return None
    if schema.deprecated:
        return None
    return (schema.min_input, schema.max_input), (schema.min_output, schema.max_output)


def _require_distinct(graph: GraphProto, where: str) -> None:
    inputs = [value.name for value in graph.input]
    initializers = [tensor.name for tensor in graph.initializer]
    initializers += [sparse.values.name for sparse in graph.sparse_initializer]
    outputs = [value.name for value in graph.output]
    produced = [name for node in graph.node for name in node.output if name]
    _require_text(*inputs, *initializers, *outputs, *produced)
    for names in (inputs, initializers, outputs, produced + list({*inputs, *initializers})):
        if len(set(names)) != len(names):
            twice = next(name for name, count in Counter(names).items() if count > 1)
            raise Refused(
                "models.duplicate-name", f"Two values of the model have the name {twice[:_TEXT]!r}.", place=where
            )  # fmt: skip
    absent = set(outputs) - {*produced, *inputs, *initializers}
    if where == "graph" and absent:
        raise Refused(
            "models.no-output", f"Nothing in the model computes its output {min(absent)[:_TEXT]!r}.", place=where
        )  # fmt: skip


def _require_ends(graph: GraphProto, functions: _Functions) -> None:
    """Every Loop has a constant trip count, and nested ones no more trips than the limit in all.

    To be called after the walk, which has bounded the nesting and compared tensors with their sizes.
    """
    trips: dict[tuple[str, str], int] = {}
    for key, function in functions.items():
        trips[key] = _trips(function, ChainMap(), trips, f"function {function.name[:_TEXT]!r}")
    _trips(graph, ChainMap(), trips, "graph")


def _trips(
    graph: GraphProto | FunctionProto, outer: _Counts, called: Mapping[tuple[str, str], int], where: str
) -> int:
    """The most trips that nested loops of the graph make together, at least 1."""
    counts = outer.new_child(_counts(graph, outer))
    most = 1
    for index, node in enumerate(graph.node):
        place = f"{where}, node {index} {node.name[:_TEXT]!r} ({node.op_type[:_TEXT]})"
        inside = [_trips(g, counts, called, place) for held in node.attribute for g in _graphs(held)]
        trips = max(called.get(_key(node), 1), *inside, 1)
        if _key(node) == (MAIN, "Loop"):
            count = counts.get(node.input[0], _NOT_CONSTANT)
            trips *= max(count, 1)
            if count < 0 or trips > limits.LOOP_TRIPS:
                raise _endless(count, place)
        most = max(most, trips)
    return most


def _endless(count: int, place: str) -> Refused:
    unknown = "A Loop has no constant trip count, so nothing says that it ends."
    return Refused(
        "models.endless-loop",
        unknown if count < 0 else f"A Loop may run more than {limits.LOOP_TRIPS:,} times.",
        why="An input that makes it endless would stop the server.",
        next=f"Give the Loop a constant trip count of at most {limits.LOOP_TRIPS:,}, all Loops around it "
        "multiplied, or use Scan, which ends with its input.",
        place=place,
    )


def _counts(graph: GraphProto | FunctionProto, outer: _Counts) -> dict[str, int]:
    """The constant whole number that each name of the graph stands for, or ``_NOT_CONSTANT``.

    A name with two meanings, or one that a caller may set, is not constant.
    """
    found: dict[str, int] = {}

    def define(name: str, count: int) -> None:
        found[name] = count if name and name not in found and name not in outer else _NOT_CONSTANT

    if isinstance(graph, GraphProto):
        for tensor in graph.initializer:
            define(tensor.name, _whole(tensor))
        for sparse in graph.sparse_initializer:
            define(sparse.values.name, _NOT_CONSTANT)
    for node in graph.node:
        for name in node.output:
            define(name, _constant(node))
    for value in graph.input:
        define(value if isinstance(value, str) else value.name, _NOT_CONSTANT)
    return found


def _constant(node: NodeProto) -> int:
    attribute = node.attribute[0] if len(node.attribute) == 1 else AttributeProto()
    if _key(node) != (MAIN, "Constant") or attribute.ref_attr_name:
        return _NOT_CONSTANT
    if attribute.name == "value_int" and attribute.type == AttributeProto.INT:
        return max(attribute.i, _NOT_CONSTANT)
    return _whole(attribute.t) if attribute.name == "value" and attribute.HasField("t") else _NOT_CONSTANT


def _whole(tensor: TensorProto) -> int:
    """The one int64 of the tensor, where it is 0 or more."""
    if tensor.data_type != TensorProto.INT64 or any(size != 1 for size in tensor.dims):
        return _NOT_CONSTANT
    raw = int.from_bytes(tensor.raw_data, "little", signed=True)
    return max(int(sum(tensor.int64_data)) or raw, _NOT_CONSTANT)


def _spec(value: ValueInfoProto, role: str) -> TensorSpec:
    place = f"{role} {value.name[:_TEXT]!r}"
    if value.type.WhichOneof("value") != "tensor_type":
        raise Refused(
            "models.not-a-tensor",
            f"The {role} {value.name[:_TEXT]!r} is not a tensor but a sequence, map, optional or sparse value.",
            next="For scikit-learn, convert with options={'zipmap': False}, so that scores are a matrix.",
            place=place,
        )
    tensor = value.type.tensor_type
    datatype = _DATATYPES.get(tensor.elem_type)
    if datatype is None:
        raise Refused(
            "models.tensor-type", f"The {role} {value.name[:_TEXT]!r} has an element type that cannot be served.",
            next="Cast it to float32 inside the model.", place=place,
        )  # fmt: skip
    dims = tensor.shape.dim
    if not tensor.HasField("shape") or not 1 <= len(dims) <= limits.DIMENSIONS:
        raise Refused(
            "models.shape",
            f"The {role} {value.name[:_TEXT]!r} states no shape, or one without rows.",
            next="Run onnx.shape_inference.infer_shapes(model) and save it again.",
            place=place,
        )
    shape = tuple(dim.dim_value if dim.HasField("dim_value") else -1 for dim in dims)
    return TensorSpec(name=value.name, datatype=datatype, shape=tuple(s if s > 0 else -1 for s in shape))


def _require_ports(graph: GraphProto, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> None:
    if not inputs or not outputs or len(graph.input) + len(outputs) > limits.TENSORS * 2:
        raise Refused(
            "models.ports",
            f"The model has {len(inputs)} inputs and {len(outputs)} outputs.",
            why=f"It needs one to {limits.TENSORS:,} of each.",
        )
    for spec in (*inputs, *outputs):
        if not 0 < len(spec.name) <= limits.NAME_CHARACTERS:
            raise Refused("models.tensor-name", "An input or output has no name or a very long one.")
