"""The answer of one check: an outcome, the numbers behind it, and the rows it points at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from gatewright.kernel.canonical import Json

EXACT = "exact"


class Outcome(StrEnum):
    """How a check ended. ``UNKNOWN`` and ``BROKEN`` never pass a gate."""

    PASSED = "passed"
    FAILED = "failed"
    UNKNOWN = "unknown"
    SKIPPED = "skipped"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A number with its uncertainty.

    ``low`` and ``high`` bound the two-sided interval at ``confidence``; for an exact number (a
    count, a size; ``method`` is ``"exact"``) both equal ``value``. ``size`` is the number of rows
    or samples behind it. ``slice`` is ``""`` for all rows, else ``column=value``.
    """

    name: str
    value: float
    low: float
    high: float
    size: int
    method: str
    confidence: float = 0.95
    slice: str = ""
    unit: str = ""

    @classmethod
    def exact(cls, name: str, value: float, *, size: int = 1, unit: str = "", slice: str = "") -> Metric:  # noqa: A002
        """A number that carries no uncertainty."""
        return cls(
            name=name,
            value=value,
            low=value,
            high=value,
            size=size,
            method=EXACT,
            confidence=1.0,
            slice=slice,
            unit=unit,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One question asked, one answer given.

    ``summary`` is one plain sentence for people; ``reason`` says why the outcome is unknown,
    skipped or broken ("" otherwise); ``next`` says what to do about a failure. ``evidence`` holds
    bounded JSON detail (named rows, small tables); ``parameters`` the parameters used.
    """

    check: str
    outcome: Outcome
    summary: str
    reason: str = ""
    next: str = ""
    metrics: tuple[Metric, ...] = ()
    evidence: Mapping[str, Json] = field(default_factory=dict)
    parameters: Mapping[str, Json] = field(default_factory=dict)
