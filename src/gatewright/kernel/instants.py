"""Moments in time: whole nanoseconds since 1970-01-01T00:00:00Z, always UTC."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from gatewright.kernel.errors import BadInput

_FORM = re.compile(
    r"(\d{4}-\d{2}-\d{2})(?:[T ](\d{2}:\d{2}(?::\d{2})?)(?:\.(\d{1,9}))?(Z|[+-]\d{2}:\d{2})?)?",
    re.ASCII,
)
_NS = 1_000_000_000


@dataclass(frozen=True, slots=True, order=True)
class Instant:
    """A moment, as nanoseconds since the epoch.

    Law: ``Instant.parse(str(i)) == i``.
    """

    ns: int

    @classmethod
    def parse(cls, text: str) -> Instant:
        """Read an RFC 3339 date or date-time; without a zone it is taken as UTC."""
        found = _FORM.fullmatch(text.strip())
        day, clock, fraction, zone = found.groups() if found else ("", None, None, None)
        try:
            moment = datetime.fromisoformat(f"{day}T{clock or '00:00'}{(zone or 'Z').replace('Z', '+00:00')}")
            whole = int((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds())
        except (ValueError, OverflowError):
            raise BadInput(
                "kernel.instant",
                f"{text[:80]!r} is not a date and time.",
                next="Write it as 2026-03-03T14:05:00Z.",
            ) from None
        return cls(whole * _NS + int((fraction or "").ljust(9, "0")))

    def __str__(self) -> str:
        seconds, rest = divmod(self.ns, _NS)
        text = datetime.fromtimestamp(seconds, UTC).isoformat().removesuffix("+00:00")
        return f"{text}.{rest:09d}".rstrip("0").rstrip(".") + "Z"
