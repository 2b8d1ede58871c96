"""Loops that an input could make endless are refused; bounded ones are read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from gatewright.kernel.errors import Refusal
from gatewright.models import limits
from gatewright.models.facts import ModelFacts
from gatewright.models.onnx_reader import inspect

Build = Callable[..., onnx.ModelProto]


def _value(name: str, kind: int = TensorProto.FLOAT, shape: Sequence[int | None] = (None, 2)) -> Any:
    return helper.make_tensor_value_info(name, kind, list(shape))


def _whole(name: str, value: int) -> Any:
    return numpy_helper.from_array(np.array(value, np.int64), name)


def _constant(name: str, value: int) -> Any:
    return helper.make_node("Constant", [], [name], value=_whole("", value))


def _loop(trips: str, taken: str, given: str, mark: str = "", extra: Sequence[Any] = ()) -> Any:
    """A Loop that copies what it is given, once a trip."""
    body = helper.make_graph(
        [
            *extra,
            helper.make_node("Identity", [f"go{mark}"], [f"on{mark}"]),
            helper.make_node("Identity", [f"v{mark}"], [f"w{mark}"]),
        ],
        f"body{mark}",
        [
            _value(f"i{mark}", TensorProto.INT64, ()),
            _value(f"go{mark}", TensorProto.BOOL, ()),
            _value(f"v{mark}"),
        ],
        [_value(f"on{mark}", TensorProto.BOOL, ()), _value(f"w{mark}")],
    )
    return helper.make_node("Loop", [trips, "", taken], [given], body=body)


def _code(model: onnx.ModelProto) -> str:
    found = inspect(model.SerializeToString())
    return found.code if isinstance(found, Refusal) else "read"


def test_a_bounded_loop_is_read(build: Build) -> None:
    """A trip count in an initialiser or in a Constant node is accepted."""
    held = build([_loop("n", "x", "y")], initializers=[_whole("n", limits.LOOP_TRIPS)])
    made = build([_constant("n", 3), _loop("n", "x", "y")])
    scalar = build([helper.make_node("Constant", [], ["n"], value_int=0), _loop("n", "x", "y")])
    found = inspect(held.SerializeToString())
    assert isinstance(found, ModelFacts), found
    assert 1 == found.operators["ai.onnx:Loop"]
    assert ["read", "read"] == [_code(made), _code(scalar)]


def test_a_loop_that_an_input_triggers_is_refused(build: Build) -> None:
    """A Loop without a trip count that goes on while an input is large is refused with the way out."""
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["most"], keepdims=0),
        helper.make_node("Greater", ["most", "limit"], ["triggered"]),
        _loop("", "x", "y"),
    ]
    nodes[-1].input[1] = "triggered"
    limit = numpy_helper.from_array(np.array(1e6, np.float32), "limit")
    found = inspect(build(nodes, initializers=[limit]).SerializeToString())
    assert isinstance(found, Refusal)
    assert "models.endless-loop" == found.code
    assert "no constant trip count" in found.what
    assert "Scan" in found.next
    assert "node 2" in found.place


@pytest.mark.parametrize("trips", [-1, limits.LOOP_TRIPS + 1, 2**63 - 1])
def test_a_trip_count_beyond_the_limit_is_refused(build: Build, trips: int) -> None:
    """A constant trip count is refused below 0 and above the limit."""
    model = build([_loop("n", "x", "y")], initializers=[_whole("n", trips)])
    assert "models.endless-loop" == _code(model)


def test_a_trip_count_from_an_input_is_refused(build: Build) -> None:
    """A computed trip count, one that an input may replace, and one of another type are not constant."""
    computed = build([helper.make_node("Size", ["x"], ["n"]), _loop("n", "x", "y")])
    inputs = [_value("x"), _value("n", TensorProto.INT64, ())]
    replaced = build([_loop("n", "x", "y")], inputs=inputs, initializers=[_whole("n", 3)])
    other = numpy_helper.from_array(np.array(3, np.int32), "n")
    typed = build([_loop("n", "x", "y")], initializers=[other])
    assert ["models.endless-loop"] * 3 == [_code(model) for model in (computed, replaced, typed)]


def test_an_unnamed_constant_is_no_trip_count(build: Build) -> None:
    """An absent trip count is not taken from a constant without a name."""
    assert "models.endless-loop" == _code(build([_constant("", 3), _loop("", "x", "y")]))


def test_nested_loops_multiply(build: Build) -> None:
    """Loops in a loop's body count together, and are seen in every nested graph."""

    def nested(inner: str) -> onnx.ModelProto:
        extra = [_loop(inner, "v", "unused", mark="2")]
        held = [_whole("few", 10), _whole("many", limits.LOOP_TRIPS)]
        return build([_loop("few", "x", "y", extra=extra)], initializers=held)

    assert "read" == _code(nested("few"))
    assert "models.endless-loop" == _code(nested("many"))
    assert "models.endless-loop" == _code(nested("i"))


def test_a_name_with_two_meanings_is_no_trip_count(build: Build) -> None:
    """A constant of an outer graph that an inner graph defines anew is not trusted."""
    extra = [helper.make_node("Size", ["v"], ["n"]), _loop("n", "v", "unused", mark="2")]
    model = build([_loop("n", "x", "y", extra=extra)], initializers=[_whole("n", 3)])
    assert "models.endless-loop" == _code(model)


@pytest.mark.parametrize(
    ("trips", "outer", "expected"),
    [
        (5, 5, "read"),
        (limits.LOOP_TRIPS, 0, "read"),
        (limits.LOOP_TRIPS, 2, "models.endless-loop"),
        (None, 0, "models.endless-loop"),
    ],
)
def test_loops_in_functions_are_seen(build: Build, trips: int | None, outer: int, expected: str) -> None:
    """A function's loop needs its own constant, and counts in the loops that call the function."""
    body = [_loop("m", "a", "b")] if trips is None else [_constant("m", trips), _loop("m", "a", "b")]
    taken = ["a", "m"] if trips is None else ["a"]
    function = helper.make_function("own", "F", taken, ["b"], body, [helper.make_opsetid("", 17)])
    call = helper.make_node("F", ["v", "n"][: len(taken)], ["unused"], domain="own")
    model = build(
        [_loop("n", "x", "y", mark="0", extra=[_called(call)])],
        opsets=(("", 17), ("own", 1)),
        initializers=[_whole("n", outer)],
        functions=[function],
    )
    assert expected == _code(model)


def _called(call: Any) -> Any:
    """The call inside a body whose value is named v0."""
    call.input[0] = "v0"
    return call
