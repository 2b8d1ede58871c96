"""Record format v1: what one leaf of the ledger holds. Frozen; see ``docs/formats.md``.

A leaf is canonical JSON (RFC 8785), at most 65,535 bytes (the limit of a C2SP tlog-tiles entry)::

    {"actor":"…","body":{…},"commitments":{"name":"<hex>"},"kind":"model.added","seq":7,
     "subject":"breast-cancer@2","time":"2026-03-03T14:05:00Z","v":1}

``body`` is metadata: names, digests, numbers; never personal data. What is personal is a
*payload*: kept encrypted apart, and bound here only by a salted commitment.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from gatewright.kernel import canonical
from gatewright.kernel.canonical import JsonObject
from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import BadInput
from gatewright.kernel.instants import Instant

RECORD_FORMAT = 1
LEAF_BYTES = 65_535

_KIND = re.compile(r"[a-z]+(?:-[a-z]+)*\.[a-z]+(?:-[a-z]+)*")
_TO_SECONDS = len("2026-03-03T14:05:00")
_FRACTION = re.compile(r"\.[0-9]{0,8}[1-9]")
_FIELDS = {"actor", "body", "commitments", "kind", "seq", "subject", "time", "v"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What is to be recorded: everything but the place and the time, which the ledger gives.

    ``kind`` is ``<subject>.<past participle>``; ``actor`` is a principal's id; ``subject`` names
    the thing that changed; ``commitments`` maps payload names to their salted commitments.
    """

    kind: str
    actor: str
    subject: str
    body: JsonObject = field(default_factory=dict)
    commitments: Mapping[str, Digest] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A draft with its place in the ledger. Law: ``Record.decode(r.encode()) == r``."""

    seq: int
    time: Instant
    draft: Draft

    def encode(self) -> bytes:
        """The leaf. Raises BadInput for a bad kind or a leaf beyond 65,535 bytes."""
        draft = self.draft
        if not _KIND.fullmatch(draft.kind):
            raise BadInput("ledger.kind", f"{draft.kind!r} is not a record kind.")
        leaf = canonical.encode(
            {
                "actor": draft.actor,
                "body": draft.body,
                "commitments": {name: digest.hex for name, digest in draft.commitments.items()},
                "kind": draft.kind,
                "seq": self.seq,
                "subject": draft.subject,
                "time": str(self.time),
                "v": RECORD_FORMAT,
            }
        )
        if len(leaf) > LEAF_BYTES:
            raise BadInput(
                "ledger.record-too-large",
                f"The record of {draft.kind} would take {len(leaf):,} bytes; the limit is {LEAF_BYTES:,}.",
                next="Keep large content as a blob and record its digest.",
            )
        return leaf

    @classmethod
    def decode(cls, leaf: bytes) -> Record:
        """Read a leaf; raises BadInput for anything that ``encode`` would not write."""
        return _plain_record(leaf) or cls._decode(leaf)

    @classmethod
    def _decode(cls, leaf: bytes) -> Record:
        """Every leaf, slowly: what is canonical but not plain, and what is wrong with one that is no record."""
        # not canonical.decode: the comparison below holds the whole leaf against its one form anyway
        value = canonical.decode_any(leaf) if len(leaf) <= LEAF_BYTES else None
        if not isinstance(value, dict) or set(value) != _FIELDS or value["v"] != RECORD_FORMAT:
            raise BadInput("ledger.record", "The leaf is not a version 1 record.")
        try:
            draft = Draft(
                kind=value["kind"],
                actor=value["actor"],
                subject=value["subject"],
                body=value["body"],
                commitments={name: Digest(text) for name, text in value["commitments"].items()},
            )
            record = cls(seq=value["seq"], time=Instant.parse(value["time"]), draft=draft)
            if not _well_typed(value) or record.encode() != leaf:
                raise BadInput("ledger.record", "A field of the leaf has the wrong type or form.")
        except (AttributeError, TypeError):
            raise BadInput("ledger.record", "A field of the leaf has the wrong type.") from None
        return record


def _well_typed(value: Mapping[str, object]) -> bool:
    """JSON's ``true`` equals 1 in Python, and a number beyond 2**53 is read as a float: look closely."""
    return (
        type(value["seq"]) is int
        and value["seq"] >= 0
        and isinstance(value["actor"], str)
        and isinstance(value["subject"], str)
        and isinstance(value["body"], dict)
    )


def place_in(leaf: bytes) -> tuple[int, int]:
    """Number and time (nanoseconds) of the record in a leaf; raises what :meth:`Record.decode` raises.

    Law: ``place_in(leaf) == (r.seq, r.time.ns)`` for ``r = Record.decode(leaf)``; nothing is built on the way.
    """
    found = _plain_value(leaf)
    if found is not None and not found[0]["commitments"]:
        return found[0]["seq"], found[1].ns
    record = Record.decode(leaf)
    return record.seq, record.time.ns


def _plain_value(leaf: bytes) -> tuple[dict[str, Any], Instant] | None:
    """The fields of a leaf of plain canonical JSON and its time, or None where the quick way does not show that it is one."""
    try:
        value = canonical.decode_plain(leaf) if len(leaf) <= LEAF_BYTES else None
    except canonical.NotPlain:
        return None
    if type(value) is not dict or value.keys() != _FIELDS or not _plain_fields(value):
        return None
    time = _plain_time(value["time"])
    return None if time is None else (value, time)


def _plain_record(leaf: bytes) -> Record | None:
    """The same as a record; its commitments are looked at too."""
    found = _plain_value(leaf)
    if found is None:
        return None
    value, time = found
    try:
        commitments = {name: Digest(text) for name, text in value["commitments"].items()}
    except (TypeError, BadInput):
        return None
    draft = Draft(
        kind=value["kind"],
        actor=value["actor"],
        subject=value["subject"],
        body=value["body"],
        commitments=commitments,
    )
    return Record(seq=value["seq"], time=time, draft=draft)


def _plain_fields(value: Mapping[str, Any]) -> bool:
    return (
        type(value["v"]) is int
        and value["v"] == RECORD_FORMAT
        and type(value["seq"]) is int
        and value["seq"] >= 0
        and type(value["actor"]) is str
        and type(value["subject"]) is str
        and type(value["time"]) is str
        and type(value["body"]) is dict
        and type(value["commitments"]) is dict
        and type(value["kind"]) is str
        and _is_kind(value["kind"])
    )


@lru_cache(maxsize=256)
def _is_kind(text: str) -> bool:
    return _KIND.fullmatch(text) is not None


def _plain_time(text: str) -> Instant | None:
    """A time in the one form that :class:`Instant` writes, or None."""
    start = _second(text[:_TO_SECONDS])
    fraction = text[_TO_SECONDS:-1]
    if start is None or text[-1:] != "Z" or (fraction and not _FRACTION.fullmatch(fraction)):
        return None
    return Instant(start + int(fraction[1:].ljust(9, "0"))) if fraction else Instant(start)


@lru_cache(maxsize=1024)
def _second(text: str) -> int | None:
    """Nanoseconds of a whole second, written without its ``Z``; read with care, as many records share one."""
    try:
        found = Instant.parse(f"{text}Z")
    except BadInput:
        return None
    return found.ns if str(found) == f"{text}Z" else None
