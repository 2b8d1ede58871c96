"""The keys of a home, verified: what lies in its folder belongs to its trust root."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

from gatewright.adapters.key_files import HomeKey, KeyFolder, KeySigner
from gatewright.assembly.settings import TRUST_FILE, Settings
from gatewright.assembly.trusting import home_keys
from gatewright.deployments.plan import PLAN_FILE_BYTES, read_plan
from gatewright.kernel.errors import Misuse, Tampered
from gatewright.operations import verify
from gatewright.operations.files import read_file
from gatewright.operations.trust_files import trust_files, versions
from gatewright.releases.keys import PublicKey
from gatewright.releases.trust import TrustRoot

WORKERS = "workers"
PLAN_FILE = "plan.dsse"
NOT_OPENED = {"keys.missing", "keys.passphrase-needed"}
"""A key that was taken off the machine, or that needs the passphrase, says nothing here."""


def verified_public(folder: Path, trust: TrustRoot) -> Iterator[bytes]:
    """Every public file of a home and the keys that belong to them: its bytes, once it holds; Tampered where one does not."""
    for _ in versions(folder):  # each follows from the one before
        pass
    yield from trust_files(folder).values()
    certificates = [
        read_file(path, limit=verify.STATEMENT_BYTES)
        for path in sorted((folder / WORKERS).glob("*.dsse.json"))
    ]
    workers = verify.certified_workers(trust, certificates)
    yield from certificates
    if (folder / PLAN_FILE).is_file():
        plan = read_file(folder / PLAN_FILE, limit=PLAN_FILE_BYTES)
        read_plan(plan, trust)
        yield plan
    require_settings(folder, trust)
    require_keys(folder, trust, workers)


def require_settings(folder: Path, trust: TrustRoot) -> None:
    """Raise Tampered where the settings beside a home name another log than its trust root; none may lie there."""
    if not (folder.parent / "gatewright.toml").is_file():
        return
    named = Settings.read(folder.parent).origin
    if named not in {trust.origin, *(era.origin for era in trust.past)}:
        raise Tampered(
            "assembly.other-origin",
            "The settings name another log than the public keys do.",
            why=f"gatewright.toml says {named[:80]!r}, {TRUST_FILE} says {trust.origin!r}.",
            next="Put the file back from your version control.",
            place="gatewright.toml",
        )


def require_keys(folder: Path, trust: TrustRoot, workers: Mapping[str, PublicKey]) -> None:
    """Raise Tampered where a private key in the folder is not that of its public half, or cannot be read.

    ``workers`` are the certified worker keys by id.
    """
    keys = home_keys(folder, trust)
    for name in HomeKey:
        found = _public(name.value, partial(keys.signer, name))
        public = getattr(trust, name.name.lower(), None) or found
        if found is not None and found != public:
            raise _changed(name.value, "It is not the one of which trust.json has the public half.")
        if name is HomeKey.WORKER and found is not None and found.id not in workers:
            raise _changed(name.value, "No certificate in this home names it.")
    require_people(keys, {})


def require_people(keys: KeyFolder, people: Mapping[str, str]) -> None:
    """Raise Tampered where the private key of a person cannot be read, or is another than the ledger names.

    ``people`` are their public keys by principal, as the ledger has them. A key of nobody is left alone:
    it is made before the record of its person.
    """
    for person in keys.people():
        found = _public(f"people/{person}", partial(keys.person, person))
        text = "" if found is None else found.text()
        if text and people.get(person, text) != text:
            raise _changed(f"people/{person}", "It is not the one that the ledger names for this person.")


def _public(name: str, read: Callable[[], KeySigner]) -> PublicKey | None:
    """The public half of a key file; None for one that is not here or needs the passphrase."""
    try:
        return read().public
    except Misuse as error:
        if error.code in NOT_OPENED:
            return None
        raise _changed(name, error.refusal.what) from None


def _changed(name: str, why: str) -> Tampered:
    return Tampered(
        "assembly.key-changed",
        f"The private key {name} does not hold.",
        why=why,
        next="Put the key file back from where you keep a copy.",
        place=f"keys/{name}",
    )
