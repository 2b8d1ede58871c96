"""The bill of a real release: complete, signed, exported, and convicted when it is changed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gatewright.checks.finding import EXACT
from gatewright.checks.report_format import decode_report
from gatewright.kernel import canonical
from gatewright.kernel.errors import BadInput, Refused, Tampered
from gatewright.operations import bill, check, release, release_verification, released
from gatewright.operations.casework import data_digests
from gatewright.operations.catalogue import Release, body_of, read
from gatewright.operations.data import dataset
from gatewright.operations.environment import installed
from gatewright.operations.home import Home
from gatewright.operations.models import model
from gatewright.operations.signing import seal
from gatewright.releases.bom_claim import BillOfMaterials, missing
from unit.releases.strict_validator import complaint


def document_of(home: Home, ref: str = "loans@1") -> Any:
    """The bill of a release, as a document."""
    content = bill.plain_bill(home, released.release(home, ref))
    assert content is not None
    return canonical.decode(content)


@pytest.fixture
def exported(live: Home, tmp_path: Path) -> Path:
    """An exported release."""
    return released.export(live, "loans@1", tmp_path / "out")


def test_every_release_has_a_valid_and_complete_bill(live: Home) -> None:
    """What ``release create`` made passes the strict validator and our own list of fields."""
    document = document_of(live)
    assert () == missing(document)
    assert "" == complaint(canonical.encode(document))


def test_every_number_of_the_model_card_is_the_reports(live: Home) -> None:
    """All metrics of the released report stand in the card, with the same bounds and slices."""
    report = decode_report(live.blobs.get(released.release(live, "loans@1").resources["report.json"]))
    shown = document_of(live)["metadata"]["component"]["modelCard"]["quantitativeAnalysis"][
        "performanceMetrics"
    ]
    said = sorted(
        (
            one["type"].partition(" (")[0], one.get("slice", ""), float(one["value"]),
            *(float(one["confidenceInterval"][end]) for end in ("lowerBound", "upperBound") if "confidenceInterval" in one),
        )
        for one in shown
    )  # fmt: skip
    measured = sorted(
        (
            f"{finding.check}/{one.name}", one.slice, one.value, *(() if one.method == EXACT else (one.low, one.high)),
        )
        for finding in report.findings
        for one in finding.metrics
    )  # fmt: skip
    assert len(measured) > 50
    assert measured == said


def test_the_same_release_has_the_same_bill(live: Home) -> None:
    """Drawing it up again from what the home holds gives the same bytes."""
    found = released.release(live, "loans@1")
    subject = model(live, "loans@1")
    data = dataset(live, subject.dataset)
    again = bill.draw_up(
        live,
        subject,
        data,
        root=found.root,
        resources=found.resources,
        splits=data_digests(subject, data),
        report=decode_report(live.blobs.get(found.resources["report.json"])),
    )
    assert bill.plain_bill(live, found) == canonical.encode(again.document)


def test_an_export_holds_the_bill_and_verifies(live: Home, exported: Path) -> None:
    """Plain and signed, one and the same; the record names the signed one."""
    assert canonical.encode(document_of(live)) == (exported / "bom.cdx.json").read_bytes()
    found = released.release(live, "loans@1")
    assert found.bom is not None
    assert live.blobs.get(found.bom) == (exported / "statements" / "bom.dsse.json").read_bytes()
    verified = release_verification.release_folder(exported, live.trust)
    assert "BillOfMaterials" in verified.facts["statements"]  # type: ignore[operator]


def test_a_bill_is_not_what_a_worker_loads(live: Home) -> None:
    """The plan names no bill: a worker needs none to prove a release."""
    found = released.release(live, "loans@1")
    assert found.bom not in released.planned_statements(live, found)


def _changed_plain(folder: Path, _: Home) -> None:
    place = folder / "bom.cdx.json"
    document = json.loads(place.read_bytes())
    document["components"] = document["components"][:1]
    place.write_bytes(canonical.encode(document))


def _another_layout(folder: Path, _: Home) -> None:
    place = folder / "bom.cdx.json"
    place.write_text(json.dumps(json.loads(place.read_bytes()), indent=1), "utf-8")


def _without_statement(folder: Path, _: Home) -> None:
    (folder / "statements" / "bom.dsse.json").unlink()


def _of_another_release(folder: Path, home: Home) -> None:
    other = released.release(home, "loans@2")
    assert other.bom is not None
    (folder / "statements" / "bom.dsse.json").write_bytes(home.blobs.get(other.bom))


def _resigned(folder: Path, home: Home, change: Callable[[Any], None], *, half: bool = False) -> None:
    """A bill with a change, signed again by the owner's own keys; ``half`` by one of them only."""
    document = document_of(home)
    change(document)
    root = released.release(home, "loans@1").root
    signers = (home.keys.release,) if half else ()
    envelope = seal(home, BillOfMaterials(root=root, document=document), signers)
    (folder / "statements" / "bom.dsse.json").write_bytes(envelope)
    (folder / "bom.cdx.json").write_bytes(canonical.encode(document))


def _half_signed(folder: Path, home: Home) -> None:
    _resigned(folder, home, lambda _: None, half=True)


def _better_numbers(folder: Path, home: Home) -> None:
    def change(document: Any) -> None:
        card = document["metadata"]["component"]["modelCard"]
        card["quantitativeAnalysis"]["performanceMetrics"][0]["value"] = "0.99"

    _resigned(folder, home, change)


def _another_model(folder: Path, home: Home) -> None:
    def change(document: Any) -> None:
        document["metadata"]["component"]["hashes"][0]["content"] = "00" * 32

    _resigned(folder, home, change)


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (_changed_plain, "bom.cdx.json"),
        (_another_layout, "bom.cdx.json"),
        (_without_statement, "bom.cdx.json"),
        (_of_another_release, "statements/bom.dsse.json"),
        (_half_signed, "statements/bom.dsse.json"),
        (_better_numbers, "statements/bom.dsse.json: modelCard"),
        (_another_model, "statements/bom.dsse.json: metadata.component.hashes"),
    ],
)
def test_a_changed_bill_is_named(
    live: Home, exported: Path, change: Callable[[Path, Home], None], place: str
) -> None:
    """Whatever is done to the bill beside a release, verification names the file that does not hold."""
    change(exported, live)
    with pytest.raises(Tampered) as caught:
        release_verification.release_folder(exported, live.trust)
    assert caught.value.refusal.place.startswith(place)


def test_an_export_without_its_plain_bill_still_verifies(live: Home, exported: Path) -> None:
    """The signed one says it all."""
    (exported / "bom.cdx.json").unlink()
    release_verification.release_folder(exported, live.trust)


def test_what_the_policy_wants_stated_refuses_the_release(live: Home) -> None:
    """Each question without an answer is named with the option that answers it; the refusal is recorded."""
    text = live.policy_path.read_text("utf-8")
    live.policy_path.write_text(f'{text}\n[datasheet]\nlow = ["title", "licence", "allowed uses"]\n', "utf-8")
    before = released.releases(live)
    with pytest.raises(Refused) as caught:
        release.create(live, "loans@1")
    told = caught.value.refusal
    assert "operations.bill-incomplete" == told.code
    assert "the datasheet's licence is missing: add the dataset again with --licence" in told.why
    assert "the datasheet's allowed uses is missing: add the dataset again with --allowed-use" in told.why
    assert "title" not in told.why
    assert before == released.releases(live)
    assert "operations.bill-incomplete" in [kept["code"] for _, kept in live.archive.scan("refusals")]


def test_a_field_that_is_missing_refuses_the_release(live: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment that does not know what it is made of makes no release."""
    known = installed()
    for broken in ((), tuple(replace(one, version="") for one in known)):
        monkeypatch.setattr(bill, "installed", lambda broken=broken: broken)
        with pytest.raises(Refused, match="install"):
            release.create(live, "loans@1")


def test_a_release_from_before_there_were_bills_is_read(live: Home, tmp_path: Path) -> None:
    """An old record has no bill; its release can be shown, exported and verified as before."""
    found = released.release(live, "loans@1")
    old = read(Release, body_of(found, without=("bom",)))
    assert old.bom is None
    assert bill.plain_bill(live, old) is None
    assert "bom" not in released.statements(live, old)
    folder = released.export(live, "loans@1", tmp_path / "old")
    (folder / "bom.cdx.json").unlink()
    shutil.rmtree(folder / "workers")
    (folder / "statements" / "bom.dsse.json").unlink()
    release_verification.release_folder(folder, live.trust)


def test_a_statement_that_is_no_bill_is_not_taken_for_one(live: Home) -> None:
    """The record's digest leads to the bill, or to broken evidence."""
    found = released.release(live, "loans@1")
    with pytest.raises(Tampered, match="is none"):
        bill.plain_bill(live, replace(found, bom=found.countersignature))


def test_a_policy_names_only_questions_that_a_datasheet_has(live: Home) -> None:
    """A misspelt question is refused with the ones there are."""
    text = live.policy_path.read_text("utf-8")
    for table in ('low = ["license"]', 'middle = ["licence"]', "low = 1", 'low = ["licence", "licence"]'):
        live.policy_path.write_text(f"{text}\n[datasheet]\n{table}\n", "utf-8")
        with pytest.raises(BadInput, match="Known: title, description, origin, licence"):
            check.load_policy(live, None)
