"""Which public keys a verification believes: exactly those that were named."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from gatewright.assembly.homes import create_home
from gatewright.assembly.verifying import verify_home, verify_path
from gatewright.kernel.errors import Misuse, Tampered


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two homes of two owners."""
    places = tmp_path_factory.mktemp("ada"), tmp_path_factory.mktemp("mallory")
    for place in places:
        create_home(place, place.name.rstrip("0"))
    return places


def test_the_named_file_is_believed_and_no_other(homes: tuple[Path, Path], tmp_path: Path) -> None:
    """A trust file of any name is used itself, even where a ``trust.json`` of somebody else lies beside it."""
    ada, mallory = (place / ".gatewright" for place in homes)
    shutil.copy(ada / "ledger.db", tmp_path)
    shutil.copy(ada / "trust.json", tmp_path / "trust.json")
    shutil.copy(mallory / "trust.json", tmp_path / "mallory.json")
    ledger = tmp_path / "ledger.db"
    assert "ledger" == verify_path(ledger, tmp_path / "trust.json").kind
    assert "ledger" == verify_path(ledger, tmp_path).kind
    with pytest.raises(Tampered):
        verify_path(ledger, tmp_path / "mallory.json")


def test_missing_keys_are_asked_for(homes: tuple[Path, Path], tmp_path: Path) -> None:
    """Without public keys nothing is verified, and the refusal says what to name."""
    with pytest.raises(Misuse, match="--trust"):
        verify_path(homes[0] / ".gatewright" / "ledger.db", tmp_path / "nowhere.json")


def test_a_new_home_holds(homes: tuple[Path, Path]) -> None:
    """Everything of a new home is verified, and a home that was given another's keys is not."""
    ada, mallory = homes
    kinds = [one.kind for one in verify_home(ada)]
    assert "ledger" == kinds[0]
    assert {"tables", "blobs"} <= set(kinds)
    mine = (mallory / ".gatewright" / "trust.json").read_bytes()
    shutil.copy(ada / ".gatewright" / "trust.json", mallory / ".gatewright" / "trust.json")
    try:
        with pytest.raises(Tampered):
            list(verify_home(mallory))
    finally:
        (mallory / ".gatewright" / "trust.json").write_bytes(mine)
