from __future__ import annotations

from pathlib import Path

from gatewright.serving.limits import LIMITS, limits_table

DOCS = Path(__file__).parents[3] / "docs" / "serving.md"


def test_the_documented_table_is_the_table() -> None:
    """The documentation holds exactly the limits that are in force."""
    assert limits_table() in DOCS.read_text("utf-8")


def test_every_limit_is_named_once_and_explained() -> None:
    """Names are distinct, values positive, and each limit has a sentence."""
    assert len({limit.name for limit in LIMITS}) == len(LIMITS)
    assert all(limit.value > 0 and limit.sentence.endswith(".") for limit in LIMITS)
