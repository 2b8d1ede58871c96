"""Advisories in a home: imported whole, matched with what is installed and with what is live."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from gatewright.checks.finding import Outcome
from gatewright.checks.osv_matching import Standing
from gatewright.kernel.errors import BadInput, Misuse
from gatewright.operations import advisories, release
from gatewright.operations.advisories import HERE, ask, import_advisories, known_of, listed, live_warnings
from gatewright.operations.bill import plain_bill
from gatewright.operations.catalogue import ImportedAdvisories, Release, every_live, find
from gatewright.operations.check import check
from gatewright.operations.home import Home
from gatewright.operations.models import model
from gatewright.policy.verdict import Decision
from unit.checks.osv_written import osv, pypi

FROM_ZERO = {"introduced": "0"}
STANDS = osv("TEST-1", pypi("NumPy", FROM_ZERO, {"fixed": "999"}), summary="A marker")
FIXED = osv("TEST-2", pypi("numpy", FROM_ZERO, {"fixed": "0.1"}))
UNDECIDED = osv("TEST-3", pypi("numpy", FROM_ZERO, kind="GIT"))


def imported(home: Home, *documents: dict[str, Any], name: str = "osv.json") -> ImportedAdvisories:
    """Import some advisories."""
    place = home.root / name
    place.write_text(json.dumps(list(documents)), "utf-8")
    return import_advisories(home, place)


def test_nothing_imported_is_no_green_light(live: Home) -> None:
    """Asking is refused; a check is skipped with the reason; a model's case knows nothing."""
    for question in (ask, lambda home: list(listed(home))):
        with pytest.raises(Misuse, match="No advisories were imported"):
            question(live)
    assert known_of(live, model(live, "loans@1")) is None
    assert ((), ()) == live_warnings(live)


def test_an_import_is_recorded_and_adds_to_what_is_known(live: Home) -> None:
    """Counted: read, added, changed, withdrawn; the record names the blob."""
    first = imported(live, STANDS, FIXED)
    assert (2, 2, 2, 0, 0) == (first.count, first.read, first.added, first.changed, first.withdrawn)
    newer = {**FIXED, "modified": "2026-05-01T00:00:00Z", "withdrawn": "2026-05-01T00:00:00Z"}
    second = imported(live, newer, UNDECIDED)
    assert (3, 2, 1, 1, 1) == (second.count, second.read, second.added, second.changed, second.withdrawn)
    assert ["TEST-1", "TEST-2", "TEST-3"] == [one.id for one in listed(live)]
    found = advisories.newest_import(live)
    assert found is not None
    assert second == found[0]
    assert ["advisories.imported"] * 2 == [
        one.draft.kind for one in live.archive.history(("advisories.imported",), None)
    ]


def test_an_older_form_of_an_advisory_takes_nothing_back(live: Home) -> None:
    """A file from before, imported later, does not undo what is known; nor does its order in a file."""
    newer = {**STANDS, "modified": "2026-05-01T00:00:00Z", "withdrawn": "2026-05-01T00:00:00Z"}
    imported(live, newer, STANDS)
    again = imported(live, STANDS)
    assert (1, 0, 0, 1) == (again.count, again.added, again.changed, again.withdrawn)


def test_one_of_tomorrow_is_refused(live: Home) -> None:
    """A time far ahead would keep every later form of it out, so it is not taken in."""
    with pytest.raises(BadInput, match="2999"):
        imported(live, {**STANDS, "modified": "2999-01-01T00:00:00Z"})
    assert advisories.newest_import(live) is None


def test_one_that_cannot_be_read_refuses_all(live: Home) -> None:
    """Nothing of a broken file is taken in, and nothing is recorded."""
    with pytest.raises(BadInput, match="TEST-9"):
        imported(live, STANDS, {"id": "TEST-9"})
    assert advisories.newest_import(live) is None


def test_what_is_installed_and_what_is_live_are_matched(live: Home) -> None:
    """The environment of now and the bill of the live release both name numpy."""
    imported(live, STANDS, FIXED)
    found = ask(live)
    assert not found.clear
    assert [HERE, "loans@1"] == [place.what.partition(" (")[0] for place in found.places]
    for place in found.places:
        (match,) = place.matches
        assert ("TEST-1", version("numpy"), ("999",)) == (match.advisory.id, match.part.version, match.fixed)
    (warning,), _ = live_warnings(live)
    assert "TEST-1" in warning


def test_a_clear_answer_needs_everything_decided(live: Home) -> None:
    """What is fixed is clear; what nobody can decide is not."""
    imported(live, FIXED)
    assert ask(live).clear
    imported(live, UNDECIDED)
    found = ask(live)
    assert not found.clear
    assert {Standing.UNKNOWN} == {match.standing for place in found.places for match in place.matches}


def test_a_live_model_is_found_by_its_bytes(live: Home) -> None:
    """An advisory with the digest of the model's bytes names the release that serves them."""
    digest = model(live, "loans@1").model.hex
    imported(live, osv("MODEL-1", {"database_specific": {"sha256": digest}}))
    assert [[], ["MODEL-1"]] == [[match.advisory.id for match in place.matches] for place in ask(live).places]
    known = known_of(live, model(live, "loans@1"))
    assert known is not None
    assert ["MODEL-1"] == [one.id for one in known.advisories]


def test_a_release_without_a_bill_cannot_be_called_clear(live: Home) -> None:
    """A live release from before there were bills is told as such."""
    imported(live, FIXED)
    (root,) = {root for endpoint in every_live(live) for root in advisories._roots(endpoint)}
    found = find(live, "releases", root.hex, Release)
    assert found is not None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(advisories, "plain_bill", lambda _home, _release: None)
        answer = ask(live)
        assert "no bill of materials" in answer.places[1].reason
        assert not answer.clear
        assert "no bill of materials" in live_warnings(live)[0][0]
    assert plain_bill(live, found) is not None


def test_a_check_finds_it_and_the_default_policy_denies(live: Home) -> None:
    """With advisories imported a match denies the release; named in the policy it lets it through."""
    imported(live, STANDS)
    checked = check(live, "loans@1")
    finding = checked.report.finding("security.advisories")
    assert finding is not None
    assert Outcome.FAILED is finding.outcome
    assert Decision.DENY is checked.verdict.decision
    policy = live.policy_path.read_text("utf-8")
    live.policy_path.write_text(f'{policy}\n[checks."security.advisories"]\nlet_stand = "TEST-1"\n', "utf-8")
    checked = check(live, "loans@1")
    assert Decision.DENY is not checked.verdict.decision
    assert "TEST-1" in str(checked.report.finding("security.advisories"))
    answer = ask(live)
    assert answer.clear
    assert [((), ("TEST-1",))] * 2 == [
        (place.matches, tuple(match.advisory.id for match in place.judged)) for place in answer.places
    ]
    none, (warning,) = live_warnings(live)
    assert () == none
    assert "1 advisory names numpy" in warning
    assert "the policy lets it stand" in warning
    assert release.create(live, "loans@1").bom is not None


def test_a_damaged_import_is_told_by_status(live: Home, tmp_path: Path) -> None:
    """What is kept and cannot be read hides nothing else and is never silent."""
    entry = imported(live, STANDS)
    (place,) = [
        each for each in (live.folder / "blobs").rglob("*") if each.name.endswith(entry.digest.hex[2:])
    ]
    data = bytearray(place.read_bytes())
    data[len(data) // 2] ^= 1
    place.write_bytes(data)
    (warning,), _ = live_warnings(live)
    assert "cannot be compared" in warning
    assert tmp_path.exists()
