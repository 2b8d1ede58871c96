"""Whether a policy lets predictions be recorded after the answer: one table of the file, one answer.

A worker asks this of the exact bytes that a release binds, without knowing any check. Rule: doubt
never passes. A policy without the table, and one that cannot be read, do not allow it.
"""

from __future__ import annotations

import tomllib
from typing import Any

from gatewright.kernel.errors import BadInput

TABLE = "recording"
KEY = "asynchronous"
_EXAMPLE = "asynchronous = false"


def read_recording(found: object) -> bool:
    """The value of the table ``[recording]``; raises BadInput for anything but its one key as a truth value."""
    if not isinstance(found, dict):
        raise _refuse("recording must be a table.", f"[recording] with {_EXAMPLE}")
    for key in found:
        if key != KEY:
            raise _refuse(f"{key[:80]!r} is not a key of this table.", _EXAMPLE)
    if not isinstance(found.get(KEY), bool):
        raise _refuse("asynchronous must be true or false.", _EXAMPLE)
    allowed: bool = found[KEY]
    return allowed


def recording_allowed(policy: bytes) -> bool:
    """Whether the policy of these bytes allows asynchronous recording; False for whatever cannot be read."""
    try:
        value: dict[str, Any] = tomllib.loads(policy.decode("utf-8"))
        return TABLE in value and read_recording(value[TABLE])
    except (ValueError, RecursionError, BadInput):
        return False


def _refuse(what: str, example: str) -> BadInput:
    return BadInput("policy.file", what, next=f"Write for example: {example}", place="[recording]")
