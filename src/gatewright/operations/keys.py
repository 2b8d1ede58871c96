"""API keys of an endpoint: making, bounding and revoking them. A key itself is shown once and kept nowhere."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass, replace

from gatewright.deployments.changes import add_key, key_of, limit_key, revoke_key
from gatewright.deployments.plan import ApiKey, Shown, TrafficPlan
from gatewright.deployments.wording import parse_shown, shown_text
from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import Misuse, Refusal
from gatewright.kernel.instants import Instant
from gatewright.kernel.names import Name, parse_name
from gatewright.ledger.records import Draft
from gatewright.operations.catalogue import ApiKeyEntry, body_of, every, find
from gatewright.operations.home import Home
from gatewright.operations.plans import Standing, commit, signed, standing
from gatewright.operations.users import owner

API_KEY_BYTES = 32
ID_CHARACTERS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedKey:
    """A key after its change. ``api_key`` is the secret itself, shown once; empty when none was made."""

    entry: ApiKeyEntry
    api_key: str = ""
    committed: Instant


def new_key(home: Home, endpoint: Name, *, name: str = "") -> tuple[str, ApiKeyEntry]:
    """A fresh key: the secret, and what is kept of it."""
    secret = "gw_" + base64.urlsafe_b64encode(home.new_bytes(API_KEY_BYTES)).rstrip(b"=").decode()
    digest = Digest.of(secret.encode())
    return secret, ApiKeyEntry(endpoint=endpoint, id=digest.hex[:ID_CHARACTERS], digest=digest, name=name)


def plain_key(entry: ApiKeyEntry) -> ApiKey:
    """The key as a plan has it."""
    return ApiKey(
        id=entry.id,
        digest=entry.digest,
        rate=entry.rate,
        quota=entry.quota,
        shown=parse_shown(entry.shown),
    )


def keys(home: Home, endpoint: str) -> Iterator[ApiKeyEntry]:
    """The keys that an endpoint takes, as the plan in force has them, with the names they were given."""
    found = standing(home, endpoint)
    names = {each.id: each.name for each in every(home, "api-keys", ApiKeyEntry, f"{found.entry.endpoint}/")}
    for key in found.now.keys:
        yield _entry(found, key, names.get(key.id, ""))


def add(home: Home, endpoint: str, *, name: str = "") -> ChangedKey:
    """Make a further key for an endpoint; raises Misuse where a key of that name is in use."""
    found = standing(home, endpoint)
    if name:
        parse_name(name, of="name of the API key")
        if any(each.name == name for each in keys(home, endpoint)):
            raise Misuse(
                "operations.key-exists",
                f"Endpoint {found.entry.endpoint} has an API key named {name} already.",
                next="Choose another name.",
            )
    secret, entry = new_key(home, Name(found.entry.endpoint), name=name)
    plan = _possible(add_key(found.plan, found.entry.endpoint, plain_key(entry), home.now()))
    entry = replace(entry, plan_number=plan.number, plan=signed(home, plan))
    draft = Draft(kind="key.issued", actor=owner(home).principal, subject=entry.endpoint, body=body_of(entry))
    lost = " The key was not shown: revoke it, and make another one."
    return ChangedKey(entry=entry, api_key=secret, committed=commit(home, (draft,), plan.number, lost=lost))


def revoke(home: Home, endpoint: str, key: str) -> ChangedKey:
    """Refuse a key, by its id, from the next plan on."""
    found = standing(home, endpoint)
    plan = _possible(revoke_key(found.plan, found.entry.endpoint, key, home.now()))
    entry = _recorded(home, found, key)
    entry = replace(entry, revoked=True, plan_number=plan.number, plan=signed(home, plan))
    draft = Draft(
        kind="key.revoked", actor=owner(home).principal, subject=entry.endpoint, body=body_of(entry)
    )
    return ChangedKey(entry=entry, committed=commit(home, (draft,), plan.number))


def limit(
    home: Home,
    endpoint: str,
    key: str,
    *,
    rate: int | None = None,
    quota: int | None = None,
    shown: Shown | None = None,
) -> ChangedKey:
    """Bound what one key may ask for, and what its answers show; what is None stays."""
    found = standing(home, endpoint)
    plan = _possible(
        limit_key(found.plan, found.entry.endpoint, key, home.now(), rate=rate, quota=quota, shown=shown)
    )
    entry = _recorded(home, Standing(entry=found.entry, plan=plan, state=found.state), key)
    entry = replace(entry, plan_number=plan.number, plan=signed(home, plan))
    draft = Draft(
        kind="key.limited", actor=owner(home).principal, subject=entry.endpoint, body=body_of(entry)
    )
    return ChangedKey(entry=entry, committed=commit(home, (draft,), plan.number))


def _possible(plan: TrafficPlan | Refusal) -> TrafficPlan:
    if isinstance(plan, Refusal):
        raise Misuse.of(plan)
    return plan


def _recorded(home: Home, found: Standing, key: str) -> ApiKeyEntry:
    """A key as the plan of ``found`` has it, with its recorded name."""
    known = key_of(found.now, key)
    if isinstance(known, Refusal):
        raise Misuse.of(known)
    entry = find(home, "api-keys", f"{found.entry.endpoint}/{key}", ApiKeyEntry)
    return _entry(found, known, "" if entry is None else entry.name)


def _entry(found: Standing, key: ApiKey, name: str) -> ApiKeyEntry:
    return ApiKeyEntry(
        endpoint=found.entry.endpoint,
        id=key.id,
        digest=key.digest,
        name=name,
        rate=key.rate,
        quota=key.quota,
        shown=shown_text(key.shown),
    )
