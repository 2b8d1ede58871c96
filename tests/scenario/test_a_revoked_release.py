"""A release is taken back while it serves: it stops at once, and what it answered before stays proven."""

from __future__ import annotations

import json
import re
import shutil
import time
from pathlib import Path

import httpx
import pytest

from scenario.world import Home, Server, ask, inside, loans, serving

SWITCH_S = 60.0
ROWS, _ = loans(1, 3)


def _answers(server: Server, home: Home) -> httpx.Response:
    with httpx.Client() as client:
        return ask(client, server, "loans", home.api_key, ROWS)


def _until(server: Server, home: Home, status: int, version: str = "") -> httpx.Response:
    """Ask until the answer is the wanted one."""
    until = time.monotonic() + SWITCH_S
    while time.monotonic() < until:
        found = _answers(server, home)
        if found.status_code == status and version in ("", found.json().get("model_version", "")):
            return found
        time.sleep(0.02)
    raise AssertionError(f"Never {status} {version}: {found.status_code} {found.text}")


@pytest.fixture(scope="module")
def story(stages: dict[str, Home], tmp_path_factory: pytest.TempPathFactory) -> tuple[Home, Path]:
    """Version 2 answered, was revoked under traffic, then version 1 was; with what was kept on the way."""
    root = tmp_path_factory.mktemp("revoked")
    shutil.copytree(stages["live"].root, root / "home")
    home = Home(root=root / "home", api_key=stages["live"].api_key)
    home.do("release", "create", "loans@2")
    home.do("approve", "loans@2", "--as", "ada")
    home.do("deploy", "loans@2")
    with serving(home) as server:
        (root / "answer.json").write_text(_until(server, home, 200, "2").text)
        home.do("release", "export", "loans", "--to", str(root / "before"))
        done = home.do("release", "revoke", "loans@2", "--reason", "wrong for Bob", "--because", "wrong")
        assert ["loans"] == done["endpoints"]
        _until(server, home, 200, "1")
        home.do("release", "revoke", "loans@1", "--reason", "that one, too")
        assert "stopped" in _until(server, home, 503).text
        assert 1 == home.run("resume", "loans").code
        assert 503 == _answers(server, home).status_code
    home.do("collect")
    home.do("release", "export", home.do("release", "list")[-1]["root"], "--to", str(root / "after"))
    return home, root


def test_the_export_is_refused_with_the_time(story: tuple[Home, Path]) -> None:
    """``verify`` of an export that carries the revocation ends with 1 and says when; never with 0."""
    home, root = story
    ran = home.run("verify", str(root / "after"))
    assert (1, "releases.revoked") == (ran.code, ran.error["code"])
    assert re.search(r"loans@2 .* was revoked on \d{4}-\d\d-\d\dT[0-9:]{8}Z \(wrong\)", ran.error["what"])


def test_an_export_without_it_cannot_tell(story: tuple[Home, Path]) -> None:
    """From the export alone nobody sees a revocation that was made later or taken out; the log shows it."""
    home, root = story
    assert 0 == home.run("verify", str(root / "before")).code
    home.do("evidence", "log", "--to", str(root / "log"))
    entries = b"".join(
        path.read_bytes() for path in (root / "log" / "tile" / "entries").rglob("*") if path.is_file()
    )
    assert 2 == entries.count(b'"kind":"release.revoked"')


def test_a_changed_revocation_is_tampering(story: tuple[Home, Path]) -> None:
    """A flipped byte in the revocation does not bring the release back: exit code 3, and its name."""
    home, root = story
    place = root / "after" / "statements" / "revocation.dsse.json"
    original = place.read_bytes()
    place.write_bytes(original.replace(b'"sig":"', b'"sig":"A', 1))
    ran = home.run("verify", str(root / "after"))
    place.write_bytes(original)
    assert (3, True) == (ran.code, place.name in ran.said)


def test_what_it_answered_before_still_holds(story: tuple[Home, Path]) -> None:
    """The receipt verifies, at home and with the export, and both say that the release was revoked later."""
    home, root = story
    answer = str(root / "answer.json")
    for trust in ((), ("--trust", str(root / "after"))):
        (found,) = home.do("verify", answer, *trust)
        assert found["facts"]["revoked"]
        assert "was revoked later" in found["sentence"]


def test_why_history_and_status_tell_of_it(story: tuple[Home, Path]) -> None:
    """The story of the answer, what was live then, every change and the status name the revocation."""
    home, root = story
    told = home.do("why", str(root / "answer.json"))
    (line,) = [one for one in told["lines"] if one["part"] == "revocation"]
    assert "was revoked later (wrong)" in line["text"]
    when = json.loads((root / "answer.json").read_text())["parameters"]
    assert when["receipt"]
    acts = [(one["kind"], one["ref"]) for one in home.do("history")]
    assert [
        ("release.revoked", "loans@2"),
        ("endpoint.revoked", "loans@1"),
        ("release.revoked", "loans@1"),
        ("endpoint.revoked", "loans@1"),
    ] == acts[-4:]
    then = home.do("history", "--at", told["facts"]["time"])
    assert then["endpoints"][0]["releases"][0]["grounds"]["revoked"]
    status = home.do("status")
    assert ["loans@1", "loans@2"] == sorted(one["ref"] for one in status["revoked"])
    assert [] == status["waiting"]
    said = inside(home.root, "status", extra={"COLUMNS": "200"}).out
    assert "champion, revoked" in said
    assert "is revoked (wrong)" in said


def test_the_whole_home_verifies(story: tuple[Home, Path]) -> None:
    """``verify`` proves both revocations, and the tables are what the records say when made again."""
    home, _ = story
    kinds = [one["kind"] for one in home.do("verify")]
    assert 2 == kinds.count("revocation")
    home.rebuilt()
