"""Whether an advisory is about something that is here: OSV's own evaluation, with a third answer.

The schema's algorithm says yes or no. Here a question that cannot be decided (a range of git commits
and nothing else, a version that is no version) is answered ``UNKNOWN``, never no.

Python versions are compared as PEP 440 orders them. Where a version of the advisory has no local label,
that of what is installed is left out (PEP 440, "Local version identifiers"): ``2.13.0+cpu`` is affected
where ``2.13.0`` is.

Source: OSV schema, "Evaluation"; PEP 440; Semantic Versioning 2.0.0, section 11.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeAlias

from packaging.version import InvalidVersion, Version

from gatewright.checks.osv import Advisory, Affected, Event, Range
from gatewright.checks.package_urls import PYPI

KNOWN_EVENTS = {"introduced", "fixed", "last_affected", "limit"}
FROM_THE_START = "0"
NO_LIMIT = "*"
GIT = "GIT"

_SEMVER = re.compile(
    r"(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)"
    r"(?:-([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?"
)

Compare: TypeAlias = Callable[[Any, Any], int]


class Standing(StrEnum):
    """Whether an advisory stands for something: yes, no, or nobody can say."""

    AFFECTED = "affected"
    CLEAR = "clear"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Something that may be affected: a package of the environment, or a model.

    ``name`` is the package's as :mod:`~gatewright.checks.package_urls` gives it; ``digest`` is that of a model's bytes, as 64 hexadecimal characters.
    """

    name: str
    version: str
    digest: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """What an advisory calls it."""
        return (self.name, f"sha256:{self.digest}") if self.digest else (self.name,)

    def __str__(self) -> str:
        return f"{self.name.removeprefix(PYPI)} {self.version}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """An advisory that stands for a part, or of which it cannot be decided; ``fixed`` are versions."""

    part: Part
    advisory: Advisory
    standing: Standing
    fixed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scheme:
    """How versions of one kind are read (ValueError for none of them) and compared."""

    read: Callable[[str], Any]
    compare: Compare


def _pep440(found: Version, other: Version) -> int:
    """Order of what is installed and a version that an advisory names."""
    if found.local is not None and other.local is None:
        found = Version(found.public)
    return (found > other) - (found < other)


def _semver(text: str) -> tuple[Any, ...]:
    found = _SEMVER.fullmatch(text)
    if found is None:
        raise ValueError(text)
    before = found.group(4)
    identifiers = () if before is None else before.split(".")
    # A number stands before a word; a version with no identifiers after every one that has some.
    ordered = tuple((0, int(one), "") if one.isdecimal() else (1, 0, one) for one in identifiers)
    return (*(int(part) for part in found.groups()[:3]), before is None, ordered)


def _tuples(found: tuple[Any, ...], other: tuple[Any, ...]) -> int:
    return (found > other) - (found < other)


_PEP440 = _Scheme(read=Version, compare=_pep440)
_SEMVER_SCHEME = _Scheme(read=_semver, compare=_tuples)


def stands(advisory: Advisory, part: Part) -> Match | None:
    """The match of an advisory with a part, or None where it is not about it or was withdrawn."""
    if advisory.withdrawn:
        return None
    found = [(each, _standing(each, part)) for each in advisory.affected]
    for wanted in (Standing.AFFECTED, Standing.UNKNOWN):
        matching = [each for each, standing in found if standing is wanted]
        if matching:
            fixed = dict.fromkeys(
                event.version
                for each in matching
                for one in each.ranges
                if one.type != GIT
                for event in one.events
                if event.kind == "fixed"
            )
            return Match(part=part, advisory=advisory, standing=wanted, fixed=tuple(fixed))
    return None


def matches(advisories: Sequence[Advisory], parts: Sequence[Part]) -> tuple[Match, ...]:
    """Every match, those that stand first; then by advisory and part."""
    found = [
        match
        for advisory in advisories
        for part in parts
        if not set(part.names).isdisjoint(advisory.names) and (match := stands(advisory, part)) is not None
    ]
    return tuple(
        sorted(
            found, key=lambda each: (each.standing.value, each.advisory.id, each.part.name, each.part.version)
        )
    )


def _standing(affected: Affected, part: Part) -> Standing:
    if part.digest and part.digest in affected.digests:
        return Standing.AFFECTED
    if part.name not in affected.packages:
        return Standing.CLEAR
    decided = bool(affected.versions) or bool(affected.digests and part.digest)
    said = [_listed(affected.versions, part)] if affected.versions else []
    for one in affected.ranges:
        if one.type != GIT:
            said.append(in_range(one, part))
            decided = True
    if Standing.AFFECTED in said:
        return Standing.AFFECTED
    return Standing.UNKNOWN if Standing.UNKNOWN in said or not decided else Standing.CLEAR


def _listed(versions: Sequence[str], part: Part) -> Standing:
    """Whether the version is listed: letter by letter, or, for Python packages, as the same version."""
    if part.version in versions:
        return Standing.AFFECTED
    if not part.name.startswith(PYPI):
        return Standing.CLEAR
    try:
        found = Version(part.version)
    except InvalidVersion:
        return Standing.UNKNOWN
    for text in versions:
        try:
            same = _pep440(found, Version(text)) == 0
        except InvalidVersion:  # a spelling from before PEP 440, which no installed version can have
            continue
        if same:
            return Standing.AFFECTED
    return Standing.CLEAR


def _scheme(found: Range, part: Part) -> _Scheme | None:
    if found.type == "SEMVER":
        return _SEMVER_SCHEME
    return _PEP440 if found.type == "ECOSYSTEM" and part.name.startswith(PYPI) else None


def in_range(found: Range, part: Part) -> Standing:
    """Whether a version lies in a range; ``UNKNOWN`` where the range or the version cannot be read."""
    scheme = _scheme(found, part)
    kinds = {event.kind for event in found.events}
    if scheme is None or "introduced" not in kinds or not kinds <= KNOWN_EVENTS:
        return Standing.UNKNOWN
    try:
        version = scheme.read(part.version)
        affected = _before_limits(found.events, version, scheme) and _in_events(found.events, version, scheme)
    except ValueError:
        return Standing.UNKNOWN
    return Standing.AFFECTED if affected else Standing.CLEAR


def _before_limits(events: Sequence[Event], version: Any, scheme: _Scheme) -> bool:
    limits = [event.version for event in events if event.kind == "limit"]
    below = [text == NO_LIMIT or scheme.compare(version, scheme.read(text)) < 0 for text in limits]
    return not below or any(below)


def _in_events(events: Sequence[Event], version: Any, scheme: _Scheme) -> bool:
    """The schema's walk over the events in the order of their versions."""
    first = [event for event in events if event.kind == "introduced" and event.version == FROM_THE_START]
    rest = [
        (event.kind, scheme.read(event.version))
        for event in events
        if event.kind != "limit" and event not in first
    ]
    inside = bool(first)
    for kind, at in sorted(rest, key=lambda each: each[1]):
        order = scheme.compare(version, at)
        if kind == "introduced" and order >= 0:
            inside = True
        elif (kind == "fixed" and order >= 0) or (kind == "last_affected" and order > 0):
            inside = False
    return inside
