"""Evidence speaks of exactly one thing, at one time, in one reading, and is signed: by the commands.

- AU-04, CVE-2024-51746 (gitsign): of two entries of one signer, the proof of the other is shown.
- AU-05, CVE-2024-55655 (sigstore-python), CVE-2026-48791 (sigstore-java): unsigned time is believed.
- AU-06, CVE-2026-44309 (gitsign): signed JSON that two parsers read differently.
- AU-07, CVE-2026-44310 (gitsign): no signatures, no certificates, no keys.

What needs no command (envelopes and bundles alone) is in ``tests/attack/signatures``.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from attack.evidence.conftest import Canary, Given, refused, verified
from gatewright.kernel import canonical
from gatewright.kernel.instants import Instant
from gatewright.ledger.receipts import BatchStatement, PredictionRecord, Receipt
from scenario.world import Home, inside

DAY = 86_400


@pytest.fixture
def place(given: Given, tmp_path: Path) -> Path:
    """The auditor's files, to be spoilt."""
    return given.copy(tmp_path / "auditor")


@pytest.fixture
def home(given: Given, tmp_path: Path) -> Home:
    """A copy of the home, to be spoilt."""
    shutil.copytree(given.home.root, tmp_path / "home")
    return Home(root=tmp_path / "home")


def _receipt(place: Path, name: str) -> Receipt:
    return Receipt.parse(json.loads((place / name).read_text("utf-8"))["parameters"]["receipt"])


def _show(place: Path, receipt: Receipt) -> Any:
    (place / "forged").write_text(receipt.token(), "utf-8")
    return verified(place, "forged", "--trust", "owner")


def _edit(path: Path, change: Callable[[Any], None]) -> None:
    document = json.loads(path.read_bytes())
    change(document)
    path.write_bytes(canonical.encode(document))


# ---- AU-04: the other entry of the same signer ----------------------------------------------------


@pytest.mark.parametrize(
    ("part", "where"),
    [("leaf", "leaf"), ("statement", "signature"), ("signature", "signature"), ("path", "path")],
)
def test_au04_parts_of_two_receipts_do_not_mix(place: Path, canary: Canary, part: str, where: str) -> None:
    """Two predictions of one worker: no part of one receipt stands in the other."""
    one, two = _receipt(place, "answer.json"), _receipt(place, "other.json")
    if getattr(one, part) == getattr(two, part):  # both came in one batch
        pytest.skip("the two share it")
    ran = _show(place, replace(one, **{part: getattr(two, part)}))
    assert "ledger.receipt-broken" == refused(ran, canary, codes=(3,))
    assert ran.error["place"] in {where, "leaf", "path", "signature"}


def test_au04_the_receipt_of_another_answer(place: Path, canary: Canary) -> None:
    """The receipt of one answer in another one, of the same worker and the same values, is noticed by its salts."""
    receipt = json.loads((place / "other.json").read_text("utf-8"))["parameters"]["receipt"]
    _edit(place / "answer.json", lambda answer: answer["parameters"].update(receipt=receipt))
    _edit(place / "answer.json", lambda answer: answer["outputs"][1]["data"].reverse())
    assert "operations.answer-changed" == refused(verified(place, "answer.json", "--trust", "owner"), canary)


def test_au04_salts_of_the_other_receipt(place: Path, canary: Canary) -> None:
    """With the salts of the other prediction the outputs are not those that were committed to."""
    one, two = _receipt(place, "answer.json"), _receipt(place, "other.json")
    mixed = replace(one, input_salt=two.input_salt, output_salt=two.output_salt)
    _edit(place / "answer.json", lambda answer: answer["parameters"].update(receipt=mixed.token()))
    assert "operations.answer-changed" == refused(verified(place, "answer.json", "--trust", "owner"), canary)


def test_au04_a_record_of_the_other_place(place: Path, canary: Canary) -> None:
    """A leaf that claims another number in the batch than its path leads to does not hold."""
    one = _receipt(place, "answer.json")
    record = PredictionRecord.decode(one.leaf)
    for moved in (replace(record, seq=record.seq + 1), replace(record, seq=record.seq + 2**40)):
        assert "ledger.receipt-broken" == refused(_show(place, replace(one, leaf=moved.encode())), canary)


def test_au04_statements_of_another_release(given: Given, place: Path, canary: Canary) -> None:
    """The owner's own statements about another release, of the same keys, are refused beside this one."""
    given.home.do("release", "export", "loans@2", "--to", str(place / "second"))
    for name in sorted(each.name for each in (place / "second" / "statements").iterdir()):
        copied = place / "export" / "statements" / f"x-{name}"
        shutil.copy(place / "second" / "statements" / name, copied)
        assert "releases.other-root" == refused(verified(place, "export", "--trust", "owner"), canary)
        copied.unlink()
    shutil.copy(place / "second" / "model.sig", place / "export" / "model.sig")
    assert "releases.files" == refused(verified(place, "export", "--trust", "owner"), canary)


def test_au04_entries_of_the_log_in_each_others_place(place: Path, canary: Canary) -> None:
    """Two records of one log that change places are named by the first of them."""
    (path,) = (place / "log" / "tile" / "entries" / "000.p").iterdir()
    content = path.read_bytes()
    entries, at = [], 0
    while at < len(content):
        size = int.from_bytes(content[at : at + 2], "big")
        entries.append(content[at : at + 2 + size])
        at += 2 + size
    entries[3], entries[5] = entries[5], entries[3]
    path.write_bytes(b"".join(entries))
    ran = verified(place, "log", "--trust", "owner")
    refused(ran, canary, codes=(3,))
    assert "record 3" in ran.error["place"]


# ---- AU-05: time that nobody signed ---------------------------------------------------------------


def test_au05_times_of_files_say_nothing(place: Path) -> None:
    """With every file set back by years, each verification says exactly what it said."""
    asked = (("answer.json", "--trust", "owner"), ("export", "--trust", "owner"), ("log", "--trust", "owner"))
    before = [verified(place, *arguments).document for arguments in asked]
    for path in place.rglob("*"):
        os.utime(path, (0, 0))
    assert before == [verified(place, *arguments).document for arguments in asked]


def test_au05_the_index_of_times_is_not_believed(home: Home, canary: Canary) -> None:
    """Moved times in the searched columns of the database never move an answer: it stays, or is refused."""
    moment = home.do("history")[-1]["time"]
    before = home.do("history", "--at", moment)
    with closing(sqlite3.connect(home.folder / "ledger.db")) as database, database:
        database.execute("UPDATE records SET time_ns = time_ns - ?", (400 * DAY * 10**9,))
    for arguments in (("--at", moment), ("--at", "2020-01-01"), (), ("--between", "2020-01-01", moment)):
        ran = home.run("history", *arguments)
        if ran.code:
            refused(ran, canary, codes=(3,))
        elif arguments == ("--at", moment):
            assert before == ran.document
    assert 3 == home.run("verify").code


def test_au05_times_in_a_release_are_signed(place: Path, canary: Canary) -> None:
    """The time of a release, moved in its file, does not hold."""
    _edit(
        place / "export" / "release" / "release.json",
        lambda found: found.update(created="2020-03-03T00:00:00Z"),
    )
    assert "releases.files" == refused(verified(place, "export", "--trust", "owner"), canary, codes=(3,))


@pytest.mark.parametrize("kind", ["approval", "decision"])
def test_au05_times_of_statements_are_signed(place: Path, canary: Canary, kind: str) -> None:
    """The time of an approval or a decision, moved in its payload, does not hold."""
    (path,) = (place / "export" / "statements").glob(f"{kind}-*")

    def earlier(envelope: Any) -> None:
        payload = json.loads(base64.b64decode(envelope["payload"]))
        payload["predicate"]["time"] = "2020-03-03T00:00:00Z"
        envelope["payload"] = base64.b64encode(canonical.encode(payload)).decode()

    _edit(path, earlier)
    refused(verified(place, "export", "--trust", "owner"), canary, codes=(3,))


def test_au05_the_time_of_a_prediction_is_signed(place: Path, canary: Canary) -> None:
    """A receipt whose time was moved does not hold."""
    one = _receipt(place, "answer.json")
    record = PredictionRecord.decode(one.leaf)
    moved = replace(record, time=Instant(record.time.ns - DAY * 10**9))
    assert "ledger.receipt-broken" == refused(
        _show(place, replace(one, leaf=moved.encode())), canary, codes=(3,)
    )


# ---- AU-06: one text, one reading -----------------------------------------------------------------

REWRITTEN: dict[str, Callable[[bytes], bytes]] = {
    "key twice": lambda data: data.replace(b"{", b'{"v":1,"v":1,', 1),
    "same key twice": lambda data: (
        b'{"format":1,' + data[1:] if b'"format"' in data else b'{"kind":"x",' + data[1:]
    ),
    "other order": lambda data: json.dumps(
        dict(reversed(json.loads(data).items())), separators=(",", ":")
    ).encode(),
    "spaces": lambda data: json.dumps(json.loads(data)).encode(),
    "indented": lambda data: json.dumps(json.loads(data), indent=1).encode(),
    "escaped": lambda data: (
        data.replace(b'"k', b'"\\u006b', 1) if b'"k' in data else data.replace(b'"p', b'"\\u0070', 1)
    ),
    "byte order mark": lambda data: b"\xef\xbb\xbf" + data,
    "line end": lambda data: data + b"\n",
    "zero byte": lambda data: data + b"\0",
    "second text": lambda data: data + data,
    "comment": lambda data: data + b"//",
    "UTF-16": lambda data: data.decode().encode("utf-16"),
    "UTF-8 too long": lambda data: (
        data.replace(b"/", b"\xc0\xaf", 1) if b"/" in data else data.replace(b"a", b"\xc1\xa1", 1)
    ),
    "number as float": lambda data: (
        data.replace(b":1", b":1.0", 1) if b":1" in data else data.replace(b"{", b'{"n":1.0,', 1)
    ),
}
FILES = {
    "trust.json": ("owner/trust.json", ("answer.json", "--trust", "owner", "--fingerprint", "FINGERPRINT")),
    "certificate": ("owner/workers/*.dsse.json", ("answer.json", "--trust", "owner")),
    "countersignature": ("export/statements/countersignature.dsse.json", ("export", "--trust", "owner")),
    "decision": ("export/statements/decision-*.dsse.json", ("export", "--trust", "owner")),
    "approval": ("export/statements/approval-*.dsse.json", ("export", "--trust", "owner")),
    "release.json": ("export/release/release.json", ("export", "--trust", "owner")),
    "report.json": ("export/release/report.json", ("export", "--trust", "owner")),
    "verdict.json": ("export/release/verdict.json", ("export", "--trust", "owner")),
}


@pytest.mark.parametrize("file", FILES)
def test_au06_signed_json_has_one_spelling(given: Given, place: Path, canary: Canary, file: str) -> None:
    """Each signed or fingerprinted file of JSON, in other bytes of the same or another reading, is refused."""
    pattern, arguments = FILES[file]
    fingerprint = given.home.do("status")["fingerprint"].removeprefix("sha256:")
    asked = [fingerprint if each == "FINGERPRINT" else each for each in arguments]
    (path,) = place.glob(pattern)
    whole = path.read_bytes()
    assert 0 == verified(place, *asked).code
    for name, change in REWRITTEN.items():
        changed = change(whole)
        assert whole != changed, name
        path.write_bytes(changed)
        refused(verified(place, *asked), canary)
    path.write_bytes(whole)


@pytest.mark.parametrize("name", REWRITTEN)
def test_au06_signed_parts_of_a_receipt_have_one_spelling(place: Path, canary: Canary, name: str) -> None:
    """Leaf and statement of a receipt in other bytes do not hold."""
    one = _receipt(place, "answer.json")
    for forged in (
        replace(one, leaf=REWRITTEN[name](one.leaf)),
        replace(one, statement=REWRITTEN[name](one.statement)),
    ):
        assert "ledger.receipt-broken" == refused(_show(place, forged), canary, codes=(3,))


NOTES: dict[str, Callable[[bytes], bytes]] = {
    "size with a zero before it": lambda note: note.replace(b"\n", b"\n0", 1),
    "size with a sign": lambda note: note.replace(b"\n", b"\n+", 1),
    "size with a space": lambda note: note.replace(b"\n", b"\n ", 1),
    "size of other digits": lambda note: note.replace(b"\n1", "\n\u0661".encode(), 1),
    "one line more": lambda note: note.replace(b"\n\n", b"\nextra\n\n", 1),
    "root without its padding": lambda note: note.replace(b"=\n\n", b"\n\n", 1),
    "carriage returns": lambda note: note.replace(b"\n", b"\r\n"),
    "byte order mark": lambda note: b"\xef\xbb\xbf" + note,
    "signature line twice as long": lambda note: note[:-1] + b"AAAA\n",
    "hyphen for the dash": lambda note: note.replace("\u2014".encode(), b"-"),
    "no end": lambda note: note[:-1],
    "no signature": lambda note: note.partition(b"\n\n")[0] + b"\n\n",
    "no blank line": lambda note: note.replace(b"\n\n", b"\n", 1),
    "two notes": lambda note: note + note,
}


@pytest.mark.parametrize("name", NOTES)
@pytest.mark.parametrize("as_kept", [False, True])
def test_au06_a_checkpoint_has_one_spelling(place: Path, canary: Canary, name: str, *, as_kept: bool) -> None:
    """A note whose text, numbers, base64 or lines are written otherwise is refused, as head and as a kept one."""
    note = (place / "log" / "checkpoint").read_bytes()
    changed = NOTES[name](note)
    assert note != changed
    file = place / "kept" if as_kept else place / "log" / "checkpoint"
    file.write_bytes(changed)
    refused(verified(place, "log", "--trust", "owner", *(("--kept", "kept") if as_kept else ())), canary)


# ---- AU-07: nothing is not something --------------------------------------------------------------


@pytest.mark.parametrize(
    "pattern",
    ["owner/workers/*.dsse.json", "export/statements/countersignature*", "export/statements/decision-*"],
)
@pytest.mark.parametrize("count", [0, 1])
def test_au07_envelopes_with_too_few_signatures(
    place: Path, canary: Canary, pattern: str, count: int
) -> None:
    """A certificate, a countersignature or a decision with no or one signature is refused."""
    (path,) = place.glob(pattern)
    _edit(path, lambda envelope: envelope.update(signatures=envelope["signatures"][:count]))
    asked = "answer.json" if "workers" in pattern else "export"
    refused(verified(place, asked, "--trust", "owner"), canary)


def test_au07_a_strangers_statement_is_not_counted(place: Path) -> None:
    """A decision and an approval by nobody's keys are refused, or told apart from what holds."""
    (path,) = (place / "export" / "statements").glob("approval-*")

    def unknown(envelope: Any) -> None:
        envelope["signatures"] = [{**each, "keyid": "f" * 32} for each in envelope["signatures"]]

    before = verified(place, "export", "--trust", "owner").document[0]["sentence"]
    shutil.copy(path, path.with_name("approval-stranger.dsse.json"))
    _edit(path.with_name("approval-stranger.dsse.json"), unknown)
    ran = verified(place, "export", "--trust", "owner")
    assert 0 == ran.code, ran.out
    assert (
        f"{before} 1 more beside it are of keys that the trusted ones do not vouch for."
        == ran.document[0]["sentence"]
    )
    (decision,) = (place / "export" / "statements").glob("decision-*")
    shutil.copy(decision, decision.with_name("decision-stranger.dsse.json"))
    _edit(decision.with_name("decision-stranger.dsse.json"), unknown)
    ran = verified(place, "export", "--trust", "owner")
    assert (3, "operations.half-signed") == (ran.code, ran.error["code"])
    assert "statements/decision-stranger.dsse.json" == ran.error["place"]


@pytest.mark.parametrize("keep", ["", "folder"])
def test_au07_no_certificates(place: Path, canary: Canary, keep: str) -> None:
    """A receipt is believed of no worker where no certificate is there, and the way out is told."""
    shutil.rmtree(place / "owner" / "workers")
    if keep:
        (place / "owner" / "workers").mkdir()
    ran = verified(place, "answer.json", "--trust", "owner")
    assert "operations.no-certificates" == refused(ran, canary, codes=(2,))
    assert ".gatewright/workers" in ran.error["next"]


@pytest.mark.parametrize(
    "gone", ["statements", "statements/countersignature.dsse.json", "model.sig", "release"]
)
def test_au07_missing_evidence(place: Path, canary: Canary, gone: str) -> None:
    """A release without statements, countersignature, bundle or files is refused."""
    path = place / "export" / gone
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    refused(verified(place, "export", "--trust", "owner"), canary)


def test_au07_no_keys(place: Path, canary: Canary) -> None:
    """A trust root without keys, or with each of them left out, is none."""
    path = place / "owner" / "trust.json"
    whole = path.read_bytes()
    names = list(json.loads(whole)["keys"])
    for changed in (
        {},
        *({key: text for key, text in json.loads(whole)["keys"].items() if key != name} for name in names),
    ):
        path.write_bytes(whole)
        _edit(path, lambda trust, changed=changed: trust.update(keys=changed))  # type: ignore[misc]
        refused(verified(place, "answer.json", "--trust", "owner"), canary)


def test_au07_a_plan_without_signatures(home: Home, canary: Canary) -> None:
    """A published plan whose signatures were taken away is refused, and no server answers by it."""
    _edit(home.folder / "plan.dsse", lambda plan: plan.update(signatures=[]))
    refused(home.run("verify"), canary, codes=(2, 3))


def test_au07_the_empty_batch(place: Path, canary: Canary) -> None:
    """A batch of no leaves, or one that begins after the record, proves nothing."""
    one = _receipt(place, "answer.json")
    stated = BatchStatement.decode(one.statement)
    for forged in (
        replace(stated, size=0),
        replace(stated, first=stated.first + 1),
        replace(stated, size=2**62),
    ):
        assert "ledger.receipt-broken" == refused(
            _show(place, replace(one, statement=forged.encode())), canary
        )


def test_an_honest_copy_holds(place: Path, home: Home) -> None:
    """What all of these begin from holds."""
    for name in ("answer.json", "export", "log"):
        assert 0 == verified(place, name, "--trust", "owner").code
    assert 0 == inside(home.root, "verify", "--json").code
