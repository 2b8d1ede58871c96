"""Reading the fields of a decoded JSON object: each with its type, or a sentence that names it."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import BadInput, Misuse, Tampered
from gatewright.kernel.instants import Instant
from gatewright.kernel.names import Name, parse_name

TEXT_LENGTH = 4_096

_Given = TypeVar("_Given")
_Value = TypeVar("_Value")


def held(place: str, read: Callable[[_Given], _Value], given: _Given) -> _Value:
    """Read stored evidence: what cannot be read does not hold, and is Tampered, at ``place``."""
    try:
        return read(given)
    except (BadInput, Tampered) as error:
        inner = error.refusal
        where = f"{place}: {inner.place}" if inner.place else place
        raise Tampered(error.code, inner.what, why=inner.why, next=inner.next, place=where) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fields:
    """A JSON object on its way to become a value; every reader raises BadInput naming the field.

    ``of`` says what is read (``"the approval"``), ``code`` is the code of every refusal.
    """

    value: Mapping[str, Any]
    of: str
    code: str

    @classmethod
    def read(cls, value: object, *, of: str, code: str) -> Fields:
        """Take a decoded value, which must be an object."""
        if not isinstance(value, Mapping):
            raise BadInput(code, f"{of[0].upper()}{of[1:]} is not a JSON object.")
        return cls(value=value, of=of, code=code)

    def refuse(self, field: str, want: str) -> BadInput:
        """Build the refusal of one field; the caller raises it."""
        return BadInput(self.code, f"In {self.of}, {field!r} must be {want}.", place=field)

    def exactly(self, *names: str) -> Fields:
        """Refuse missing and unknown fields; returns itself."""
        for missing in sorted(set(names) - set(self.value)):
            raise BadInput(self.code, f"{self.of[0].upper()}{self.of[1:]} lacks {missing!r}.", place=missing)
        for unknown in sorted(set(self.value) - set(names)):
            raise BadInput(
                self.code,
                f"{self.of[0].upper()}{self.of[1:]} has the unknown field {unknown[:80]!r}.",
                why="A field that is not understood may change the meaning of the others.",
                place=unknown[:80],
            )
        return self

    def text(self, name: str, *, most: int = TEXT_LENGTH) -> str:
        """Text of at most ``most`` characters."""
        found = self.value.get(name)
        if not isinstance(found, str) or len(found) > most:
            raise self.refuse(name, f"text of at most {most:,} characters")
        return found

    def constant(self, name: str, expected: str | int) -> None:
        """Refuse any other value than the expected one."""
        found = self.value.get(name)
        if type(found) is not type(expected) or found != expected:
            raise self.refuse(name, f"{expected!r}")

    def whole(self, name: str, *, least: int = 0) -> int:
        """Whole number of at least ``least``."""
        found = self.value.get(name)
        if type(found) is not int or found < least:
            raise self.refuse(name, f"a whole number from {least}")
        return found

    def digest(self, name: str) -> Digest:
        """SHA-256 digest in its 64 hexadecimal characters."""
        found = self.value.get(name)
        try:
            return Digest(found if isinstance(found, str) else "")
        except BadInput:
            raise self.refuse(name, "a SHA-256 digest of 64 lower-case hexadecimal characters") from None

    def digest_or_none(self, name: str) -> Digest | None:
        """Digest, or None where the text is empty."""
        return None if self.value.get(name) == "" else self.digest(name)

    def digests(self, name: str) -> dict[str, Digest]:
        """Object of names and digests."""
        inner = self.object(name)
        return {key: inner.digest(key) for key in inner.value}

    def name(self, name: str) -> Name:
        """Read the name of a kept thing."""
        try:
            return parse_name(self.text(name), of=name)
        except Misuse as error:
            raise BadInput(
                self.code, error.refusal.what, why=error.refusal.why, next=error.refusal.next, place=name
            ) from None

    def instant(self, name: str) -> Instant:
        """Read a moment, in the one form that :class:`Instant` writes."""
        found = self.text(name)
        try:
            moment = Instant.parse(found)
        except BadInput:
            moment = None
        if moment is None or str(moment) != found:
            raise self.refuse(name, "a moment such as 2026-03-03T14:05:00Z")
        return moment

    def base64(self, name: str, *, most: int) -> bytes:
        """Bytes from standard base64 with padding, in the one form that encodes them."""
        found = self.text(name, most=4 * (most // 3 + 1))
        try:
            data = base64.b64decode(found, validate=True)
        except (binascii.Error, ValueError):
            data = None
        if data is None or base64.b64encode(data).decode() != found:
            raise self.refuse(name, "standard base64")
        return data

    def object(self, name: str) -> Fields:
        """Inner object."""
        return Fields.read(self.value.get(name), of=f"{name!r} of {self.of}", code=self.code)

    def objects(self, name: str, *, least: int, most: int) -> tuple[Fields, ...]:
        """List of between ``least`` and ``most`` objects."""
        found = self.value.get(name)
        if not isinstance(found, list) or not least <= len(found) <= most:
            raise self.refuse(name, f"a list of {least} to {most:,} objects")
        return tuple(
            Fields.read(item, of=f"{name}[{index}] of {self.of}", code=self.code)
            for index, item in enumerate(found)
        )
