"""Small verbs with known writes, to prove the fault laboratory on."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path

TEXT = b"0123456789"


def nothing(home: Path) -> None:
    """Change nothing below the home, and something beside it."""
    (home.parent / "beside").write_bytes(TEXT)
    list(home.iterdir())


def seven_calls(home: Path) -> None:
    """Create, write, fsync, rename, mkdir, link and unlink, once each."""
    handle = os.open(home / "draft", os.O_CREAT | os.O_WRONLY, 0o600)
    os.write(handle, TEXT)
    os.fsync(handle)
    os.close(handle)
    (home / "draft").rename(home / "final")
    (home / "folder").mkdir()
    (home / "copy").hardlink_to(home / "final")
    (home / "copy").unlink()


def write_whole(home: Path, name: str) -> None:
    """Write a file as Python does, retrying what a short write left."""
    (home / name).write_bytes(TEXT)


def moved_unsynced(home: Path) -> None:
    """Write a file and move it into place, without a sync: what a power loss may leave is found by the losses."""
    handle = os.open(home / "draft", os.O_CREAT | os.O_WRONLY, 0o600)
    os.fchmod(handle, 0o600)
    os.write(handle, TEXT)
    os.close(handle)
    (home / "draft").rename(home / "final")


def moved_into_a_folder(home: Path) -> None:
    """Write a file durably, then make a folder and move the file there, without a sync."""
    (home / "draft").touch()
    handle = os.open(home, os.O_RDONLY)
    os.fsync(handle)
    os.close(handle)
    (home / "folder").mkdir()
    (home / "draft").rename(home / "folder" / "final")


def two_files(home: Path) -> None:
    """Write two files that should agree, without any care: what the laboratory must find."""
    (home / "left").write_bytes(b"new")
    (home / "right").write_bytes(b"new")


def transfer(home: Path) -> None:
    """Move 10 from one account to another in one durable SQLite transaction."""
    with contextlib.closing(sqlite3.connect(home / "bank.db", isolation_level=None)) as bank:
        bank.execute("PRAGMA synchronous = FULL")
        bank.execute("BEGIN IMMEDIATE")
        bank.execute("UPDATE account SET amount = amount - 10 WHERE name = 'left'")
        bank.execute("UPDATE account SET amount = amount + 10 WHERE name = 'right'")
        bank.execute("INSERT INTO entry VALUES (hex(randomblob(20000)))")
        bank.execute("COMMIT")


def refuse(home: Path) -> None:
    """Refuse as a command does."""
    print(f"no: {home.name}")  # noqa: T201 - a command's output is part of what is tested
    raise SystemExit(2)
