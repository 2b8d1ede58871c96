"""A rule that does not hold is waived openly, by one person and approved by another; keys change; it still verifies."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from scenario.conftest import NewHome
from scenario.world import Home, inside

STRICT = """
[[rules]]
check = "performance.metrics"
metric = "accuracy"
at_least = 0.999
applies_to = ["binary-classification"]

[[waivers]]
check = "performance.metrics"
by = ["approver"]
days = 30
"""
RULE = "performance.metrics: the low bound of accuracy must be at least 0.999"


def soon(days: int = 10) -> str:
    """A moment some days from now, as people write it."""
    return (datetime.now(UTC) + timedelta(days=days)).strftime("%Y-%m-%dT%H:%MZ")


@pytest.fixture(scope="module")
def template(stages: dict[str, Home], tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home whose live release rests on grace's waiver and alan's approval."""
    root = tmp_path_factory.mktemp("waived") / "home"
    shutil.copytree(stages["added"].root, root)
    home = Home(root=root)
    policy = home.root / "policy.toml"
    policy.write_text(policy.read_text("utf-8") + STRICT, "utf-8")
    assert 1 == home.run("check", "loans@1").code
    for name in ("grace", "alan"):
        home.do("user", "add", name)
    assert 1 == home.run("release", "create", "loans@1").code
    wish = (
        "--waive",
        "performance.metrics",
        "--until",
        soon(),
        "--reason",
        "until Bob labels",
        "--as",
        "grace",
    )
    made = home.do("release", "create", "loans@1", *wish)
    assert [RULE] == [one["rule"] for one in made["waivers"]]
    home.do("approve", "loans@1", "--as", "grace")
    assert 5 == home.run("deploy", "loans@1").code
    home.do("approve", "loans@1", "--as", "alan")
    home.do("deploy", "loans@1")
    return home


@pytest.fixture
def waived(template: Home, tmp_path: Path) -> Home:
    """A copy of it."""
    shutil.copytree(template.root, tmp_path / "home")
    return Home(root=tmp_path / "home")


def test_everybody_is_told(waived: Home) -> None:
    """Status warns, the export says which rule, and the reason stands nowhere in plain."""
    assert [RULE] == [one["rule"] for one in waived.do("status")["waived"]]
    assert "with a rule waived until" in inside(waived.root, "status", extra={"COLUMNS": "300"}).out
    waived.do("release", "export", "loans@1", "--to", "out")
    assert RULE in waived.do("verify", "out")[0]["sentence"]
    for path in (waived.root / "out").rglob("*"):
        assert not path.is_file() or b"Bob" not in path.read_bytes()
    verdict = json.loads((waived.root / "out" / "release" / "verdict.json").read_text())
    assert [RULE] == [one["rule"] for one in verdict["waivers"]]
    assert {"ok", "waived"} == {one["outcome"] for one in verdict["reasons"]}


def test_taking_the_waiver_away_is_tampering(waived: Home) -> None:
    """An export whose waiver was removed, or replaced by another release's, ends with exit code 3."""
    waived.do("release", "export", "loans@1", "--to", "out")
    (place,) = (waived.root / "out" / "statements").glob("waiver-*")
    content = place.read_bytes()
    place.unlink()
    ran = waived.run("verify", "out")
    assert (3, "releases.no-waiver") == (ran.code, ran.error["code"])
    place.write_bytes(content.replace(b'"sig":"', b'"sig":"A', 1))
    assert 3 == waived.run("verify", "out").code


def test_statements_outlive_the_keys_that_signed_them(waived: Home, tmp_path: Path) -> None:
    """After the release keys are rotated, and after they are revoked, waiver, summary and revocation still count."""
    for number, options in enumerate(((), ("--compromised",))):
        waived.do("key", "rotate", "release", *options)
        waived.do("release", "export", "loans@1", "--to", str(tmp_path / f"out-{number}"))
        assert RULE in waived.do("verify", str(tmp_path / f"out-{number}"))[0]["sentence"]
    waived.do("release", "revoke", "loans@1", "--reason", "enough")
    waived.do("key", "rotate", "release", "--compromised")
    waived.do("release", "export", "loans@1", "--to", str(tmp_path / "revoked"))
    assert 1 == waived.run("verify", str(tmp_path / "revoked")).code
    assert "revocation" in [one["kind"] for one in waived.do("verify")]
    waived.rebuilt()


def test_a_waiver_asks_for_all_its_parts(new_home: NewHome) -> None:
    """Rule, end, reason and person are given together, or the call is wrong."""
    home = new_home("checked")
    for part in (("--waive", "x"), ("--until", "2030-01-01"), ("--reason", "x"), ("--as", "ada")):
        ran = home.run("release", "create", "loans@1", *part)
        assert (2, "cli.waiver") == (ran.code, ran.error["code"])
