"""The bill of materials: valid, reproducible, and every number of it the report's."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gatewright.checks.finding import Finding, Metric, Outcome
from gatewright.datasets.datasheet import Datasheet
from gatewright.kernel import canonical
from gatewright.kernel.digests import Digest
from gatewright.releases.bom import (
    DISTRIBUTIONS,
    METRICS,
    METRICS_BYTES,
    Distribution,
    bill,
    card_metrics,
    closure,
    encode_bill,
)
from gatewright.releases.bom_claim import missing
from unit.releases.materials import ACCURACY, IN_SLICE, MATERIALS, MODEL, REPORT, SOFTWARE
from unit.releases.strict_validator import complaint

DOCUMENT: Any = canonical.decode(encode_bill(bill(MATERIALS)))
COMPONENT = DOCUMENT["metadata"]["component"]
CARD = COMPONENT["modelCard"]


def test_a_bill_is_valid_and_complete() -> None:
    """The strict validator of the standard and our own list of fields both accept it."""
    assert () == missing(DOCUMENT)
    assert "" == complaint(encode_bill(DOCUMENT))


def test_a_bare_bill_is_valid_too() -> None:
    """Nothing stated, nothing sensitive, nothing optional: still valid, and it says what is not stated."""
    bare = replace(
        MATERIALS, datasheet=Datasheet(), sensitive=(), parent=None, origin={}, software=SOFTWARE[1:2]
    )
    document: Any = canonical.decode(encode_bill(bill(bare)))
    assert "" == complaint(encode_bill(document))
    data = document["components"][0]
    assert "licenses" not in data
    stated = {each["name"]: each["value"] for each in data["properties"]}
    assert "not stated" == stated["gatewright:datasheet:licence"]
    assert "title, description, origin, licence" in stated["gatewright:datasheet:unstated"]


def test_the_same_values_give_the_same_bytes() -> None:
    """Order of the software is none; another root gives another serial number."""
    assert encode_bill(bill(MATERIALS)) == encode_bill(
        bill(
            replace(
                MATERIALS, software=tuple(reversed(SOFTWARE)), splits=dict(reversed(MATERIALS.splits.items()))
            )
        )
    )
    other = bill(replace(MATERIALS, root=Digest.of(b"other")))
    assert DOCUMENT["serialNumber"] != other["serialNumber"]
    assert str(MATERIALS.created) == DOCUMENT["metadata"]["timestamp"]


def test_the_model_is_named_by_its_bytes() -> None:
    """Name, version, digest, package URL and task are the model's."""
    assert ("machine-learning-model", "loans", "2") == (
        COMPONENT["type"],
        COMPONENT["name"],
        COMPONENT["version"],
    )
    assert [{"alg": "SHA-256", "content": MODEL.hex}] == COMPONENT["hashes"]
    assert f"pkg:generic/loans@2?checksum=sha256:{MODEL.hex}" == COMPONENT["purl"] == COMPONENT["bom-ref"]
    parameters = CARD["modelParameters"]
    assert "binary-classification" == parameters["task"]
    assert "tree ensemble" == parameters["architectureFamily"]
    assert "ONNX graph of TreeEnsembleClassifier (1), MatMul (1)" == parameters["modelArchitecture"]
    assert [{"format": "x: FP32 [any, 2] of income, age"}] == parameters["inputs"]
    assert [{"ref": "dataset:loans@1/train"}, {"ref": "dataset:loans@1/test"}] == parameters["datasets"]


def test_a_family_that_no_operator_gives_away_is_not_guessed() -> None:
    """A product of matrices may be anything."""
    facts = replace(MATERIALS.facts, operators={"ai.onnx:MatMul": 2})
    document: Any = bill(replace(MATERIALS, facts=facts))
    assert "architectureFamily" not in document["metadata"]["component"]["modelCard"]["modelParameters"]


def test_numbers_stand_with_interval_and_slice() -> None:
    """Numbers over all rows come first; the interval's bounds are the report's; a count has none."""
    whole, counted, sliced = CARD["quantitativeAnalysis"]["performanceMetrics"]
    assert {
        "type": "performance.metrics/accuracy",
        "value": "0.81",
        "confidenceInterval": {"lowerBound": "0.30000000000000004", "upperBound": "0.84"},
    } == whole
    assert {"type": "performance.metrics/rows (rows)", "value": "400"} == counted
    assert "age=old" == sliced["slice"]
    assert [IN_SLICE.low, IN_SLICE.high] == [
        float(sliced["confidenceInterval"][end]) for end in ("lowerBound", "upperBound")
    ]
    assert {"name": "gatewright:interval:performance.metrics/accuracy", "value": "wilson, 0.95"} in CARD[
        "properties"
    ]


numbers = st.floats(allow_nan=False, allow_infinity=False)


@given(st.lists(st.tuples(numbers, numbers, numbers, st.sampled_from(["", "a=b"])), max_size=8))
def test_every_number_of_a_card_is_the_reports(rows: list[tuple[float, float, float, str]]) -> None:
    """Whatever a report measured, the card says the very same numbers."""
    measured = tuple(
        Metric(name=f"m{number}", low=low, value=value, high=high, size=1, method="exactly so", slice=where)
        for number, (low, value, high, where) in enumerate(rows)
    )
    report = replace(
        REPORT, findings=(Finding(check="c", outcome=Outcome.PASSED, summary="s", metrics=measured),)
    )
    shown: Any = card_metrics(report)[0]
    assert {
        (f"c/{one.name}", one.value, one.low, one.high, one.slice) for one in measured
    } == {
        (
            one["type"], float(one["value"]), float(one["confidenceInterval"]["lowerBound"]),
            float(one["confidenceInterval"]["upperBound"]), one.get("slice", ""),
        )
        for one in shown
    }  # fmt: skip


def test_too_many_numbers_leave_slices_out_and_say_so() -> None:
    """Beyond the limit the numbers over all rows stay, and what is left out is counted."""
    many = tuple(
        replace(ACCURACY, name=f"m{n}", slice="a=b" if n else "") for n in reversed(range(METRICS + 7))
    )
    finding = Finding(check="c", outcome=Outcome.PASSED, summary="s", metrics=many)
    document: Any = bill(replace(MATERIALS, report=replace(REPORT, findings=(finding,))))
    card = document["metadata"]["component"]["modelCard"]
    shown = card["quantitativeAnalysis"]["performanceMetrics"]
    assert (METRICS, "c/m0") == (len(shown), shown[0]["type"])
    assert {"name": "gatewright:metrics-left-out", "value": "7"} in card["properties"]
    long = tuple(replace(one, slice="a=" + "b" * 900) for one in many)
    shown, left_out = card_metrics(replace(REPORT, findings=(replace(finding, metrics=long),)))
    assert METRICS_BYTES > len(canonical.encode(shown)) > METRICS_BYTES - 2_000
    assert len(many) == len(shown) + left_out


def test_what_did_not_pass_is_a_limitation() -> None:
    """Unknown and failed checks stand among the limitations, uses and groups at risk where they belong."""
    found = CARD["considerations"]
    assert ["credit decisions"] == found["useCases"]
    assert [
        "data.labels unknown: There are too few rows.",
        "fairness.groups failed: One group is treated worse.",
    ] == found["technicalLimitations"]
    assert [{"groupAtRisk": "age", "harms": "fairness.groups failed: One group is treated worse."}] == found[
        "fairnessAssessments"
    ]


def test_the_data_stand_with_digests_licence_and_what_is_sensitive() -> None:
    """Each split is a component of its own, with its digest and its rows."""
    data = DOCUMENT["components"][0]
    assert [{"expression": "CC-BY-4.0"}] == data["licenses"]
    train, test = data["components"]
    assert MATERIALS.splits["train"].hex == train["hashes"][0]["content"]
    assert ["age"] == test["data"][0]["sensitiveData"]
    assert {"name": "gatewright:rows", "value": "400"} in test["data"][0]["contents"]["properties"]


def test_the_software_stands_with_versions_licences_and_what_needs_what() -> None:
    """Every distribution has a package URL; a licence that is no SPDX expression stands as its words."""
    software = {each["name"]: each for each in DOCUMENT["components"][1:]}
    assert "pkg:pypi/torch@2.13.0%2Bcpu" == software["torch"]["purl"]
    assert [{"expression": "BSD-3-Clause"}] == software["numpy"]["licenses"]
    assert [{"license": {"name": "MIT license"}}] == software["ruamel.yaml"]["licenses"]
    graph = {each["ref"]: each.get("dependsOn", []) for each in DOCUMENT["dependencies"]}
    assert ["pkg:pypi/numpy@2.4.6", "pkg:pypi/ruamel.yaml@0.19.1"] == graph["pkg:pypi/gatewright@0.1.0"]
    assert ["dataset:loans@1", "pkg:pypi/gatewright@0.1.0"] == graph[COMPONENT["purl"]]
    assert {"gatewright", "numpy", "ruamel-yaml"} == closure(SOFTWARE, "gatewright")


def test_a_crowded_environment_keeps_what_is_needed_and_counts_the_rest() -> None:
    """Of too many distributions those that nothing here asks for are left out first."""
    crowd = tuple(Distribution(name=f"a{number:04}", version="1") for number in range(DISTRIBUTIONS))
    document: Any = bill(replace(MATERIALS, software=(*crowd, *SOFTWARE)))
    names = {each["name"] for each in document["components"][1:]}
    assert DISTRIBUTIONS == len(names)
    assert {"gatewright", "numpy", "ruamel.yaml"} < names
    assert {"name": "gatewright:distributions-left-out", "value": "4"} in document["metadata"]["properties"]
    assert 524_288 > len(encode_bill(document))
