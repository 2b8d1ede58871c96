from __future__ import annotations

from pathlib import Path

import pytest

from gatewright.kernel.version import VERSION
from gatewright.serving.metrics import (
    ANSWERS,
    EXPIRY,
    METRICS,
    PLAN,
    RECORDS,
    REFUSALS,
    buckets,
    exposition,
    metrics_table,
    series,
)
from unit.serving.exposition import read

DOCS = Path(__file__).parents[3] / "docs" / "monitoring.md"
LABELS = {"endpoint": "loans", "place": "champion", "version": "3"}


def test_the_documented_table_is_the_table() -> None:
    """The documentation holds exactly the metrics that there are."""
    assert metrics_table() in DOCS.read_text("utf-8")


def test_names_follow_the_conventions_of_prometheus() -> None:
    """Each metric is named once; a counter ends in _total, and nothing else does."""
    assert len(METRICS) == len({metric.shown for metric in METRICS})
    for metric in METRICS:
        assert (metric.kind == "counter") == metric.name.endswith("_total")
        assert metric.sentence.endswith(".")


def test_a_histogram_counts_as_prometheus_does() -> None:
    """Buckets are shown cumulative, bounds and sum in seconds, and the count is that of all."""
    names = buckets(ANSWERS, **LABELS)
    values = dict.fromkeys(names, 0) | {names[0]: 2, names[3]: 5, names[-2]: 1, names[-1]: 1_500_000_000}

    family = read(exposition(values, {}).decode())["gatewright_answer_seconds"]

    labels = tuple(LABELS.items())
    at = {bound: family.samples["gatewright_answer_seconds_bucket", (*labels, ("le", bound))] for bound in ("0.0005", "0.005", "10", "+Inf")}  # fmt: skip
    assert {"0.0005": 2, "0.005": 7, "10": 7, "+Inf": 8} == at
    assert 1.5 == family.samples["gatewright_answer_seconds_sum", labels]
    assert 8 == family.samples["gatewright_answer_seconds_count", labels]


def test_counters_and_own_values_are_shown() -> None:
    """A counter of the board and a value of this worker stand under their names, scaled."""
    values = {series(RECORDS): 7, series(REFUSALS, endpoint="", status="401", reason="no-key"): 3}

    found = read(exposition(values, {PLAN: 4, EXPIRY: 12.5}).decode())

    refused = (("endpoint", ""), ("status", "401"), ("reason", "no-key"))
    assert 7 == found["gatewright_records_total"].samples["gatewright_records_total", ()]
    assert 3 == found["gatewright_refusals_total"].samples["gatewright_refusals_total", refused]
    assert 4 == found["gatewright_plan_number"].samples["gatewright_plan_number", ()]
    assert 12.5 == found["gatewright_plan_expires_seconds"].samples["gatewright_plan_expires_seconds", ()]
    assert 1 == found["gatewright_build_info"].samples["gatewright_build_info", (("version", VERSION),)]


@pytest.mark.parametrize(
    "name", ["", "nonsense", "records_total{a=b}", "refusals_total{status=1}", "{", "a{b"]
)
def test_what_the_table_does_not_know_is_not_shown(name: str) -> None:
    """A series of another name or with other labels cannot become a metric."""
    assert {"gatewright_build_info"} == set(read(exposition({name: 9}, {}).decode()))


def test_labels_are_escaped() -> None:
    """A quote, a backslash or a line's end in a value cannot end the sample."""
    values = {series(REFUSALS, endpoint='a"\\', status="1\n2", reason="x"): 1}

    found = read(exposition(values, {}).decode())["gatewright_refusals_total"]

    assert [(("endpoint", 'a\\"\\\\'), ("status", "1\\n2"), ("reason", "x"))] == [
        key[1] for key in found.samples
    ]
