"""JUnit XML: valid in form, complete, and harmless whatever the data say."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from hypothesis import example, given
from hypothesis import strategies as st

from gatewright.reports.junit import junit
from unit.reports.judged import FINDINGS, REASONS, SUBJECT, report, saying, verdict

COUNTS = {"tests", "failures", "errors"}
# The part of junit-10.xsd (Jenkins xUnit plugin) that is used: attributes that must be there, and
# children by name. Elements that may hold text are the ones without children.
FORM: dict[str, tuple[set[str], set[str]]] = {
    "testsuites": ({"name", *COUNTS}, {"testsuite"}),
    "testsuite": ({"name", "skipped", *COUNTS}, {"properties", "testcase"}),
    "properties": (set(), {"property"}),
    "property": ({"name", "value"}, set()),
    "testcase": ({"name", "classname"}, {"failure", "error", "skipped", "system-out"}),
    "failure": ({"type", "message"}, set()),
    "error": ({"type", "message"}, set()),
    "skipped": ({"type", "message"}, set()),
    "system-out": (set(), set()),
}


def parsed(document: bytes) -> ET.Element:
    """The document, its form looked at."""
    root = ET.fromstring(document)  # noqa: S314 - our own
    assert "testsuites" == root.tag
    for element in root.iter():
        attributes, children = FORM[element.tag]
        assert attributes == set(element.attrib), element.tag
        assert {child.tag for child in element} <= children, element.tag
        assert not children or not (element.text or "").strip()
    for suite in root.iter("testsuite"):
        assert len(suite.findall("testcase")) == int(suite.attrib["tests"])
        for count, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
            assert len(suite.findall(f"testcase/{tag}")) == int(suite.attrib[count])
    for count in COUNTS:
        assert sum(int(suite.attrib[count]) for suite in root) == int(root.attrib[count])
    return root


def shape(root: ET.Element, suite: int) -> dict[str, str]:
    """Each test case of a suite with the element that says how it ended."""
    cases = root[suite].findall("testcase")
    return {case.attrib["name"]: next(iter(case)).tag for case in cases}


def test_every_outcome_has_its_element() -> None:
    """Failed and unknown are failures, broken is an error, skipped is skipped, and passed is told as well."""
    expected = {
        "data.leakage": "system-out",
        "data.schema": "failure",
        "performance.metrics": "failure",
        "performance.slices": "skipped",
        "efficiency.latency": "error",
    }
    assert expected == shape(parsed(junit(SUBJECT, report(), verdict())), 0)


def test_every_rule_is_a_test_case() -> None:
    """Rules that hold pass, others fail, and a rule that is judged twice has two names."""
    expected = {
        "data.leakage must be passed": "system-out",
        "accuracy must be at least 0.9": "failure",
        "every slice must be fair": "failure",
        "every slice must be fair (2)": "system-out",
        "data.privacy must be passed": "failure",
    }
    root = parsed(junit(SUBJECT, report(), verdict()))
    assert expected == shape(root, 1)
    assert {"tests": str(len(FINDINGS) + len(REASONS)), "failures": "5", "errors": "1"} == {
        name: root.attrib[name] for name in COUNTS
    }


def test_a_failure_says_what_to_do() -> None:
    """The text of a failure holds the sentence, the next step and the numbers with their intervals."""
    root = parsed(junit(SUBJECT, report(), verdict()))
    found = {case.attrib["name"]: case[0] for case in root.iter("testcase")}
    assert "A column is missing." == found["data.schema"].attrib["message"]
    assert "A column is missing.\nGive the column.\nproblems: 1 (exact)" == found["data.schema"].text
    assert "sex=Male: 0.8, interval 0.75 to 0.85" in str(found["performance.metrics"].text)


def test_the_history_of_a_test_goes_on_from_version_to_version() -> None:
    """The class of a test case holds the model's name without its version."""
    root = parsed(junit(SUBJECT, report(), verdict()))
    assert {"loans.checks", "loans.policy"} == {case.attrib["classname"] for case in root.iter("testcase")}


def test_the_same_report_is_the_same_document() -> None:
    """Two documents of one report are the same bytes."""
    assert junit(SUBJECT, report(), verdict()) == junit(SUBJECT, report(), verdict())


@given(st.text(st.characters(codec=None), max_size=40))
@example("]]><failure/>&\"'<!--")
@example("\x00\x1b[2J\ud800\ufffe")
def test_no_text_of_the_data_breaks_the_document(text: str) -> None:
    """Whatever the data say, the document has its form and the same test cases."""
    root = parsed(junit(SUBJECT, *saying(text)))
    assert len(FINDINGS) + len(REASONS) == int(root.attrib["tests"])
