"""Whether the bill of materials beside an exported release is the one that was signed, and true."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from gatewright.checks.report_format import decode_report
from gatewright.kernel import canonical
from gatewright.kernel.errors import Tampered
from gatewright.operations.files import read_file
from gatewright.releases.bom import card_metrics, encode_bill
from gatewright.releases.bom_claim import BillOfMaterials
from gatewright.releases.fields import Fields, held
from gatewright.releases.manifest import MODEL, REPORT
from gatewright.releases.trust import TrustRoot
from gatewright.releases.verification import ReadStatement, VerifiedRelease

BILL_FILE = "bom.cdx.json"
"""The plain bill beside an exported release."""
BILL_BYTES = 524_288
REPORT_BYTES = 64 * 1024**2
HASHES = 8


def require_bill(
    folder: Path, verified: VerifiedRelease, claims: Sequence[ReadStatement], trust: TrustRoot
) -> None:
    """The bills beside an exported release are signed, about its bytes, and one and the same.

    Raises Tampered where both release keys did not sign one, where it names another model, where a
    number of its model card is not the report's, and where ``bom.cdx.json`` says something else.
    """
    signed = []
    for one in claims:
        if isinstance(one.claim, BillOfMaterials):
            if not trust.vouches(one.signed_by):
                raise _changed("A bill of materials is not signed by both release keys.", one.place)
            held(one.place, partial(_require_truth, folder, verified), one.claim)
            signed.append(encode_bill(one.claim.document))
    place = folder / BILL_FILE
    if place.exists() and read_file(place, limit=BILL_BYTES) not in signed:
        raise _changed(f"{BILL_FILE} does not hold the bill of materials that was signed.", BILL_FILE)


def _require_truth(folder: Path, verified: VerifiedRelease, claim: BillOfMaterials) -> None:
    found = Fields.read(claim.document, of="the bill of materials", code="releases.statement")
    component = found.object("metadata").object("component")
    named = {each.text("content") for each in component.objects("hashes", least=1, most=HASHES)}
    if named != {verified.resources[MODEL].hex}:
        raise _changed("The bill of materials names another model.", "metadata.component.hashes")
    report = decode_report(read_file(folder / "release" / REPORT, limit=REPORT_BYTES))
    shown = component.object("modelCard").object("quantitativeAnalysis").value["performanceMetrics"]
    if canonical.encode(shown) != canonical.encode(card_metrics(report)[0]):
        raise _changed("The numbers of the model card are not those of the report.", "modelCard")


def _changed(what: str, place: str) -> Tampered:
    return Tampered(
        "operations.bill-changed",
        what,
        why="It was changed, or put together from another release.",
        next="Ask for a new export.",
        place=place,
    )
