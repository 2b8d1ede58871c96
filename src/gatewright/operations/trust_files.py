"""The files of a home's public keys: ``trust.json``, and the signed steps that led to it.

``trust/1.json`` is the first version, ``trust/<n>.dsse.json`` the step to version n. They travel with
every export, so that a verifier who was given an older fingerprint gets from there to the newest keys.
``trust/next.dsse.json`` stands in a home only while a change is under way.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from gatewright.kernel.errors import GatewrightError, Misuse, Tampered
from gatewright.operations.files import file_failures, read_file
from gatewright.releases.envelope import ENVELOPE_BYTES, Envelope
from gatewright.releases.trust import TRUST_BYTES, TrustRoot
from gatewright.releases.trust_chain import next_trust, walk

TRUST_FILE = "trust.json"
STEPS_FOLDER = "trust"
FIRST_FILE = "1.json"
NEXT_FILE = "next.dsse.json"
TRUST_CHANGED = "trust.changed"


def read_trust_file(place: Path) -> TrustRoot:
    """A trust root from its file; raises Misuse where there is none and BadInput for anything else."""
    return TrustRoot.decode(read_file(place, limit=TRUST_BYTES))


def follow(before: TrustRoot, folder: Path) -> TrustRoot:
    """The public keys in ``folder``, shown to follow from ``before`` by the steps that lie beside them.

    Raises Tampered where they are older (a copy put back), another version of the same number, or
    not reached by signed steps.
    """
    now = read_trust_file(folder / TRUST_FILE)
    if now == before:
        return before
    if now.version < before.version:
        raise Tampered(
            "operations.trust-older",
            f"The public keys here are version {now.version}; version {before.version} was seen before.",
            why="An older version may be a copy put back, from before a key was revoked.",
            next="Ask the owner for the newest trust files.",
            place=str(folder / TRUST_FILE),
        )
    if now.version == before.version or walk(before, _steps(folder, before.version, now.version)) != now:
        raise Tampered(
            "operations.trust-other",
            f"The public keys here are not those of the home that you know as {before.origin}.",
            why=f"There are two different versions {now.version}, or the steps lead elsewhere.",
            next="Rely on neither; ask the owner for the trust files and the fingerprint, by two different ways.",
            place=str(folder / TRUST_FILE),
        )
    return now


def _steps(folder: Path, after: int, last: int) -> Iterator[bytes]:
    for number in range(after + 1, last + 1):
        place = folder / STEPS_FOLDER / f"{number}.dsse.json"
        try:
            yield read_file(place, limit=ENVELOPE_BYTES)
        except Misuse:
            raise Tampered(
                "operations.trust-gap",
                f"The step to version {number} of the public keys is missing.",
                why=f"Without it nobody can get from version {after} to version {last}.",
                next=f"Ask the owner for the whole folder {STEPS_FOLDER}/ beside {TRUST_FILE}.",
                place=str(place),
            ) from None


def versions(folder: Path) -> Iterator[TrustRoot]:
    """Every version of the public keys in ``folder``, from the first to that of ``trust.json``, each following.

    Raises as :func:`follow` does.
    """
    now = read_trust_file(folder / TRUST_FILE)
    if now.version == 1:
        yield now
        return
    try:
        found = read_trust_file(folder / STEPS_FOLDER / FIRST_FILE)
    except Misuse:
        raise Tampered(
            "operations.trust-gap",
            "The first version of the public keys is missing.",
            next=f"Ask the owner for the whole folder {STEPS_FOLDER}/ beside {TRUST_FILE}.",
            place=str(folder / STEPS_FOLDER / FIRST_FILE),
        ) from None
    yield found
    for step in _steps(folder, found.version, now.version):
        found = next_trust(found, step)
        yield found
    follow(found, folder)


def steps_beyond(before: TrustRoot, folder: Path) -> TrustRoot:
    """The newest version that the steps in ``folder`` lead to from ``before``, whatever ``trust.json`` says."""
    found = before
    try:
        while (place := folder / STEPS_FOLDER / f"{found.version + 1}.dsse.json").is_file():
            found = next_trust(found, read_file(place, limit=ENVELOPE_BYTES))
    except GatewrightError:  # a step that does not follow says nothing
        return found
    return found


def settle(folder: Path, *, recorded: Callable[[], str], write: Callable[[Path, bytes], None]) -> None:
    """Complete a change of the public keys that a dead process left, or take it back.

    ``recorded`` tells the fingerprint that the newest record of a change names, empty where there is
    none. Called with the home's lock held. Raises Tampered where what lies there was not signed.
    """
    place = folder / STEPS_FOLDER / NEXT_FILE
    if not os.path.lexists(place):
        return
    step = read_file(place, limit=ENVELOPE_BYTES)
    before = read_trust_file(folder / TRUST_FILE)
    if _payload(step) == before.encode():  # published, but not tidied up
        _remove(place)
        return
    following = next_trust(before, step)
    if recorded() == following.fingerprint().hex:
        publish_trust(folder, before, following, step, write)
    else:
        _remove(place)


def _payload(step: bytes) -> bytes:
    try:
        return Envelope.decode(step).payload
    except GatewrightError as error:
        raise Tampered(
            "operations.trust-next",
            "A change of the home's keys that was not completed cannot be read.",
            why=error.refusal.what,
            next=f"Restore the home from a backup, or remove {STEPS_FOLDER}/{NEXT_FILE} and verify the home.",
            place=f"{STEPS_FOLDER}/{NEXT_FILE}",
        ) from None


def publish_trust(
    folder: Path,
    before: TrustRoot,
    following: TrustRoot,
    step: bytes,
    write: Callable[[Path, bytes], None],
) -> None:
    """Give the files of a recorded step their names, ``trust.json`` last; then the one under way goes."""
    steps = folder / STEPS_FOLDER
    if before.version == 1:
        write(steps / FIRST_FILE, before.encode())
    write(steps / f"{following.version}.dsse.json", step)
    write(folder / TRUST_FILE, following.encode())
    _remove(steps / NEXT_FILE)


def _remove(place: Path) -> None:
    with file_failures("tidy up the trust root", place):
        place.unlink(missing_ok=True)


def trust_files(folder: Path) -> dict[str, bytes]:
    """``trust.json`` and the steps that led to it, by their path within ``folder``: what every export carries."""
    found = {TRUST_FILE: read_file(folder / TRUST_FILE, limit=TRUST_BYTES)}
    version = TrustRoot.decode(found[TRUST_FILE]).version
    if version > 1:
        names = [FIRST_FILE, *(f"{number}.dsse.json" for number in range(2, version + 1))]
        for name in names:
            path = f"{STEPS_FOLDER}/{name}"
            found[path] = read_file(folder / path, limit=ENVELOPE_BYTES)
    return found
