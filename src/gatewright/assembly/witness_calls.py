"""A home's witnesses: their addresses, the calls to them, and recording which there are.

Addresses stand in ``gatewright.toml``; keys and quorum in the trust root, for a verifier has to know
them. No address is called that the owner did not name there, and no redirect is followed.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from socket import SHUT_RDWR
from threading import Event, Timer
from time import monotonic
from urllib.parse import urlsplit

from gatewright.adapters.durable_files import remove_parts_of, write_atomically
from gatewright.assembly.calling import Trust, connection_to
from gatewright.assembly.homes import open_home, read_home
from gatewright.assembly.rotating import root_folder
from gatewright.assembly.settings import SETTINGS_FILE, Settings, find_root, with_witnesses
from gatewright.assembly.witnesses import keys_given
from gatewright.kernel.errors import DependencyFailed, Misuse
from gatewright.ledger.checkpoints import NOTE_BYTES
from gatewright.ledger.notes import NoteKey
from gatewright.operations.cosigning import Reply, Round, cosign_newest
from gatewright.operations.files import read_file
from gatewright.operations.home import Home
from gatewright.operations.trust_changes import change_trust, following_version
from gatewright.operations.witness import file_name
from gatewright.releases.trust import TRUST_BYTES, TrustRoot

PUBLIC_FILE = 0o644
WITNESS_S = 5.0
"""A witness that did not answer whole within this time is given up until the next round."""
ADDRESS_LENGTH = 1_000


def require_address(url: str) -> str:
    """The address of a witness, without a slash at its end.

    Https to anybody; plain http to an address of this machine or of a private network alone. Raises
    Misuse for anything else.
    """
    bad = Misuse(
        "assembly.witness-address",
        f"{url[:200]!r} cannot be the address of a witness.",
        why="Beyond this machine and private networks a witness is called with https.",
        next="Write https://NAME[:PORT][/PATH], or http with an address such as 127.0.0.1 or 10.0.0.7.",
    )
    if len(url) > ADDRESS_LENGTH or not url.isascii() or not url.isprintable() or " " in url:
        raise bad
    try:
        place = urlsplit(url)
        host, _ = place.hostname or "", place.port
    except ValueError:
        raise bad from None
    beside = place.username or place.password or place.query or place.fragment
    if not host or beside or place.scheme not in ("http", "https"):
        raise bad
    if place.scheme == "http" and not _private(host):
        raise bad
    return url.rstrip("/")


def _private(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return (address.is_private or address.is_loopback) and not address.is_unspecified


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpWitness:
    """The way to the witness ``name`` at ``url``; implements ``WitnessLine`` of the operations.

    Each call ends within ``wait_s`` seconds, whatever the other side does.
    """

    name: str
    url: str
    wait_s: float = WITNESS_S

    def submit(self, body: bytes) -> Reply:
        """``POST add-checkpoint``."""
        return self._ask("POST", "/add-checkpoint", body)

    def head(self, origin: str) -> bytes:
        """The note that it cosigned last for a log; empty where it shows none."""
        reply = self._ask("GET", f"/checkpoint/{file_name(origin)}")
        return reply.body if reply.status == 200 else b""

    def _ask(self, method: str, path: str, body: bytes | None = None) -> Reply:
        call = connection_to(require_address(self.url), Trust(), wait_s=self.wait_s)
        headers = {"Content-Type": "text/plain; charset=utf-8"} if body else {}
        try:
            with _bounded(call, self.wait_s):
                call.request(method, urlsplit(self.url).path.rstrip("/") + path, body, headers)
                with call.getresponse() as answer:
                    found = answer.read(NOTE_BYTES + 1)
        except (OSError, HTTPException, ValueError) as error:
            why = str(error)[:200] or f"It did not answer within {self.wait_s:g} seconds."
            raise self._failed(why) from None
        if len(found) > NOTE_BYTES:
            raise self._failed(f"Its answer is longer than {NOTE_BYTES:,} bytes.")
        return Reply(status=answer.status, body=found)

    def _failed(self, why: str) -> DependencyFailed:
        return DependencyFailed(
            "assembly.witness-silent",
            f"The witness {self.name} does not answer.",
            why=why,
            next="The head is submitted again with the next round.",
            place=self.url,
        )


@contextmanager
def _bounded(call: HTTPConnection, wait_s: float) -> Iterator[None]:
    """Connect, and end the call when its time is over, even where the other side says a byte now and then."""
    begun = monotonic()
    call.connect()
    connected, over = call.sock, Event()

    def end() -> None:
        over.set()
        with suppress(OSError):  # it has ended already
            connected.shutdown(SHUT_RDWR)

    timer = Timer(max(0.0, wait_s - (monotonic() - begun)), end)
    timer.daemon = True
    timer.start()
    try:
        yield
        if over.is_set():  # what was read until then is not the whole
            raise TimeoutError
    finally:
        timer.cancel()
        call.close()
        connected.close()


def cosign_home(start: Path, wait_s: float = WITNESS_S) -> Round | None:
    """One round with every witness of the home; None where it has none."""
    settings = Settings.read(find_root(start, os.environ))
    with read_home(start) as home:
        if not home.trust.witnesses:
            return None
        names = {key.name for key in home.trust.witness_keys}
        return cosign_newest(
            home,
            {
                name: HttpWitness(name=name, url=url, wait_s=wait_s)
                for name, url in settings.witnesses.items()
                if name in names
            },
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Witnesses:
    """The witnesses of a home now: their addresses by name, the quorum, the version and fingerprint of its keys."""

    addresses: Mapping[str, str]
    quorum: int
    version: int
    fingerprint: str


def use_witness(
    start: Path, url: str, texts: Sequence[str], *, quorum: int | None = None, root: Path | None = None
) -> Witnesses:
    """Have the home's log cosigned by the witness with these keys, at ``url``; replaces one of the same name.

    ``root`` is the folder of the root keys, where they do not lie in the home.
    """
    url = require_address(url)
    keys = [NoteKey.parse(text) for text in keys_given(texts)]
    names = {key.name for key in keys}
    if len(names) != 1:
        raise Misuse(
            "assembly.witness-keys",
            "These are not the keys of one witness.",
            why=f"They have the names {', '.join(sorted(names)) or 'none at all'}.",
            next="Give the lines that 'gatewright witness show' prints for one witness.",
        )
    return _changed(start, names.pop(), url, tuple(key.text() for key in keys), quorum=quorum, root=root)


def drop_witness(start: Path, name: str, *, quorum: int | None = None, root: Path | None = None) -> Witnesses:
    """Have this witness cosign no more; what it cosigned stays. ``root`` as for :func:`use_witness`."""
    return _changed(start, name, None, (), quorum=quorum, root=root)


def _changed(
    start: Path, name: str, url: str | None, texts: tuple[str, ...], *, quorum: int | None, root: Path | None
) -> Witnesses:
    with open_home(start) as home:
        settings = Settings.read(home.root)
        others = tuple(text for text in home.trust.witnesses if NoteKey.parse(text).name != name)
        if url is None and others == home.trust.witnesses and name not in settings.witnesses:
            raise Misuse(
                "assembly.no-such-witness",
                f"This home has no witness {name[:80]!r}.",
                why=f"It has: {', '.join(sorted(settings.witnesses)) or 'none'}.",
            )
        trust = _trusted(home, (*others, *texts), name, quorum, root)
        addresses = {each: place for each, place in settings.witnesses.items() if each != name}
        if url is not None:
            addresses[name] = url
        place = home.root / SETTINGS_FILE
        text = with_witnesses(read_file(place, limit=TRUST_BYTES).decode(), addresses)
        remove_parts_of(place)
        write_atomically(place, text.encode(), PUBLIC_FILE)
        return Witnesses(
            addresses=addresses,
            quorum=trust.quorum,
            version=trust.version,
            fingerprint=trust.fingerprint().hex,
        )


def _trusted(
    home: Home, witnesses: tuple[str, ...], name: str, quorum: int | None, root: Path | None
) -> TrustRoot:
    """The home's public keys with these witnesses: a new version, where that is a change."""
    names = {NoteKey.parse(text).name for text in witnesses}
    wanted = min(max(home.trust.quorum, 1), len(names)) if quorum is None else quorum
    if (set(witnesses), wanted) == (set(home.trust.witnesses), home.trust.quorum):
        return home.trust
    what = f"The witness {name} {'cosigns the log' if name in names else 'was taken away'}; quorum {wanted}."
    keys = None if root is None else root_folder(root, home.trust)
    pair = None if keys is None else (keys.root, keys.root_pq)
    following = following_version(home, witnesses=witnesses, quorum=wanted)
    return change_trust(home, following, what=what, root=pair).trust
