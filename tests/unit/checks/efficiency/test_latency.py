from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gatewright.checks.case import Timing
from gatewright.checks.efficiency import latency
from gatewright.checks.finding import Finding, Outcome
from gatewright.testing.cases import case

STEADY = np.linspace(0.001, 0.002, 1000)


def _run(timing: Timing | None, **limits: float) -> Finding:
    return latency.run(replace(case(1), timing=timing), latency.Parameters(**limits))


def _timing(samples: np.ndarray = STEADY, size: int = 2**20, memory: int = 2**21) -> Timing:
    return Timing(single_row=samples, model_bytes=size, peak_memory_bytes=memory)


def test_quantiles_are_milliseconds_with_bounds_from_the_samples() -> None:
    """Median, p95 and p99 are in ms, between two of the samples."""
    found = {metric.name: metric for metric in _run(_timing()).metrics}
    assert pytest.approx(1.5) == found["median"].value
    for name in ("median", "p95", "p99"):
        assert found[name].low < found[name].value < found[name].high
        assert np.isclose(STEADY * 1000, found[name].low).any()
        assert ("ms", 1000) == (found[name].unit, found[name].size)


def test_sizes_are_exact() -> None:
    """Model size and peak memory carry no interval; unknown memory is left out."""
    found = {metric.name: metric for metric in _run(_timing()).metrics}
    assert (1.0, "exact") == (found["model-size"].value, found["model-size"].method)
    assert 2.0 == found["peak-memory"].value
    assert "peak-memory" not in {metric.name for metric in _run(_timing(memory=0)).metrics}


def test_the_upper_bound_decides() -> None:
    """A limit between the 99th percentile and its upper bound fails."""
    found = {metric.name: metric for metric in _run(_timing()).metrics}["p99"]
    between = (found.value + found.high) / 2
    assert Outcome.FAILED is _run(_timing(), p99_milliseconds=between).outcome
    assert Outcome.PASSED is _run(_timing(), p99_milliseconds=found.high).outcome


def test_a_model_that_is_too_large_fails() -> None:
    """A file beyond the limit fails and says both numbers."""
    found = _run(_timing(size=3 * 2**20), model_megabytes=2)
    assert Outcome.FAILED is found.outcome
    assert "model-size may be 3 MiB, and the limit is 2" in found.summary


def test_too_few_samples_are_unknown() -> None:
    """Below 368 samples the 99th percentile has no bound, so the check cannot pass."""
    found = _run(_timing(STEADY[:367]))
    assert Outcome.UNKNOWN is found.outcome
    assert "too few" in found.reason
    assert Outcome.UNKNOWN is _run(None).outcome
