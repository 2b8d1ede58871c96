"""One and many in sentences: ``1 advisory``, ``2 advisories``."""

from __future__ import annotations


def many(count: int, one: str, several: str = "") -> str:
    """A count with its noun; ``several`` is the noun's plural where an "s" does not make it."""
    return f"{count:,} {one if count == 1 else several or f'{one}s'}"


def advisories(count: int) -> str:
    """So many advisories."""
    return many(count, "advisory", "advisories")
