"""The serving process with its adapters: needs the base installation only, never opens the database."""

from __future__ import annotations

import os
import stat
import tempfile
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from gatewright.adapters.key_files import HomeKey, KeyFolder
from gatewright.adapters.local_blobs import LocalBlobs
from gatewright.assembly.collector import collector
from gatewright.assembly.observing import seen_settings
from gatewright.assembly.settings import Settings, find_root, passphrase, read_trust
from gatewright.assembly.transport import answered_hosts, certificate_needed, reach_of
from gatewright.assembly.trusting import home_keys, write_public
from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import BadInput, Misuse, Tampered
from gatewright.kernel.instants import Instant
from gatewright.operations.files import file_failures, read_file
from gatewright.operations.trust_files import TRUST_FILE, follow, read_trust_file
from gatewright.operations.waiting import collector_runs, longest_wait
from gatewright.operations.workers import WORKERS_FOLDER, in_use
from gatewright.ports import Signer
from gatewright.releases.trust import TrustRoot
from gatewright.releases.worker_keys import verify_worker_key
from gatewright.serving.certificates import Source as CertificateSource
from gatewright.serving.certificates import identity_of_files
from gatewright.serving.following import Believed, Source
from gatewright.serving.logs import Level, Log
from gatewright.serving.slots import Reach, Slot
from gatewright.serving.supervisor import say
from gatewright.serving.worker import Worker, WorkerSettings

WORKER_FILE = "worker-ed25519.pem"
DATA_FILE = "data.key"
PLAN_DIGEST_FILE = "plan.sha256"
TRUST_SEEN_FILE = "trust-seen.json"
KEY_FILE_BYTES = 65_536
CERTIFICATE_BYTES = 65_536


def serve_home(
    start: Path,
    *,
    host: str,
    port: int,
    allowed_hosts: tuple[str, ...],
    tls: bool = False,
    tls_cert: Path | None = None,
    tls_key: Path | None = None,
    client_ca: Path | None = None,
    tls_ended_by: str = "",
    grpc_port: int | None = None,
    slot: Slot | None = None,
    **observed: Any,
) -> int:
    """Serve the home at or above ``start`` until told to stop; returns the exit code.

    Where traffic is encrypted (``assembly/transport.py``) and no certificate is given, one is made for
    the host and the allowed hosts. With a ``slot`` this is one of several workers, and its parent has
    the collector. ``observed`` are the keywords of :func:`~gatewright.assembly.observing.seen_settings`.
    """
    reach = reach_of(
        host, tls=tls, tls_cert=tls_cert, tls_key=tls_key, client_ca=client_ca, tls_ended_by=tls_ended_by
    )
    slot = slot or Slot()
    settings = Settings.read(find_root(start, os.environ))
    folder, segments = settings.folder, settings.folder / "segments"
    seen = seen_settings(**observed)
    trust = read_trust(folder)
    keys = home_keys(folder, trust)
    data_key = keys.data_key()
    hosts = answered_hosts(host, allowed_hosts)
    identity: CertificateSource | None = None
    if tls_cert is not None and tls_key is not None:
        identity = identity_of_files(tls_cert, tls_key, client_ca)
    elif reach is Reach.TLS:
        from gatewright.assembly.certificates import home_identity  # noqa: PLC0415 - only where TLS is spoken

        identity = home_identity(folder, keys, hosts, client_ca=client_ca, told=slot.index == 0)
    tell = partial(Log(say, seen.log).say, "server", level=Level.WARNING)
    with ExitStack() as beside:
        Worker(
            WorkerSettings(
                plan=folder / "plan.dsse",
                segments=segments,
                host=host,
                port=port,
                hosts=frozenset(hosts),
                reach=reach,
                ended_by=tls_ended_by,
                slot=slot,
                seen=seen,
                grpc_port=grpc_port,
            ),
            blobs=LocalBlobs(folder / "blobs", data_key, also=keys.next_data_keys()),
            signer=keys.worker,
            data_key=data_key,
            trust=trust,
            source=_of_files(folder),
            clock=lambda: Instant(time.time_ns()),
            identity=identity,
            ready=lambda _url: (
                beside.enter_context(collector(settings.root, segments, tell)) if slot.alone else None
            ),
            collecting=lambda: (collector_runs(segments), longest_wait(segments, Instant(time.time_ns()))),
        ).run()
    return 0


def _of_files(folder: Path) -> Source:
    """The keys of a home, by the files that change when they do."""
    return Source(read=partial(_of_home, folder), watched=(folder / TRUST_FILE, folder / WORKERS_FOLDER))


def _of_home(folder: Path, before: Believed) -> Believed:
    """The public keys that follow from those believed before, and the worker key that they vouch for.

    While no certificate holds, because the one by the new release keys is still to be written, the key
    stays that it is.
    """
    trust = follow(before.trust, folder)
    worker = in_use(folder, trust)
    if worker is None or worker.public == before.signer.public:
        return Believed(trust=trust, signer=before.signer)
    return Believed(trust=trust, signer=home_keys(folder, trust).worker)


def serve_folder(
    folder: Path,
    *,
    keys: Path,
    segments: Path,
    fingerprint: str,
    host: str,
    port: int,
    allowed_hosts: tuple[str, ...],
    tls: bool = False,
    tls_cert: Path | None = None,
    tls_key: Path | None = None,
    client_ca: Path | None = None,
    tls_ended_by: str = "",
    grpc_port: int | None = None,
    slot: Slot | None = None,
    **observed: Any,
) -> int:
    """Serve a folder that ``release mount`` wrote, without the home, until told to stop.

    ``keys`` holds the worker's key, the payload key and the digest of the one plan that is taken;
    ``segments`` takes the records; ``fingerprint`` is that of the home's public keys: those in the
    folder are believed only if they have it. Raises Misuse without one and where traffic would be in
    plain text beyond this machine with nobody named that ends TLS, Tampered for other keys,
    BadInput where there is no digest, Refused where the plan is not taken.
    """
    _require_fingerprint(fingerprint)
    reach = reach_of(
        host, tls=tls, tls_cert=tls_cert, tls_key=tls_key, client_ca=client_ca, tls_ended_by=tls_ended_by
    )
    identity: CertificateSource | None = None
    if tls_cert is not None and tls_key is not None:
        identity = identity_of_files(tls_cert, tls_key, client_ca)
    elif reach is Reach.TLS:
        raise certificate_needed()
    from gatewright.assembly.verifying import trusted  # noqa: PLC0415 - a home's worker starts without it

    trust = _never_back(trusted(folder, fingerprint=fingerprint).root, folder, segments)
    signer, data_key = _keys(keys)
    digest = _plan_digest(keys / PLAN_DIGEST_FILE)
    _require_certified(folder, signer, trust, keys)
    worker = Worker(
        WorkerSettings(
            plan=folder / "plan.dsse",
            segments=segments,
            host=host,
            port=port,
            hosts=frozenset(answered_hosts(host, allowed_hosts)),
            reach=reach,
            ended_by=tls_ended_by,
            whole=True,
            slot=slot or Slot(),
            seen=seen_settings(**observed),
            grpc_port=grpc_port,
        ),
        blobs=LocalBlobs(folder / "blobs", data_key),
        signer=signer,
        data_key=data_key,
        trust=trust,
        clock=lambda: Instant(time.time_ns()),
        identity=identity,
        source=Source(read=partial(_of_folder, folder, segments), watched=(folder / TRUST_FILE,)),
    )
    worker.plans.only = digest
    worker.run()
    return 0


def _of_folder(folder: Path, segments: Path, before: Believed) -> Believed:
    """The public keys of a mounted folder that follow from those believed before; the worker's key stays."""
    trust = _never_back(follow(before.trust, folder), folder, segments)
    return Believed(trust=trust, signer=before.signer)


def _never_back(trust: TrustRoot, folder: Path, segments: Path) -> TrustRoot:
    """The public keys of the folder; Tampered where newer ones were believed here, be it by an earlier process.

    The newest are kept beside the records, where whoever writes the folder need not be able to write.
    """
    place = segments / TRUST_SEEN_FILE
    seen = read_trust_file(place) if place.exists() else None
    if seen is not None and follow(seen, folder) != trust:
        raise Tampered(
            "assembly.trust-changed", "The public keys changed while they were read.", place=str(folder)
        )
    if seen != trust:
        with file_failures("keep the public keys", place):
            segments.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_public(place, trust.encode())
    return trust


def _require_fingerprint(fingerprint: str) -> None:
    if not fingerprint:
        raise Misuse(
            "assembly.fingerprint-needed",
            "A mounted folder is served only against a fingerprint.",
            why="The public keys lie in the folder itself: whoever can write it could have put others there.",
            next="Give --fingerprint, as 'gatewright release mount' and 'gatewright status' show it.",
        )


def _require_certified(folder: Path, signer: Signer, trust: TrustRoot, keys: Path) -> None:
    """The worker's key must be the one that the home certified."""
    certified = verify_worker_key(read_file(folder / "worker.dsse.json", limit=CERTIFICATE_BYTES), trust)
    if certified.public.id != signer.public.id:
        raise Tampered(
            "assembly.worker-not-certified",
            "The worker's key is not the one that the folder's certificate names.",
            why="Receipts signed with it would prove nothing.",
            next="Mount the folders 'serving' and 'secret' of one and the same 'release mount'.",
            place=str(keys),
        )


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
        worker = _worker_file(folder)
        for name in (worker, DATA_FILE):
            content = _kept(folder / name)
            with file_failures("copy the key", private / name):
                handle = os.open(private / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "wb") as copy:
                copy.write(content)
        id_ = worker.removeprefix(HomeKey.WORKER).removesuffix(".pem").removeprefix(".")
        current = {HomeKey.WORKER.value: id_} if id_ else {}
        signer = KeyFolder(folder=private, passphrase=passphrase(os.environ), current=current).worker
        return signer, KeyFolder(folder=private).data_key()


def _worker_file(folder: Path) -> str:
    """The name of the worker's key in a mounted secret: the first one of a home's, or one with an id."""
    names = sorted(path.name for path in folder.glob(f"{HomeKey.WORKER}.*.pem"))
    return names[0] if len(names) == 1 else WORKER_FILE
