"""Writing what a worker elsewhere needs, and nothing else: a serving folder and its secret.

``DIR/serving/`` may be read by everybody who may read the model::

    plan.dsse           the signed traffic plan in force
    trust.json, trust/  the public keys that everything in the folder is held against, and how they came
    worker.dsse.json    the certificate of the worker's key
    mount.json          which plan this is, and where the home keeps the payload key
    blobs/              what the plan names, encrypted with the payload key

``DIR/secret/`` holds the worker's private key, the payload key and the digest of ``plan.dsse``: who can
write the folder but not the secret cannot put another plan of the home there. The home's own data
key does not leave it: contents are encrypted again with a payload key made for this folder, of which
the home keeps a copy among its contents.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from gatewright.deployments.deployment import DAY
from gatewright.deployments.plan import TrafficPlan
from gatewright.kernel import canonical
from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import Misuse
from gatewright.operations.home import Home
from gatewright.operations.plans import renew
from gatewright.operations.released import drafted, require_new
from gatewright.operations.trust_files import trust_files
from gatewright.operations.workers import renew_certificate
from gatewright.ports import Blobs

MOUNT_FORMAT = 1
SERVING = "serving"
SECRET = "secret"  # noqa: S105 - the name of a folder
PLAN_FILE = "plan.dsse"
CERTIFICATE_FILE = "worker.dsse.json"
MOUNT_FILE = "mount.json"
BLOBS_FOLDER = "blobs"
KEY_BYTES = 32
READABLE_FILE = 0o644
READABLE_FOLDER = 0o755


@dataclass(frozen=True, slots=True, kw_only=True)
class Mounted:
    """What was written: the plan's number, until when it may be served, its endpoints, the fingerprint."""

    folder: Path
    plan: int
    expires: str
    endpoints: tuple[str, ...]
    worker: str
    fingerprint: str


def mount(
    home: Home,
    folder: Path,
    *,
    days: int,
    store: Callable[[Path, bytes], Blobs],
    keep_keys: Callable[[Path, bytes, Digest], None],
) -> Mounted:
    """Write the folder of the plan in force, renewed for ``days``; raises Misuse before the first deployment.

    ``store`` makes a store of contents in a folder under a key; ``keep_keys`` writes the worker's
    private key, the payload key and the digest of the plan's envelope into a folder.
    """
    require_new(folder)
    plan = renew(home, lifetime=days * DAY)
    pointer = home.archive.get("plan", "now")
    if plan is None or pointer is None:
        raise Misuse(
            "operations.nothing-live", "Nothing is live in this home.", next="Deploy a release first."
        )
    renew_certificate(home, lifetime=days * DAY)
    envelope = home.blobs.get(Digest(str(pointer["plan"])))
    worker = home.keys.worker.public.id
    key = home.new_bytes(KEY_BYTES)
    told: canonical.JsonObject = {
        "format": MOUNT_FORMAT,
        "origin": home.origin,
        "payload_key": home.blobs.put(key).hex,
        "plan": plan.number,
        "worker": worker,
    }
    with drafted(folder) as draft:
        serving = draft / SERVING
        serving.mkdir()
        blobs = store(serving / BLOBS_FOLDER, key)
        for digest in _needed(plan):
            blobs.put(home.blobs.get(digest))
        home.write(serving / PLAN_FILE, envelope)
        for name, content in trust_files(home.folder).items():
            (serving / name).parent.mkdir(exist_ok=True)
            home.write(serving / name, content)
        certificate = (home.folder / "workers" / f"{worker}.dsse.json").read_bytes()
        home.write(serving / CERTIFICATE_FILE, certificate)
        home.write(serving / MOUNT_FILE, canonical.encode(told))
        _open_to_readers(serving)
        keep_keys(draft / SECRET, key, Digest.of(envelope))
    return Mounted(
        folder=folder,
        plan=plan.number,
        expires=str(plan.expires),
        endpoints=tuple(str(one.endpoint) for one in plan.endpoints),
        worker=worker,
        fingerprint=home.trust.fingerprint().hex,
    )


def _needed(plan: TrafficPlan) -> Iterator[Digest]:
    """Every content that a worker reads to prove and run the plan."""
    for endpoint in plan.endpoints:
        for release in endpoint.releases():
            yield from (*release.resources.values(), release.bundle, *release.statements)


def _open_to_readers(folder: Path) -> None:
    """Let another user read the folder, as a container runs as another one: its contents are encrypted."""
    for place, _, names in os.walk(folder):
        Path(place).chmod(READABLE_FOLDER)
        for name in names:
            (Path(place) / name).chmod(READABLE_FILE)
