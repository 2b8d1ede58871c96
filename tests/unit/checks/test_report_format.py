from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewright.checks.finding import Finding, Metric, Outcome
from gatewright.checks.report import Report
from gatewright.checks.report_format import decode_report, encode_report
from gatewright.checks.suite import run_all
from gatewright.kernel.canonical import decode, encode
from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import BadInput
from gatewright.models.signature import Task
from gatewright.testing.cases import case

NUMBERS = st.floats(-1e300, 1e300)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
DIGESTS = st.binary(max_size=4).map(Digest.of)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
METRICS = st.builds(
    lambda numbers, **rest: Metric(low=numbers[0], value=numbers[1], high=numbers[2], **rest),
    st.lists(NUMBERS, min_size=3, max_size=3).map(sorted),
    name=TEXTS,
    size=st.integers(0, 10**9),
    method=TEXTS,
    confidence=st.floats(0, 1),
    slice=TEXTS,
    unit=TEXTS,
)
FINDINGS = st.builds(
    Finding,
    check=TEXTS,
    outcome=st.sampled_from(Outcome),
    summary=TEXTS,
    reason=TEXTS,
    next=TEXTS,
    metrics=st.lists(METRICS, max_size=2).map(tuple),
    evidence=st.dictionaries(TEXTS, JSON, max_size=3),
    parameters=st.dictionaries(TEXTS, JSON, max_size=2),
)
REPORTS = st.builds(
    Report,
    model=DIGESTS,
    dataset=TEXTS,
    data=st.dictionaries(TEXTS, DIGESTS, max_size=3),
    seed=st.integers(0, 2**53 - 1),
    findings=st.lists(FINDINGS, max_size=2).map(tuple),
    software=st.dictionaries(TEXTS, TEXTS, max_size=2),
)
EXAMPLE = Report(
    model=Digest.of(b"m"),
    dataset="data@1",
    data={"train": Digest.of(b"t")},
    seed=7,
    findings=run_all(case(5, Task.MULTICLASS), {}),
    software={"numpy": "2"},
)


@given(REPORTS)
def test_a_report_reads_back_as_itself(report: Report) -> None:
    """Writing and reading gives the same report, and reading and writing the same bytes."""
    written = encode_report(report)
    assert report == decode_report(written)
    assert written == encode_report(decode_report(written))


def test_a_real_report_reads_back_as_itself() -> None:
    """The findings of the built-in checks survive the format unchanged."""
    assert EXAMPLE == decode_report(encode_report(EXAMPLE))


def _changed(path: tuple[str | int, ...], value: object) -> bytes:
    document = decode(encode_report(EXAMPLE))
    place = document
    for key in path[:-1]:
        place = place[key]
    if value is None:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return encode(document)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("format",), 2),
        (("format",), True),
        (("extra",), 1),
        (("seed",), None),
        (("seed",), "7"),
        (("model",), "sha256:" + "0" * 64),
        (("data", "train"), "sha256:xyz"),
        (("data", "train"), 3),
        (("software", "numpy"), 2),
        (("findings", 0, "outcome"), "fine"),
        (("findings", 0, "metrics", 0, "low"), 1e9),
        (("findings", 0, "metrics", 0, "size"), 1.5),
        (("findings", 0, "metrics", 0, "value"), True),
        (("findings", 0, "metrics", 0, "colour"), "red"),
        (("findings", 0, "metrics"), "none"),
        (("findings",), {}),
    ],
)
def test_anything_else_is_refused(path: tuple[str | int, ...], value: object) -> None:
    """A wrong, missing or unknown field, another format or a metric out of order is BadInput."""
    with pytest.raises(BadInput):
        decode_report(_changed(path, value))


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b"{", b'{"format":1}', b" " + encode_report(EXAMPLE)])
def test_other_bytes_are_refused(data: bytes) -> None:
    """Bytes that are not a canonical report are BadInput."""
    with pytest.raises(BadInput):
        decode_report(data)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), 5.0])
def test_a_metric_that_is_no_number_cannot_be_written(number: float) -> None:
    """A number that is not finite, or not inside its interval, never reaches the bytes."""
    bad = Metric(name="m", value=number, low=0, high=1, size=1, method="x")
    finding = replace(EXAMPLE.findings[0], metrics=(bad,))
    with pytest.raises(BadInput):
        encode_report(replace(EXAMPLE, findings=(finding,)))


def test_reading_a_report_needs_neither_scipy_nor_scikit_learn() -> None:
    """The modules that serving and the verifier reach stay light."""
    code = (
        "import sys, gatewright.checks.report_format, gatewright.checks.case;"
        "print([name for name in ('scipy', 'sklearn', 'onnx') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "[]" == found.stdout.strip()


def test_the_checks_stay_clear_of_heavy_imports() -> None:
    """Importing all checks loads neither scikit-learn nor scipy.stats."""
    code = (
        "import sys, gatewright.checks.suite;"
        "print([name for name in ('scipy.stats', 'sklearn') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "[]" == found.stdout.strip()
