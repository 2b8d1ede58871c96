"""Settings: where a home is found, what its file may say, where the passphrase comes from."""

from __future__ import annotations

from pathlib import Path

import pytest

from gatewright.assembly.settings import HOME_FOLDER, Settings, find_root, passphrase, read_trust
from gatewright.kernel.errors import BadInput, GatewrightError, Misuse, Tampered


def _home(root: Path) -> Path:
    (root / HOME_FOLDER).mkdir(parents=True)
    return root


def test_a_home_is_found_upwards(tmp_path: Path) -> None:
    """The nearest home at or above the folder is taken, as git does."""
    _home(tmp_path / "outer")
    inner = _home(tmp_path / "outer" / "a" / "inner")
    deep = inner / "b" / "c"
    deep.mkdir(parents=True)
    assert inner.resolve() == find_root(deep, {})
    assert (tmp_path / "outer").resolve() == find_root(tmp_path / "outer" / "a", {})


def test_a_named_home_overrides(tmp_path: Path) -> None:
    """``GATEWRIGHT_HOME`` names the home; a place without one is refused even when another is above."""
    here, there = _home(tmp_path / "here"), _home(tmp_path / "there")
    assert there.resolve() == find_root(here, {"GATEWRIGHT_HOME": str(there)})
    with pytest.raises(Misuse, match=r"gatewright init"):
        find_root(here, {"GATEWRIGHT_HOME": str(tmp_path)})


def test_a_file_named_like_a_home_is_none(tmp_path: Path) -> None:
    """Only a folder is a home."""
    (tmp_path / HOME_FOLDER).write_text("")
    with pytest.raises(Misuse):
        find_root(tmp_path, {})


def test_settings_are_read_as_written(tmp_path: Path) -> None:
    """What ``text`` writes ``read`` reads."""
    settings = Settings(root=tmp_path, origin="gatewright/0011")
    (tmp_path / "gatewright.toml").write_text(settings.text(), "utf-8")
    assert settings == Settings.read(tmp_path)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("", BadInput),
        ("format = 1", BadInput),
        ('origin = "a"', BadInput),
        ('format = 1\norigin = ""', BadInput),
        ("format = 1\norigin = 3", BadInput),
        ('format = 0\norigin = "a"', BadInput),
        ('format = true\norigin = "a"', BadInput),
        ('format = "1"\norigin = "a"', BadInput),
        ('format = 1\norigin = "a"\nport = 3', BadInput),
        ("format = ", BadInput),
        ("\xff", BadInput),
        ('format = 2\norigin = "a"', Misuse),
        ("format = 3\n[new]\na = 1", Misuse),
    ],
)
def test_other_settings_are_refused(tmp_path: Path, text: str, kind: type[GatewrightError]) -> None:
    """Anything but the two known keys with good values is refused; a newer format as such."""
    (tmp_path / "gatewright.toml").write_bytes(text.encode("latin-1"))
    with pytest.raises(kind):
        Settings.read(tmp_path)


def test_missing_settings_are_named(tmp_path: Path) -> None:
    """A home without its settings file says which file is gone."""
    with pytest.raises(Misuse, match=r"gatewright\.toml"):
        Settings.read(tmp_path)


def test_a_passphrase_comes_from_a_file_or_a_variable(tmp_path: Path) -> None:
    """The file wins; its last line end is no part of the passphrase; without either there is none."""
    file = tmp_path / "secret"
    file.write_bytes(b" with space \r\n")
    named = {"GATEWRIGHT_PASSPHRASE_FILE": str(file), "GATEWRIGHT_PASSPHRASE": "other"}
    assert b" with space " == passphrase(named)
    assert b"other" == passphrase({"GATEWRIGHT_PASSPHRASE": "other"})
    assert passphrase({}) is None


@pytest.mark.parametrize("content", [b"", b"\n", b"x" * 1025])
def test_an_unusable_passphrase_is_refused(tmp_path: Path, content: bytes) -> None:
    """Empty and huge passphrases, and a file that is not there, are wrong use."""
    file = tmp_path / "secret"
    file.write_bytes(content)
    for place in (file, tmp_path / "nowhere", tmp_path):
        with pytest.raises(Misuse):
            passphrase({"GATEWRIGHT_PASSPHRASE_FILE": str(place)})


def test_a_home_without_its_public_keys_is_broken(tmp_path: Path) -> None:
    """Missing public keys are broken evidence, not a fault of the program."""
    with pytest.raises(Tampered, match=r"trust\.json"):
        read_trust(tmp_path)
