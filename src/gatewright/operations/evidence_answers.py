"""The end of the one-file verifier: answers, and all of it together.

The pack carries this file and :mod:`gatewright.operations.evidence_verifier` as one,
``verify_evidence.py``: :func:`verifier_source` puts the second below the first. So there is one
verifier, and what is tested here is what an auditor runs.
"""

from __future__ import annotations

import argparse
import hashlib
import inspect
import re
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

from gatewright.operations import evidence_verifier
from gatewright.operations.evidence_verifier import (
    Broken,
    Json,
    Missing,
    check_endpoint,
    check_files,
    check_head,
    check_kept,
    check_log,
    check_people,
    check_release,
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
    """The text of ``verify_evidence.py``: the first file, then this one from its mark on."""
    first = inspect.getsource(evidence_verifier)
    _, mark, second = Path(__file__).read_text("utf-8").partition("# ---- 7. " + "Answers")
    return f"{first}\n\nimport argparse  # noqa: E402\nimport sys  # noqa: E402\n\n{mark}{second}"


# ---- 7. Answers: given by this release, promised by this worker, kept in the log --------------------------

# How the numbers of a tensor are packed, by its type in the Open Inference Protocol.
PACKED = {"BOOL": "?", "UINT8": "B", "UINT16": "H", "UINT32": "I", "UINT64": "Q", "INT8": "b", "INT16": "h"}
PACKED |= {"INT32": "i", "INT64": "q", "FP16": "e", "FP32": "f", "FP64": "d", "BYTES": ""}


def check_answer(data: bytes, request: bytes, proof: bytes, case: Json) -> str:
    """The receipt in a saved answer: a worker's signed promise about these tensors, and its place in the log."""
    answer, parts = load(data, ours=False), []
    text = answer["parameters"]["receipt"].removeprefix("gwr1.").translate({45: "+", 95: "/"})
    token = raw(text + "=" * (-len(text) % 4))
    for width in (2, 2, 1):  # the record, the batch and the worker's signature, each after its length
        size = width + int.from_bytes(token[:width])
        parts.append(token[width:size])
        token = token[size:]
    path, salts = [token[at : at + 32] for at in range(1, 32 * token[0], 32)], token[1 + 32 * token[0] :]
    leaf, batch, hashed = load(parts[0]), load(parts[1]), hashlib.sha256(b"\0" + parts[0]).digest()
    worker, time = case["workers"].get(batch["worker"], {}), leaf["time"].rstrip("Z")
    own = worker and verifies(raw(worker["key"]), parts[2], parts[1])
    require(own, "No worker of this home signed the receipt.")
    until = worker.get("valid-until", leaf["time"]).rstrip("Z")
    require(worker["valid-from"].rstrip("Z") <= time <= until, "The worker was not certified at that time.")
    root = path_root(hashed, leaf["seq"] - batch["first"], batch["size"], path).hex()
    same = (batch["kind"], batch["segment"], batch["root"]) == ("predictions.batch", leaf["segment"], root)
    require(same, "The record in the receipt is not under the signed root.")
    release = case["releases"].get(leaf["release"], {})
    require(release and leaf["endpoint"] == case["endpoint"], "Its release or endpoint is not in this pack.")
    asked = load(request, ours=False)["inputs"] if request else []
    asked = [
        {**one, "datatype": spec["datatype"]}
        for spec in release["inputs"]
        for one in asked
        if one["name"] == spec["name"]
    ]
    for what, tensors, salt in (("output", answer.get("outputs"), salts[32:]), ("input", asked, salts[:32])):
        if tensors and all("data" in each and each["datatype"] in PACKED for each in tensors):
            opening = b"gatewright commitment v1\n" + salt + encoded(tensors)
            require(sha256(opening) == leaf[what], f"The {what}s are not those that the worker signed.")
        elif tensors or what == "output":
            now.unverified.append(f"the {what}s of the answer, which are not in the file as JSON")
    sealed, kept = case["log"].of("predictions.sealed", id=leaf["segment"], worker=batch["worker"]), ""
    if proof:
        path = check_proof(load(proof), answer["parameters"]["receipt"], case)
    for record in sealed:
        timely = record["seq"] < case["revoked"].get(batch["worker"], record["seq"] + 1)
        require(timely, "The worker's key was revoked before the log recorded its segment.")
        count = record["body"]["records"]
        require(
            batch["first"] + batch["size"] <= count, "The log holds fewer predictions than were promised."
        )
        if proof or batch["size"] == count:
            root = path_root(hashed, leaf["seq"], count, path).hex()
            require(
                root == record["body"]["root"], "The prediction is not in the segment that the log recorded."
            )
            kept = f"; record {record['seq']} of the log keeps it"
    require(
        sealed or batch["worker"] not in case["revoked"],
        "The worker's key was revoked, and no record vouches for it.",
    )
    kept = kept or "; its place in the log was not shown: ask for its proof"
    return f"Answer: {release['ref']} gave it on {leaf['time']}{kept}."


def check_proof(proof: Json, token: str, case: Json) -> list[bytes]:
    """The path from a prediction to its segment's root, in a file that also leads from there to a signed head."""
    head, record = check_head(proof["checkpoint"].encode(), case["trust"]), proof["record"].encode()
    hashed, path = hashlib.sha256(b"\0" + record).digest(), list(map(bytes.fromhex, proof["path"]))
    root = path_root(hashed, proof["index"], head.size, path)
    known = load(record) == case["log"].records.get(proof["index"]) and proof["receipt"] == token
    require(root == head.root and known, "The proof is of another answer, or not of this log.")
    return list(map(bytes.fromhex, proof["segment_path"]))


def encoded(tensors: list[Json]) -> bytes:
    """Tensors as the bytes that a worker commits to: every part after its length, the lowest byte first."""
    out = b"gatewright tensors v1\n\0\0" + struct.pack("<I", len(tensors))
    for each in tensors:
        data, name, kind, shape = each["data"], each["name"].encode(), each["datatype"], each["shape"]
        while data and isinstance(data[0], list):
            data = [value for part in data for value in part]
        if kind == "BYTES":
            values = b"".join(struct.pack("<I", len(text.encode())) + text.encode() for text in data)
        else:
            values = struct.pack(
                f"<{len(data)}{PACKED[kind]}", *(float("nan") if n is None else n for n in data)
            )
        one = struct.pack("<I", len(name)) + name + bytes((len(kind),)) + kind.encode()
        one += struct.pack(f"<B{len(shape)}QQ", len(shape), *shape, len(values)) + values
        out += struct.pack("<Q", len(one)) + one
    return out


# ---- All of it ---------------------------------------------------------------------------------------------


def verify(path: Path, fingerprint: str, answer: bytes, request: bytes, kept: bytes) -> Iterator[str]:
    """What holds, one sentence after the other."""
    now.at, now.unverified = path.name, []
    pack = open_pack(path)
    manifest = check_files(pack)
    yield f"Files: {len(pack.sizes)}, each as the manifest lists it."
    trust = check_trust(pack, fingerprint)
    yield f"Keys: those of {trust['origin']}, version {trust.get('version', 1)}; fingerprint {fingerprint}."
    log, endpoint = check_log(pack, manifest, trust), manifest["endpoint"]
    seen = ", ".join(f"{name} at {time}" for name, time in log.seen.items()) or "no witness"
    times = (
        [log.records[seq]["time"] for seq in (log.first, log.stop - 1)] if log.stop > log.first else ["", ""]
    )
    yield f"Log: records {log.first} to {log.stop - 1} of {log.size}, {times[0]} to {times[1]}, without a gap."
    yield f"Head of the log: seen by {seen}."
    now.at = "the kept checkpoint"
    yield from [check_kept(kept, log, trust)] if kept else []
    people, releases = check_people(pack, log), dict[str, Json]()
    case: Json = {"log": log, "trust": trust, "releases": releases, "endpoint": endpoint}
    case["workers"] = check_workers(pack, log, trust)
    case["revoked"] = {each["key"]: each["records"] for each in trust["revoked-workers"]}
    for root in sorted({name.split("/")[1] for name in pack.under("releases/")}):
        found = releases[root] = check_release(pack, root, log, trust, people)
        by = "; ".join(found["approved"]) or "nobody: its policy asks for no approval"
        yield f"Release: {found['ref']} is {root}; approved by {by}."
    for line in check_endpoint(pack, log, trust, manifest, releases):
        yield f"Endpoint: {endpoint}, {line}."
    sealed = [each["body"]["records"] for each in log.of("predictions.sealed")]
    yield f"Predictions: {sum(sealed)} in {len(sealed)} sealed segments, of all endpoints of the home."
    for name in (each for each in pack.under("answers/") if each.endswith(".answer.json")):
        yield check_answer(pack.read(name), b"", pack.read(name.replace(".answer.", ".proof.")), case)
    now.at = "the answer"
    yield from [check_answer(answer, request, b"", case)] if answer else []


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
        files = [each.read_bytes() if each else b"" for each in (given.answer, given.request, given.kept)]
        for line in verify(given.pack, given.fingerprint, *files):
            say(f"holds    {line}\n")
    except Broken as error:
        say(f"BROKEN   {error.args[1]}: {error.args[0]}\n")
        return 3
    except (Missing, OSError) as error:
        say(f"missing  {error}\n")
        return 2
    except Exception as error:  # noqa: BLE001 - what cannot be read does not hold, whatever the reason
        say(f"BROKEN   {now.at}: It cannot be read ({type(error).__name__}).\n")
        return 3
    for each in dict.fromkeys(now.unverified):
        say(f"missing  Not verified: {each}.\n")
    return 2 if now.unverified else 0


if __name__ == "__main__":
    sys.exit(main())
