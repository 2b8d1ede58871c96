"""People: known by a random principal, named by an encrypted payload."""

from __future__ import annotations

import pytest

from gatewright.kernel.errors import Misuse
from gatewright.operations import users
from gatewright.operations.home import Home


def test_a_person_is_found_by_name_and_by_principal(fresh: Home) -> None:
    """Both name the same person, who is not the owner."""
    added = users.add(fresh, "grace")
    assert added == users.person(fresh, "grace") == users.person(fresh, added.principal)
    assert ("grace", False) == (added.name, added.owner)
    assert "ada" == users.owner(fresh).name


def test_names_are_taken_once(fresh: Home) -> None:
    """A second person of the same name, the owner's included, is refused and leaves no key behind."""
    before = sorted(path.name for path in (fresh.folder / "keys").rglob("*"))
    for name in ("ada", "Grace"):
        with pytest.raises(Misuse):
            users.add(fresh, name)
    assert before == sorted(path.name for path in (fresh.folder / "keys").rglob("*"))


def test_an_unknown_person_is_answered_with_those_there_are(fresh: Home) -> None:
    """The refusal lists the people."""
    users.add(fresh, "grace")
    with pytest.raises(Misuse, match=r"(ada, grace|grace, ada)"):
        users.person(fresh, "grce")


def test_the_ledger_does_not_name_people(fresh: Home) -> None:
    """No record holds a person's name; everyone has a key of their own."""
    users.add(fresh, "grace-the-tester")
    assert not any(b"grace-the-tester" in leaf for leaf in fresh.archive.leaves())
    assert 2 == len({user.key for user in users.people(fresh)})
