"""Bit rot: single bits flipped over all stored files, each found by ``verify`` with its place (R5)."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from anomaly.bit_flips import flip_all, make_home, stored

FLIPS = 250
SEED = 20260303


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with everything that is stored."""
    return make_home(tmp_path_factory.mktemp("flips") / "home")


def test_every_flip_is_seen_and_named(home: Path) -> None:
    """No flipped bit that anything reads goes unseen, and each that is seen has a place."""
    found = flip_all(home, FLIPS, SEED)
    assert ([], []) == (found.unseen, found.unnamed)
    assert FLIPS == found.tried == found.seen + found.harmless
    assert found.harmless < FLIPS // 4


def test_the_harness_sees_what_is_not_protected(home: Path, tmp_path: Path) -> None:
    """A home whose verifier looked away would be told: with a file that nobody verifies, flips in it are unseen."""
    twin = Path(shutil.copytree(home, tmp_path / "twin"))
    for path in stored(twin)[1:]:
        if path.name != "ledger.db":
            continue
        extra = path.with_name("surplus.bin")
        extra.write_bytes(bytes(50_000_000))
        assert extra in stored(twin)
    found = flip_all(twin, 12, SEED)
    assert found.unseen
    assert all("surplus.bin" in place for place in found.unseen)
