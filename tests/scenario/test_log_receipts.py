"""A client gets the proof that the log kept a prediction, and holds a promise against the log itself."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from scenario.world import Home, Ran, ask, inside, loans, serving

ROWS, _ = loans(1, 3)


@pytest.fixture(scope="module")
def answered(stages: dict[str, Home], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``home``, which answered and whose segment is in the ledger, and beside it ``elsewhere``, made once.

    There lie the answers, the proof of one of them, the log, the log from before, and the owner's public keys.
    """
    place = tmp_path_factory.mktemp("answered")
    there = place / "elsewhere"
    shutil.copytree(stages["live"].root, place / "home")
    home = Home(root=place / "home")
    home.do("evidence", "log", "--to", str(there / "log-before"))
    with serving(home) as server, httpx.Client() as client:
        for number in range(3):
            answer = ask(client, server, "loans", stages["live"].api_key, ROWS)
            (there / f"answer-{number}.json").write_bytes(answer.content)
        early = home.run("evidence", "receipt", str(there / "answer-2.json"), "--to", "early.proof.json")
        assert early.code in {0, 2}, early.out
    home.do("collect")
    (there / "owner").mkdir()
    shutil.copy(home.folder / "trust.json", there / "owner")
    shutil.copytree(home.folder / "workers", there / "owner" / "workers")
    made = home.do("evidence", "receipt", str(there / "answer-1.json"), "--to", "answer.proof.json")
    assert made["bytes"] == (home.root / "answer.proof.json").stat().st_size
    shutil.copy(home.root / "answer.proof.json", there)
    home.do("evidence", "log", "--to", str(there / "log"))
    return place


@pytest.fixture
def owner(answered: Path, tmp_path: Path) -> Home:
    """A copy of the home."""
    shutil.copytree(answered / "home", tmp_path / "home")
    return Home(root=tmp_path / "home")


@pytest.fixture
def elsewhere(answered: Path, tmp_path: Path) -> Path:
    """A copy of what a third party has; no home near it."""
    return Path(shutil.copytree(answered / "elsewhere", tmp_path / "elsewhere"))


def verified(place: Path, *words: str) -> Ran:
    """``gatewright verify`` by a third party."""
    return inside(place, "verify", *words, "--trust", "owner", "--json")


def test_a_proof_is_verified_offline(elsewhere: Path) -> None:
    """The file proves the prediction with the owner's public keys alone: endpoint, segment, record, checkpoint."""
    ran = verified(elsewhere, "answer.proof.json")
    assert 0 == ran.code, ran.out
    (found,) = ran.document
    assert ("log-receipt", "loans") == (found["kind"], found["facts"]["endpoint"])
    assert found["facts"]["record"] < found["facts"]["checkpoint"]


def _other_leaf(proof: dict[str, Any], place: Path) -> None:
    proof["receipt"] = json.loads((place / "answer-0.json").read_bytes())["parameters"]["receipt"]


def _record(proof: dict[str, Any], _: Path) -> None:
    proof["record"] = proof["record"].replace('"records":', '"records":1')


def _index(proof: dict[str, Any], _: Path) -> None:
    proof["index"] -= 1


def _path(proof: dict[str, Any], _: Path) -> None:
    proof["path"] = proof["path"][1:]


def _checkpoint(proof: dict[str, Any], _: Path) -> None:
    origin, size, rest = proof["checkpoint"].split("\n", 2)
    proof["checkpoint"] = f"{origin}\n{int(size) + 1}\n{rest}"


@pytest.mark.parametrize("spoil", [_other_leaf, _record, _index, _path, _checkpoint])
def test_a_proof_binds_every_part(elsewhere: Path, spoil: Callable[[dict[str, Any], Path], None]) -> None:
    """Another prediction's receipt, a changed record, place, path or checkpoint: exit code 3, with a place."""
    proof = json.loads((elsewhere / "answer.proof.json").read_bytes())
    spoil(proof, elsewhere)
    text = json.dumps(proof, separators=(",", ":"), sort_keys=True, ensure_ascii=False)
    (elsewhere / "bad.proof.json").write_text(text, "utf-8")
    ran = verified(elsewhere, "bad.proof.json")
    assert 3 == ran.code, ran.out
    assert ran.error["place"]


def test_a_promise_is_held_against_the_log(owner: Home, elsewhere: Path) -> None:
    """With the log in hand the segment is found; in a log from before it the promise is not covered yet."""
    ran = verified(elsewhere, "answer-2.json", "--log", "log")
    assert 0 == ran.code, ran.out
    assert ["receipt", "log", "promise"] == [one["kind"] for one in ran.document]
    assert ran.document[2]["facts"]["covered"]
    ran = verified(elsewhere, "answer-2.json", "--log", "log-before")
    assert (0, False) == (ran.code, ran.document[2]["facts"]["covered"])
    assert "Not yet covered" in ran.document[2]["sentence"]
    ran = verified(elsewhere, "log", "--log", "log")
    assert 2 == ran.code
    assert 2 == owner.run("verify", "--log", "log").code


def test_what_the_home_lost_is_not_proven(owner: Home, elsewhere: Path) -> None:
    """A collected segment that was taken away is tampering: the home cannot prove what its worker promised."""
    for path in (owner.folder / "segments").rglob("*.sealed"):
        path.unlink()
    ran = owner.run("evidence", "receipt", str(elsewhere / "answer-1.json"), "--to", "new.proof.json")
    assert (3, "operations.prediction-missing") == (ran.code, ran.error["code"])
    assert not (owner.root / "new.proof.json").exists()
