"""Writing a serving folder: the operation with its stores and keys."""

from __future__ import annotations

from pathlib import Path

from gatewright.adapters.durable_files import create_exclusively, make_folder
from gatewright.adapters.key_files import HomeKey, KeyFolder
from gatewright.adapters.local_blobs import LocalBlobs
from gatewright.assembly.homes import read_home
from gatewright.assembly.serving import DATA_FILE, PLAN_DIGEST_FILE
from gatewright.assembly.trusting import home_keys
from gatewright.kernel.digests import Digest
from gatewright.operations.mount import Mounted, mount


def mount_home(start: Path, folder: Path, *, days: int = 90) -> Mounted:
    """Write the serving folder of the home at or above ``start``, to be served for ``days``.

    The worker's key is copied as it lies: where the home has a passphrase it stays encrypted with it.
    """
    with read_home(start) as home, home.exclusive():
        keys = home_keys(home.folder, home.trust)

        def keep_keys(place: Path, key: bytes, plan: Digest) -> None:
            make_folder(place)
            keys.copy_key(HomeKey.WORKER, KeyFolder(folder=place))
            create_exclusively(place / DATA_FILE, key.hex().encode())
            create_exclusively(place / PLAN_DIGEST_FILE, plan.hex.encode())

        return mount(home, folder, days=days, store=LocalBlobs, keep_keys=keep_keys)
