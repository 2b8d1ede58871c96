"""SARIF 2.1.0: valid, complete, stable from run to run, and harmless whatever the data say."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gatewright.reports.sarif import sarif
from unit.reports.judged import BYTES, FINDINGS, MODEL, REASONS, SUBJECT, report, saying, verdict
from unit.reports.sarif_schema import SARIF

OFFICIAL = os.environ.get("GATEWRIGHT_SARIF_SCHEMA", "")
VALID = jsonschema.Draft202012Validator(SARIF)


def document(subject: str = SUBJECT, **changed: Any) -> dict[str, Any]:
    """The document of the report with every outcome, validated."""
    found: dict[str, Any] = json.loads(
        sarif(subject, changed.get("report", report()), changed.get("verdict", verdict()), model_bytes=BYTES)
    )
    VALID.validate(found)
    return found


def results(found: dict[str, Any]) -> list[dict[str, Any]]:
    """All results."""
    listed: list[dict[str, Any]] = found["runs"][0]["results"]
    return listed


@pytest.mark.skipif(
    not OFFICIAL,
    reason="GATEWRIGHT_SARIF_SCHEMA does not name the file of the OASIS schema",
)
def test_it_is_valid_by_the_official_schema() -> None:
    """The schema that OASIS publishes accepts the documents of a denial and of hostile texts."""
    official = json.loads(Path(OFFICIAL).read_text("utf-8"))
    judge = jsonschema.Draft4Validator(official, format_checker=jsonschema.FormatChecker())
    hostile = json.loads(sarif(SUBJECT, *saying("\x1b{0}[a](http://x)"), model_bytes=BYTES))
    assert [] == [error.message for each in (document(), hostile) for error in judge.iter_errors(each)]


def test_every_outcome_has_its_kind() -> None:
    """Only what failed is a failure of its check; unknown and broken stay open."""
    expected = [
        ("data.leakage", "pass", "none"),
        ("data.schema", "fail", "warning"),
        ("performance.metrics", "open", "none"),
        ("performance.slices", "notApplicable", "none"),
        ("efficiency.latency", "open", "none"),
    ]
    found = results(document())[: len(FINDINGS)]
    assert expected == [(each["ruleId"], each["kind"], each["level"]) for each in found]


def test_what_the_policy_refuses_is_an_error() -> None:
    """Each reason of the verdict is a result of the rule of the policy; those that do not hold are errors."""
    found = results(document())[len(FINDINGS) :]
    assert {"policy.rule"} == {each["ruleId"] for each in found}
    expected = [("pass", "none") if reason.holds else ("fail", "error") for reason in REASONS]
    assert expected == [(each["kind"], each["level"]) for each in found]
    assert 0.9 == found[1]["properties"]["limit"]


def test_every_result_names_a_rule_with_help() -> None:
    """Each result's rule is described, with its title from the suite of checks."""
    found = document()
    rules = {rule["id"]: rule for rule in found["runs"][0]["tool"]["driver"]["rules"]}
    assert {each["ruleId"] for each in results(found)} == set(rules)
    assert all(rule["help"]["text"] for rule in rules.values())
    assert "data.schema" not in rules["data.schema"]["shortDescription"]["text"]


def test_the_model_is_the_artifact() -> None:
    """The document is about the exact bytes: digest, length and a place that every result names."""
    (run,) = document()["runs"]
    (artifact,) = run["artifacts"]
    assert (MODEL.hex, BYTES, "loans@2.onnx") == (
        artifact["hashes"]["sha-256"],
        artifact["length"],
        artifact["location"]["uri"],
    )
    assert f"gatewright/loans/{MODEL.hex}" == run["automationDetails"]["id"]


def test_a_broken_check_is_told_as_a_fault_of_the_tool() -> None:
    """A run with a broken check was not successful, and a notification names the check."""
    (invocation,) = document()["runs"][0]["invocations"]
    assert not invocation["executionSuccessful"]
    assert ["efficiency.latency"] == [
        each["associatedRule"]["id"] for each in invocation["toolExecutionNotifications"]
    ]
    (healthy,) = document(report=report(*FINDINGS[:4]))["runs"][0]["invocations"]
    assert {"executionSuccessful": True, "toolExecutionNotifications": []} == healthy


def test_fingerprints_follow_a_question_from_version_to_version() -> None:
    """Another version with other numbers has the same fingerprints; no two results of one document share one."""
    marks = [each["fingerprints"]["gatewright/v1"] for each in results(document())]
    other = [replace(reason, what="it is 0.81 now", observed=0.81) for reason in REASONS]
    again = document("loans@3", verdict=verdict(*other))
    assert marks == [each["fingerprints"]["gatewright/v1"] for each in results(again)]
    assert len(marks) == len(set(marks))


def test_other_models_have_other_fingerprints() -> None:
    """The same question about another model is another alert."""
    ours, theirs = (
        {each["fingerprints"]["gatewright/v1"] for each in results(document(subject))}
        for subject in ("loans@2", "churn@2")
    )
    assert set() == ours & theirs


def test_data_put_neither_links_nor_placeholders_into_messages() -> None:
    """Braces are doubled, as the standard says, and what would become a link stays text."""
    found = json.loads(sarif(SUBJECT, *saying("{0} [click](http://x) \x1b"), model_bytes=BYTES))
    texts = {each["message"]["text"] for each in results(found)}
    assert all("{{0}} [click] (http://x) <U+001B>" in text for text in texts)


@given(st.text(st.characters(codec=None), max_size=40))
@example("")
@example("\x00\ud800\ufffe\u202e")
def test_no_text_of_the_data_breaks_the_document(text: str) -> None:
    """Whatever the data say, the document is valid and has a result for everything."""
    found = json.loads(sarif(SUBJECT, *saying(text), model_bytes=BYTES))
    VALID.validate(found)
    assert len(FINDINGS) + len(REASONS) == len(results(found))
