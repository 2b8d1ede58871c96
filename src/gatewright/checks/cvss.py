"""The base score of a CVSS 3.0 or 3.1 vector, and its word, so that people need not read the vector.

Law: a score has one decimal and lies from 0.0 to 10.0; what is no whole base vector has none.

Source: FIRST, Common Vulnerability Scoring System 3.1, sections 5 (severity words), 7.1 (base equations),
7.4 (values of the metrics) and appendix A (rounding up).
"""

from __future__ import annotations

from math import floor

_IMPACT = {"H": 0.56, "L": 0.22, "N": 0.0}
_VALUES = {
    "AV": {"N": 0.85, "A": 0.62, "L": 0.55, "P": 0.2},
    "AC": {"L": 0.77, "H": 0.44},
    "PR": {"N": 0.85, "L": 0.62, "H": 0.27},
    "UI": {"N": 0.85, "R": 0.62},
    "S": {"U": 0.0, "C": 1.0},
    "C": _IMPACT,
    "I": _IMPACT,
    "A": _IMPACT,
}
_PRIVILEGES_OF_CHANGED = {"N": 0.85, "L": 0.68, "H": 0.5}
_WORDS = ((9.0, "critical"), (7.0, "high"), (4.0, "medium"), (0.1, "low"))
_VERSIONS = ("CVSS:3.0", "CVSS:3.1")


def _rounded_up(number: float) -> float:
    """The smallest number with one decimal that is not less; by whole numbers, as the appendix has it."""
    whole = round(number * 100_000)
    return whole / 100_000 if whole % 10_000 == 0 else (floor(whole / 10_000) + 1) / 10


def base_score(vector: str) -> float | None:
    """The base score of a vector; None for another version and for what is no whole vector."""
    version, *parts = vector.split("/")
    pairs = [part.partition(":")[::2] for part in parts]
    given = dict(pairs)
    if version not in _VERSIONS or len(given) != len(pairs):
        return None
    if any(given.get(name) not in values for name, values in _VALUES.items()):
        return None
    of = {name: values[given[name]] for name, values in _VALUES.items()}
    changed = given["S"] == "C"
    privileges = _PRIVILEGES_OF_CHANGED[given["PR"]] if changed else of["PR"]
    lost = 1 - (1 - of["C"]) * (1 - of["I"]) * (1 - of["A"])
    impact = 7.52 * (lost - 0.029) - 3.25 * (lost - 0.02) ** 15 if changed else 6.42 * lost
    if impact <= 0:
        return 0.0
    whole = impact + 8.22 * of["AV"] * of["AC"] * privileges * of["UI"]
    return _rounded_up(min(1.08 * whole if changed else whole, 10))


def word_of(score: float) -> str:
    """The word for a score."""
    return next((word for least, word in _WORDS if score >= least), "none")


def severity_told(severity: str) -> str:
    """What an advisory says of its severity, for people: ``high, 7.5 by CVSS 3.1``; empty where it says nothing.

    The source's own word stays; of other vectors only the version is told.
    """
    words = [each for each in severity.split() if not each.startswith("CVSS:")]
    for vector in (each for each in severity.split() if each.startswith("CVSS:")):
        version, score = vector.partition("/")[0].removeprefix("CVSS:"), base_score(vector)
        if score is not None:
            return f"{' '.join(words) or word_of(score)}, {score:.1f} by CVSS {version}"
        words = words or [f"CVSS {version} vector"]
    return " ".join(words)
