"""From records to documents: what is looked up follows from what was recorded, and only from it.

``project`` is a pure function; dropping every document and projecting all records again gives the
same documents, and the scenario tests do so after every story.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gatewright.kernel.canonical import JsonObject
from gatewright.ledger.projection import Project, Put
from gatewright.ledger.records import Record

Body = Mapping[str, Any]


def _versioned(collection: str) -> Project:
    def put(record: Record) -> Sequence[Put]:
        body: Body = record.draft.body
        ref = f"{body['name']}@{body['version']}"
        return (
            Put(collection=collection, key=ref, document=_stamped(record)),
            Put(
                collection=f"{collection}-latest",
                key=body["name"],
                document={"ref": ref, "version": body["version"]},
            ),
        )

    return put


def _keyed(collection: str, *fields: str) -> Project:
    def put(record: Record) -> Sequence[Put]:
        body: Body = record.draft.body
        key = "/".join(str(body[name]) for name in fields)
        return (Put(collection=collection, key=key, document=_stamped(record)),)

    return put


def _user(record: Record) -> Sequence[Put]:
    commitments = {name: digest.hex for name, digest in record.draft.commitments.items()}
    document = {**_stamped(record), "commitments": commitments}
    return (Put(collection="users", key=str(record.draft.body["principal"]), document=document),)


def _pointer(body: Body) -> Put:
    return Put(collection="plan", key="now", document={"number": body["plan_number"], "plan": body["plan"]})


def _endpoint(record: Record) -> Sequence[Put]:
    body: Body = record.draft.body
    decided = [(body["root"], body["decision"])]
    decided += [(placed["root"], placed["decision"]) for placed in body.get("placed", ())]
    return (
        Put(collection="endpoints", key=body["endpoint"], document=_stamped(record)),
        _pointer(body),
        *(
            Put(
                collection="decisions",
                key=f"{root}/{body['endpoint']}",
                document={"decision": decision, "endpoint": body["endpoint"], "root": root},
            )
            for root, decision in dict(decided).items()
        ),
    )


def _key(record: Record) -> Sequence[Put]:
    body: Body = record.draft.body
    put = Put(collection="api-keys", key=f"{body['endpoint']}/{body['id']}", document=_stamped(record))
    return (put, _pointer(body)) if body.get("plan") else (put,)


def _renewal(record: Record) -> Sequence[Put]:
    body: Body = record.draft.body
    return (Put(collection="renewals", key="newest", document=_stamped(record)), _pointer(body))


def _segment(record: Record) -> Sequence[Put]:
    document = _stamped(record)
    return (
        Put(collection="segments", key=str(record.draft.body["id"]), document=document),
        Put(collection="segments-latest", key="newest", document=document),
    )


def _repaired(record: Record) -> Sequence[Put]:
    return (Put(collection="damaged", key=str(record.draft.body["place"]), document=None),)


def _advisories(record: Record) -> Sequence[Put]:
    body: Body = record.draft.body
    return (
        Put(collection="advisories", key="newest", document={**_stamped(record), "digest": body["digest"]}),
    )


def _refusal(record: Record) -> Sequence[Put]:
    return (Put(collection="refusals", key=f"{record.seq:012d}", document=_stamped(record)),)


def _vouched(record: Record) -> Sequence[Put]:
    body: Body = record.draft.body
    again = body["statements"]
    return tuple(
        Put(collection="vouched", key=str(old), document={"statement": new}) for old, new in again.items()
    )


def _trust(record: Record) -> Sequence[Put]:
    document = _stamped(record)
    return (
        Put(collection="trust", key=f"{record.draft.body['version']:06d}", document=document),
        Put(collection="trust-now", key="now", document=document),
    )


def _stamped(record: Record) -> JsonObject:
    return {**record.draft.body, "seq": record.seq, "time": str(record.time)}


KINDS: Mapping[str, Project] = {
    "home.opened": lambda record: (Put(collection="home", key="home", document=_stamped(record)),),
    "user.added": _user,
    "dataset.added": _versioned("datasets"),
    "model.added": _versioned("models"),
    "model.refused": _refusal,
    "model.checked": _keyed("checked", "ref"),
    "models.compared": _keyed("comparisons", "a", "b"),
    "release.refused": _refusal,
    "release.created": _keyed("releases", "root"),
    "release.approved": _keyed("approvals", "root", "key"),
    "release.waived": _keyed("waivers", "root", "statement"),
    "release.revoked": _keyed("revocations", "root"),
    "key.issued": _key,
    "key.limited": _key,
    "key.revoked": _key,
    "endpoint.deployed": _endpoint,
    "endpoint.joined": _endpoint,
    "endpoint.left": _endpoint,
    "endpoint.rolled-back": _endpoint,
    "endpoint.limited": _endpoint,
    "endpoint.stopped": _endpoint,
    "endpoint.resumed": _endpoint,
    "endpoint.withdrawn": _endpoint,
    "endpoint.revoked": _endpoint,
    "plan.renewed": _renewal,
    "worker.certified": _keyed("workers", "key"),
    "advisories.imported": _advisories,
    "release.vouched": _vouched,
    "trust.changed": _trust,
    "predictions.sealed": _segment,
    "home.restored": _keyed("restored", "continues"),
    "storage.damaged": _keyed("damaged", "place"),
    "storage.repaired": _repaired,
}


def project(record: Record) -> Sequence[Put]:
    """Documents that follow from one record; a kind this version does not know changes nothing."""
    kind = KINDS.get(record.draft.kind)
    return kind(record) if kind else ()
