"""Single bits flipped anywhere in what a home stores: what ``verify`` says of each, and what it cannot see.

A flip counts as *seen* where the verifier raises and names a place; as *harmless* where it lies in
bytes that nothing reads, which is shown by comparing what is read with what was read before:

- unused bytes of the database's pages, and the signatures of earlier checkpoints in it;
- line ends of key files, and comments and spaces in ``gatewright.toml``; the names of files' locks and states of the moment.

``policy.toml`` is the owner's source, kept in version control: the policy that judged a release is
bound in it, and a changed file judges the next one. It is left out here, and named in the docs.
"""

from __future__ import annotations

import random
import shutil
import sqlite3
import tomllib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from anomaly.home_verbs import FOLDER, seal_a_segment
from anomaly.serving_home import make_serving_home
from gatewright.assembly.verifying import verify_home
from gatewright.kernel.errors import GatewrightError
from scenario.world import inside

OF_THE_MOMENT = {"lock", "serve.lock", "collector.lock", "serve.json", "scrub.json"}


@dataclass(slots=True)
class Flips:
    """How many flips were tried; ``seen`` and ``harmless`` of them, and the places of those that were neither."""

    tried: int = 0
    seen: int = 0
    harmless: int = 0
    unseen: list[str] = field(default_factory=list)
    unnamed: list[str] = field(default_factory=list)


def make_home(folder: Path) -> Path:
    """A home with everything that is stored: an endpoint, a collected segment and one that waits."""
    make_serving_home(folder)
    seal_a_segment(folder)
    assert 0 == inside(folder, "collect").code
    seal_a_segment(folder)
    return folder


def stored(root: Path) -> list[Path]:
    """Every file of the home whose bytes count."""
    found = [path for path in sorted((root / FOLDER).rglob("*")) if path.is_file() and path.stat().st_size]
    return [root / "gatewright.toml", *(path for path in found if path.name not in OF_THE_MOMENT)]


def flips(root: Path, count: int, seed: int) -> Iterator[tuple[Path, int]]:
    """Files and bits in them: half drawn over all bytes, half over the files, so that small ones count."""
    generator = random.Random(seed)  # noqa: S311 - which bits, repeatably
    files = stored(root)
    sizes = [path.stat().st_size for path in files]
    for number in range(count):
        path = generator.choices(files, sizes)[0] if number % 2 else generator.choice(files)
        yield path, generator.randrange(8 * path.stat().st_size)


def flip_all(root: Path, count: int, seed: int) -> Flips:
    """Flip one bit at a time, verify, and put it back."""
    done = Flips()
    before = _logical(root / FOLDER / "ledger.db")
    for path, bit in flips(root, count, seed):
        content = path.read_bytes()
        bad = bytearray(content)
        bad[bit // 8] ^= 1 << bit % 8
        path.write_bytes(bad)
        place = f"{path.relative_to(root)}: byte {bit // 8}, bit {bit % 8}"
        try:
            done.tried += 1
            for _ in verify_home(root):
                pass
        except GatewrightError as error:
            done.seen += 1
            if not error.refusal.place:
                done.unnamed.append(f"{place}: {error.code}")
        else:
            if _harmless(path, content, before):
                done.harmless += 1
            else:
                done.unseen.append(place)
        finally:
            path.write_bytes(content)
    return done


def _harmless(path: Path, content: bytes, before: object) -> bool:
    if path.name == "gatewright.toml":
        return tomllib.loads(path.read_text("utf-8")) == tomllib.loads(content.decode())
    if path.parent.name in ("keys", "people"):
        return _key(path.read_bytes()) == _key(content)
    return path.name == "ledger.db" and _logical(path) == before


def _key(content: bytes) -> bytes:
    """What is read of a key file: spaces, line ends and the case of hexadecimal digits are not."""
    if not content.startswith(b"-----"):
        return bytes.fromhex(content.decode("ascii"))
    return load_pem_private_key(content, None).private_bytes(
        Encoding.DER, PrivateFormat.PKCS8, NoEncryption()
    )


def _logical(path: Path) -> object:
    """What is read of a ledger's database: every row of every table, earlier checkpoints by their text."""
    copy = path.with_name("logical.copy")
    shutil.copyfile(path, copy)
    try:
        with closing(sqlite3.connect(f"{copy.as_uri()}?mode=ro&immutable=1", uri=True)) as database:
            tables = [
                database.execute(f"SELECT * FROM {name} ORDER BY 1, 2").fetchall()  # noqa: S608 - our own names
                for name in ("records", "nodes", "projections", "meta")
            ]
            notes = database.execute("SELECT size, note FROM checkpoints ORDER BY size").fetchall()
            newest = notes[-1]
            return tables, [(size, note.partition(b"\n\n")[0]) for size, note in notes], newest
    except sqlite3.Error:
        return None
    finally:
        copy.unlink()
