"""A weakness is published: whoever brings the advisory learns what it touches, and ships no more of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from scenario.conftest import NewHome
from scenario.world import Home, inside

STANDS = {
    "id": "TEST-2026-1",
    "modified": "2026-01-02T03:04:05Z",
    "summary": "A harmless marker",
    "affected": [
        {
            "package": {"ecosystem": "PyPI", "name": "NumPy"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "9999"}]}],
        }
    ],
}


def _written(place: Path, value: Any) -> str:
    place.write_text(json.dumps(value), "utf-8")
    return place.name


def _imported(home: Home, value: Any) -> dict[str, Any]:
    found: dict[str, Any] = home.do("advisory", "import", _written(home.root / "osv.json", value))
    return found


def test_a_published_weakness_is_found_in_what_is_live_and_stops_the_next_release(new_home: NewHome) -> None:
    """Import, ask, status, list, ship: each tells it; named in the policy the release goes through."""
    home = new_home("live")
    assert 2 == home.run("advisory", "check").code
    assert 1 == _imported(home, STANDS)["count"]

    asked = home.run("advisory", "check")
    assert (1, False) == (asked.code, asked.document["clear"])
    assert [["TEST-2026-1"]] * 2 == [
        [match["advisory"] for match in place["matches"]] for place in asked.document["places"]
    ]
    told = inside(home.root, "advisory", "check")
    assert 1 == told.code
    assert "✗ loans@1" in told.out
    assert "fixed in 9999" in told.out
    assert ["TEST-2026-1"] == [one["id"] for one in home.do("advisory", "list", "pypi/numpy")]
    assert "TEST-2026-1" in home.do("status")["advisories"][0]
    assert "TEST-2026-1" in inside(home.root, "status").out

    refused = home.run("ship", "loans@2")
    assert (1, "operations.verdict-denies") == (refused.code, refused.error["code"])
    assert "security.advisories" in refused.said
    policy = home.root / "policy.toml"
    judged = '\n[checks."security.advisories"]\nlet_stand = "TEST-2026-1"  # never called here\n'
    policy.write_text(policy.read_text("utf-8") + judged, "utf-8")
    home.do("ship", "loans@2")
    assert "loans@2" == home.do("status")["endpoints"][0]["ref"]
    told = inside(home.root, "advisory", "check")
    assert 0 == told.code
    assert "the policy lets it stand" in told.out
    assert "the policy lets it stand" in inside(home.root, "status").out


def test_what_is_withdrawn_harms_nobody_and_what_cannot_be_decided_is_never_green(new_home: NewHome) -> None:
    """Exit code 0 needs an answer to everything; a list is shown to people."""
    home = new_home("live")
    git_only = {**STANDS, "affected": [{"package": {"ecosystem": "PyPI", "name": "numpy"},
                "ranges": [{"type": "GIT", "repo": "x", "events": [{"introduced": "0"}]}]}]}  # fmt: skip
    _imported(home, git_only)
    asked = home.run("advisory", "check")
    assert 1 == asked.code
    assert {"unknown"} == {
        match["standing"] for place in asked.document["places"] for match in place["matches"]
    }
    _imported(home, {**STANDS, "modified": "2026-02-01T00:00:00Z", "withdrawn": "2026-02-01T00:00:00Z"})
    assert home.do("advisory", "check")["clear"]
    assert "none of its" in inside(home.root, "advisory", "check").out
    assert "withdrawn" in inside(home.root, "advisory", "list").out


def test_a_broken_file_changes_nothing(new_home: NewHome) -> None:
    """An advisory that cannot be read is named, and the home is as it was."""
    home = new_home("live")
    before = home.kinds()
    refused = home.run(
        "advisory", "import", _written(home.root / "osv.json", [STANDS, {"id": "TEST-2026-2"}])
    )
    assert (2, "osv.json: TEST-2026-2") == (refused.code, refused.error["place"])
    assert before == home.kinds()
    assert 2 == home.run("advisory", "check").code


def test_the_cryptographic_bill_is_written_for_whoever_asks(new_home: NewHome) -> None:
    """It names the algorithms and the keys of the home."""
    home = new_home("live")
    written = home.do("evidence", "cbom", "--to", "cbom.cdx.json")
    assert written["keys"] >= 8
    assert "ML-DSA-65" in (home.root / "cbom.cdx.json").read_text("utf-8")
    assert "algorithms" in inside(home.root, "evidence", "cbom", "--to", "again.cdx.json").out
