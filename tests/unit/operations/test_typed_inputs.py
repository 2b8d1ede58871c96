"""Models whose inputs are named columns of every kind of type are added, asked and checked."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from gatewright.datasets.datasheet import Datasheet
from gatewright.models.signature import DataType
from gatewright.models.signature_format import decode_signature
from gatewright.operations import data, models
from gatewright.operations.check import check
from gatewright.operations.data import Description
from gatewright.operations.home import Home
from gatewright.operations.models import Declared
from gatewright.serving.codec import Codec


def _model() -> bytes:
    """The probability of "yes" from an amount, a count, a truth value and a region, each in its own type."""
    nodes = [
        helper.make_node("Cast", ["count"], ["c"], to=TensorProto.DOUBLE),
        helper.make_node("Cast", ["member"], ["m"], to=TensorProto.DOUBLE),
        helper.make_node(
            "LabelEncoder", ["region"], ["r32"], domain="ai.onnx.ml", keys_strings=["north", ""],
            values_floats=[2.0, -1.0], default_float=0.0,
        ),
        helper.make_node("Cast", ["r32"], ["r"], to=TensorProto.DOUBLE),
        helper.make_node("Sum", ["amount", "c", "m", "r"], ["sum"]),
        helper.make_node("Sigmoid", ["sum"], ["yes"]),
        helper.make_node("Constant", [], ["one"], value=numpy_helper.from_array(np.array(1.0))),
        helper.make_node("Sub", ["one", "yes"], ["no"]),
        helper.make_node("Concat", ["no", "yes"], ["probabilities"], axis=1),
    ]  # fmt: skip
    inputs = [
        helper.make_tensor_value_info(name, kind, [None, 1])
        for name, kind in (
            ("amount", TensorProto.DOUBLE), ("count", TensorProto.INT64),
            ("member", TensorProto.BOOL), ("region", TensorProto.STRING),
        )
    ]  # fmt: skip
    outputs = [helper.make_tensor_value_info("probabilities", TensorProto.DOUBLE, [None, 2])]
    graph = helper.make_graph(nodes, "typed", inputs, outputs)
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString())


def _rows(seed: int, count: int) -> bytes:
    rng = np.random.default_rng(seed)
    text = io.StringIO()
    write = csv.writer(text)
    write.writerow(["amount", "count", "member", "region", "repaid"])
    for _ in range(count):
        amount, number, member = round(rng.normal(), 9), int(rng.integers(-2, 3)), int(rng.integers(0, 2))
        region = str(rng.choice(["north", "south", ""]))
        likely = amount + number + member + {"north": 2.0, "": -1.0}.get(region, 0.0)
        write.writerow(
            [amount, number, member, region, "yes" if rng.random() < 1 / (1 + np.exp(-likely)) else "no"]
        )
    return text.getvalue().encode()


def test_doubles_whole_numbers_truth_values_and_texts_go_the_whole_way(fresh: Home) -> None:
    """FP64, INT64, BOOL and BYTES inputs are understood, filled from the rows, measured, and read from JSON."""
    about = Description(target="repaid", datasheet=Datasheet(title="Loans"))
    data.add_content(fresh, "loans", train=_rows(1, 300), test=_rows(2, 400), about=about)
    version = models.add_content(fresh, _model(), "loans", Declared(trained_on="loans"))
    signature = decode_signature(fresh.blobs.get(version.signature))
    assert [DataType.FP64, DataType.INT64, DataType.BOOL, DataType.BYTES] == [
        each.datatype for each in signature.inputs
    ]
    found = {finding.check: finding for finding in check(fresh, version.ref).report.findings}
    assert "passed" == found["performance.metrics"].outcome.value
    body = {
        "inputs": [
            {"name": name, "shape": [2, 1], "datatype": kind, "data": values}
            for name, kind, values in (
                ("amount", "FP64", [0.1, None]), ("count", "INT64", [2**53 + 1, -1]),
                ("member", "BOOL", [True, False]), ("region", "BYTES", ["north", ""]),
            )
        ]
    }  # fmt: skip
    amount, count, member, region = Codec(signature).read(json.dumps(body).encode()).inputs
    assert (0.1, True) == (amount[0, 0], bool(np.isnan(amount[1, 0])))
    assert ([[2**53 + 1], [-1]], [[True], [False]]) == (count.tolist(), member.tolist())
    assert [["north"], [""]] == region.tolist()
