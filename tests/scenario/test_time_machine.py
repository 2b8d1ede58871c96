"""An auditor asks what was live when, and why one answer was given; the commands tell, or name what is broken."""

from __future__ import annotations

import json
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from scenario.conftest import NewHome
from scenario.world import READY_S, Home, Server, ask, inside, serving

PARTS = {
    "answer", "batch", "key", "recording", "segment", "plan", "deployment", "approval", "release", "verdict",
    "reason", "policy", "report", "finding", "model", "dataset", "checkpoint",
}  # fmt: skip


def _until_plan(home: Home, number: int) -> None:
    until = time.monotonic() + READY_S
    while home.do("status")["worker"]["plan"] != number:
        assert time.monotonic() < until
        time.sleep(0.05)


def _answer(home: Home, server: Server, client: httpx.Client, version: str) -> dict[str, Any]:
    """An answer of the version; with a canary of a half it comes soon."""
    for number in range(200):
        answer = ask(client, server, "loans", home.api_key, np.full((1, 3), number % 7 - 3)).json()
        if answer["model_version"] == version:
            found: dict[str, Any] = answer
            return found
    raise AssertionError(f"version {version} never answered")


def _part(story: dict[str, Any], part: str) -> dict[str, Any]:
    found: dict[str, Any] = next(line for line in story["lines"] if line["part"] == part)
    return found


def _kept(home: Home, answer: dict[str, Any], name: str) -> str:
    (home.root / name).write_text(json.dumps(answer), "utf-8")
    return name


@pytest.fixture(scope="module")
def lived(stages: dict[str, Home], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A home whose canary answered, and was rolled back; the two answers are kept beside it."""
    root = tmp_path_factory.mktemp("lived") / "home"
    shutil.copytree(stages["live"].root, root)
    home = Home(root=root, api_key=stages["live"].api_key)
    home.do("release", "create", "loans@2")
    home.do("approve", "loans@2", "--as", "ada")
    with serving(home) as server, httpx.Client() as client:
        _kept(home, _answer(home, server, client, "1"), "champion.json")
        segment = _part(home.do("why", "champion.json"), "segment")
        assert (segment["record"] is None) == ("ledger does not name it yet" in segment["text"])
        _until_plan(home, home.do("deploy", "loans@2", "--canary", "50%")["plan_number"])
        _kept(home, _answer(home, server, client, "2"), "canary.json")
        _until_plan(home, home.do("rollback", "loans")["plan_number"])
    yield home
    home.rebuilt()


def test_the_whole_chain_of_an_answer_is_told(lived: Home) -> None:
    """Each answer is told with its place, plan, decision, approval and lineage; each line is backed."""
    champion, canary = (lived.do("why", f"{name}.json") for name in ("champion", "canary"))
    for story in (champion, canary):
        assert PARTS == {line["part"] for line in story["lines"]}
        assert story["holds"]
        backed = {line["part"] for line in story["lines"] if line["digest"] or line["record"]}
        assert PARTS - {"recording"} == backed
        assert 9 < len(story["not_proven"])
        assert "inputs" in story["not_proven"][0]
    assert "loans@1 did, as the champion" in _part(champion, "answer")["text"]
    assert "loans@2 did, as the canary with 50% of the requests" in _part(canary, "answer")["text"]
    acts = {each["plan_number"]: each["record"] for each in lived.do("history")}
    assert [acts[1], acts[2]] == [_part(each, "plan")["record"] for each in (champion, canary)]
    assert _part(canary, "plan")["record"] == _part(canary, "deployment")["record"]
    token = json.loads((lived.root / "canary.json").read_text("utf-8"))["parameters"]["receipt"]
    assert canary["facts"]["id"] == lived.do("why", token)["facts"]["id"]
    shown = inside(lived.root, "why", "canary.json")
    assert (0, "") == (shown.code, shown.err)
    assert "Not proven:" in shown.out


def test_the_canary_stands_in_the_history_of_its_time_alone(lived: Home) -> None:
    """At the time of the canary it is told, with its grounds; before and after it is not."""
    deployed, joined, back = lived.do("history", "loans")
    seen = [lived.do("history", "loans", "--at", each["time"]) for each in (deployed, joined, back)]
    places = [[one["place"] for one in each["endpoints"][0]["releases"]] for each in seen]
    assert [["champion"], ["champion", "canary"], ["champion"]] == places
    canary = seen[1]["endpoints"][0]["releases"][1]
    assert ("loans@2", 500, joined["record"]) == (canary["ref"], canary["share"], canary["since"]["record"])
    assert ["ada"] == [one["by"] for one in canary["grounds"]["approvals"]]
    assert [1, 2, 3] == [each["plan"]["number"] for each in seen]
    window = lived.do("history", "--between", joined["time"], back["time"])["changes"]
    assert ["endpoint.joined", "endpoint.rolled-back"] == [each["kind"] for each in window]
    assert ["the canary loans@2 takes 50% of the requests", "the canary loans@2 left"] == [
        each["what"] for each in window
    ]
    shown = inside(lived.root, "history", "--at", joined["time"]).out
    assert "canary" in shown
    assert "approved by ada (owner)" in shown


def _flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(bytes(content))


def _without_segments(home: Home) -> None:
    shutil.rmtree(home.folder / "segments")


def _a_flipped_segment(home: Home) -> None:
    for path in (home.folder / "segments").rglob("*.sealed"):
        _flip(path, path.stat().st_size // 2)


def _another_answer(home: Home) -> None:
    path = home.root / "champion.json"
    answer = json.loads(path.read_text("utf-8"))
    answer["outputs"][0]["data"] = (
        [1 - answer["outputs"][0]["data"][0]]
        if isinstance(answer["outputs"][0]["data"][0], int)
        else ["yes" if answer["outputs"][0]["data"][0] == "no" else "no"]
    )
    path.write_text(json.dumps(answer), "utf-8")


def _another_plan(home: Home) -> None:
    with closing(sqlite3.connect(home.folder / "ledger.db")) as database, database:
        database.execute("UPDATE records SET kind = 'made.up' WHERE kind = 'endpoint.deployed'")


def _flipped_contents(home: Home) -> None:
    for path in (home.folder / "blobs").rglob("*"):
        if path.is_file():
            _flip(path, path.stat().st_size // 2)


FORGERIES: tuple[tuple[Callable[[Home], None], str], ...] = (
    (_without_segments, "operations.prediction-missing"),
    (_a_flipped_segment, "ledger.segment-torn"),
    (_another_answer, "operations.answer-changed"),
    (_another_plan, "operations.no-such-plan"),
    (_flipped_contents, ""),
)


def test_the_first_thing_that_does_not_hold_is_named(lived: Home, tmp_path: Path) -> None:
    """A missing or changed segment, answer, record or content ends the story with exit code 3 and its name."""
    for number, (forge, code) in enumerate(FORGERIES):
        copy = Home(root=tmp_path / f"forged-{number}")
        shutil.copytree(lived.root, copy.root)
        forge(copy)
        ran = copy.run("why", "champion.json")
        assert 3 == ran.code, (forge.__name__, ran.out)
        assert ran.error["what"]
        assert code in ("", ran.error["code"]), (forge.__name__, ran.error)


def test_wrong_use_says_what_to_do(lived: Home) -> None:
    """No receipt, two questions at once, and a window that ends before it begins are refused with exit code 2."""
    (lived.root / "empty.json").write_text("{}", "utf-8")
    for arguments in (
        ("why", "empty.json"),
        ("why", "gwr1.AAAA"),
        ("history", "--at", "2026-01-01", "--between", "2026-01-01", "2026-01-02"),
        ("history", "--between", "2026-02-01", "2026-01-01"),
    ):
        ran = lived.run(*arguments)
        assert 2 == ran.code, ran.out
        assert ran.error["next"]


def test_a_stranger_is_told_nothing(lived: Home, new_home: NewHome) -> None:
    """The receipt of another home does not hold here."""
    other = new_home("nothing")
    other.do("init", "--owner", "ada")
    shutil.copy(lived.root / "champion.json", other.root)
    assert 3 == other.run("why", "champion.json").code
