"""Verify an evidence pack, offline, with this one file: read it from top to bottom.

    python verify_evidence.py PACK --fingerprint HEX [--answer FILE] [--request FILE] [--kept CHECKPOINT]

PACK is the zip file, or the folder it was unpacked to. HEX is the fingerprint of the owner's public keys,
which you must have by another way than this pack: by telephone, on paper, in a contract.

Exit code 0: all of it holds, but for what the line "Not judged" names. 3: something does not hold; the first
such thing is named, with its place. 2: wrong use, or a part could not be verified; that is named too.

It needs Python 3.11 and the package "cryptography" 44 or newer, nothing else, and no network. Signatures of
ML-DSA (FIPS 204) need cryptography 48; with an older one they are *told* as not verified (exit code 2).

The order: 1 the files, 2 the keys, 3 the log, 4 people and workers, 5 the releases, 6 what the endpoint
served, 7 answers. Each step rests on the steps before it and on nothing else. Everything is read as data:
nothing in the pack is run, or unpacked to the disk. Each single thing that is verified is one ``require``;
what cannot be read at all does not hold either.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import struct
import zipfile
from bisect import bisect_left
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

LAST = 253_402_300_799  # the last second of the year 9999
SHORT = 1_000  # bytes: only ML-DSA keys are longer
SIGNATURES, HASH = 16, 32
FILES, PACK_BYTES, WHOLE_BYTES = 100_000, 2**32 - 1, 2**29
SMALL, RATIO = 2**20, 1_000  # what unpacks to more than so many times its size is a bomb
RESOURCES = ["model.onnx", "policy.toml", "release.json", "report.json", "signature.json", "verdict.json"]
# The first four are for people: the owner signed them as they are; everything else is judged.
SIGNED = ("manifest.json", "manifest.dsse.json")  # the list of all files, and the owner's signatures over it
FOR_PEOPLE = ("README.txt", "index.html", "crypto.cdx.json", "verify_evidence.py")
NAMES = r"README\.txt|index\.html|crypto\.cdx\.json|verify_evidence\.py|trust\.json|(answers|people|plans|trust|workers)/[^/]+"
NAMES += r"|log/(checkpoint|(others|records)\.jsonl|proofs\.json)"
NAMES += r"|releases/[0-9a-f]{64}/(model\.sig|release/[^/]+|statements/[^/]+)"
TRUST_TYPE = "application/vnd.gatewright.trust+json"
IN_TOTO = ("application/vnd.in-toto+json", "https://in-toto.io/Statement/v1")
TIME = re.compile(r"|~|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{0,8}[1-9])?Z", re.ASCII)
# Types of signatures on a checkpoint (C2SP signed-note, tlog-cosignature), and how such keys begin in DER.
NOTE, COSIGNATURE, ML_DSA_44 = 1, 4, 6
DER = {COSIGNATURE: "302a300506032b6570032100", ML_DSA_44: "30820532300b06096086480165030403110382052100"}
Json = dict[str, Any]


class Broken(Exception):
    """Something does not hold: what, and where. Exit code 3."""


class Missing(Exception):
    """Something that is needed was not given, or the call is wrong. Exit code 2."""


class Now:
    """Which part is being verified (where a problem is said to be), and what could not be, in words."""

    at = "the pack"
    unverified: list[str] = []  # noqa: RUF012 - one verification at a time


now = Now()


def require(holds: object, what: str, at: str = "") -> None:
    """Raise Broken unless it holds."""
    if not holds:
        raise Broken(what, at or now.at)


def sha256(data: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def raw(text: str) -> bytes:
    """The bytes of a base64 text."""
    return base64.b64decode(text, validate=True)


def by(first: str, second: str) -> bool:
    """Whether a time (RFC 3339, UTC, in its shortest form) is not after another; "" is before all, "~" after all."""
    require(TIME.fullmatch(first) and TIME.fullmatch(second), "It states no time.")
    return first.rstrip("Z") <= second.rstrip("Z")


# ---- 1. The files: exactly those of the manifest, each as the manifest says -----------------------------


class Pack:
    """The files of a pack: their sizes and digests by name, and a way to open one."""

    def __init__(self, sizes: dict[str, int], opened: Any) -> None:
        self.sizes, self.opened, self.digests, self.used = sizes, opened, dict[str, str](), {*FOR_PEOPLE}

    def read(self, name: str) -> bytes:
        """A whole file, the one that the manifest lists."""
        now.at = name
        self.used.add(name)
        require(self.sizes.get(name, PACK_BYTES) <= WHOLE_BYTES, "The file is missing, or too large.")
        with self.opened(name) as source:
            data: bytes = source.read(WHOLE_BYTES)
        require(self.digests.get(name, sha256(data)) == sha256(data), "The file was changed.")
        return data

    def under(self, folder: str) -> list[str]:
        """The names of the files below a folder, in order, 2 before 10."""
        return sorted((n for n in self.sizes if n.startswith(folder)), key=lambda n: (len(n), n))


def open_pack(path: Path) -> Pack:
    """The pack in a zip file or a folder."""
    if not path.exists():
        raise Missing(f"There is no file or folder {path}.")
    if path.is_file():
        source = zipfile.ZipFile(path)
        require_plain(source, source.infolist(), path.stat().st_size)
        files = [each for each in source.infolist() if not each.is_dir() or each.file_size]
        return Pack({each.filename: each.file_size for each in files}, source.open)
    found = {each.relative_to(path).as_posix(): each for each in path.rglob("*")}
    odd = [name for name, each in found.items() if each.is_symlink() or not (each.is_dir() or each.is_file())]
    require(not odd, "It is a link, or no plain file.", "".join(odd[:1]))
    sizes = {name: each.stat().st_size for name, each in found.items() if each.is_file()}
    return Pack(sizes, lambda name: found[name].open("rb"))


def require_plain(source: zipfile.ZipFile, members: list[zipfile.ZipInfo], size: int) -> None:
    """Plain members, one right behind the other: nothing hidden, nothing that climbs, no bomb."""
    end = total = 0
    folders = {f"{above}/" for each in members for above in map(str, Path(each.filename).parents)}
    require(len({each.filename for each in members}) == len(members) <= FILES, "A file is in it twice.")
    for each in members:
        now.at, kind, total = each.filename[:300], each.external_attr >> 28, total + each.file_size
        if each.is_dir() and each.file_size == 0 and each.filename in folders:
            now.at, kind = now.at[:-1], 0
        plain = all(re.fullmatch(r"(?!\.\.?$)[\w.@-]+", part, re.ASCII) for part in now.at.split("/"))
        require(plain, "A member has a name that leads out of the pack, or that no pack has.")
        known = kind in (0, 8) and each.compress_type in (0, 8) and not each.flag_bits & ~0x0806
        require(known, "A member is a link, encrypted, or compressed in an unknown way.")
        fits = total <= PACK_BYTES and each.file_size <= max(SMALL, each.compress_size * RATIO)
        require(fits, "A member unpacks to too much.")
        bare = each.header_offset == end and not each.extra and not each.comment
        require(bare, "Something is hidden beside a member.")
        end += 30 + len(each.filename) + each.compress_size
    listed = sum(46 + len(each.filename) for each in members) + 22  # the list of members, and its end
    require((source.start_dir, size) == (end, end + listed), "Something is hidden behind the members.")


def check_files(pack: Pack) -> Json:
    """The manifest lists every file with its size and SHA-256, and nothing else is there."""
    manifest: Json = load(pack.read("manifest.json"))
    known = (manifest["kind"], manifest["format"]) == ("gatewright.evidence-pack", 1)
    known = known and by(max(manifest["from"], "1"), manifest["to"])
    require(known, "It is no manifest of format 1.")
    for name in sorted(set(manifest["files"]) | set(pack.sizes) - {*SIGNED}):
        now.at = name
        require(name in pack.sizes, "The file is missing from the pack.")
        require(name in manifest["files"], "The pack holds a file that its manifest does not list.")
        require(re.fullmatch(NAMES, name), "No pack holds such a file.")
        with pack.opened(name) as source:
            pack.digests[name] = hashlib.file_digest(source, "sha256").hexdigest()
        listed = {"bytes": pack.sizes[name], "sha256": pack.digests[name]}
        require(manifest["files"][name] == listed, "The file was changed.")
    return manifest


def check_signed(pack: Pack, trust: Json) -> None:
    """Both release keys signed the manifest, and so every file, as it is."""
    envelope = Envelope(pack.read(SIGNED[1]))
    kind, said, subjects = statement(envelope)
    same = (kind, subjects) == ("urn:gatewright:evidence-pack:v1", [sha256(pack.read(SIGNED[0]))])
    require(same and envelope.vouched(trust, said["time"]), "The owner did not sign this pack as it is.")


def load(data: bytes, *, ours: bool = True) -> Any:
    """JSON without a key given twice; ours also in its one form (RFC 8785, how a fraction is spelled apart).

    No fraction of ours is calculated with: it is kept as it is written, between two characters that no UTF-8 text holds.
    """

    def once(pairs: list[tuple[str, Any]]) -> Json:
        names = [name for name, _ in pairs]
        require(len(set(names)) == len(names), "A JSON object names a key twice.")
        ordered = not ours or names == sorted(names, key=lambda name: name.encode("utf-16-be"))
        require(ordered, "The keys of a JSON object are not in order.")
        return dict(pairs)

    kept: Any = "\ud800{}\ud800".format if ours else float
    found = json.loads(data.decode(), object_pairs_hook=once, parse_float=kept, parse_constant=int)
    written = json.dumps(found, ensure_ascii=False, separators=(",", ":"))
    same = written.replace('"\ud800', "").replace('\ud800"', "") == data.decode()
    require(same or not ours, "The JSON is not in its one form.")
    return found


# ---- 2. The keys: from the fingerprint that you were given to the keys of now ----------------------------


def verifies(key: bytes, signature: bytes, message: bytes) -> bool:
    """Whether a public key (DER) signed the message; an ML-DSA key that the library does not know is told."""
    try:
        public: Any = load_der_public_key(key)
        how = (ec.ECDSA(SHA256()),) if isinstance(public, ec.EllipticCurvePublicKey) else ()
        public.verify(signature, message, *how)
    except InvalidSignature:
        return False
    except (UnsupportedAlgorithm, ValueError):
        require(len(key) > SHORT, "A key or a signature cannot be read.")
        now.unverified.append("the ML-DSA signatures, which need the Python package cryptography 48 or newer")
    return True


def key_id(text: str) -> str:
    """The name by which signatures refer to a key."""
    return sha256(raw(text))[:32]


class Envelope:
    """A DSSE envelope: a payload of a type, and signatures over both; nothing in it is believed yet."""

    def __init__(self, data: bytes, found: Json | None = None) -> None:
        found = found or load(data)
        require(len(found["signatures"]) <= SIGNATURES, "It has too many signatures.")
        self.type, self.payload, self.digest = found["payloadType"], raw(found["payload"]), sha256(data)
        self.signatures = [(each["keyid"], raw(each["sig"])) for each in found["signatures"]]
        sizes = (len(self.type), self.type.encode(), len(self.payload), self.payload)
        self.message = b"DSSEv1 %d %b %d %b" % sizes

    def signed_by(self, *keys: str) -> bool:
        """Whether every one of the keys signed; a signature in the name of a key that is not its own is a forgery."""
        found = []
        for key in keys:
            own = [signature for name, signature in self.signatures if name == key_id(key)]
            require(all(verifies(raw(key), each, self.message) for each in own), "A signature does not hold.")
            found.append(bool(own))
        return all(found)

    def vouched(self, trust: Json, time: str = "") -> bool:
        """Whether both keys of a release pair that was not revoked signed, at a time when they might."""
        standing = [pair for pair in trust["pairs"] if not pair["revoked"]]
        held = [
            pair for pair in standing if self.signed_by(*pair["keys"])
        ]  # each is looked at: none is a forgery
        return any(by(time, pair["until"]) for pair in held)


def check_trust(pack: Pack, fingerprint: str) -> Json:
    """Each version of the keys is signed by the root keys of the one before; one of them you expect.

    The result is the newest version with its key ``sets``, those of now and, newest first, of the past, and
    the release ``pairs`` in them. *Retired* keys go on proving what they signed until then. Of *revoked* ones
    somebody else may hold a copy: what they signed counts only where others vouch for it.
    """
    names = pack.under("trust/") or ["trust.json"]
    versions = [pack.read(names[0])]
    for name in names[1:]:
        versions.append(next_version(load(versions[-1]), Envelope(pack.read(name))))
    same = versions[-1] == pack.read("trust.json")
    require(same, "This trust.json is not the one that the signed steps end in.")
    found = [sha256(each) for each in versions]
    known = any(each.startswith(fingerprint) for each in found)
    require(known, f"The keys are not those you expect: their fingerprint is {found[-1]}.")
    empty: Json = {"witnesses": [], "revoked-workers": [], "past": []}  # the first format has only keys
    trust: Json = {**empty, "quorum": 0, "expires": "~", "version": 1, **load(versions[-1])}
    now_set = {**trust, "until": trust["expires"], "records": 0, "revoked": []}
    trust["sets"] = [now_set, *reversed(trust["past"])]
    revoked = [(each["keys"], part) for each in trust["past"] for part in each["revoked"]]
    gone = {keys[name] for keys, part in revoked for name in (part, f"{part}-pq")}
    alone = len(set(trust["keys"].values())) == len(trust["keys"]) and not gone & set(trust["keys"].values())
    once = [each.split("+", 2)[2] for each in trust["witnesses"]]
    alone = alone and len(set(once)) == len(once)
    require(alone, "A key that was revoked is in force again, or one stands in two places.")
    pairs: dict[Any, Json] = {}
    for each in trust["sets"]:
        keys = (each["keys"]["release"], each["keys"]["release-pq"])
        last = {"until": each["until"], "records": each["records"], "revoked": keys[0] in gone}
        pairs.setdefault(keys, {"keys": keys, **last})
        each["log revoked"] = each["keys"]["log"] in gone
    return {**trust, "pairs": list(pairs.values()), "found": found}


def next_version(before: Json, step: Envelope) -> bytes:
    """The version that the root keys of the one before signed, and its own; it keeps the past."""
    after = load(step.payload)
    for keys in (before["keys"], after["keys"]):  # in the first format the release keys are the root keys
        roots = (keys.get("root", keys["release"]), keys.get("root-pq", keys["release-pq"]))
        require(step.signed_by(*roots), "The root keys did not sign this change of the keys.")
    follows = (step.type, after["version"]) == (TRUST_TYPE, before.get("version", 1) + 1)
    follows = follows and by(before.get("made", ""), after["made"])
    require(follows, "It does not follow from the version before.")
    past, gone = list(before.get("past", [])), before.get("revoked-workers", [])
    names = ("log", "log-pq", "release", "release-pq")
    spoke, speak = ({name: each["keys"].get(name, "") for name in names} for each in (before, after))
    if (before["origin"], spoke) != (after["origin"], speak):  # then they stand last in the past of this one
        past.append({**after["past"][-1], "origin": before["origin"], "keys": spoke, "revoked": []})
    kept = len(past) == len(after["past"]) and after["revoked-workers"][: len(gone)] == gone
    for old, new in zip(past, after["past"], strict=False):
        kept = kept and {**old, "revoked": new["revoked"]} == new and {*old["revoked"]} <= {*new["revoked"]}
    require(kept, "Keys that spoke for the home, or a revocation, are missing from its past.")
    return step.payload


# ---- 3. The log: every record of the span, and nothing removed between -----------------------------------


class Log:
    """The proven records by number: ``first`` up to ``stop`` without a gap, and older ones; hashes of the tree.

    ``seen`` says which witness cosigned the head when.
    """

    def __init__(self, size: int, root: bytes) -> None:
        self.size, self.root, self.first, self.stop, self.seen = size, root, 0, 0, dict[str, str]()
        self.records, self.nodes = dict[int, Json](), dict[tuple[int, int], bytes]()
        self.kinds, self.segments = dict[str, list[Json]](), dict[str, list[Json]]()

    def of(self, *kinds: str, **body: Any) -> list[Json]:
        """The records of these kinds (``endpoint.``: a group) whose bodies say this, in their order."""
        groups = [group for kind, group in self.kinds.items() if kind.startswith(kinds)]
        found = sorted((each for group in groups for each in group), key=lambda each: int(each["seq"]))
        return [each for each in found if body.items() <= {n: each["body"].get(n) for n in body}.items()]


def check_head(data: bytes, trust: Json, *, kept: bool = False) -> Log:
    """A checkpoint that both log keys of one key set signed, and the cosignatures of the known witnesses.

    Keys of the past count for the records of their time; of revoked ones a head counts only where enough
    witnesses, one at least, cosigned it before. One that was kept proves nothing by itself, and convicts nobody.
    """
    text, _, lines = data.decode().rpartition("\n\n")
    origin, size, root = text.split("\n")
    log, body, about = Log(int(size), raw(root)), f"{text}\n".encode(), origin.encode()
    signed = [(name, raw(line)) for _, name, line in (line.split(" ") for line in lines.splitlines())]

    def lines_of(name: str, kind: int, key: bytes) -> list[bytes]:
        """The signatures of a key, which must hold where they are there."""
        public = key[-1312:] if kind == ML_DSA_44 else key[-32:]
        mark = (name, hashlib.sha256(name.encode() + bytes((10, kind)) + public).digest()[:4])
        found = [line[4:] for signer, line in signed if (signer, line[:4]) == mark]
        for line in found:
            time, own = (b"", line) if kind == NOTE else (line[:8], line[8:])
            message = body if kind == NOTE else b"cosignature/v1\ntime %d\n%b" % (int.from_bytes(time), body)
            if kind == ML_DSA_44:
                named = bytes((len(name),)) + name.encode() + time + bytes((len(about),)) + about
                message = b"subtree/v1\n\0" + named + struct.pack(">QQ", 0, log.size) + log.root
            require(verifies(key, own, message), f"The signature of {name} does not hold.")
        return found

    cosigned = dict[str, list[list[bytes]]]()
    for name, _, key in (witness.split("+", 2) for witness in trust["witnesses"]):
        kind, *public = raw(key)
        cosigned.setdefault(name, []).append(lines_of(name, kind, bytes.fromhex(DER[kind]) + bytes(public)))
    for name, marks in cosigned.items():  # a witness counts when each of its keys signed
        if all(marks):
            time = min(max(int.from_bytes(line[:8]) for each in marks for line in each), LAST)
            log.seen[name] = f"{datetime.fromtimestamp(time, UTC):%Y-%m-%dT%H:%M:%SZ}"
    for each in (each for each in trust["sets"] if each["origin"] == origin):
        keys = [(NOTE, each["keys"]["log"]), (ML_DSA_44, each["keys"].get("log-pq"))]
        marks = [lines_of(origin, kind, raw(key)) for kind, key in keys if key]
        if any(marks):
            require(all(marks), "One of the log's keys did not sign it.")
            early = sum(by(time, each["until"]) for time in log.seen.values())
            revoked = each["log revoked"] and early < max(1, trust["quorum"])
            if kept and revoked:
                raise Missing("The kept checkpoint cannot be compared: its keys were revoked; who made it?")
            require(not revoked, "The log keys that signed it were revoked.")
            timely = kept or each["keys"]["log"] == trust["keys"]["log"] or log.size <= each["records"]
            require(timely, "It has more records than the log had when its keys were replaced.")
            return log
    raise Broken("The log's keys did not sign it.", now.at)


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash over two hashes (RFC 9162, 2.1.1)."""
    return hashlib.sha256(b"\1" + left + right).digest()


def parting(size: int) -> int:
    """Where a tree parts: the largest power of two below its size."""
    return 1 << ((size - 1).bit_length() - 1)


def path_root(leaf: bytes, index: int, size: int, path: list[bytes]) -> bytes:
    """The root to which a path leads from leaf ``index`` of ``size`` (RFC 9162, 2.1.3.1); Broken where it does not fit."""
    fits = type(index) is type(size) is int and 0 <= index < size and bool(path) == (size > 1)
    require(fits and all(len(each) == HASH for each in path), "A path does not fit its place.")
    if size == 1:
        return leaf
    if index < parting(size):
        return node_hash(path_root(leaf, index, parting(size), path[:-1]), path[-1])
    return node_hash(path[-1], path_root(leaf, index - parting(size), size - parting(size), path[:-1]))


def tree_root(low: int, high: int, known: list[int], log: Log, rest: Iterator[bytes]) -> bytes:
    """The root over the records ``low`` up to ``high``: a subtree without a known record is the next of the rest."""
    if (low, high) not in log.nodes:
        if bisect_left(known, low) == bisect_left(known, high):
            log.nodes[low, high] = next(rest)
        else:
            middle = low + parting(high - low)
            left = tree_root(low, middle, known, log, rest)
            log.nodes[low, high] = node_hash(left, tree_root(middle, high, known, log, rest))
    return log.nodes[low, high]


def check_log(pack: Pack, manifest: Json, trust: Json) -> Log:
    """The records stand under the signed head: those of the span without a gap, and older ones it rests on.

    The hashes of everything else, from left to right, complete them to the root. A record that was changed,
    removed or put in gives another root, which the log did not sign.
    """
    log = check_head(pack.read("log/checkpoint"), trust)
    log.first, log.stop = manifest["first"], manifest["stop"]
    fits = type(log.first) is type(log.stop) is int and 0 <= log.first <= log.stop <= log.size
    require(fits, "It names impossible records.", "manifest.json")
    if len(log.seen) < trust["quorum"]:
        now.unverified.append(f"the witnesses: {len(log.seen)} saw it, {trust['quorum']} should have")
    for name in ("log/records.jsonl", "log/others.jsonl"):
        data = pack.read(name)
        whole = data.count(b"\n") <= log.size and data[-1:] in (b"", b"\n")
        require(whole, "It has more lines than the log has records, or its last line has no end.")
        for line, leaf in enumerate(data.split(b"\n")[:-1], log.first):
            record = load(leaf)
            seq = line if name == "log/records.jsonl" else record["seq"]
            now.at, before = f"{name}: record {seq}", log.records.get(seq - 1, record)
            fits = type(seq) is int and 0 <= seq == record["seq"] < log.size
            fits = fits and record["v"] == 1 and seq not in log.records
            require(fits, f"Record {seq} is missing, or record {record['seq']} stands in its place.")
            require(by(before["time"], record["time"]), "Time goes backwards.")
            log.records[seq], log.nodes[seq, seq + 1] = record, hashlib.sha256(b"\0" + leaf).digest()
            log.kinds.setdefault(record["kind"], []).append(record)
            log.segments.setdefault(record["body"].get("id", ""), []).append(record)
    gap = next((seq for seq in range(log.first, log.stop) if seq not in log.records), None)
    require(gap is None, f"Record {gap} is missing.", f"log/records.jsonl: record {gap}")
    hashes = [bytes.fromhex(text) for text in load(pack.read("log/proofs.json"))["hashes"]]
    require(all(len(each) == HASH for each in hashes), "A hash has another length.")
    rest = iter(hashes)
    now.at = f"log: records {log.first} to {log.stop - 1}"
    same = tree_root(0, log.size, sorted(log.records), log, rest) == log.root
    same = same and next(rest, None) is None
    require(same, f"The checkpoint of {log.size} is of other records: one was changed, removed or put in.")
    newest = max((each["body"]["version"] for each in log.of("trust.changed")), default=1)
    older = f"These keys are older than this log, which has version {newest} of them."
    require(newest <= trust["version"], older, "trust.json")
    early = log.first == 0 or not by(manifest["from"], log.records[log.first]["time"])
    late = log.stop == log.size or not by(log.records[log.stop - 1]["time"], manifest["to"])
    require(early and late, "The records do not reach over the whole span.", "manifest.json")
    counts = (manifest["counts"]["records"], sum(manifest["counts"][each] for each in ("records", "others")))
    same = counts == (log.stop - log.first, len(log.records))
    require(same, "It counts other records than are there.", "manifest.json")
    return log


def check_kept(data: bytes, log: Log, trust: Json) -> str:
    """The log of the pack begins with what you kept."""
    try:
        kept = check_head(data, trust, kept=True)
    except (IndexError, ValueError):
        raise Missing("The kept checkpoint cannot be read.") from None
    if not (log.first <= kept.size <= log.stop or kept.size in (0, log.size)):
        why = " The home was put back since, and records are missing." if log.of("home.restored") else ""
        raise Missing(f"The kept checkpoint of {kept.size} records cannot be compared by this pack.{why}")
    root = tree_root(0, kept.size, sorted(log.records), log, iter(())) if kept.size else kept.root
    require(root == kept.root, "The log does not begin with what you kept: one of them was rewritten.")
    return f"Log: it begins with the {kept.size} records of the checkpoint that you kept."


# ---- 4. People and workers: who signed -------------------------------------------------------------------


def check_people(pack: Pack, log: Log) -> Json:
    """The key of each person, from the log, and the name where the pack discloses it (a salted commitment)."""
    people = {}
    for record in log.of("user.added"):
        principal, name = record["body"]["principal"], ""
        if f"people/{principal}" in pack.sizes:
            opening = pack.read(f"people/{principal}")
            require(sha256(opening) == record["commitments"]["profile"], "It is not this person's name.")
            name = load(opening[len("gatewright commitment v1\n") + 32 :])["name"]
        people[principal] = (record["body"]["key"], name or principal)
    return people


def check_workers(pack: Pack, trust: Json) -> dict[str, Json]:
    """The keys that may sign receipts, by their ids: those that both release keys certify, in this home."""
    workers, origins = {}, {each["origin"] for each in trust["sets"]}
    for name in pack.under("workers/"):
        envelope = Envelope(pack.read(name))
        kind, said, subjects = statement(envelope)
        known = re.fullmatch("urn:gatewright:worker-key:v[12]", kind) is not None
        known = known and subjects == [sha256(raw(said["key"]))]
        require(known and said["origin"] in origins, "It certifies no worker of this home.")
        timely = envelope.vouched(trust, said["valid-from"])
        require(timely, "Release keys that count did not sign it, or not in their time.")
        workers[key_id(said["key"])] = said
    return workers


def statement(envelope: Envelope) -> tuple[str, Json, list[str]]:
    """The kind of an in-toto statement, what it says, and the digests of what it is about."""
    said = load(envelope.payload)
    require((envelope.type, said["_type"]) == IN_TOTO, "It is no statement.")
    return said["predicateType"], said["predicate"], [each["digest"]["sha256"] for each in said["subject"]]
