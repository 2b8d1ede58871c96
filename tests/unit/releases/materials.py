"""Everything that a small release is made of, for tests of its bill of materials."""

from __future__ import annotations

from gatewright.checks.finding import Finding, Metric, Outcome
from gatewright.checks.report import Report
from gatewright.datasets.datasheet import Datasheet
from gatewright.kernel.digests import Digest
from gatewright.kernel.instants import Instant
from gatewright.models.facts import ModelFacts
from gatewright.models.signature import DataType, ModelSignature, Task, TensorSpec
from gatewright.releases.bom import Distribution, Materials

X = TensorSpec(name="x", datatype=DataType.FP32, shape=(-1, 2), columns=("income", "age"))
LABEL = TensorSpec(name="label", datatype=DataType.INT64, shape=(-1,))
MODEL = Digest.of(b"model")
ROOT = Digest.of(b"root")
SPLITS = {"train": Digest.of(b"train"), "test": Digest.of(b"test"), "trained-on": Digest.of(b"rows")}

SOFTWARE = (
    Distribution(name="numpy", version="2.4.6", licence="BSD-3-Clause", spdx=True),
    Distribution(name="gatewright", version="0.1.0", requires=("numpy", "ruamel-yaml")),
    Distribution(name="ruamel.yaml", version="0.19.1", licence="MIT license"),
    Distribution(name="torch", version="2.13.0+cpu"),
)

ACCURACY = Metric(name="accuracy", value=0.81, low=0.1 + 0.2, high=0.84, size=400, method="wilson")
IN_SLICE = Metric(
    name="accuracy", value=0.75, low=0.5, high=1e-7 + 0.9, size=40, method="wilson", slice="age=old"
)
COUNTED = Metric.exact("rows", 400, size=400, unit="rows")

REPORT = Report(
    model=MODEL,
    dataset="loans@1",
    data=SPLITS,
    seed=0,
    software={},
    findings=(
        Finding(
            check="performance.metrics",
            outcome=Outcome.PASSED,
            summary="It learned.",
            metrics=(IN_SLICE, ACCURACY, COUNTED),
        ),
        Finding(check="data.labels", outcome=Outcome.UNKNOWN, summary="?", reason="There are too few rows."),
        Finding(check="fairness.groups", outcome=Outcome.FAILED, summary="One group is treated worse."),
        Finding(check="performance.importance", outcome=Outcome.SKIPPED, summary="-", reason="No model."),
    ),
)

DATASHEET = Datasheet(
    title="Loans", licence="CC-BY-4.0", allowed_uses=("credit decisions",), sensitive_columns=("age",)
)

MATERIALS = Materials(
    home="gatewright/0123456789abcdef",
    root=ROOT,
    created=Instant.parse("2026-03-03T14:05:00.123456789Z"),
    name="loans",
    version=2,
    tier="low",
    model=MODEL,
    facts=ModelFacts(
        graph="loans",
        producer="tests",
        ir_version=8,
        opsets={"ai.onnx": 17},
        operators={"ai.onnx:MatMul": 1, "ai.onnx.ml:TreeEnsembleClassifier": 1},
        parameters=6,
        inputs=(X,),
        outputs=(LABEL,),
        labels=("no", "yes"),
        bytes=312,
        digest=MODEL,
    ),
    signature=ModelSignature(
        task=Task.BINARY, inputs=(X,), outputs=(LABEL,), label_output="label", classes=("no", "yes")
    ),
    dataset="loans",
    dataset_version=1,
    target="repaid",
    splits=SPLITS,
    rows={"train": 300, "test": 400},
    sensitive=("age",),
    datasheet=DATASHEET,
    report=REPORT,
    report_digest=Digest.of(b"report"),
    software=SOFTWARE,
    parent=Digest.of(b"parent"),
    origin={"run": "7"},
)
