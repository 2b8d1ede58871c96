"""An auditor takes one file, on a machine without network and without us, and verifies it, or finds what was done."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import cryptography
import httpx
import numpy as np
import pytest

from gatewright.operations import evidence_answers
from scenario.packs import Files, listed, packed, unpacked
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
    """Two exports with the same arguments are equal, and a third over the first is refused."""
    again = tmp_path / "again.zip"
    arguments = ("evidence", "export", "loans", *DAY, "--answer", str(handed.answers[0]), "--out", str(again))
    handed.home.do(*arguments)
    assert handed.pack.read_bytes() == again.read_bytes()
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
        assert (0, True) == (code, fresh == handed.fingerprint or "version 2" in said), said
    if fresh == handed.fingerprint:  # a worker's new key is certified; the public keys stay
        return
    assert (0, 3) == (_told(handed.pack, handed.fingerprint)[0], _told(handed.pack, fresh)[0])
    files = unpacked(place)
    older = {name: data for name, data in files.items() if name != "trust/2.dsse.json"}
    older["trust.json"] = files["trust/1.json"]
    assert 3 == _told(packed(listed(older), tmp_path / "older.zip"), fresh)[0]


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
    bare = listed(
        {**files, "log/checkpoint": b"".join(line for line in lines if b" audit.example" not in line)}
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


def test_any_changed_file_is_named(handed: Handed, tmp_path: Path) -> None:
    """A flipped byte in any file, with the manifest as it was, is exit code 3 with the file's name."""
    files = unpacked(handed.pack)
    for name, data in files.items():
        if not data:
            continue
        at = len(data) // 2
        changed = {**files, name: data[:at] + bytes((data[at] ^ 1,)) + data[at + 1 :]}
        code, said = _told(packed(changed, tmp_path / "pack.zip"), handed.fingerprint)
        assert (3, True) == (code, name in said or name == "manifest.json"), f"{name}: {said}"


FOR_PEOPLE = {"README.txt", "index.html", "verify_evidence.py"}


def test_any_changed_file_with_a_new_manifest_is_found(handed: Handed, tmp_path: Path) -> None:
    """The same by somebody who also lists the files anew: all but the three files for people are found."""
    files = unpacked(handed.pack)
    for name in sorted(
        name for name, data in files.items() if data and name not in FOR_PEOPLE | {"manifest.json"}
    ):
        data = files[name]
        at = len(data) // 2
        changed = listed({**files, name: data[:at] + bytes((data[at] ^ 1,)) + data[at + 1 :]})
        code, said = _told(packed(changed, tmp_path / "pack.zip"), handed.fingerprint)
        assert 3 == code, f"{name}: {said}"


def test_a_missing_or_added_file_is_found(handed: Handed, tmp_path: Path) -> None:
    """Each file that is taken away, with or without a new manifest, and one that is put in, are found."""
    files = unpacked(handed.pack)
    optional = FOR_PEOPLE | {name for name in files if name.startswith(("people/", "workers/"))}
    for name in sorted(set(files) - {"manifest.json"}):
        left = {other: data for other, data in files.items() if other != name}
        assert 3 == _told(packed(left, tmp_path / "pack.zip"), handed.fingerprint)[0], name
        if name not in optional and not name.startswith("answers/"):
            code, said = _told(packed(listed(left), tmp_path / "pack.zip"), handed.fingerprint)
            assert 3 == code, f"{name}: {said}"
    added = packed({**files, "notes.txt": b"trust me"}, tmp_path / "pack.zip")
    assert 3 == _told(added, handed.fingerprint)[0]
    added = packed(listed({**files, "notes.txt": b"trust me"}), tmp_path / "pack.zip")
    assert 3 == _told(added, handed.fingerprint)[0]


def _without_record(files: Files, number: int) -> Files:
    lines = files["log/records.jsonl"].splitlines(keepends=True)
    return {**files, "log/records.jsonl": b"".join(lines[:number] + lines[number + 1 :])}


def test_a_record_that_is_dropped_changed_or_swapped_is_found(handed: Handed, tmp_path: Path) -> None:
    """Each record of the span, dropped and all listed anew, is missed; so is the last one with a shorter span."""
    files = unpacked(handed.pack)
    lines = files["log/records.jsonl"].splitlines(keepends=True)
    for number in range(len(lines)):
        code, said = _told(
            packed(listed(_without_record(files, number)), tmp_path / "pack.zip"), handed.fingerprint
        )
        assert (3, True) == (code, "log/records.jsonl: record" in said), said
    manifest = json.loads(files["manifest.json"])
    cut = _without_record(files, len(lines) - 1)
    cut["manifest.json"] = json.dumps(
        {**manifest, "stop": manifest["stop"] - 1}, separators=(",", ":")
    ).encode()
    assert 3 == _told(packed(listed(cut), tmp_path / "pack.zip"), handed.fingerprint)[0]
    swapped = {**files, "log/records.jsonl": b"".join([lines[1], lines[0], *lines[2:]])}
    assert 3 == _told(packed(listed(swapped), tmp_path / "pack.zip"), handed.fingerprint)[0]


def test_a_dropped_record_hidden_behind_its_hash_is_found(handed: Handed, tmp_path: Path) -> None:
    """Whoever gives the hash of a dropped record in its place keeps the root, and leaves a gap that is found."""
    files = unpacked(handed.pack)
    leaf = files["log/records.jsonl"].splitlines()[0]
    proofs = json.loads(files["log/proofs.json"])
    proofs["hashes"].insert(0, hashlib.sha256(b"\x00" + leaf).hexdigest())
    manifest = {**json.loads(files["manifest.json"]), "first": 1}
    changed = {
        **_without_record(files, 0),
        "log/proofs.json": json.dumps(proofs, separators=(",", ":")).encode(),
        "manifest.json": json.dumps(manifest, separators=(",", ":")).encode(),
    }
    code, said = _told(packed(listed(changed), tmp_path / "pack.zip"), handed.fingerprint)
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
        changed = listed({**files, f"releases/{first}/{name}": files[f"releases/{second}/{name}"]})
        assert 3 == _told(packed(changed, tmp_path / "pack.zip"), handed.fingerprint)[0], name
    moved = {name.replace(first, second): data for name, data in files.items() if second not in name}
    assert 3 == _told(packed(listed(moved), tmp_path / "pack.zip"), handed.fingerprint)[0]
    plans = {**files, "plans/2.dsse.json": files["plans/1.dsse.json"]}
    assert 3 == _told(packed(listed(plans), tmp_path / "pack.zip"), handed.fingerprint)[0]


def test_the_plan_that_was_in_force_cannot_be_left_out(handed: Handed, tmp_path: Path) -> None:
    """A later part of the time without the plan or the record that it began with is refused; so is another endpoint's name."""
    records = [json.loads(line) for line in unpacked(handed.pack)["log/records.jsonl"].splitlines()]
    last = next(each for each in reversed(records) if each["kind"] == "endpoint.deployed")
    handed.home.do("evidence", "export", "loans", "--from", last["time"], "--out", str(tmp_path / "late.zip"))
    files = unpacked(tmp_path / "late.zip")
    left = {name: data for name, data in files.items() if name != "plans/1.dsse.json"}
    assert 3 == _told(packed(listed(left), tmp_path / "pack.zip"), handed.fingerprint)[0]
    manifest = json.loads(files["manifest.json"])
    for change in ({"endpoint": "other"}, {"from": "2020-01-01T00:00:00Z"}, {"stop": manifest["stop"] + 1}):
        other = json.dumps(dict(sorted({**manifest, **change}.items())), separators=(",", ":")).encode()
        pack = packed(listed({**files, "manifest.json": other}), tmp_path / "pack.zip")
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
    assert 3 == _told(packed(listed(files), tmp_path / "pack.zip"), handed.fingerprint)[0]
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
    for at in range(0, len(whole), max(1, len(whole) // 150)):
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
        for changed in (data[:-1], data.replace(b"a", b"b", 1)):
            place.write_bytes(changed)
            theirs = inside(
                tmp_path, "verify", str(folder), "--trust", str(tmp_path / "trust.json"), "--json"
            ).code
            ours = _told(packed(listed({**files, name: changed}), tmp_path / "pack.zip"), handed.fingerprint)[
                0
            ]
            assert (3, True) == (ours, theirs in (0, 3)), f"{name}: {theirs} and {ours}"
        place.write_bytes(data)
    whole = inside(tmp_path, "verify", str(folder), "--trust", str(tmp_path / "trust.json"), "--json").code
    assert (0, 0) == (whole, _told(handed.pack, handed.fingerprint)[0])
