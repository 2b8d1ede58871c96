"""An auditor takes one file, on a machine without network and without us, and verifies it, or finds what was done."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import cryptography
import httpx
import numpy as np
import pytest

from gatewright.adapters.key_files import KeyFolder
from gatewright.kernel import canonical
from gatewright.ledger.commitments import commit
from gatewright.ledger.receipts import BatchStatement, PredictionRecord, Receipt
from gatewright.ledger.tree import leaf_hash
from gatewright.operations import evidence_answers
from gatewright.operations.answers import outputs_encoding
from scenario.packs import FOR_PEOPLE, Files, listed, packed, tamperings, unpacked, without_record
from scenario.witness_world import made_witness, served_witness
from scenario.world import Home, ask, inside, serving

DAY = ("--from", "2020-01-01", "--to", "2099-01-01")


@dataclass(frozen=True, slots=True, kw_only=True)
class Handed:
    """What an auditor was handed: the pack, the fingerprint; and what was saved before."""

    home: Home
    pack: Path
    fingerprint: str
    answers: tuple[Path, ...]
    request: Path
    kept: Path


@pytest.fixture(scope="module")
def handed(stages: dict[str, Home], tmp_path_factory: pytest.TempPathFactory) -> Handed:
    """A home that answered, changed its champion and its keys, and exported a pack with one answer."""
    place = tmp_path_factory.mktemp("handed")
    shutil.copytree(stages["live"].root, place / "home")
    home = Home(root=place / "home", api_key=stages["live"].api_key)
    home.do("evidence", "log", "--to", str(place / "early"))
    answers = tuple(place / f"answer-{number}.json" for number in range(3))
    request = place / "request.json"
    with serving(home) as server, httpx.Client() as client:
        for saved in answers:
            answered = ask(client, server, "loans", home.api_key, np.ones((2, 3)))
            saved.write_bytes(answered.content)
        request.write_bytes(answered.request.content)
    home.do("collect")
    home.do("release", "create", "loans@2")
    home.do("approve", "loans@2", "--as", "ada")
    home.do("deploy", "loans@2")
    pack = place / "loans.zip"
    made = home.do("evidence", "export", "loans", *DAY, "--answer", str(answers[0]), "--out", str(pack))
    return Handed(
        home=home,
        pack=pack,
        fingerprint=made["fingerprint"],
        answers=answers,
        request=request,
        kept=place / "early" / "checkpoint",
    )


def _relisted(handed: Handed, files: Files) -> Files:
    """The files as the owner would list and sign them."""
    return listed(files, handed.home.folder)


def _told(pack: Path, fingerprint: str, *more: str) -> tuple[int, str]:
    """Exit code and words of the verifier."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        code = evidence_answers.main([str(pack), "--fingerprint", fingerprint, *more])
    return code, out.getvalue()


def test_our_own_command_verifies_the_pack(handed: Handed, tmp_path: Path) -> None:
    """``gatewright verify PACK`` holds outside the home, and names releases, approvals and predictions."""
    done = inside(tmp_path, "verify", str(handed.pack), "--fingerprint", handed.fingerprint, "--json")
    assert 0 == done.code, done.out + done.err
    said = "\n".join(each["sentence"] for each in done.document)
    for words in (
        "loans@1 is the champion",
        "loans@2 is the champion",
        "approved by ada (owner)",
        "of the log keeps it",
    ):
        assert words in said, said


def test_without_a_fingerprint_nothing_is_believed(handed: Handed, tmp_path: Path) -> None:
    """Outside a home and without the fingerprint the command asks for it, with exit code 2."""
    ran = inside(tmp_path, "verify", str(handed.pack), "--json")
    assert (2, True) == (ran.code, "--fingerprint" in ran.error["next"])


def test_one_file_verifies_where_nothing_but_cryptography_is(handed: Handed, tmp_path: Path) -> None:
    """The verifier of the pack runs isolated, with only ``cryptography`` to import, and finds no gatewright."""
    only = tmp_path / "only"
    only.mkdir()
    packages = Path(cryptography.__file__).parents[1]
    for name in [packages / "cryptography", *packages.glob("_cffi_backend*"), packages / "cffi"]:
        if name.exists():
            (only / name.name).symlink_to(name)
    folder = tmp_path / "pack"
    with zipfile.ZipFile(handed.pack) as opened:
        opened.extractall(folder)
    code = (
        "import sys, runpy\n"
        f"sys.path.append({str(only)!r})\n"
        "for name in ('gatewright', 'numpy', 'sqlalchemy'):\n"
        "    try:\n        __import__(name)\n    except ImportError:\n        continue\n    sys.exit(9)\n"
        f"sys.argv = ['verify_evidence.py', {str(folder)!r}, '--fingerprint', {handed.fingerprint[:16]!r}]\n"
        f"runpy.run_path({str(folder / 'verify_evidence.py')!r}, run_name='__main__')\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=tmp_path,
    )
    assert 0 == done.returncode, done.stdout + done.stderr
    assert "BROKEN" not in done.stdout


def test_a_saved_answer_is_proven(handed: Handed, tmp_path: Path) -> None:
    """An answer and its request are held against the pack; a changed output or input is found."""
    given = ("--answer", str(handed.answers[1]), "--request", str(handed.request))
    assert 0 == _told(handed.pack, handed.fingerprint, *given)[0]
    answer = json.loads(handed.answers[1].read_bytes())
    answer["outputs"][1]["data"][0] += 0.25
    (tmp_path / "answer.json").write_text(json.dumps(answer))
    code, said = _told(handed.pack, handed.fingerprint, "--answer", str(tmp_path / "answer.json"))
    assert (3, True) == (code, "outputs are not those" in said), said
    request = json.loads(handed.request.read_bytes())
    request["inputs"][0]["data"][0] = 7.0
    (tmp_path / "request.json").write_text(json.dumps(request))
    code, said = _told(
        handed.pack, handed.fingerprint, *given[:2], "--request", str(tmp_path / "request.json")
    )
    assert (3, True) == (code, "inputs are not those" in said), said


def test_a_kept_checkpoint_is_extended(handed: Handed, stages: dict[str, Home], tmp_path: Path) -> None:
    """The log of the pack begins with a checkpoint from before; one of another log does not fit."""
    code, said = _told(handed.pack, handed.fingerprint, "--kept", str(handed.kept))
    assert (0, True) == (code, "begins with" in said), said
    stages["checked"].do("evidence", "log", "--to", str(tmp_path / "early"))
    shutil.copytree(stages["checked"].root, tmp_path / "fork")
    fork = Home(root=tmp_path / "fork")
    for name in ("bob", "cleo", "dan"):
        fork.do("user", "add", name)
    fork.do("evidence", "log", "--to", str(tmp_path / "forked"))
    code, said = _told(handed.pack, handed.fingerprint, "--kept", str(tmp_path / "forked" / "checkpoint"))
    assert (3, True) == (code, "rewritten" in said), said


def test_the_same_export_makes_the_same_bytes(handed: Handed, tmp_path: Path) -> None:
    """Two exports with the same arguments are equal but for the signatures over them; a third over the first is refused."""
    again = tmp_path / "again.zip"
    arguments = ("evidence", "export", "loans", *DAY, "--answer", str(handed.answers[0]), "--out", str(again))
    handed.home.do(*arguments)
    first, second = (
        {n: d for n, d in unpacked(p).items() if n != "manifest.dsse.json"} for p in (handed.pack, again)
    )
    assert first == second
    assert 2 == handed.home.run(*arguments).code


@pytest.mark.parametrize(
    "arguments",
    [
        ("nowhere", "--from", "2020-01-01"),
        ("loans", "--from", "2030-01-01", "--to", "2029-01-01"),
        ("loans", "--from", "2020-01-01", "--to", "2020-01-02"),
        ("loans", "--from", "yesteryear"),
    ],
)
def test_a_wrong_call_writes_nothing(handed: Handed, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """An unknown endpoint, a span before everything or in reverse, and a wrong time are refused, and no file is left."""
    ran = handed.home.run("evidence", "export", *arguments, "--out", str(tmp_path / "pack.zip"))
    assert (True, []) == (ran.code != 0, list(tmp_path.iterdir())), ran.out


def test_a_part_of_the_time_is_proven_too(handed: Handed, tmp_path: Path) -> None:
    """A pack of a later part of the log carries the older records it rests on, and holds."""
    records = [json.loads(line) for line in unpacked(handed.pack)["log/records.jsonl"].splitlines()]
    late = records[-2]["time"]
    place = tmp_path / "late.zip"
    made = handed.home.do("evidence", "export", "loans", "--from", late, "--out", str(place))
    assert 0 == _told(place, handed.fingerprint)[0], _told(place, handed.fingerprint)[1]
    assert made["others"] > 0


@pytest.mark.parametrize("compromised", [(), ("--compromised",)])
@pytest.mark.parametrize("part", ["release", "log", "worker"])
def test_keys_that_were_replaced_go_on_proving(
    handed: Handed, tmp_path: Path, part: str, compromised: tuple[str, ...]
) -> None:
    """After a rotation, or a revocation, the pack holds with the old fingerprint and the new one; an older pack too."""
    shutil.copytree(handed.home.root, tmp_path / "home")
    home = Home(root=tmp_path / "home")
    fresh = home.do("key", "rotate", part, *compromised)["fingerprint"]
    place = tmp_path / "pack.zip"
    home.do("evidence", "export", "loans", *DAY, "--answer", str(handed.answers[0]), "--out", str(place))
    for fingerprint in (handed.fingerprint, fresh):
        code, said = _told(place, fingerprint)
        led = "to which signed steps lead from the one that you expect" in said
        assert (0, fresh != fingerprint) == (code, led), said
    if fresh == handed.fingerprint:  # a worker's new key is certified; the public keys stay
        return
    assert (0, 3) == (_told(handed.pack, handed.fingerprint)[0], _told(handed.pack, fresh)[0])
    files = unpacked(place)
    older = {name: data for name, data in files.items() if name != "trust/2.dsse.json"}
    older["trust.json"] = files["trust/1.json"]
    assert 3 == _told(packed(_relisted(handed, older), tmp_path / "older.zip"), fresh)[0]


def test_a_witness_stands_in_the_pack(handed: Handed, tmp_path: Path) -> None:
    """A cosigned head is told with its witness; a newer one that no witness saw is told too, with exit code 2."""
    shutil.copytree(handed.home.root, tmp_path / "home")
    home = Home(root=tmp_path / "home")
    with served_witness(made_witness(tmp_path / "w1")) as witness:
        home.do("witness", "use", witness.url, str(witness.folder / "witness.pub"))
        trusted = inside(home.root, "witness", "trust", str(witness.folder), ".gatewright/trust.json")
        assert 0 == trusted.code, trusted.err
        home.do("collect")
    made = home.do("evidence", "export", "loans", *DAY, "--out", str(tmp_path / "seen.zip"))
    code, said = _told(tmp_path / "seen.zip", handed.fingerprint)
    assert (0, 1, True) == (code, made["witnesses"], "seen by audit.example/w1 at 20" in said), said
    files = unpacked(tmp_path / "seen.zip")
    lines = files["log/checkpoint"].splitlines(keepends=True)
    bare = _relisted(
        handed, {**files, "log/checkpoint": b"".join(line for line in lines if b" audit.example" not in line)}
    )
    code, said = _told(packed(bare, tmp_path / "bare.zip"), handed.fingerprint)
    assert (2, True) == (code, "the witnesses: 0 saw it, 1 should have" in said), said
    home.do("user", "add", "bob")
    made = home.do("evidence", "export", "loans", *DAY, "--out", str(tmp_path / "unseen.zip"))
    assert (2, 0) == (_told(tmp_path / "unseen.zip", handed.fingerprint)[0], made["witnesses"])
    ran = inside(
        tmp_path, "verify", str(tmp_path / "unseen.zip"), "--fingerprint", handed.fingerprint, "--json"
    )
    assert (2, "assembly.partly-verified") == (ran.code, ran.error["code"])


# ---- tampering -------------------------------------------------------------------------------------------


def test_whatever_is_changed_is_found(handed: Handed, tmp_path: Path) -> None:
    """A byte of a file, a file, a record: changed by a stranger, or by the owner with every key, is exit code 3 with its place."""
    files = unpacked(handed.pack)
    for what, changed in islice(tamperings(files, handed.home.folder), 0, None, 7):
        code, said = _told(packed(changed, tmp_path / "pack.zip"), handed.fingerprint)
        name = what.split(" ")[0]
        named = name in said or name.startswith("manifest") or "signed" in what or "listed" in what
        assert (3, True) == (code, named), f"{what}: {said}"


def test_a_forged_page_is_found(handed: Handed, tmp_path: Path) -> None:
    """The page for people is signed with the pack: another one, listed anew, is exit code 3."""
    files = unpacked(handed.pack)
    for name in sorted(FOR_PEOPLE):
        forged = packed(listed({**files, name: files[name].replace(b"e", b"a", 1)}), tmp_path / "pack.zip")
        code, said = _told(forged, handed.fingerprint)
        assert (3, True) == (code, "did not sign this pack" in said), said
    added = {**files, "notes.txt": b"trust me"}
    for changed in (added, listed(added), _relisted(handed, added)):
        assert 3 == _told(packed(changed, tmp_path / "pack.zip"), handed.fingerprint)[0]


def test_a_pack_that_is_zipped_again_holds(handed: Handed, tmp_path: Path) -> None:
    """Unpacked and packed by another program, with entries for the folders, it is the same pack."""
    with zipfile.ZipFile(handed.pack) as opened:
        opened.extractall(tmp_path / "pack")
    parts = sorted(str(each) for each in (tmp_path / "pack").iterdir())
    again = [sys.executable, "-m", "zipfile", "-c", str(tmp_path / "again.zip"), *parts]
    subprocess.run(again, check=True, timeout=120)
    code, said = _told(tmp_path / "again.zip", handed.fingerprint)
    assert (0, True) == (code, "All of it holds." in said), said


def test_a_record_that_is_dropped_changed_or_swapped_is_found(handed: Handed, tmp_path: Path) -> None:
    """A record of the span, dropped and all listed and signed anew, is missed; so is the last one with a shorter span."""
    files = unpacked(handed.pack)
    lines = files["log/records.jsonl"].splitlines(keepends=True)
    for number in (0, len(lines) // 2, len(lines) - 1):
        code, said = _told(
            packed(_relisted(handed, without_record(files, number)), tmp_path / "pack.zip"),
            handed.fingerprint,
        )
        assert (3, True) == (code, "log/records.jsonl: record" in said), said
    manifest = json.loads(files["manifest.json"])
    cut = without_record(files, len(lines) - 1)
    cut["manifest.json"] = json.dumps(
        {**manifest, "stop": manifest["stop"] - 1}, separators=(",", ":")
    ).encode()
    assert 3 == _told(packed(_relisted(handed, cut), tmp_path / "pack.zip"), handed.fingerprint)[0]
    swapped = {**files, "log/records.jsonl": b"".join([lines[1], lines[0], *lines[2:]])}
    assert 3 == _told(packed(_relisted(handed, swapped), tmp_path / "pack.zip"), handed.fingerprint)[0]


def test_a_dropped_record_hidden_behind_its_hash_is_found(handed: Handed, tmp_path: Path) -> None:
    """Whoever gives the hash of a dropped record in its place keeps the root, and leaves a gap that is found."""
    files = unpacked(handed.pack)
    leaf = files["log/records.jsonl"].splitlines()[0]
    proofs = json.loads(files["log/proofs.json"])
    proofs["hashes"].insert(0, hashlib.sha256(b"\x00" + leaf).hexdigest())
    manifest = {**json.loads(files["manifest.json"]), "first": 1}
    changed = {
        **without_record(files, 0),
        "log/proofs.json": json.dumps(proofs, separators=(",", ":")).encode(),
        "manifest.json": json.dumps(manifest, separators=(",", ":")).encode(),
    }
    code, said = _told(packed(_relisted(handed, changed), tmp_path / "pack.zip"), handed.fingerprint)
    assert (3, True) == (code, "whole span" in said), said


def test_pieces_of_two_releases_are_told_apart(handed: Handed, tmp_path: Path) -> None:
    """A report, a bundle, a plan or a whole release under another's name is found."""
    files = unpacked(handed.pack)
    first, second = sorted({name.split("/")[1] for name in files if name.startswith("releases/")})
    for name in (
        "release/report.json",
        "release/verdict.json",
        "model.sig",
        "statements/countersignature.dsse.json",
    ):
        changed = _relisted(handed, {**files, f"releases/{first}/{name}": files[f"releases/{second}/{name}"]})
        assert 3 == _told(packed(changed, tmp_path / "pack.zip"), handed.fingerprint)[0], name
    moved = {name.replace(first, second): data for name, data in files.items() if second not in name}
    assert 3 == _told(packed(_relisted(handed, moved), tmp_path / "pack.zip"), handed.fingerprint)[0]
    plans = {**files, "plans/2.dsse.json": files["plans/1.dsse.json"]}
    assert 3 == _told(packed(_relisted(handed, plans), tmp_path / "pack.zip"), handed.fingerprint)[0]


def test_the_plan_that_was_in_force_cannot_be_left_out(handed: Handed, tmp_path: Path) -> None:
    """A later part of the time without the plan or the record that it began with is refused; so is another endpoint's name."""
    records = [json.loads(line) for line in unpacked(handed.pack)["log/records.jsonl"].splitlines()]
    last = next(each for each in reversed(records) if each["kind"] == "endpoint.deployed")
    handed.home.do("evidence", "export", "loans", "--from", last["time"], "--out", str(tmp_path / "late.zip"))
    files = unpacked(tmp_path / "late.zip")
    left = {name: data for name, data in files.items() if name != "plans/1.dsse.json"}
    assert 3 == _told(packed(_relisted(handed, left), tmp_path / "pack.zip"), handed.fingerprint)[0]
    manifest = json.loads(files["manifest.json"])
    for change in ({"endpoint": "other"}, {"from": "2020-01-01T00:00:00Z"}, {"stop": manifest["stop"] + 1}):
        other = json.dumps(dict(sorted({**manifest, **change}.items())), separators=(",", ":")).encode()
        pack = packed(_relisted(handed, {**files, "manifest.json": other}), tmp_path / "pack.zip")
        code, said = _told(pack, handed.fingerprint)
        assert (3, True) == (code, manifest["first"] > 0), f"{change}: {said}"


def test_the_keys_of_somebody_else_are_not_enough(handed: Handed, tmp_path: Path) -> None:
    """Another fingerprint, and another trust root with the right one, are refused."""
    code, said = _told(handed.pack, "0" * 64)
    assert (3, True) == (code, "not those you expect" in said)
    (tmp_path / "other").mkdir()
    other = Home(root=tmp_path / "other")
    other.do("init", "--owner", "mallory")
    files = {**unpacked(handed.pack), "trust.json": (other.folder / "trust.json").read_bytes()}
    assert 3 == _told(packed(_relisted(handed, files), tmp_path / "pack.zip"), handed.fingerprint)[0]
    assert 2 == inside(tmp_path, "verify", str(handed.pack), "--fingerprint", "short", "--json").code


def _zip(members: list[tuple[zipfile.ZipInfo | str, bytes]], place: Path) -> Path:
    with zipfile.ZipFile(place, "w", zipfile.ZIP_DEFLATED) as opened, contextlib.suppress(UserWarning):
        for name, data in members:
            opened.writestr(name, data)
    return place


@pytest.mark.parametrize(
    "name",
    [
        "../climbs",
        "/absolute",
        "a/../../b",
        "a//b",
        "./a",
        "C:\\\\a",
        "a\\\\b",
        "a\nb",
        "trust.json/",
        "lien\u00e9",
    ],
)
def test_a_name_that_climbs_is_refused(handed: Handed, tmp_path: Path, name: str) -> None:
    """Members whose names lead out of the pack, or are spelled as none is, are refused before anything is read."""
    members: list[tuple[zipfile.ZipInfo | str, bytes]] = list(unpacked(handed.pack).items())
    code, said = _told(_zip([*members, (name, b"x")], tmp_path / "pack.zip"), handed.fingerprint)
    assert (3, True) == (code, "name" in said), said


def test_bombs_links_and_hidden_bytes_are_refused(handed: Handed, tmp_path: Path) -> None:
    """A member that unpacks a thousandfold, a link, a second of the same name, a prefix, a tail and a comment are refused."""
    members: list[tuple[zipfile.ZipInfo | str, bytes]] = list(unpacked(handed.pack).items())
    link = zipfile.ZipInfo("answers/link")
    link.external_attr = 0o120777 << 16
    extra = zipfile.ZipInfo("answers/extra")
    extra.extra = b"\x99\x99\x02\x00hi"
    stored = zipfile.ZipInfo("answers/bzip")
    stored.compress_type = zipfile.ZIP_BZIP2
    odd = [
        _zip([*members, ("answers/bomb", bytes(64 * 2**20))], tmp_path / "bomb.zip"),
        _zip([*members, (link, b"/etc/passwd")], tmp_path / "link.zip"),
        _zip([*members, (extra, b"x")], tmp_path / "extra.zip"),
        _zip([*members, (stored, b"x")], tmp_path / "bzip.zip"),
    ]
    with pytest.warns(UserWarning, match="Duplicate"):
        odd.append(_zip([*members, members[0]], tmp_path / "twice.zip"))
    whole = handed.pack.read_bytes()
    for name, data in (
        ("prefix", b"MZ" + whole),
        ("tail", whole + b"more"),
        ("cut", whole[:-30]),
        ("none", b""),
    ):
        (tmp_path / f"{name}.zip").write_bytes(data)
        odd.append(tmp_path / f"{name}.zip")
    for place in odd:
        code, said = _told(place, handed.fingerprint)
        assert 3 == code, f"{place.name}: {said}"


def test_any_flipped_byte_of_the_zip_file_is_found_or_means_nothing(handed: Handed, tmp_path: Path) -> None:
    """Bytes over the whole zip file, flipped one after the other: refused, or what is read is the same."""
    whole = handed.pack.read_bytes()
    place = tmp_path / "pack.zip"
    for at in range(0, len(whole), max(1, len(whole) // 60)):
        place.write_bytes(whole[:at] + bytes((whole[at] ^ 0x40,)) + whole[at + 1 :])
        code, said = _told(place, handed.fingerprint)
        assert 3 == code or unpacked(place) == unpacked(handed.pack), f"byte {at}: {said}"


def test_what_one_verifier_refuses_the_other_refuses(handed: Handed, tmp_path: Path) -> None:
    """Each file of a release, changed alike: the pack's verifier refuses what ``verify RELEASE`` does; both take it whole."""
    files = unpacked(handed.pack)
    root = min(name.split("/")[1] for name in files if name.startswith("releases/"))
    base = f"releases/{root}/"
    folder = tmp_path / "release"
    for name, data in files.items():
        if name.startswith(base) and "/named-" not in name and "/recorded-" not in name:
            (folder / name.removeprefix(base)).parent.mkdir(parents=True, exist_ok=True)
            (folder / name.removeprefix(base)).write_bytes(data)
    (tmp_path / "trust.json").write_bytes(files["trust.json"])
    for name in sorted(
        each for each in files if (folder / each.removeprefix(base)).is_file() and each.startswith(base)
    ):
        place, data = folder / name.removeprefix(base), files[name]
        for changed in [data[:-1] if len(name) % 2 else data.replace(b"a", b"b", 1)]:
            place.write_bytes(changed)
            theirs = inside(
                tmp_path, "verify", str(folder), "--trust", str(tmp_path / "trust.json"), "--json"
            ).code
            ours = _told(
                packed(_relisted(handed, {**files, name: changed}), tmp_path / "pack.zip"), handed.fingerprint
            )[0]
            assert (3, True) == (ours, theirs in (0, 3)), f"{name}: {theirs} and {ours}"
        place.write_bytes(data)
    whole = inside(tmp_path, "verify", str(folder), "--trust", str(tmp_path / "trust.json"), "--json").code
    assert (0, 0) == (whole, _told(handed.pack, handed.fingerprint)[0])


def _manifest(files: Files, **changes: Any) -> Files:
    """The files with another manifest, not listed anew yet."""
    manifest: dict[str, Any] = {**json.loads(files["manifest.json"]), **changes}
    return {**files, "manifest.json": canonical.encode(manifest)}


def _with_others(files: Files, *lines: bytes) -> Files:
    counts = json.loads(files["manifest.json"])["counts"]
    more = {**files, "log/others.jsonl": b"".join((*lines, files["log/others.jsonl"]))}
    return _manifest(more, counts={**counts, "others": counts["others"] + len(lines)})


def _invented(number: int) -> bytes:
    """A record of a number that no log has."""
    record: dict[str, Any] = {"actor": "a", "body": {}, "commitments": {}, "kind": "user.added", "seq": number, "subject": "", "time": "", "v": 1}  # fmt: skip
    return canonical.encode(record) + b"\n"


INVENTED: Mapping[str, Callable[[Files], Files]] = {
    "a negative number": lambda files: _with_others(files, _invented(-9)),
    "no number": lambda files: _with_others(files, _invented(True)),
    "beyond the log": lambda files: _with_others(files, _invented(10**9)),
    "a tail": lambda files: {**files, "log/records.jsonl": files["log/records.jsonl"] + _invented(99)[:-1]},
    "a tail beside": lambda files: {**files, "log/others.jsonl": b"anything at all"},
    "a span without end": lambda files: _manifest(files, stop=10**12),
    "a span before the beginning": lambda files: _manifest(files, first=-1),
    "other counts": lambda files: _manifest(files, counts={"others": 0, "records": 1, "releases": 2}),
    "a hash too many": lambda files: {
        **files,
        "log/proofs.json": canonical.encode(
            {"hashes": [*json.loads(files["log/proofs.json"])["hashes"], "00" * 32]}
        ),
    },
    "a page among the plans": lambda files: {**files, "plans/what-was-live.html": b"anything"},
    "a person nobody knows": lambda files: {**files, "people/regulator": b"approved"},
    "a letter": lambda files: {**files, "answers/letter.pdf": b"%PDF"},
    "many signatures": lambda files: {
        **files,
        "plans/1.dsse.json": canonical.encode(
            {
                **json.loads(files["plans/1.dsse.json"]),
                "signatures": json.loads(files["plans/1.dsse.json"])["signatures"] * 9,
            }
        ),
    },
}


@pytest.mark.parametrize("what", INVENTED)
def test_what_is_put_in_beside_the_proof_is_found(handed: Handed, tmp_path: Path, what: str) -> None:
    """Records, lines, files, counts and signatures that no proof covers are refused, though the owner signs the pack."""
    changed = _relisted(handed, INVENTED[what](unpacked(handed.pack)))
    code, said = _told(packed(changed, tmp_path / "pack.zip"), handed.fingerprint)
    assert (3, False) == (code, "did not sign this pack" in said), said


def _forged(handed: Handed, place: Path, **changes: object) -> Path:
    """An answer that the worker's stolen key signs, with other outputs, as one that stands in a batch alone."""
    answer = json.loads(handed.answers[1].read_bytes())
    receipt = Receipt.parse(answer["parameters"]["receipt"])
    for each in answer["outputs"]:
        each["data"] = [1.0 - value for value in each["data"]] if each["datatype"] == "FP32" else each["data"]
    output = commit(receipt.output_salt, outputs_encoding(answer))
    leaf = replace(PredictionRecord.decode(receipt.leaf), output=output, **changes)  # type: ignore[arg-type]
    worker = KeyFolder(folder=handed.home.folder / "keys", passphrase=None).worker
    statement = BatchStatement(
        segment=leaf.segment, first=leaf.seq, size=1, root=leaf_hash(leaf.encode()), worker=worker.public.id
    ).encode()
    forged = replace(
        receipt, leaf=leaf.encode(), statement=statement, signature=worker.sign(statement), path=()
    )
    answer["parameters"]["receipt"] = forged.token()
    place.write_text(json.dumps(answer))
    return place


def test_a_thief_with_a_workers_key_is_found(handed: Handed, tmp_path: Path) -> None:
    """What a stolen worker key signs for a segment of before is refused once it is revoked; a plan that no log has is told."""
    forged = _forged(handed, tmp_path / "forged.json")
    shutil.copytree(handed.home.root, tmp_path / "home")
    home = Home(root=tmp_path / "home")
    fresh = home.do("key", "rotate", "worker", "--compromised")["fingerprint"]
    place = tmp_path / "pack.zip"
    home.do("evidence", "export", "loans", *DAY, "--out", str(place))
    for honest in handed.answers:
        assert 3 == _told(place, fresh, "--answer", str(honest))[0]  # its place in the segment is not shown
    code, said = _told(place, fresh, "--answer", str(forged))
    assert (3, True) == (code, "no record is shown" in said), said
    code, said = _told(
        handed.pack, handed.fingerprint, "--answer", str(_forged(handed, tmp_path / "f.json", plan=999))
    )
    assert (2, True) == (code, "plan 999" in said), said
    files = unpacked(place)
    older = {name: data for name, data in files.items() if not name.startswith("trust/")}
    older["trust.json"] = files["trust/1.json"]
    frozen = packed(listed(older, home.folder), tmp_path / "frozen.zip")
    code, said = _told(frozen, handed.fingerprint)
    assert (3, True) == (code, "keys are older than this log" in said), said


def test_a_file_without_a_receipt_is_no_conviction(handed: Handed, tmp_path: Path) -> None:
    """What cannot be read as an answer, or holds no receipt, is exit code 2; a salt of another length is refused."""
    for content in (b"", b"{}", b'{"outputs":[]}', b"not JSON", b'{"parameters":{"receipt":7}}'):
        (tmp_path / "answer.json").write_bytes(content)
        code, said = _told(handed.pack, handed.fingerprint, "--answer", str(tmp_path / "answer.json"))
        assert 2 == code, f"{content!r}: {said}"
    (tmp_path / "kept").write_bytes(b"no checkpoint")
    assert 2 == _told(handed.pack, handed.fingerprint, "--kept", str(tmp_path / "kept"))[0]
    receipt = Receipt.parse(json.loads(handed.answers[1].read_bytes())["parameters"]["receipt"])
    token = receipt.token().removeprefix("gwr1.")
    longer = base64.urlsafe_b64encode(
        base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)) + b"x"
    ).decode()
    (tmp_path / "answer.json").write_text(f"gwr1.{longer.rstrip('=')}")
    assert 3 == _told(handed.pack, handed.fingerprint, "--answer", str(tmp_path / "answer.json"))[0]
    (tmp_path / "answer.json").write_text(receipt.token())
    code, said = _told(handed.pack, handed.fingerprint, "--answer", str(tmp_path / "answer.json"))
    assert (2, True) == (code, "outputs of the answer" in said), said


def test_the_names_in_a_saved_answer_are_held_against_the_receipt(handed: Handed, tmp_path: Path) -> None:
    """Another endpoint, version or id in the file than the worker signed is refused."""
    for change in ({"model_name": "fraud"}, {"model_version": "7"}, {"id": "another"}):
        answer = {**json.loads(handed.answers[1].read_bytes()), **change}
        (tmp_path / "answer.json").write_text(json.dumps(answer))
        code, said = _told(handed.pack, handed.fingerprint, "--answer", str(tmp_path / "answer.json"))
        assert (3, True) == (code, "endpoint, version or id" in said), said


def test_the_verifier_is_written_as_it_lies_in_the_pack(handed: Handed, tmp_path: Path) -> None:
    """``evidence verifier`` writes the same file, tells its digest, and does not write over another."""
    place = tmp_path / "verify_evidence.py"
    made = inside(tmp_path, "evidence", "verifier", "--to", str(place), "--json")
    data = place.read_bytes()
    assert (0, hashlib.sha256(data).hexdigest()) == (made.code, made.document["sha256"])
    assert unpacked(handed.pack)["verify_evidence.py"] == data
    assert 2 == inside(tmp_path, "evidence", "verifier", "--to", str(place)).code


def test_a_home_that_was_put_back_tells_it(handed: Handed, tmp_path: Path) -> None:
    """After a restore from a backup the log goes on under another name and the plans with a higher number: the pack holds and says so."""
    shutil.copytree(handed.home.root, tmp_path / "home")
    home = Home(root=tmp_path / "home")
    home.do("backup", "../home.backup", "--key-file", "../backup.key", "--with-keys")
    home.do("user", "add", "bob")
    home.do("restore", "../home.backup", "--to", "../restored", "--key-file", "../backup.key")
    twin = Home(root=tmp_path / "restored")
    fresh = twin.do("recover", "--as", "ada", "--reason", "The disk was lost.")
    twin.do("rollback", "loans")
    twin.do("evidence", "export", "loans", *DAY, "--out", str(tmp_path / "pack.zip"))
    for fingerprint in (handed.fingerprint, twin.do("status")["fingerprint"]):
        code, said = _told(tmp_path / "pack.zip", fingerprint)
        assert (0, True) == (code, "the home was put back" in said), f"{fresh}: {said}"
    assert "This home was put back on" in unpacked(tmp_path / "pack.zip")["index.html"].decode()


def test_a_pack_that_would_not_hold_is_not_written(handed: Handed, tmp_path: Path) -> None:
    """A home with a spoiled certificate gets no pack: it is verified before it is there."""
    shutil.copytree(handed.home.root, tmp_path / "home")
    home = Home(root=tmp_path / "home")
    (certificate,) = (home.folder / "workers").glob("*.dsse.json")
    certificate.write_bytes(certificate.read_bytes().replace(b"A", b"B", 1))
    ran = home.run("evidence", "export", "loans", *DAY, "--out", str(tmp_path / "pack.zip"))
    assert (3, False) == (ran.code, (tmp_path / "pack.zip").exists()), ran.out
    assert not list(tmp_path.glob(".*.part"))
