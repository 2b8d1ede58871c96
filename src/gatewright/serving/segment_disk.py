"""What the recorder asks of a disk; :mod:`gatewright.serving.segment_files` keeps it, tests make it fail."""

from __future__ import annotations

from typing import Protocol


class SegmentDisk(Protocol):
    """The file operations that the recorder needs; each raises OSError."""

    def create(self, name: str, head: bytes) -> int:
        """Begin an open segment, durably."""
        ...

    def append(self, handle: int, data: bytes) -> None:
        """Append, durably."""
        ...

    def close(self, handle: int) -> None:
        """Let go of a handle."""
        ...

    def seal(self, name: str) -> None:
        """Give a whole segment its last name."""
        ...

    def rewrite(self, name: str, data: bytes) -> None:
        """Replace an open segment by a sealed one with these bytes."""
        ...

    def read(self, name: str) -> bytes:
        """The bytes of an open segment."""
        ...

    def discard(self, name: str) -> None:
        """Remove an open segment."""
        ...

    def set_aside(self, name: str) -> None:
        """Keep an unreadable open segment under another name."""
        ...

    def keep_tail(self, name: str, tail: bytes) -> None:
        """Keep bytes that are cut off."""
        ...

    def leftovers(self) -> list[str]:
        """Names of open segments."""
        ...
