"""What a killed command began in the user's own folder: the same command, run again, clears it away."""

from __future__ import annotations

import pytest

from scenario.conftest import NewHome

RANDOM = "0123456789abcdef"


@pytest.mark.parametrize(
    ("typed", "begun"),
    [
        ("evidence cbom --to out", f".out.{RANDOM}.part"),
        ("evidence export loans --from 2020-01-01 --out out", ".out.part"),
        ("evidence log --to out", ".out.part/tile"),
        ("release export loans@1 --to out", ".out.part/statements"),
        ("release mount --to out", ".out.part/keys"),
        ("backup out --key-file backup.key", f".out.{RANDOM}.part"),
        ("backup out --key-file backup.key", f".backup.key.{RANDOM}.part"),
        ("witness use http://127.0.0.1:8640 w1/witness.pub", f".gatewright.toml.{RANDOM}.part"),
    ],
    ids=lambda words: words.replace(" ", "-"),
)
def test_a_command_clears_what_a_killed_one_left_of_the_same_file(
    new_home: NewHome, typed: str, begun: str
) -> None:
    """The leftover under the target's name is gone after the next run; one of another file stays."""
    home = new_home("live")
    home.do("witness", "init", "w1", "--name", "audit.example/w1")
    left = home.root / begun
    left.parent.mkdir(exist_ok=True)
    left.write_bytes(b"half of it")
    other = home.root / f".out.more.{RANDOM}.part"
    other.write_bytes(b"of another command")
    home.do(*typed.split())
    assert not left.exists()
    assert [other] == list(home.root.glob(".*.part"))
