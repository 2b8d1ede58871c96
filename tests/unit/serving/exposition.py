"""A strict reader of Prometheus' text format 0.0.4, as far as this project writes it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

Labels = tuple[tuple[str, str], ...]
_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_HELP = re.compile(rf"# HELP ({_NAME}) (.+)")
_TYPE = re.compile(rf"# TYPE ({_NAME}) (counter|gauge|histogram)")
_SAMPLE = re.compile(rf"({_NAME})(?:\{{(.*)\}})? ([-+0-9.e]+)")
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"')


@dataclass
class Family:
    """A metric: its kind and the values of its samples, by name and labels."""

    kind: str
    samples: dict[tuple[str, Labels], float] = field(default_factory=dict)


def read(text: str) -> dict[str, Family]:
    """Families by name; fails on anything that the format does not allow."""
    assert text.endswith("\n")
    found: dict[str, Family] = {}
    helped, name = "", ""
    for line in text.splitlines():
        if told := _HELP.fullmatch(line):
            helped = told[1]
        elif typed := _TYPE.fullmatch(line):
            name = typed[1]
            assert name == helped
            assert name not in found
            found[name] = Family(typed[2])
        else:
            sample = _SAMPLE.fullmatch(line)
            assert sample is not None, line
            _take(found[name], name, sample)
    for each, family in found.items():
        if family.kind == "histogram":
            _check(each, family)
    return found


def _take(family: Family, name: str, sample: re.Match[str]) -> None:
    ends = ("_bucket", "_sum", "_count") if family.kind == "histogram" else ("",)
    assert sample[1] in {name + end for end in ends}
    labels = tuple((each[1], each[2]) for each in _LABEL.finditer(sample[2] or ""))
    assert ",".join(f'{label}="{value}"' for label, value in labels) == (sample[2] or "")
    assert (sample[1], labels) not in family.samples
    family.samples[sample[1], labels] = float(sample[3])


def _check(name: str, family: Family) -> None:
    """Buckets rise, end at +Inf, and the last one is the count."""
    last: dict[Labels, tuple[float, float]] = {}
    for (part, labels), value in family.samples.items():
        if part == f"{name}_bucket":
            bound = float(dict(labels)["le"])
            before = last.get(labels[:-1], (-1.0, 0.0))
            assert bound > before[0]
            assert value >= before[1]
            last[labels[:-1]] = (bound, value)
    for labels, (bound, value) in last.items():
        assert bound == float("inf")
        assert value == family.samples[f"{name}_count", labels]
        assert (f"{name}_sum", labels) in family.samples
