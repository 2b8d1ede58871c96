"""Writing a serving folder: the operation with its stores and keys."""

from __future__ import annotations

from pathlib import Path

from gatewright.adapters.durable_files import create_exclusively, make_folder
from gatewright.adapters.local_blobs import LocalBlobs
from gatewright.assembly.homes import read_home
from gatewright.assembly.serving import DATA_FILE, PLAN_DIGEST_FILE, WORKER_FILE
from gatewright.kernel.digests import Digest
from gatewright.operations.files import read_file
from gatewright.operations.mount import Mounted, mount

KEY_FILE_BYTES = 65_536


def mount_home(start: Path, folder: Path, *, days: int = 90) -> Mounted:
    """Write the serving folder of the home at or above ``start``, to be served for ``days``.

    The worker's key is copied as it lies: where the home has a passphrase it stays encrypted with it.
    """
    with read_home(start) as home, home.exclusive():
        worker = read_file(home.folder / "keys" / WORKER_FILE, limit=KEY_FILE_BYTES)

        def keep_keys(place: Path, key: bytes, plan: Digest) -> None:
            make_folder(place)
            create_exclusively(place / WORKER_FILE, worker)
            create_exclusively(place / DATA_FILE, key.hex().encode())
            create_exclusively(place / PLAN_DIGEST_FILE, plan.hex.encode())

        return mount(home, folder, days=days, store=LocalBlobs, keep_keys=keep_keys)
