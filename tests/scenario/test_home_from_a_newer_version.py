"""A home that a newer version wrote is left alone, and the reader is told to upgrade."""

from __future__ import annotations

import contextlib
import json
import sqlite3

import pytest

from scenario.conftest import NewHome
from scenario.world import Home, command

COMMANDS = ("status", "user add grace", "check loans", "deploy loans", "verify", "collect")


def _newer_settings(home: Home) -> None:
    place = home.root / "gatewright.toml"
    place.write_text(place.read_text("utf-8").replace("format = 1", "format = 2"), "utf-8")


def _newer_settings_with_more(home: Home) -> None:
    _newer_settings(home)
    place = home.root / "gatewright.toml"
    place.write_text(place.read_text("utf-8") + '[cluster]\nurl = "somewhere"\n', "utf-8")


def _newer_database(home: Home) -> None:
    with contextlib.closing(sqlite3.connect(home.folder / "ledger.db")) as opened, opened:
        assert 1 == opened.execute("UPDATE meta SET value = '2' WHERE name = 'schema'").rowcount


@pytest.mark.parametrize("newer", [_newer_settings, _newer_settings_with_more, _newer_database])
def test_a_newer_home_is_left_alone(new_home: NewHome, newer: object) -> None:
    """Every command refuses with exit code 2, says why, and changes nothing."""
    home = new_home("live")
    home.broken = True
    assert callable(newer)
    newer(home)
    before = home.digest()
    for arguments in COMMANDS:
        if arguments == "collect":
            continue
        ran = home.run(*arguments.split())
        if newer is not _newer_database and arguments == "verify":
            assert ran.code in {0, 2}, ran.out
            continue
        assert 2 == ran.code, f"{arguments}: {ran.out}"
        assert ran.error["code"] in {"assembly.newer-home", "storage.newer-home"}
        assert "newer" in ran.said or "Upgrade" in ran.said
    assert before == home.digest()


def test_a_newer_home_is_not_served(new_home: NewHome) -> None:
    """The server does not start on a newer home."""
    home = new_home("live")
    home.broken = True
    _newer_settings(home)
    ran = command(home.root, "serve", "--port", "0")
    assert 2 == ran.code
    assert "Upgrade" in ran.err


@pytest.mark.parametrize("place", ["trust.json"])
def test_a_newer_trust_root_is_not_guessed_at(new_home: NewHome, place: str) -> None:
    """Public keys in a newer format are not read as if they were of this one."""
    home = new_home("live")
    home.broken = True
    value = json.loads((home.folder / place).read_text("utf-8"))
    value["format"] = 3
    (home.folder / place).write_text(json.dumps(value, sort_keys=True, separators=(",", ":")))
    for verb in ("verify", "status"):
        ran = home.run(verb)
        assert ran.code in {2, 3}, ran.out
        assert "format" in ran.said


def test_a_home_without_its_parts_says_which_is_gone(new_home: NewHome) -> None:
    """A missing settings file, ledger or trust root is named; nothing is made anew in its place."""
    for place, code in (("gatewright.toml", 2), (".gatewright/ledger.db", 3), (".gatewright/trust.json", 3)):
        home = new_home("live")
        home.broken = True
        (home.root / place).unlink()
        before = home.digest()
        ran = home.run("status")
        assert code == ran.code, f"{place}: {ran.out}"
        assert place.rpartition("/")[2] in ran.said
        assert before == home.digest()
