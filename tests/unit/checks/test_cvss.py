"""CVSS 3 base scores: the examples that the standard's authors publish, and what is no vector."""

from __future__ import annotations

from itertools import product

import pytest

from gatewright.checks.cvss import base_score, severity_told, word_of


@pytest.mark.parametrize(
    ("vector", "score", "word"),
    [
        ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H", 9.8, "critical"),
        ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:C/C:H/I:H/A:H", 10.0, "critical"),
        ("CVSS:3.0/AV:N/AC:L/PR:N/UI:R/S:C/C:L/I:L/A:N", 6.1, "medium"),
        ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:N/A:N", 7.5, "high"),
        ("CVSS:3.1/AV:N/AC:L/PR:L/UI:N/S:C/C:L/I:L/A:N", 6.4, "medium"),
        ("CVSS:3.1/AV:N/AC:H/PR:N/UI:R/S:U/C:L/I:N/A:N", 3.1, "low"),
        ("CVSS:3.1/AV:P/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:N", 0.0, "none"),
    ],
)
def test_published_scores(vector: str, score: float, word: str) -> None:
    """The formula gives the published score, and the score its published word."""
    assert score == base_score(vector)
    assert word == word_of(score)


@pytest.mark.parametrize(
    "vector",
    [
        "",
        "CVSS:3.1",
        "CVSS:3.1/AV:N",
        "CVSS:4.0/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H",
        "CVSS:3.1/AV:N/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H",
        "CVSS:3.1/AV:X/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H",
        "AV:N/AC:L/Au:N/C:P/I:P/A:P",
    ],
)
def test_what_is_no_whole_vector_has_no_score(vector: str) -> None:
    """Nothing is guessed."""
    assert base_score(vector) is None


def test_every_vector_has_a_score_of_one_decimal() -> None:
    """All 2,592 base vectors: from 0 to 10, with one decimal."""
    values = {
        "AV": "NALP",
        "AC": "LH",
        "PR": "NLH",
        "UI": "NR",
        "S": "UC",
        "C": "HLN",
        "I": "HLN",
        "A": "HLN",
    }
    count = 0
    for chosen in product(*values.values()):
        parts = "/".join(f"{name}:{value}" for name, value in zip(values, chosen, strict=True))
        score = base_score(f"CVSS:3.1/{parts}")
        assert score is not None
        assert 0 <= score <= 10
        assert round(score, 1) == score
        count += 1
    assert 2_592 == count


def test_people_are_told_a_word_and_a_number() -> None:
    """The source's own word stays, a vector becomes its score, and nothing stays nothing."""
    vector = "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:N/A:N"
    assert "high, 7.5 by CVSS 3.1" == severity_told(vector)
    assert "MODERATE, 7.5 by CVSS 3.1" == severity_told(f"MODERATE {vector}")
    assert "HIGH" == severity_told("HIGH")
    assert "CVSS 4.0 vector" == severity_told("CVSS:4.0/AV:N/AC:L")
    assert not severity_told("")
