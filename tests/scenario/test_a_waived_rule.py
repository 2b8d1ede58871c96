"""A rule that does not hold is waived openly, by one person and approved by another; keys change; it still verifies."""

from __future__ import annotations

import base64
import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from scenario.conftest import NewHome
from scenario.world import Home, ask, inside, loans, serving

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
        content = path.read_bytes() if path.is_file() else b""
        payload = (
            base64.b64decode(json.loads(content)["payload"]) if path.name.endswith(".dsse.json") else b""
        )
        assert b"Bob labels" not in content + payload  # three letters alone come up in signatures by chance
    verdict = json.loads((waived.root / "out" / "release" / "verdict.json").read_text())
    assert [RULE] == [one["rule"] for one in verdict["waivers"]]
    assert {"ok", "waived"} == {one["outcome"] for one in verdict["reasons"]}


def test_an_answer_says_which_rule_does_not_hold_and_who_waived_it(waived: Home) -> None:
    """``why``, the list and the check tell the rule, by whom, until when and why; a revocation does not hide it."""
    waived.api_key = waived.do("key", "add", "loans")["api_key"]
    with serving(waived) as server, httpx.Client() as client:
        answer = ask(client, server, "loans", waived.api_key, loans(1, 3)[0])
        (waived.root / "answer.json").write_bytes(answer.content)
        assert f"curl {server.url}/v2/models/loans/infer" in inside(waived.root, "example", "loans").out
        waived.do("release", "revoke", "loans@1", "--reason", "enough")
    lines = waived.do("why", "answer.json")["lines"]
    (verdict,) = [each["text"] for each in lines if each["part"] == "verdict"]
    assert "0 against that was not waived, 1 waived" in verdict
    (rule,) = [each["text"] for each in lines if each["text"].startswith("Does not hold, and was waived: ")]
    assert RULE in rule
    (told,) = [each["text"] for each in lines if each["part"] == "waiver"]
    for part in (
        "grace (approver)",
        RULE,
        "until ",
        "Why: ",
        "Their own approval of this release does not count.",
    ):
        assert part in told
    assert "revocation" in {each["part"] for each in lines}
    (listed,) = waived.do("release", "list")
    assert ("grace", 1) == (listed["waivers"][0]["by"], listed["counted"])
    wide = {"COLUMNS": "300"}
    shown = inside(waived.root, "release", "list", extra=wide).out
    assert "revoked (" in shown
    assert "a rule waived until" in shown
    assert "Not held: " in inside(waived.root, "release", "show", "loans@1", extra=wide).out


def test_who_waived_is_named_where_their_approval_does_not_count(waived: Home) -> None:
    """People read a name, a count in good grammar, and from the last check which rule was waived until when."""
    wish = ("--waive", RULE, "--until", soon(), "--reason", "once more", "--as", "grace")
    root = waived.do("release", "create", "loans@1", *wish)["root"]
    said = inside(waived.root, "approve", root, "--as", "grace", extra={"COLUMNS": "300"}).out
    assert "It does not count: grace waived a rule of this release" in said
    assert "0 of 1 approval count now" in said
    told = inside(waived.root, "check", "loans@1", "--last", extra={"COLUMNS": "300"}).out
    assert "1 of 12 rules for this task does not hold" in told
    assert (
        f"Release {root[:12]} of it was made with a rule waived until {soon()[:10]} by grace: {RULE}." in told
    )


def test_a_window_of_the_past_tells_keys_waivers_and_advisories(waived: Home) -> None:
    """What bears on who may answer is told between two moments, in words; a renewed certificate of the same key is not."""
    (waived.root / "osv.json").write_text('{"id": "TEST-1", "modified": "2026-01-02T03:04:05Z"}')
    waived.do("advisory", "import", "osv.json")
    waived.do("key", "rotate", "worker")
    waived.do("key", "rotate", "release")
    waived.do("release", "revoke", "loans@1", "--reason", "enough")
    acts = waived.do("history", "--between", "1 hour ago", "now")["changes"]
    told = {each["kind"]: each["what"] for each in acts}
    assert (
        f"a rule of loans@1 was waived until {told['release.waived'].partition('until ')[2]}"
        == told["release.waived"]
    )
    assert "1 advisory known from then on, 1 of them new" == told["advisories.imported"]
    assert told["worker.certified"].startswith("the worker signs with a new key, ")
    assert 1 == sum(each["kind"] == "worker.certified" for each in acts)
    assert "version 2 of the public keys: the release keys were rotated" == told["trust.changed"]
    assert "release.revoked" in told
    narrow = inside(waived.root, "history", "--between", "1 hour ago", "now", extra={"COLUMNS": "80"}).out
    assert "champion  " not in narrow.splitlines()[0]
    assert "loans@1 on \n" not in narrow
    refused = waived.run("history", "--between", "yesterday", "now")
    assert 2 == refused.code
    assert "now, or '3 days ago'" in refused.error["next"]


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
