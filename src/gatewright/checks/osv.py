"""Advisories in OSV form, as values: what is read of them, and how they are kept.

Read strictly is what decides whether something is affected: ids, packages, ranges, versions, whether an
advisory was withdrawn. A field of that which cannot be read refuses the advisory, because what is not
understood could be the very entry that matters. Unknown fields are passed over, as the schema asks.

A model is named by a package URL (``pkg:generic/loans``, or any other), by the SHA-256 of its bytes in
that URL's ``checksum``, or by ``sha256`` in the ``ecosystem_specific`` or ``database_specific`` part of
an ``affected`` entry.

Kept form, version 1: a line ``gatewright advisories 1``; then a line for each advisory: what it names,
divided by spaces, a tab, and the advisory as canonical JSON. One who looks for a few packages reads the
beginnings of lines and parses a handful.

Laws: ``from_kept(to_kept(a)) == a``; ``naming(encode_kept(s), names(s)) == s``.

Source: Open Source Vulnerability format, schema 1.7 (ossf.github.io/osv-schema); package-url/purl-spec.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gatewright.checks.package_urls import package_name, read_url
from gatewright.kernel import canonical
from gatewright.kernel.canonical import Json
from gatewright.kernel.errors import BadInput, Tampered
from gatewright.kernel.instants import Instant

HEADER = b"gatewright advisories 1"
AFFECTED = 10_000
RANGES = 1_000
EVENTS = 10_000
VERSIONS = 50_000
"""Most entries of an advisory's lists."""
ID_LENGTH = 128
VERSION_LENGTH = 128
NAME_LENGTH = 512
TEXT_LENGTH = 300
"""Most characters that are kept of a summary; the rest is cut off."""

_ID = re.compile(r"[!-~]{1,128}")
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")
_CODE = "checks.osv"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What happens at a version: ``introduced``, ``fixed``, ``last_affected`` or ``limit``."""

    kind: str
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """Events of one kind of version numbers: ``ECOSYSTEM``, ``SEMVER``, ``GIT``, or one not known here."""

    type: str
    events: tuple[Event, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Affected:
    """What is affected: packages by the names of :mod:`~gatewright.checks.package_urls`, exact bytes by digest."""

    packages: tuple[str, ...]
    digests: tuple[str, ...]
    ranges: tuple[Range, ...]
    versions: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Advisory:
    """One advisory. ``modified`` is an RFC 3339 text; ``severity`` is empty where none is told."""

    id: str
    modified: str
    withdrawn: bool
    aliases: tuple[str, ...]
    summary: str
    severity: str
    affected: tuple[Affected, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Everything that it names: packages, and digests as ``sha256:…``; each once, in order."""
        packages = {name for each in self.affected for name in each.packages}
        digests = {f"sha256:{digest}" for each in self.affected for digest in each.digests}
        return tuple(sorted(packages | digests))


def _bad(what: str, place: str = "") -> BadInput:
    return BadInput(
        _CODE,
        f"This is no advisory in OSV form: {what}.",
        why="What cannot be read could be what affects a release, so nothing of it is taken in.",
        next="Get the file anew from its source, or leave this advisory out.",
        place=place,
    )


def _text(found: Mapping[str, Any], name: str, most: int, *, needed: bool = True) -> str:
    value = found.get(name)
    if value is None and not needed:
        return ""
    if not isinstance(value, str) or not 0 < len(value) <= most or _sound(value) != value:
        raise _bad(f"{name!r} must be text of 1 to {most} characters")
    return value


def _sound(text: str) -> str:
    """Text that UTF-8 can hold: a lone surrogate becomes a question mark."""
    return text.encode("utf-8", "replace").decode()


def _list(found: Mapping[str, Any], name: str, most: int) -> Sequence[Any]:
    value = found.get(name)
    if value is None:
        return ()
    if not isinstance(value, list):
        raise _bad(f"{name!r} must be a list")
    if len(value) > most:
        raise _bad(f"{name!r} has {len(value):,} entries; {most:,} is the most")
    return value


def _object(value: object, name: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise _bad(f"{name!r} must be an object")
    return value


def _inner(found: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """An object that may be absent."""
    return {} if found.get(name) is None else _object(found[name], name)


def _time(found: Mapping[str, Any], name: str) -> str:
    value = _text(found, name, 64)
    try:
        return str(Instant.parse(value))
    except BadInput:
        raise _bad(f"{name!r} must be a date and time") from None


def _digest(text: str) -> str:
    if not _SHA256.fullmatch(text):
        raise _bad("a SHA-256 checksum must have 64 hexadecimal characters")
    return text.lower()


def _event(value: object) -> tuple[Event, ...]:
    """The events of one entry; a kind that is not known is kept, so that it cannot be passed over."""
    entry = _object(value, "events")
    if not entry:
        raise _bad("an event is empty")
    return tuple(
        Event(kind=_sound(kind)[:VERSION_LENGTH], version=_text(entry, kind, VERSION_LENGTH))
        for kind in sorted(entry)
        if kind != "database_specific"
    )


def _range(value: object) -> Range:
    found = _object(value, "ranges")
    events = tuple(event for each in _list(found, "events", EVENTS) for event in _event(each))
    return Range(type=_text(found, "type", VERSION_LENGTH), events=events)


def _versions(found: Mapping[str, Any]) -> tuple[str, ...]:
    listed = _list(found, "versions", VERSIONS)
    for version in listed:
        if (
            not isinstance(version, str)
            or not 0 < len(version) <= VERSION_LENGTH
            or _sound(version) != version
        ):
            raise _bad(f"a version must be text of 1 to {VERSION_LENGTH} characters")
    return tuple(listed)


def _packages(found: Mapping[str, Any]) -> tuple[set[str], set[str]]:
    """The names of the affected package, and the digests in its URL."""
    if found.get("package") is None:
        return set(), set()
    package = _object(found["package"], "package")
    ecosystem, name = _text(package, "ecosystem", NAME_LENGTH), _text(package, "name", NAME_LENGTH)
    packages, digests = {package_name(ecosystem, name)}, set[str]()
    purl = _text(package, "purl", NAME_LENGTH, needed=False)
    if purl:
        by_purl, _, sums = read_url(purl)
        packages.add(by_purl)
        digests.update(sums)
    return packages, digests


def _affected(value: object) -> Affected:
    found = _object(value, "affected")
    packages, digests = _packages(found)
    for part in ("ecosystem_specific", "database_specific"):
        listed = _inner(found, part).get("sha256")
        each_of = [listed] if isinstance(listed, str) else (listed or [])
        if not isinstance(each_of, list) or not all(isinstance(each, str) for each in each_of):
            raise _bad("'sha256' must be a text or a list of texts")
        digests.update(_digest(each) for each in each_of)
    return Affected(
        packages=tuple(sorted(packages)),
        digests=tuple(sorted(digests)),
        ranges=tuple(_range(each) for each in _list(found, "ranges", RANGES)),
        versions=_versions(found),
    )


def _severity(found: Mapping[str, Any]) -> str:
    """The source's own word for it and the CVSS vectors, as they stand."""
    word = _inner(found, "database_specific").get("severity")
    scores = [_object(each, "severity").get("score") for each in _list(found, "severity", 100)]
    said = [each for each in (word, *scores) if isinstance(each, str) and each]
    return _sound(" ".join(said))[:TEXT_LENGTH]


def read_advisory(value: object) -> Advisory:
    """Read one decoded OSV object; raises BadInput with the field that cannot be read."""
    found = _object(value, "the advisory")
    name = _text(found, "id", ID_LENGTH)
    if not _ID.fullmatch(name):
        raise _bad("'id' must be printable letters without a space")
    try:
        summary = found.get("summary") or found.get("details") or ""
        return Advisory(
            id=name,
            modified=_time(found, "modified"),
            withdrawn=found.get("withdrawn") is not None and bool(_time(found, "withdrawn")),
            aliases=tuple(
                _sound(each)[:ID_LENGTH] for each in _list(found, "aliases", 1_000) if isinstance(each, str)
            ),
            summary=_sound(str(summary))[:TEXT_LENGTH],
            severity=_severity(found),
            affected=tuple(_affected(each) for each in _list(found, "affected", AFFECTED)),
        )
    except BadInput as error:
        raise BadInput(
            error.code, error.refusal.what, why=error.refusal.why, next=error.refusal.next, place=name
        ) from None


def to_kept(advisory: Advisory) -> bytes:
    """One line, without its end."""
    value: dict[str, Json] = {
        "affected": [
            {
                "digests": list(each.digests),
                "packages": list(each.packages),
                "ranges": [
                    {"events": [[event.kind, event.version] for event in one.events], "type": one.type}
                    for one in each.ranges
                ],
                "versions": list(each.versions),
            }
            for each in advisory.affected
        ],
        "aliases": list(advisory.aliases),
        "id": advisory.id,
        "modified": advisory.modified,
        "severity": advisory.severity,
        "summary": advisory.summary,
        "withdrawn": advisory.withdrawn,
    }
    return " ".join(advisory.names).encode() + b"\t" + canonical.encode(value)


def from_kept(line: bytes) -> Advisory:
    """Read what :func:`to_kept` wrote; raises Tampered for anything else."""
    try:
        value = canonical.decode(line.partition(b"\t")[2])
        return Advisory(
            id=value["id"],
            modified=value["modified"],
            withdrawn=value["withdrawn"],
            aliases=tuple(value["aliases"]),
            summary=value["summary"],
            severity=value["severity"],
            affected=tuple(
                Affected(
                    packages=tuple(each["packages"]),
                    digests=tuple(each["digests"]),
                    ranges=tuple(
                        Range(
                            type=one["type"],
                            events=tuple(
                                Event(kind=kind, version=version) for kind, version in one["events"]
                            ),
                        )
                        for one in each["ranges"]
                    ),
                    versions=tuple(each["versions"]),
                )
                for each in value["affected"]
            ),
        )
    except (BadInput, KeyError, TypeError, ValueError) as error:
        raise Tampered(
            "checks.advisories-kept", "Kept advisories cannot be read.", why=str(error)[:200]
        ) from None


def encode_kept(advisories: Iterable[Advisory]) -> bytes:
    """All of them, by id."""
    lines = [HEADER, *(to_kept(each) for each in sorted(advisories, key=lambda one: one.id))]
    return b"\n".join(lines) + b"\n"


def _lines(kept: bytes) -> Sequence[bytes]:
    lines = kept.split(b"\n")
    if lines[0] != HEADER or lines[-1]:
        raise Tampered("checks.advisories-kept", "These are not kept advisories of version 1.")
    return lines[1:-1]


def every(kept: bytes) -> Iterator[Advisory]:
    """All kept advisories, by id."""
    return map(from_kept, _lines(kept))


def naming(kept: bytes, wanted: Iterable[str]) -> tuple[Advisory, ...]:
    """The kept advisories that name one of the wanted packages or digests (``sha256:…``), by id."""
    asked = {name.encode() for name in wanted}
    return tuple(
        from_kept(line) for line in _lines(kept) if not asked.isdisjoint(line.partition(b"\t")[0].split(b" "))
    )
