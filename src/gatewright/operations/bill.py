"""The bill of materials of a release: made from what the home holds, refused where it lacks a field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gatewright.checks.report import Report
from gatewright.datasets.datasheet import decode_datasheet
from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import Refused, Tampered
from gatewright.models.facts import decode_facts
from gatewright.models.signature_format import decode_signature
from gatewright.operations.catalogue import DatasetVersion, ModelVersion, Release
from gatewright.operations.environment import installed
from gatewright.operations.home import Home
from gatewright.policy.stated import QUESTIONS
from gatewright.releases.bom import Materials, bill, encode_bill
from gatewright.releases.bom_claim import BillOfMaterials, Missing, missing, unstated
from gatewright.releases.envelope import PAYLOAD_BYTES, Envelope
from gatewright.releases.manifest import MANIFEST, REPORT, ReleaseManifest
from gatewright.releases.statement import encode_claim, open_claim

BILL_STATEMENT = "bom"
"""The name of the statement that holds the bill."""
ANSWERED_BY = {each: f"--{each.replace(' ', '-')}" for each in QUESTIONS} | {"allowed uses": "--allowed-use"}
"""The option of ``gatewright data add`` that answers a question of the datasheet."""


def draw_up(
    home: Home,
    subject: ModelVersion,
    data: DatasetVersion,
    *,
    root: Digest,
    resources: Mapping[str, Digest],
    splits: Mapping[str, Digest],
    report: Report,
) -> BillOfMaterials:
    """The bill of a root that is about to be signed; ``splits`` are the digests of the data it was tried on."""
    manifest = ReleaseManifest.decode(home.blobs.get(resources[MANIFEST]))
    document = bill(
        Materials(
            home=home.origin,
            root=root,
            created=manifest.created,
            name=subject.name,
            version=subject.version,
            tier=manifest.tier,
            model=subject.model,
            facts=decode_facts(home.blobs.get(subject.facts)),
            signature=decode_signature(home.blobs.get(subject.signature)),
            dataset=data.name,
            dataset_version=data.version,
            target=data.target,
            splits=splits,
            rows={"train": data.train_rows, "test": data.test_rows},
            sensitive=data.sensitive,
            datasheet=decode_datasheet(home.blobs.get(data.datasheet)),
            report=report,
            report_digest=resources[REPORT],
            software=installed(),
            parent=manifest.parent,
            origin=subject.origin,
        )
    )
    claim = BillOfMaterials(root=root, document=document)
    size = len(encode_claim(claim))
    if size > PAYLOAD_BYTES:
        raise Refused(
            "operations.bill-too-large",
            f"The bill of materials of {subject.ref} takes {size:,} bytes; {PAYLOAD_BYTES:,} is the limit.",
            why="A verifier reads no larger statement.",
            next="Release from an environment with fewer distributions, or with shorter names of columns.",
        )
    return claim


def lacking(claim: BillOfMaterials, stated: Sequence[str]) -> tuple[Missing, ...]:
    """What the bill lacks: fields that every bill has, and statements that the policy asks for."""
    silent = set(unstated(claim.document))
    asked = [
        Missing(
            field=f"the datasheet's {question}",
            remedy=f"add the dataset again with {ANSWERED_BY[question]}",
        )
        for question in stated
        if question in silent
    ]
    return (*missing(claim.document), *asked)


def refusal(ref: str, found: Sequence[Missing]) -> Refused:
    """The refusal of a release whose bill lacks something, naming all of it."""
    return Refused(
        "operations.bill-incomplete",
        f"The bill of materials of {ref} is not complete.",
        why=f"{'; '.join(map(str, found))}.",
        next=f"Mend it, then: gatewright check {ref}   and: gatewright release create {ref}",
    )


def plain_bill(home: Home, found: Release) -> bytes | None:
    """The bytes of a release's ``bom.cdx.json``, or None for a release from before there were bills."""
    if found.bom is None:
        return None
    claim = open_claim(Envelope.decode(home.blobs.get(found.bom)))
    if not isinstance(claim, BillOfMaterials):
        raise Tampered(
            "operations.no-bill", "The statement kept as bill of materials is none.", place=found.ref
        )
    return encode_bill(claim.document)
