"""Making and opening homes: whole or not at all, private, one writer at a time."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from gatewright.adapters.key_files import KeyFolder
from gatewright.assembly.homes import create_home, open_home, read_home
from gatewright.kernel.errors import Misuse, Tampered
from gatewright.operations.users import owner


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("GATEWRIGHT_")]:
        monkeypatch.delenv(name)


def test_a_new_home_has_its_first_records(tmp_path: Path) -> None:
    """A home begins with its opening, its owner and its worker's certificate."""
    made = create_home(tmp_path, "ada")
    with open_home(tmp_path) as home:
        kinds = [record.draft.kind for record in home.archive.history((), None)]
        assert ["home.opened", "user.added", "worker.certified"] == kinds
        assert ("ada", True) == (owner(home).name, owner(home).owner)
        assert (made.origin, made.trust) == (home.origin, home.trust.fingerprint().hex)


def test_keys_and_folders_are_private(tmp_path: Path) -> None:
    """Nobody but the owner may read the home; key files are 0600."""
    create_home(tmp_path, "ada")
    folder = tmp_path / ".gatewright"
    assert 0o700 == stat.S_IMODE(folder.stat().st_mode)
    keys = [path for path in (folder / "keys").rglob("*") if path.is_file()]
    assert len(keys) >= 5
    assert {0o600} == {stat.S_IMODE(path.stat().st_mode) for path in keys}


def test_a_home_that_cannot_be_finished_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When making fails half-way, no home and no draft of one stays; the next attempt works."""

    def fail(_: KeyFolder) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(KeyFolder, "create", fail)
        with pytest.raises(KeyboardInterrupt):
            create_home(tmp_path, "ada")
    assert [] == list(tmp_path.iterdir())
    create_home(tmp_path, "ada")


def test_a_leftover_of_a_killed_init_is_cleared(tmp_path: Path) -> None:
    """A draft that a killed process left behind is removed by the next init."""
    (tmp_path / ".gatewright-new-00000000" / "keys").mkdir(parents=True)
    create_home(tmp_path, "ada")
    assert {".gatewright", "gatewright.toml", "policy.toml"} == {path.name for path in tmp_path.iterdir()}


def test_an_own_policy_is_kept(tmp_path: Path) -> None:
    """A policy that lies in the folder already is not overwritten."""
    (tmp_path / "policy.toml").write_text("# mine\n")
    create_home(tmp_path, "ada")
    assert "# mine\n" == (tmp_path / "policy.toml").read_text()


def test_a_home_is_not_made_over_another(tmp_path: Path) -> None:
    """A second init in the same folder is wrong use."""
    create_home(tmp_path, "ada")
    with pytest.raises(Misuse, match="already"):
        create_home(tmp_path, "grace")


def test_a_lost_ledger_is_not_made_anew(tmp_path: Path) -> None:
    """Opening a home whose ledger is gone is broken evidence; no empty one takes its place."""
    create_home(tmp_path, "ada")
    ledger = tmp_path / ".gatewright" / "ledger.db"
    ledger.unlink()
    for opened in (open_home, read_home):
        with pytest.raises(Tampered, match="gone"), opened(tmp_path):
            pass
    assert not ledger.exists()


def test_a_reader_may_become_the_writer_and_enter_again(tmp_path: Path) -> None:
    """A home that was opened beside others takes the lock when it records, as often as it is asked to."""
    create_home(tmp_path, "ada")
    with read_home(tmp_path) as home, home.exclusive(), home.exclusive():
        assert "ada" == owner(home).name
    with open_home(tmp_path), read_home(tmp_path) as beside:
        assert "ada" == owner(beside).name
