"""What follows from a record: documents put into collections, or removed from them.

A projection is a pure function of one record. So dropping every document and reading the records
again gives the same documents, and a stored document can be proved on reading: the record it names
stands under the signed head, and says so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from gatewright.kernel.canonical import JsonObject
from gatewright.ledger.records import Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Put:
    """Write ``document`` at ``collection``/``key``; None removes what is there."""

    collection: str
    key: str
    document: JsonObject | None


Project: TypeAlias = Callable[[Record], Sequence[Put]]
