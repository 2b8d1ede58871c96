"""Somebody who was given an answer, an export and a fingerprint verifies all of it, and knows whom they trusted."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from gatewright.adapters.key_files import KeyFolder
from gatewright.assembly.settings import read_trust
from gatewright.kernel.instants import Instant
from gatewright.releases.keys import PublicKey
from gatewright.releases.statement import WorkerKey
from gatewright.releases.worker_keys import certify
from scenario.conftest import NewHome
from scenario.world import Home, Ran, ask, command, inside, loans, serving

OWNER = "owner"
EXPORT = "loans-1"


@pytest.fixture(scope="module")
def given(stages: dict[str, Home], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What an outsider has: owner/ (trust.json, workers/), an exported release, an answer and its request."""
    place = tmp_path_factory.mktemp("outsider")
    home = Home(root=place.parent / "outsiders-home", api_key=stages["live"].api_key)
    shutil.copytree(stages["live"].root, home.root)
    home.do("release", "export", "loans", "--to", str(place / EXPORT))
    rows, _ = loans(3, 5)
    with serving(home, log="outsider.log") as server, httpx.Client() as client:
        answer = ask(client, server, "loans", home.api_key, rows)
    assert 200 == answer.status_code, answer.text
    (place / "answer.json").write_text(answer.text, "utf-8")
    (place / "request.json").write_bytes(answer.request.content)
    (place / OWNER).mkdir()
    shutil.copy(home.folder / "trust.json", place / OWNER)
    shutil.copytree(home.folder / "workers", place / OWNER / "workers")
    (place / "fingerprint").write_text(home.do("status")["fingerprint"].removeprefix("sha256:"), "utf-8")
    return place


def _verify(place: Path, *arguments: str) -> Ran:
    return inside(place, "verify", *arguments, "--json")


def _changed(given: Path, folder: Path, change: Callable[[Any], None], name: str = "answer.json") -> str:
    document = json.loads((given / name).read_text("utf-8"))
    change(document)
    place = folder / f"changed-{name}"
    place.write_text(json.dumps(document, indent=2), "utf-8")
    return str(place)


def _one_value(document: Any) -> None:
    document["outputs"][1]["data"][0] += 0.25


def _label(document: Any) -> None:
    document["outputs"][0]["data"][0] ^= 1


def _shape(document: Any) -> None:
    document["outputs"][1]["shape"].reverse()


def _fewer(document: Any) -> None:
    del document["outputs"][1]


def _unreadable(document: Any) -> None:
    document["outputs"][0]["data"] = "yes"


def _name(document: Any) -> None:
    document["model_name"] = "mortgages"


def _id(document: Any) -> None:
    document["id"] = "another"


def test_an_answer_is_compared_with_its_receipt(given: Path) -> None:
    """The outputs are compared, and what was not compared is said in the sentence and in the facts."""
    ran = _verify(given, "answer.json", "--trust", OWNER)
    assert 0 == ran.code, ran.out
    (found,) = ran.document
    assert (["outputs"], ["inputs"]) == (found["facts"]["compared"], found["facts"]["not_compared"])
    assert "The outputs are those that were signed." in found["sentence"]
    assert "Not compared: the inputs; give the request with --request." in found["sentence"]


@pytest.mark.parametrize("change", [_one_value, _label, _shape, _fewer, _unreadable])
def test_changed_outputs_do_not_hold(given: Path, tmp_path: Path, change: Callable[[Any], None]) -> None:
    """An answer whose outputs were edited ends with exit code 3 and says so."""
    ran = _verify(given, _changed(given, tmp_path, change), "--trust", OWNER)
    assert (3, "operations.answer-changed") == (ran.code, ran.error["code"])
    assert "The outputs in this file are not those the worker signed." == ran.error["what"]


@pytest.mark.parametrize(("change", "place"), [(_name, "model_name"), (_id, "id")])
def test_changed_names_do_not_hold(
    given: Path, tmp_path: Path, change: Callable[[Any], None], place: str
) -> None:
    """The endpoint and the request id in an answer are compared too."""
    ran = _verify(given, _changed(given, tmp_path, change), "--trust", OWNER)
    assert (3, place) == (ran.code, ran.error["place"])


def test_a_key_given_twice_is_no_answer(given: Path, tmp_path: Path) -> None:
    """A file in which two readers could see two answers is refused."""
    text = (given / "answer.json").read_text("utf-8")
    place = tmp_path / "twice.json"
    place.write_text('{"outputs": [],' + text[1:], "utf-8")
    assert 2 == _verify(given, str(place), "--trust", OWNER).code


def test_nested_data_says_the_same(given: Path, tmp_path: Path) -> None:
    """A client that keeps the data nested as its shape says has the same answer."""

    def nest(document: Any) -> None:
        output = document["outputs"][1]
        output["data"] = np.array(output["data"]).reshape(output["shape"]).tolist()

    ran = _verify(given, _changed(given, tmp_path, nest), "--trust", OWNER)
    assert 0 == ran.code, ran.out
    assert ["outputs"] == ran.document[0]["facts"]["compared"]


@pytest.mark.parametrize("trust", [OWNER, EXPORT])
def test_the_request_is_compared(given: Path, tmp_path: Path, trust: str) -> None:
    """With --request the inputs are compared as well, with and without the release's signature at hand."""
    ran = _verify(given, "answer.json", "--request", "request.json", "--trust", trust)
    assert 0 == ran.code, ran.out
    (found,) = ran.document
    assert [] == found["facts"]["not_compared"]
    assert "The outputs and the inputs are those that were signed." in found["sentence"]

    def other(document: Any) -> None:
        document["inputs"][0]["data"][0] += 1

    changed = _changed(given, tmp_path, other, "request.json")
    ran = _verify(given, "answer.json", "--request", changed, "--trust", trust)
    assert (3, "inputs") == (ran.code, ran.error["place"])
    assert "The inputs in the request are not those the worker signed." == ran.error["what"]


def test_the_export_names_the_version_that_answered(given: Path, tmp_path: Path) -> None:
    """With the exported release at hand the sentence names the version, and another version does not hold."""
    (found,) = _verify(given, "answer.json", "--trust", EXPORT).document
    assert "release loans@1 (" in found["sentence"]
    assert "The version number is that of the release." in found["sentence"]

    def version(document: Any) -> None:
        document["model_version"] = "2"

    changed = _changed(given, tmp_path, version)
    assert "model_version" == _verify(given, changed, "--trust", EXPORT).error["place"]
    (found,) = _verify(given, changed, "--trust", OWNER).document
    assert "Not compared: the version number" in found["sentence"]


def test_a_receipt_alone_says_what_it_lacks(given: Path, tmp_path: Path) -> None:
    """The bare token holds, and both outputs and inputs are named as not compared."""
    token = json.loads((given / "answer.json").read_text("utf-8"))["parameters"]["receipt"]
    place = tmp_path / "receipt.txt"
    place.write_text(token, "utf-8")
    (found,) = _verify(given, str(place), "--trust", OWNER).document
    assert ([], ["outputs", "inputs"]) == (found["facts"]["compared"], found["facts"]["not_compared"])
    assert 64 == len(found["facts"]["release"])
    assert found["facts"]["release"] not in found["sentence"]


@pytest.mark.parametrize(
    "arguments",
    [("loans-1", "--request", "request.json", "--trust", OWNER), ("--request", "request.json", "--trust", OWNER)],
)  # fmt: skip
def test_a_request_belongs_to_an_answer(given: Path, arguments: tuple[str, ...]) -> None:
    """A request given for something else is wrong use, never silently left out."""
    assert 2 == _verify(given, *arguments).code


def test_the_trusted_keys_are_shown(given: Path) -> None:
    """Every verification says whose keys it believed, and machines read the same."""
    whole = (given / "fingerprint").read_text("utf-8")
    for what in ("answer.json", EXPORT):
        shown = command(given, "verify", what, "--trust", OWNER)
        assert (0, 1) == (shown.code, shown.out.count(f"fingerprint {whole}")), shown.out + shown.err
        (found,) = _verify(given, what, "--trust", OWNER).document
        assert (whole, False, "") == tuple(
            found["trust"][part] for part in ("fingerprint", "compared", "warning")
        )


def test_the_expected_fingerprint_is_asked_for(given: Path) -> None:
    """The whole fingerprint or 16 characters of it are taken; another one is exit 3, too few are exit 2."""
    whole = (given / "fingerprint").read_text("utf-8")
    for expected in (whole, whole[:16], f"sha256:{whole}", whole[:20].upper()):
        ran = _verify(given, EXPORT, "--trust", OWNER, "--fingerprint", expected)
        assert (0, True) == (ran.code, ran.document[0]["trust"]["compared"]), ran.out
    other = _verify(given, EXPORT, "--trust", OWNER, "--fingerprint", whole[1:17])
    assert (3, "assembly.other-fingerprint") == (other.code, other.error["code"])
    for short in (whole[:15], "x" * 16, whole + "0"):
        assert 2 == _verify(given, EXPORT, "--trust", OWNER, "--fingerprint", short).code


def test_keys_that_came_with_the_evidence_are_warned_of(given: Path) -> None:
    """Keys from inside the exported folder hold, with a warning until their fingerprint was compared."""
    for trust in (EXPORT, f"{EXPORT}/trust.json"):
        shown = inside(given, "verify", EXPORT, "--trust", trust)
        assert (0, True) == (shown.code, "The keys came with the evidence" in shown.out)
        assert (
            "came with the evidence"
            in _verify(given, EXPORT, "--trust", trust).document[0]["trust"]["warning"]
        )
    whole = (given / "fingerprint").read_text("utf-8")
    ran = _verify(given, EXPORT, "--trust", EXPORT, "--fingerprint", whole[:16])
    assert (0, "") == (ran.code, ran.document[0]["trust"]["warning"])


def test_without_certificates_it_is_wrong_use(given: Path, tmp_path: Path) -> None:
    """A missing workers/ folder does not look like tampering, and the refusal says where it comes from."""
    shutil.copy(given / OWNER / "trust.json", tmp_path)
    ran = _verify(given, "answer.json", "--trust", str(tmp_path))
    assert (2, "operations.no-certificates") == (ran.code, ran.error["code"])
    assert ".gatewright/workers" in ran.said
    assert "--trust FOLDER" in ran.said


def test_another_worker_is_told_from_a_missing_certificate(
    given: Path, stages: dict[str, Home], tmp_path: Path
) -> None:
    """Where there are certificates and none is the signer's, the receipt does not hold, in its own words."""
    folder = stages["live"].folder
    keys, trust = KeyFolder(folder=folder / "keys"), read_trust(folder)
    other = PublicKey.from_text(keys.log.public.text())
    worker = WorkerKey(public=other, valid_from=Instant(0), origin=trust.origin)
    (tmp_path / "workers").mkdir()
    (tmp_path / "workers" / "other.dsse.json").write_bytes(certify(worker, [keys.release, keys.release_pq]))
    (tmp_path / "trust.json").write_bytes(trust.encode())
    ran = _verify(given, "answer.json", "--trust", str(tmp_path))
    assert (3, "operations.unknown-worker") == (ran.code, ran.error["code"])
    assert other.id[:12] in ran.said


def test_no_keys_and_no_home_is_wrong_use(given: Path) -> None:
    """Without --trust and without a home the refusal asks for the folder, not for a new home."""
    ran = _verify(given, EXPORT)
    assert 2 == ran.code
    assert "--trust FOLDER" in ran.said
    assert "init" not in ran.said


def test_an_export_is_of_what_is_live(new_home: NewHome, tmp_path: Path) -> None:
    """A name alone exports the live release and says so; the list shows where each is live, newest last."""
    home = new_home("live")
    home.do("release", "create", "loans@2")
    made = home.do("release", "export", "loans", "--to", str(tmp_path / "live"))
    assert ("loans@1", True) == (made["ref"], made["live"])
    assert home.do("status")["fingerprint"].endswith(made["fingerprint"])
    named = home.do("release", "export", "loans@2", "--to", str(tmp_path / "named"))
    assert ("loans@2", False) == (named["ref"], named["live"])
    shown = inside(home.root, "release", "export", "loans", "--to", str(tmp_path / "shown"))
    assert 0 == shown.code, shown.out
    assert "loans@1 (" in shown.out
    assert "live on the endpoint of that name" in shown.out
    listed = home.do("release", "list")
    assert [("loans@1", ["loans"]), ("loans@2", [])] == [(one["ref"], one["live"]) for one in listed]


def test_a_rollback_is_told_in_the_history(new_home: NewHome) -> None:
    """The history says of each change whether it was a deployment or a rollback."""
    home = new_home("live")
    for arguments in (
        "release create loans@2",
        "approve loans@2 --as ada",
        "deploy loans@2",
        "rollback loans",
    ):
        home.do(*arguments.split())
    shown = command(home.root, "history")
    acts = [line.split()[1] for line in shown.out.splitlines() if "loans" in line]
    assert ["deployed", "deployed", "rolled"] == acts, shown.out


def test_encrypted_keys_leave_a_part_unverified(new_home: NewHome) -> None:
    """Without the passphrase what is stored in plain is verified, and what is not is said, with exit code 2."""
    home = new_home("nothing")
    secret = {"GATEWRIGHT_PASSPHRASE": "correct horse battery staple"}
    home.extra = secret
    home.do("init", "--owner", "ada")
    ran = inside(home.root, "verify", "--json")
    assert (2, "assembly.partly-verified") == (ran.code, ran.error["code"])
    assert ["ledger", "tables", "segments"] == [one["kind"] for one in ran.document["verified"]]
    shown = inside(home.root, "verify")
    assert (2, "") == (shown.code, shown.err)
    assert (
        "Not verified: the stored contents and the releases in them, which need the passphrase." in shown.out
    )
    wrong = inside(home.root, "verify", "--json", extra={"GATEWRIGHT_PASSPHRASE": "wrong"})
    assert (2, False) == (wrong.code, "verified" in wrong.document)
    assert 0 == inside(home.root, "verify", "--json", extra=secret).code


def test_the_page_for_outsiders_works_as_written(given: Path) -> None:
    """Every verification that the page tells an outsider to run holds, with the owner's fingerprint put in."""
    page = (Path(__file__).parents[2] / "docs" / "evidence.md").read_text("utf-8")
    section = page.partition("## How an outsider verifies")[2].partition("\n## ")[0]
    told = re.findall(r"gatewright (verify .*--fingerprint )([0-9a-f]{16})$", section, re.MULTILINE)
    assert 2 == len(told)
    whole = (given / "fingerprint").read_text("utf-8")
    for arguments, _ in told:
        ran = inside(given, *arguments.split(), whole[:16], "--json")
        assert (0, True) == (ran.code, ran.document[0]["trust"]["compared"]), ran.out
