"""What every blob store must keep: the contract of ``Blobs``, as functions.

Give each of :data:`PROMISES` a function that opens the same new, empty store again each time; a
promise that is not kept raises :class:`~gatewright.testing.promises.PromiseBroken`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import BadInput
from gatewright.ports import Blobs
from gatewright.testing.promises import agree, refuses

OpenBlobs: TypeAlias = Callable[[], Blobs]

_MIB = 1 << 20


def what_was_put_comes_back(open_blobs: OpenBlobs) -> None:
    """``get`` returns the bytes that were put, also nothing, and sizes around a mebibyte."""
    blobs = open_blobs()
    pattern = bytes(range(251)) * (2 * _MIB // 251 + 2)
    for size in (0, 1, 16, _MIB - 1, _MIB, _MIB + 1, 2 * _MIB, 2 * _MIB + 17):
        data = pattern[:size]
        digest = blobs.put(data)
        agree(Digest.of(data), digest, "The digest is the SHA-256 of the content.")
        agree(Digest.of(data), Digest.of(blobs.get(digest)), f"{size} bytes come back.")


def putting_twice_is_putting_once(open_blobs: OpenBlobs) -> None:
    """The same bytes can be put again and keep their digest."""
    blobs = open_blobs()
    agree(blobs.put(b"same"), blobs.put(b"same"), "A put is idempotent.")
    agree(b"same", blobs.get(Digest.of(b"same")), "What was put twice comes back.")


def absence_is_said(open_blobs: OpenBlobs) -> None:
    """A digest that nobody put is not there, and asking for it is BadInput."""
    blobs = open_blobs()
    here, absent = blobs.put(b"here"), Digest.of(b"absent")
    agree((True, False), (blobs.has(here), blobs.has(absent)), "A store knows what it keeps.")
    with refuses(BadInput, "Absent content is BadInput."):
        blobs.get(absent)


def content_is_there_after_opening_again(open_blobs: OpenBlobs) -> None:
    """What one opened store kept, the next one finds."""
    digest = open_blobs().put(b"kept")
    agree(b"kept", open_blobs().get(digest), "Content is kept.")


PROMISES: tuple[Callable[[OpenBlobs], None], ...] = (
    what_was_put_comes_back,
    putting_twice_is_putting_once,
    absence_is_said,
    content_is_there_after_opening_again,
)
"""Every promise of the port, each a function of a way to open one new, empty store."""
