"""Changing the data key of a home: everything that is encrypted gets its own key wrapped anew.

The contents stay as they are. First the key to come is made and kept beside the old one, then each
blob and each segment is rewrapped, and last the new key takes the old one's name. Killed anywhere,
the home opens with both, and the same command goes on where it was.

A sealed segment is never written again, because the ledger has the digest of its file: its key lies,
under the new one, beside it in ``NAME.key`` (format 1, canonical JSON), and what the segment itself
holds of it opens no more once the old data key is destroyed.
"""

from __future__ import annotations

import base64
import fcntl
import os
import secrets
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from gatewright.adapters.durable_files import write_atomically
from gatewright.adapters.key_files import KeyFolder
from gatewright.adapters.local_blobs import NONCE_BYTES, LocalBlobs
from gatewright.assembly.homes import open_home
from gatewright.assembly.settings import passphrase
from gatewright.kernel import canonical
from gatewright.kernel.canonical import JsonObject
from gatewright.kernel.errors import BadInput, Misuse, Tampered
from gatewright.ledger.segments import SegmentHeader, scan, unwrap_key, wrap_key
from gatewright.operations.files import read_file
from gatewright.releases.fields import Fields

KEY_FORMAT = 1
KEY_SUFFIX = ".key"
KEY_BYTES = 4_096
SERVE_LOCK = "serve.lock"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewrapped:
    """How many contents and segments have their keys under the new data key; ``again`` were there already."""

    contents: int
    segments: int
    again: int


def change_data_key(start: Path) -> Rewrapped:
    """Put a new data key in force in the home at or above ``start``, and destroy the old one last.

    Raises Misuse while a server runs (it holds the old key), and Tampered for contents that the old
    key does not open: then both keys stay.
    """
    with open_home(start) as home:
        _require_no_server(home.segments)
        keys = KeyFolder(folder=home.folder / "keys", passphrase=passphrase(os.environ))
        old, new = keys.data_key(), keys.make_next_data_key()
        blobs = LocalBlobs(home.folder / "blobs", old, also=(new,))
        moved = [blobs.rewrap(digest, new) for digest in blobs.digests()]
        segments = [_rewrap(path, (new, old)) for path in sorted(home.segments.rglob("*.sealed"))]
        keys.settle_data_key()
    return Rewrapped(
        contents=len(moved), segments=len(segments), again=moved.count(False) + segments.count(False)
    )


def segment_key(path: Path, home_keys: tuple[bytes, ...]) -> bytes:
    """The data key of the sealed segment at ``path``: from beside it, or from itself; Tampered where none opens."""
    header = scan(read_file(path)).header
    beside = path.with_suffix(KEY_SUFFIX)
    headers = [header]
    if beside.is_file():
        headers.insert(0, _read(beside, header))
    for each in headers:
        for key in home_keys:
            with suppress(Tampered):
                return unwrap_key(key, each)
    return unwrap_key(home_keys[0], headers[0])  # raises, with its place


def _rewrap(path: Path, home_keys: tuple[bytes, bytes]) -> bool:
    """Write the segment's key under the first of the keys beside it, unless it lies there; whether it did not."""
    header = scan(read_file(path)).header
    beside = path.with_suffix(KEY_SUFFIX)
    if beside.is_file():
        with suppress(Tampered):
            unwrap_key(home_keys[0], _read(beside, header))
            return False
    wrapped = wrap_key(
        home_keys[0],
        segment_key(path, home_keys),
        segment=header.segment,
        nonce=secrets.token_bytes(NONCE_BYTES),
    )
    content: JsonObject = {
        "format": KEY_FORMAT,
        "key": base64.b64encode(wrapped).decode(),
        "segment": header.segment,
    }
    write_atomically(beside, canonical.encode(content))
    return True


def _read(path: Path, header: SegmentHeader) -> SegmentHeader:
    """The header with the wrapped key that lies beside the segment."""
    try:
        fields = Fields.read(
            canonical.decode(read_file(path, limit=KEY_BYTES)),
            of="the key of a segment",
            code="storage.segment-key",
        )
        fields.exactly("format", "key", "segment").constant("format", KEY_FORMAT)
        fields.constant("segment", header.segment)
        wrapped = fields.base64("key", most=256)
    except BadInput as error:
        raise Tampered(
            error.code,
            f"{path.name} does not hold the key of its segment.",
            why=error.refusal.what,
            place=path.name,
        ) from None
    return SegmentHeader(
        segment=header.segment, worker=header.worker, opened=header.opened, wrapped_key=wrapped
    )


def _require_no_server(segments: Path) -> None:
    """Raise Misuse while a worker of this home runs."""
    for lock in (segments / SERVE_LOCK, *segments.glob(f"worker-*/{SERVE_LOCK}")):
        if not lock.exists():
            continue
        handle = os.open(lock, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Misuse(
                "assembly.server-runs",
                "A server of this home runs, and holds the data key of now.",
                next="Stop it, change the key, and start it again.",
                place=str(lock),
            ) from None
        finally:
            os.close(handle)
