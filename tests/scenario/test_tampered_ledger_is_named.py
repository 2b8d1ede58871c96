"""Somebody rewrites history in the database: verification names the place."""

from __future__ import annotations

import contextlib
import sqlite3

import pytest

from scenario.conftest import NewHome
from scenario.world import Home


def _change(home: Home, statement: str, *values: object) -> None:
    home.broken = True
    with contextlib.closing(sqlite3.connect(home.folder / "ledger.db")) as opened, opened:
        assert 1 == opened.execute(statement, values).rowcount


def _leaf(home: Home, seq: int) -> bytes:
    with contextlib.closing(sqlite3.connect(home.folder / "ledger.db")) as opened:
        (leaf,) = opened.execute("SELECT leaf FROM records WHERE seq = ?", (seq,)).fetchone()
    return bytes(leaf)


def test_a_rewritten_record_is_named(new_home: NewHome) -> None:
    """A record with other words in it breaks the tree; its number is said and the exit code is 3."""
    home = new_home("live")
    seq = home.kinds().index("release.approved")
    leaf = _leaf(home, seq)
    _change(home, "UPDATE records SET leaf = ? WHERE seq = ?", leaf.replace(b"owner", b"crook"), seq)
    ran = home.run("verify")
    assert 3 == ran.code
    assert f"record {seq}" in ran.said
    assert 3 == home.run("verify", str(home.folder / "ledger.db")).code


def test_a_dropped_record_is_named(new_home: NewHome) -> None:
    """A ledger that lost its last record does not match its signed head, and takes no further one."""
    home = new_home("live")
    last = len(home.kinds()) - 1
    _change(home, "DELETE FROM records WHERE seq = ?", last)
    assert 3 == home.run("verify").code
    ran = home.run("user", "add", "grace")
    assert (3, True) == (ran.code, ran.error["code"] in {"ledger.head", "ledger.unreadable"})


@pytest.mark.parametrize("table", ["projections", "records"])
def test_a_changed_table_beside_the_records_is_found(new_home: NewHome, table: str) -> None:
    """A table that says something else than the records is never believed over them."""
    home = new_home("live")
    changes = {
        "projections": "UPDATE projections SET document = CAST(replace(document, 'low', 'lox') AS BLOB)"
        " WHERE collection = 'releases'",
        "records": "UPDATE records SET time_ns = time_ns + 1 WHERE kind = 'endpoint.deployed'",
    }
    _change(home, changes[table])
    if table == "records":
        assert 3 == home.run("history").code
        assert 3 == home.run("verify").code
        return
    assert 3 == home.run("verify").code


def test_one_flipped_byte_of_a_copy_is_found(new_home: NewHome) -> None:
    """A copy of the ledger with one bit changed in any record is refused; the original still holds."""
    home = new_home("live")
    original = (home.folder / "ledger.db").read_bytes()
    copy = home.root / "copy.db"
    for word in (b'"kind":"release.created"', b'"kind":"user.added"', b'"kind":"endpoint.deployed"'):
        at = original.index(word)
        copy.write_bytes(original[: at + 9] + bytes((original[at + 9] ^ 1,)) + original[at + 10 :])
        ran = home.run("verify", "copy.db", "--trust", str(home.folder))
        assert 3 == ran.code, ran.out
        assert "record" in ran.said
    copy.write_bytes(original)
    assert 0 == home.run("verify", "copy.db", "--trust", str(home.folder)).code
