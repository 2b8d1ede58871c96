"""The serving process with its adapters: needs the base installation only, never opens the database."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path

from gatewright.adapters.key_files import KeyFolder
from gatewright.adapters.local_blobs import LocalBlobs
from gatewright.assembly.settings import Settings, find_root, passphrase, read_trust
from gatewright.assembly.verifying import trusted
from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import BadInput, Misuse, Tampered
from gatewright.kernel.instants import Instant
from gatewright.operations.files import file_failures, read_file
from gatewright.ports import Signer
from gatewright.releases.worker_keys import verify_worker_key
from gatewright.serving.worker import Reach, Worker, WorkerSettings, run_worker

COLLECTOR_STOP_S = 15.0
WORKER_FILE = "worker-ed25519.pem"
DATA_FILE = "data.key"
PLAN_DIGEST_FILE = "plan.sha256"
KEY_FILE_BYTES = 65_536
CERTIFICATE_BYTES = 65_536


def serve_home(start: Path, *, host: str, port: int, allowed_hosts: tuple[str, ...]) -> int:
    """Serve the home at or above ``start`` until told to stop; returns the exit code."""
    settings = Settings.read(find_root(start, os.environ))
    folder = settings.folder
    keys = KeyFolder(folder=folder / "keys", passphrase=passphrase(os.environ))
    data_key = keys.data_key()
    with ExitStack() as beside:
        run_worker(
            WorkerSettings(
                plan=folder / "plan.dsse",
                segments=folder / "segments",
                host=host,
                port=port,
                hosts=frozenset(allowed_hosts),
            ),
            blobs=LocalBlobs(folder / "blobs", data_key),
            signer=keys.worker,
            data_key=data_key,
            trust=read_trust(folder),
            clock=lambda: Instant(time.time_ns()),
            ready=lambda _url: beside.enter_context(_collector(settings.root)),
        )
    return 0


def serve_folder(
    folder: Path,
    *,
    keys: Path,
    segments: Path,
    fingerprint: str,
    host: str,
    port: int,
    allowed_hosts: tuple[str, ...],
) -> int:
    """Serve a folder that ``release mount`` wrote, without the home, until told to stop.

    ``keys`` holds the worker's key, the payload key and the digest of the one plan that is taken;
    ``segments`` takes the records; ``fingerprint`` is that of the home's public keys: those in the
    folder are believed only if they have it. Raises Misuse without one, Tampered for other keys,
    BadInput where there is no digest, Refused where the plan is not taken.
    """
    if not fingerprint:
        raise Misuse(
            "assembly.fingerprint-needed",
            "A mounted folder is served only against a fingerprint.",
            why="The public keys lie in the folder itself: whoever can write it could have put others there.",
            next="Give --fingerprint, as 'gatewright release mount' and 'gatewright status' show it.",
        )
    trust = trusted(folder, fingerprint=fingerprint).root
    signer, data_key = _keys(keys)
    digest = _plan_digest(keys / PLAN_DIGEST_FILE)
    certified = verify_worker_key(read_file(folder / "worker.dsse.json", limit=CERTIFICATE_BYTES), trust)
    if certified.public.id != signer.public.id:
        raise Tampered(
            "assembly.worker-not-certified",
            "The worker's key is not the one that the folder's certificate names.",
            why="Receipts signed with it would prove nothing.",
            next="Mount the folders 'serving' and 'secret' of one and the same 'release mount'.",
            place=str(keys),
        )
    worker = Worker(
        WorkerSettings(
            plan=folder / "plan.dsse",
            segments=segments,
            host=host,
            port=port,
            hosts=frozenset(allowed_hosts),
            reach=Reach.PLAIN,
            whole=True,
        ),
        blobs=LocalBlobs(folder / "blobs", data_key),
        signer=signer,
        data_key=data_key,
        trust=trust,
        clock=lambda: Instant(time.time_ns()),
    )
    worker.plans.only = digest
    worker.run()
    return 0


def _plan_digest(place: Path) -> Digest:
    """The digest of the only plan to be taken: an older one of the home is as well signed as this."""
    text = _kept(place).decode("ascii", "replace").strip()
    try:
        return Digest.parse(text)
    except BadInput:
        raise BadInput(
            "assembly.plan-digest",
            f"{place} does not hold the digest of a plan.",
            next="Mount the secret as 'gatewright release mount' wrote it.",
        ) from None


def _kept(place: Path) -> bytes:
    """What a file of a mounted secret holds; raises Misuse where every user may read or replace it."""
    content = read_file(place, limit=KEY_FILE_BYTES)
    with file_failures("look at the secret", place):
        mode = place.stat().st_mode
    if mode & stat.S_IRWXO:
        raise Misuse(
            "keys.readable-by-others",
            f"The file {place.name} of the secret is open to every user.",
            why="What others can read or replace proves nothing.",
            next="Mount the secret with mode 0400 or 0440.",
            place=str(place),
        )
    return content


def _keys(folder: Path) -> tuple[Signer, bytes]:
    """The worker's key and the payload key of a mounted secret.

    Orchestrators mount secrets as links to files of another owner, which a key folder refuses; so
    the two are copied into a private folder for as long as they are read.
    """
    with tempfile.TemporaryDirectory(prefix="gatewright-") as made:
        private = Path(made)
        for name in (WORKER_FILE, DATA_FILE):
            content = _kept(folder / name)
            with file_failures("copy the key", private / name):
                handle = os.open(private / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "wb") as copy:
                copy.write(content)
        worker = KeyFolder(folder=private, passphrase=passphrase(os.environ)).worker
        return worker, KeyFolder(folder=private).data_key()


@contextmanager
def _collector(root: Path) -> Iterator[None]:
    """The collector beside the worker, where the studio is installed; a worker that is refused has none.

    Without it sealed segments wait for the control side, and every other command still works.
    """
    if find_spec("sqlalchemy") is None:
        sys.stderr.write("Sealed records wait for 'gatewright collect' where the studio is installed.\n")
        yield
        return
    process = subprocess.Popen(
        [sys.executable, "-m", "gatewright", "collect", "--watch"],
        cwd=root,
        stdin=subprocess.PIPE,
        env={**os.environ, "GATEWRIGHT_HOME": str(root)},
        start_new_session=True,
    )
    try:
        yield
    finally:
        if process.stdin is not None:
            process.stdin.close()
        try:
            process.wait(COLLECTOR_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
