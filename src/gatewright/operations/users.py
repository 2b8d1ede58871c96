"""People of a home: making their signing keys, and finding them by name.

The ledger knows a person only by a principal id; the name is an encrypted payload that can be
forgotten without breaking a proof.
"""

from __future__ import annotations

from collections.abc import Iterator

from gatewright.kernel import canonical
from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import BadInput, Misuse
from gatewright.kernel.names import parse_name
from gatewright.ledger.commitments import open_preimage
from gatewright.ledger.records import Draft
from gatewright.operations.catalogue import User, body_of
from gatewright.operations.home import Home

FORGOTTEN = "(forgotten)"
PRINCIPAL_BYTES = 8


def draft_user(home: Home, name: str, *, owner: bool) -> Draft:
    """The record that makes a person known, with a key that is made now.

    The principal id is random and names the key file too: a name stands nowhere in plain.
    """
    principal = f"p-{home.new_bytes(PRINCIPAL_BYTES).hex()}"
    key = home.keys.create_person(principal)
    user = User(principal=principal, key=key.text(), owner=owner)
    profile = canonical.encode({"name": name})
    return Draft(
        kind="user.added",
        actor=user.principal,
        subject=user.principal,
        body=body_of(user, without=("name",)),
        commitments={"profile": home.conceal(profile)},
    )


def add(home: Home, name: str) -> User:
    """Add a person; raises Misuse when the name is taken."""
    parse_name(name, of="person")
    if any(name in (user.name, user.principal) for user in people(home)):
        raise Misuse("operations.user-exists", f"There is a person {name!r} already.")
    draft = draft_user(home, name, owner=False)
    home.archive.append((draft,), home.now())
    return person(home, name)


def people(home: Home) -> Iterator[User]:
    """Everybody, in the order of their principal ids."""
    for principal, document in home.archive.scan("users"):
        yield User(
            principal=principal,
            key=str(document["key"]),
            owner=document["owner"] is True,
            name=_name(home, document["commitments"]),
        )


def person(home: Home, name: str) -> User:
    """The named person; Misuse with the people there are when there is none."""
    everybody = tuple(people(home))
    for user in everybody:
        if name in (user.name, user.principal):
            return user
    raise Misuse(
        "operations.no-user",
        f"There is no person {name!r} in this home.",
        next=f"There is: {', '.join(user.name for user in everybody)}. Add one: gatewright user add NAME",
    )


def owner(home: Home) -> User:
    """The owner of the home."""
    return next(user for user in people(home) if user.owner)


def named(home: Home, principal: str) -> str:
    """The name of one principal, or its id where this home knows nobody of that id."""
    document = home.archive.get("users", principal)
    return principal if document is None else _name(home, document["commitments"])


def _name(home: Home, commitments: object) -> str:
    if not isinstance(commitments, dict):
        return FORGOTTEN
    try:
        _, payload = open_preimage(home.blobs.get(Digest(commitments["profile"])))
    except BadInput:
        return FORGOTTEN
    return str(canonical.decode(payload)["name"])
