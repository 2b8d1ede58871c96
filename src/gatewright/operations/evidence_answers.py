"""The end of the one-file verifier: answers, and all of it together.

The pack carries :mod:`gatewright.operations.evidence_verifier`, :mod:`gatewright.operations.evidence_releases`
and this file as one, ``verify_evidence.py``: :func:`verifier_source` puts the second and the third below the
first. So there is one verifier, and what is tested here is what an auditor runs.
"""

from __future__ import annotations

import argparse
import hashlib
import inspect
import json
import math
import re
import struct
import sys
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from gatewright.operations import evidence_releases, evidence_verifier
from gatewright.operations.evidence_releases import check_endpoint, check_release
from gatewright.operations.evidence_verifier import (
    HASH,
    SIGNED,
    Broken,
    Json,
    Missing,
    by,
    check_files,
    check_head,
    check_kept,
    check_log,
    check_people,
    check_signed,
    check_trust,
    check_workers,
    load,
    now,
    open_pack,
    path_root,
    raw,
    require,
    sha256,
    verifies,
)


def verifier_source() -> str:
    """The text of ``verify_evidence.py``: the first file, then the others from their marks on."""
    imports = "import argparse\nimport math\nimport sys\nfrom collections.abc import Sequence\nfrom itertools import chain"
    parts = [inspect.getsource(evidence_verifier).rstrip()]
    for mark, before, text in (
        ("# ---- 5. " + "The releases", "", inspect.getsource(evidence_releases)),
        ("# ---- 7. " + "Answers", f"{imports}\n\n", Path(__file__).read_text("utf-8")),
    ):
        _, begin, rest = text.partition(mark)
        parts.append(f"{before}{begin}{rest.rstrip()}")
    return "\n\n\n".join(parts) + "\n"


# ---- 7. Answers: given by this release, promised by this worker, kept in the log --------------------------

# How the numbers of a tensor are packed, by its type in the Open Inference Protocol; BF16 is half of an FP32.
PACKED = {"BOOL": "?", "UINT8": "B", "UINT16": "H", "UINT32": "I", "UINT64": "Q", "INT8": "b", "INT16": "h"}
PACKED |= {"INT32": "i", "INT64": "q", "FP16": "e", "FP32": "f", "FP64": "d", "BF16": "f", "BYTES": ""}
NOT_JUDGED = (
    "Not judged by this file: whether the checks and the policy were applied rightly (the verdict is taken as it "
    "stands), and a bill of materials beyond its model, name and numbers. The owner signed index.html and "
    "crypto.cdx.json as they are; that they say the same as these lines, a reader compares."
)


def check_answer(data: bytes, request: bytes, proof: bytes, case: Json) -> str:
    """The receipt in a saved answer: a worker's signed promise about these tensors, and its place in the log."""
    answer, whole = saved(data, "outputs")
    receipt = answer.get("parameters", answer).get("receipt")
    if not isinstance(receipt, str):
        raise Missing(f"{now.at}: There is no receipt in the file.")
    text, parts = receipt.removeprefix("gwr1.").translate({45: "+", 95: "/"}), []
    token = raw(text + "=" * (-len(text) % 4))
    for width in (2, 2, 1):  # the record, the batch and the worker's signature, each after its length
        size = width + int.from_bytes(token[:width])
        parts.append(token[width:size])
        token = token[size:]
    path, salts = [token[at : at + 32] for at in range(1, 32 * token[0], 32)], token[1 + 32 * token[0] :]
    require(len(salts) == 2 * HASH, "The receipt has no two salts.")
    leaf, batch, hashed = load(parts[0]), load(parts[1]), hashlib.sha256(b"\0" + parts[0]).digest()
    worker = case["workers"].get(batch["worker"], {})
    own = worker and verifies(raw(worker["key"]), parts[2], parts[1])
    require(own, "No worker of this home signed the receipt.")
    timely = by(worker["valid-from"], leaf["time"]) and by(leaf["time"], worker.get("valid-until", "~"))
    require(timely, "The worker was not certified at that time.")
    root = path_root(hashed, leaf["seq"] - batch["first"], batch["size"], path).hex()
    same = (batch["kind"], batch["segment"], batch["root"]) == ("predictions.batch", leaf["segment"], root)
    require(same, "The record in the receipt is not under the signed root.")
    release = case["releases"].get(leaf["release"], {})
    require(release and leaf["endpoint"] == case["endpoint"], "Its release or endpoint is not in this pack.")
    version = release["ref"].split("@")[1]
    names = {"model_name": leaf["endpoint"], "id": leaf["request"], "model_version": version}
    same = all(answer.get(name, said) == said for name, said in names.items())
    require(same, "The endpoint, version or id in the file is not the one that the worker signed.")
    if leaf["plan"] not in case["plans"]:
        now.unverified.append(f"plan {leaf['plan']}, by which an answer was given: it is not in the pack")
    elif leaf["release"] not in case["plans"][leaf["plan"]]:
        raise Broken("The plan of the answer does not name its release.", now.at)
    check_tensors("output", answer.get("outputs", []) if whole else [], None, leaf, salts[32:])
    if request:
        asked, whole = saved(request, "inputs")
        check_tensors("input", asked["inputs"] if whole else [], release["inputs"], leaf, salts[:32])
    if proof:
        path = check_proof(load(proof), receipt, case)
    kept = check_place(leaf, batch, hashed, path, case, shown=bool(proof))
    if release["gone"]:
        when = "later" if by(leaf["time"], release["gone"][1]) else "before this answer"
        kept += f"; the release was revoked {when} ({release['gone'][2]})"
    asked_too = " to the inputs that you gave" if request and whole else ""
    return f"Answer: {release['ref']} gave it{asked_too} on {leaf['time']}{kept}."


def check_place(leaf: Json, batch: Json, hashed: bytes, path: list[bytes], case: Json, *, shown: bool) -> str:
    """Whether the log recorded the segment of a prediction, holds it there, and had it before a worker was revoked."""
    kept, revoked = "", case["revoked"].get(batch["worker"])
    wanted = ("predictions.sealed", batch["worker"])
    for record in case["log"].segments.get(leaf["segment"], []):
        if (record["kind"], record["body"].get("worker")) != wanted:
            continue
        timely = revoked is None or record["seq"] < revoked
        require(timely, "The worker's key was revoked before the log recorded its segment.")
        count = record["body"]["records"]
        enough = batch["first"] + batch["size"] <= count
        require(enough, "The log holds fewer predictions than were promised.")
        if shown or batch["size"] == count:
            same = path_root(hashed, leaf["seq"], count, path).hex() == record["body"]["root"]
            require(same, "The prediction is not in the segment that the log recorded.")
            kept = f"; record {record['seq']} of the log keeps it"
    vouched = kept or revoked is None
    require(vouched, "The worker's key was revoked, and no record is shown to vouch for it.")
    return kept or "; its place in the log was not shown: ask for its proof"


def saved(content: bytes, of: str) -> tuple[Json, bool]:
    """A saved body: the JSON, and behind it the binary data of tensors (Open Inference Protocol), put into them.

    Or a receipt alone. And whether it is whole: callers often save the JSON without the data.
    """
    text = content.decode("latin-1")
    begin, bare = len(text) - len(text.lstrip(" \t\r\n")), text.strip().strip('"').strip()
    if bare.startswith("gwr1."):
        return {"receipt": bare}, True
    try:
        end = json.JSONDecoder().raw_decode(text, begin)[1]
        found, rest = load(content[begin:end], ours=False), content[end:]
        sizes = [(each.get("parameters") or {}).get("binary_data_size") for each in found.get(of, [])]
        at = len(rest) - sum(size or 0 for size in sizes)
        if at < 0 and not rest.strip():
            return found, False
        require(at >= 0 and not rest[:at].strip(), "Other data follows the JSON than it declares.")
        for each, size in zip(found.get(of, []), sizes, strict=True):
            if size is not None:
                require(type(size) is int and size >= 0 and "data" not in each, "An impossible size.")
                each["data"], at = rest[at : at + size], at + size
    except (Broken, ValueError, TypeError, AttributeError, RecursionError):
        raise Missing(
            f"{now.at}: It cannot be read, so it was not compared; give the body as it was sent."
        ) from None
    return dict(found), True


def check_tensors(what: str, tensors: list[Json], specs: list[Json] | None, leaf: Json, salt: bytes) -> None:
    """The tensors are those whose salted commitment a worker signed: as answered, or as the release takes them."""
    if not tensors:
        now.unverified.append(f"the {what}s of the answer, which are not in the file")
        return
    changed = f"The {what}s are not those that the worker signed."
    sent = {each["name"]: each for each in tensors}
    wanted = [(each["name"], each["datatype"]) for each in (tensors if specs is None else specs)]
    require(sorted(name for name, _ in wanted) == sorted(each["name"] for each in tensors), changed)
    try:
        encoding = encoded([(sent[name], kind) for name, kind in wanted], gaps=specs is not None)
    except (ArithmeticError, KeyError, TypeError, ValueError, struct.error):
        encoding = b""
    require(sha256(b"gatewright commitment v1\n" + salt + encoding) == leaf[what], changed)


def check_proof(proof: Json, token: str, case: Json) -> list[bytes]:
    """The path from a prediction to its segment's root, in a file that also leads from there to a signed head."""
    head, record = check_head(proof["checkpoint"].encode(), case["trust"]), proof["record"].encode()
    hashed, path = hashlib.sha256(b"\0" + record).digest(), list(map(bytes.fromhex, proof["path"]))
    root = path_root(hashed, proof["index"], head.size, path)
    known = load(record) == case["log"].records.get(proof["index"]) and proof["receipt"] == token
    require(root == head.root and known, "The proof is of another answer, or not of this log.")
    return list(map(bytes.fromhex, proof["segment_path"]))


def encoded(tensors: Sequence[tuple[Json, str]], *, gaps: bool = False) -> bytes:
    """Tensors, each in a type, as the bytes that a worker commits to: every part after its length, the lowest byte first.

    With ``gaps`` a null among floats is a missing cell. Raises ValueError for values that do not fit.
    """
    out = b"gatewright tensors v1\n\0\0" + struct.pack("<I", len(tensors))
    for each, kind in tensors:
        name, shape, values = each["name"].encode(), each["shape"], values_of(each, gaps=gaps)
        if kind == "BYTES":
            data = b"".join(struct.pack("<I", len(part)) + part for part in values)
        else:
            data = numbers(values, kind, exact="INT" in each["datatype"])
        one = struct.pack("<I", len(name)) + name + bytes((len(kind),)) + kind.encode()
        one += struct.pack(f"<B{len(shape)}QQ", len(shape), *shape, len(data)) + data
        out += struct.pack("<Q", len(one)) + one
    return out


def values_of(tensor: Json, *, gaps: bool) -> list[Any]:
    """The values of a tensor, row after row, as many as its shape says and all of its type."""
    kind, shape, data = tensor["datatype"], tensor["shape"], tensor["data"]
    if isinstance(data, bytes):
        data = unpacked(data, kind)
    elif any(isinstance(each, list) for each in data):
        for size in shape[1:]:
            if not all(isinstance(part, list) and len(part) == size for part in data):
                raise ValueError(shape)
            data = list(chain.from_iterable(data))
    floats, allowed = kind in ("FP16", "BF16", "FP32", "FP64"), {"BOOL": (bool,), "BYTES": (str, bytes)}
    if gaps and floats:
        data = [math.nan if each is None else each for each in data]
    types = allowed.get(kind, (int, float))
    whole = floats or kind in allowed or all(each == int(each) for each in data)
    if len(data) != math.prod(shape) or not whole or not all(type(each) in types for each in data):
        raise ValueError(kind)
    if kind == "BYTES":
        return [each.encode() if isinstance(each, str) else each for each in data]
    if not (floats or kind == "BOOL"):
        data = [int(each) for each in data]
        struct.pack(f"<{len(data)}{PACKED[kind]}", *data)  # each fits the type it says it has
    return list(data)


def unpacked(data: bytes, kind: str) -> list[Any]:
    """The values in the binary data of a tensor."""
    if kind == "BYTES":
        found = []
        while data:
            size = 4 + int.from_bytes(data[:4], "little")
            if len(data) < size:
                raise ValueError(kind)
            found.append(data[4:size])
            data = data[size:]
        return found
    if kind == "BF16":  # the upper half of an FP32 number
        data = b"".join(b"\0\0" + data[at : at + 2] for at in range(0, len(data), 2))
    if kind == "BOOL" and data.strip(b"\0\1"):
        raise ValueError(kind)
    return list(struct.unpack(f"<{len(data) // struct.calcsize('<' + PACKED[kind])}{PACKED[kind]}", data))


def rounded(value: float, form: str) -> bytes:
    """A number in a type that may be too small for it."""
    try:
        return struct.pack(f"<{form}", value)
    except OverflowError:
        return struct.pack(f"<{form}", math.copysign(math.inf, value))


def numbers(values: list[Any], kind: str, *, exact: bool) -> bytes:
    """Numbers in a type, each NaN in one form, what is too large as an infinity; ``exact`` ones lose no digit."""
    values = [math.nan if each != each else each for each in values]  # noqa: PLR0124 - only NaN is not itself
    held = [float(each) for each in values] if PACKED[kind] in "efd" else values
    try:
        data = struct.pack(f"<{len(held)}{PACKED[kind]}", *held)
    except OverflowError:
        data = b"".join(rounded(each, PACKED[kind]) for each in held)
    if kind == "BF16":
        words = struct.unpack(f"<{len(values)}I", data)
        nearest = [(word + 0x7FFF + (word >> 16 & 1)) >> 16 for word in words]
        halves = [0x7FC0 if each != each else half for each, half in zip(values, nearest, strict=True)]  # noqa: PLR0124
        data = struct.pack(f"<{len(halves)}H", *halves)
    if exact and unpacked(data, kind) != values:
        raise ValueError(kind)
    return data


# ---- All of it ---------------------------------------------------------------------------------------------


def verify(path: Path, fingerprint: str, answer: bytes, request: bytes, kept: bytes) -> Iterator[str]:
    """What holds, one sentence after the other."""
    now.at, now.unverified = path.name, []
    pack = open_pack(path)
    manifest = check_files(pack)
    yield f"Files: {len(pack.sizes)}, each as the manifest lists it."
    trust = check_trust(pack, fingerprint)
    newest = f"version {trust['version']}, fingerprint {trust['found'][-1]}"
    if not trust["found"][-1].startswith(fingerprint):
        newest += f", to which signed steps lead from the one that you expect, {fingerprint}"
    yield f"Keys: those of {trust['origin']}, {newest}."
    log, endpoint = check_log(pack, manifest, trust), manifest["endpoint"]
    seen = ", ".join(f"{name} at {time}" for name, time in sorted(log.seen.items())) or "no witness"
    times = " to ".join(log.records[seq]["time"] for seq in (log.first, log.stop - 1) if seq in log.records)
    yield f"Log: records {log.first} to {log.stop - 1} of {log.size}, {times}, without a gap."
    yield f"Head of the log: seen by {seen}."
    now.at = "the kept checkpoint"
    yield from [check_kept(kept, log, trust)] if kept else []
    people, releases = check_people(pack, log), dict[str, Json]()
    case: Json = {"log": log, "trust": trust, "releases": releases, "endpoint": endpoint, "plans": {}}
    case["workers"] = check_workers(pack, trust)
    case["revoked"] = {each["key"]: each["records"] for each in trust["revoked-workers"]}
    for root in sorted({name.split("/")[1] for name in pack.under("releases/")}):
        found = releases[root] = check_release(pack, root, log, trust, people)
        who = "; ".join(found["approved"]) or "nobody: its policy asks for no approval"
        gone = f" Revoked on {found['gone'][1]} ({found['gone'][2]})." if found["gone"] else ""
        yield f"Release: {found['ref']} is {root}; approved by {who}.{gone}"
    require(
        len(releases) == manifest["counts"]["releases"],
        "It counts other releases than are there.",
        "manifest.json",
    )
    yield from check_endpoint(pack, log, manifest, case)
    sealed = [each["body"]["records"] for each in log.of("predictions.sealed")]
    yield f"Predictions: {sum(sealed)} in {len(sealed)} sealed segments, of all endpoints of the home."
    for name in (each for each in pack.under("answers/") if each.endswith(".answer.json")):
        shown = pack.read(name.replace(".answer.", ".proof."))
        if answer and pack.read(name) == answer:
            yield check_answer(answer, request, shown, case)
            answer = b""
            continue
        yield check_answer(pack.read(name), b"", shown, case)
    now.at = "the answer"
    yield from [check_answer(answer, request, b"", case)] if answer else []
    for now.at in sorted({*pack.sizes} - pack.used - {*SIGNED}):
        raise Broken("Nothing in the pack refers to this file.", now.at)
    check_signed(pack, trust)
    yield f"Pack: signed as a whole by the release keys of {trust['origin']}."
    yield NOT_JUDGED


def say(line: str) -> None:
    """Print a line; what a reader cannot see, or what acts on a terminal, is shown as its code."""
    sys.stdout.write("".join(each if each.isprintable() else ascii(each)[1:-1] for each in line[:-1]) + "\n")


def main(arguments: list[str] | None = None) -> int:
    """Verify, tell, and return the exit code."""
    parser = argparse.ArgumentParser(description="Verify an evidence pack, offline.")
    parser.add_argument("pack", type=Path)
    parser.add_argument("--fingerprint", required=True, help="of the owner's keys: 16 characters or more")
    for name in ("--answer", "--request", "--kept"):
        parser.add_argument(name, type=Path)
    given = parser.parse_args(arguments)
    if not re.fullmatch("[0-9a-f]{16,64}", given.fingerprint) or (given.request and not given.answer):
        parser.error("give 16 to 64 characters of the fingerprint, and --request only with --answer")
    try:
        files = [
            (each.read_bytes() or b" ") if each else b"" for each in (given.answer, given.request, given.kept)
        ]
        for line in verify(given.pack, given.fingerprint, *files):
            say(f"{'         ' if line == NOT_JUDGED else 'holds    '}{line}\n")
    except Broken as error:
        say(f"BROKEN   {error.args[1]}: {error.args[0]}\n")
        say("Do not rely on it; keep it as evidence, and ask the owner for a new one.\n")
        return 3
    except (Missing, OSError) as error:
        say(f"missing  {error}\n")
        return 2
    except Exception as error:  # noqa: BLE001 - what cannot be read does not hold, whatever the reason
        say(f"BROKEN   {now.at}: It cannot be read ({type(error).__name__}).\n")
        return 3
    missing = list(dict.fromkeys(now.unverified))
    for each in missing:
        say(f"missing  Not verified: {each}.\n")
    say(f"All of it holds{f', but for the {len(missing)} above, not verified' if missing else ''}.\n")
    return 2 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
