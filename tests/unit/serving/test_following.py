"""A running worker follows new keys, goes on with the old ones where it cannot, and says so once."""

from __future__ import annotations

import os
from pathlib import Path

from gatewright.kernel.errors import Refusal, Tampered
from gatewright.ports import Signer
from gatewright.serving.following import Believed, Following, Source
from unit.releases.key_sets import KeySet
from unit.releases.workshop import ed

OLD, NEW = KeySet(), KeySet()


class Keys:
    """A file that changes, and what is read when it does."""

    def __init__(self, folder: Path) -> None:
        self.place = folder / "trust.json"
        self.place.write_bytes(b"1")
        self.first = Believed(trust=OLD.trust(), signer=ed())
        self.next = self.first
        self.reads = 0
        self.taken: list[Signer] = []
        self.said: list[Refusal] = []
        self.following = Following(
            self.first,
            Source(read=self.read, watched=(self.place,)),
            take=self.taken.append,
            report=self.said.append,
        )

    def read(self, before: Believed) -> Believed:
        """What is believed now; an older version is refused."""
        self.reads += 1
        if self.next.trust.version < before.trust.version:
            raise Tampered("x.older", "It is older.")
        return self.next

    def change(self, believed: Believed) -> None:
        """Another file takes the name."""
        self.next = believed
        part = self.place.with_suffix(".part")
        part.write_bytes(os.urandom(8))
        part.replace(self.place)


def test_nothing_is_read_until_something_changes(tmp_path: Path) -> None:
    """While the files stay as they are, they are not read."""
    keys = Keys(tmp_path)
    assert OLD.trust() == keys.following.look()
    assert (False, 0) == (keys.following.changed(), keys.reads)


def test_new_keys_and_a_new_signer_are_taken(tmp_path: Path) -> None:
    """What follows is believed from then on, and another signer is handed over."""
    keys = Keys(tmp_path)
    signer = ed()
    keys.change(Believed(trust=NEW.trust(2), signer=signer))
    assert keys.following.changed()
    assert NEW.trust(2) == keys.following.look()
    assert ([signer], False, []) == (keys.taken, keys.following.changed(), keys.said)


def test_the_same_signer_is_not_taken_again(tmp_path: Path) -> None:
    """Where only the public keys change, the worker's own key stays."""
    keys = Keys(tmp_path)
    keys.change(Believed(trust=NEW.trust(2), signer=keys.first.signer))
    keys.following.look()
    assert [] == keys.taken


def test_it_never_goes_back(tmp_path: Path) -> None:
    """An older version changes nothing, and is told once however often it is looked at."""
    keys = Keys(tmp_path)
    newest = Believed(trust=NEW.trust(2), signer=ed())
    keys.change(newest)
    keys.following.look()
    for _ in range(2):
        keys.change(keys.first)
        assert newest.trust == keys.following.look()
    assert ["x.older"] == [each.code for each in keys.said]
    assert newest == keys.following.believed


def test_without_a_source_nothing_is_followed() -> None:
    """A worker that is given keys and nothing else keeps them."""
    believed = Believed(trust=OLD.trust(), signer=ed())
    following = Following(believed, None, take=lambda _: None, report=lambda _: None)
    assert (False, believed.trust) == (following.changed(), following.look())
