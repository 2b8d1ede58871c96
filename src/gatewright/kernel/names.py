"""Names of kept things (datasets, models, endpoints, people): ``[a-z][a-z0-9-]{0,62}``."""

from __future__ import annotations

import re
import unicodedata
from typing import NewType

from gatewright.kernel.errors import Misuse

Name = NewType("Name", str)

NAME_LENGTH = 63
_NAME = re.compile(r"[a-z][a-z0-9-]{0,62}")


def nearest_spelling(text: str) -> str:
    """Return the nearest good spelling of a bad name."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    tidy = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")
    if not tidy or not tidy[0].isalpha():
        tidy = f"x-{tidy}".rstrip("-")
    return tidy[:NAME_LENGTH].rstrip("-")


def parse_name(text: str, *, of: str = "name") -> Name:
    """Return ``text`` as a name, or raise :class:`Misuse` with the nearest good spelling."""
    if _NAME.fullmatch(text):
        return Name(text)
    raise Misuse(
        "kernel.name",
        f"{text[:80]!r} cannot be the {of}.",
        why="Names are lower-case letters, digits and hyphens, begin with a letter and have at most 63 characters.",
        next=f"Try {nearest_spelling(text)!r}.",
    )
