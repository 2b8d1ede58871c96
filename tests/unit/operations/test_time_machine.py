"""What was live at a moment, on which grounds: told from a few proved records and a signed plan."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace

import pytest

from gatewright.deployments.deployment import Beside, Seat
from gatewright.kernel.errors import BadInput, Misuse, Tampered
from gatewright.kernel.instants import Instant
from gatewright.operations import keys
from gatewright.operations.deploy import deploy_release, roll_back_endpoint
from gatewright.operations.history import WALKED, Then, at, between, moment_in
from gatewright.operations.home import Home
from gatewright.operations.plan_records import number_in, numbered
from gatewright.operations.traffic import limit, resume, stop
from gatewright.operations.users import named, owner

DAY = 86_400 * 10**9
CANARY = Seat(beside=Beside.CANARY, share=100)


def _on(home: Home, day: int) -> Home:
    """The home as it is some days from its last record on."""
    last = max(record.time.ns for record in home.archive.history(("key.issued", "home.opened"), None))
    return replace(home, now=lambda: Instant(last + day * DAY))


def _places(found: Then) -> list[tuple[str, str, int]]:
    return [(each.place, each.ref, each.since.record) for live in found.endpoints for each in live.releases]


def _change(home: Home, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(home.folder / "ledger.db")) as database, database:
        database.execute(statement, values)


def test_a_canary_and_its_rollback_are_told_as_they_stood(live: Home) -> None:
    """At each moment the champion and the canary are those of that moment, each since the record that began it."""
    first = live.archive.newest(("endpoint.deployed",), below=10**6)[0]
    tried = deploy_release(_on(live, 1), "loans@2", seat=CANARY)
    back = roll_back_endpoint(_on(live, 2), "loans")
    deployed = deploy_release(_on(live, 3), "loans@2")
    seen = _on(live, 9)
    told = {day: _places(at(seen, Instant(first.time.ns + day * DAY + DAY // 2))) for day in range(4)}
    champion = ("champion", "loans@1", first.seq)
    assert {
        0: [champion],
        1: [champion, ("canary", "loans@2", first.seq + 1)],
        2: [champion],
        3: [("champion", "loans@2", first.seq + 3)],
    } == told
    assert [2, 3, 4] == [each.entry.plan_number for each in (tried, back, deployed)]


def test_the_grounds_are_the_digests_and_people_of_the_release(live: Home) -> None:
    """The grounds name the release's own report, verdict and policy, who approved it, and who deployed it."""
    (found,) = at(live, live.now()).endpoints
    champion = found.releases[0]
    release = live.archive.get("releases", champion.root.hex)
    approvals = [each for _, each in live.archive.scan("approvals", champion.root.hex)]
    assert release is not None
    resources = release["resources"]
    assert isinstance(resources, dict)
    told = champion.grounds
    assert (resources["report.json"], resources["verdict.json"], resources["policy.toml"]) == (
        told.report.hex, told.verdict.hex, told.policy.hex,
    )  # fmt: skip
    assert release["seq"] == told.record
    assert [(each["seq"], "ada", each["statement"]) for each in approvals] == [
        (one.record, one.by, one.statement.hex) for one in told.approvals
    ]
    assert ("ada", found.last.record) == (told.deployed.by, told.deployed.record)


def test_a_stop_and_its_end_are_told(live: Home) -> None:
    """While an endpoint is stopped, the answer says so and since when; afterwards it does not."""
    stop(_on(live, 1), "loans")
    limit(_on(live, 2), "loans", rate=5)
    resume(_on(live, 3), "loans")
    start = at(live, live.now()).endpoints[0].last
    stopped, answering = (
        at(_on(live, 9), Instant(Instant.parse(start.time).ns + day * DAY + DAY // 2)).endpoints[0]
        for day in (2, 3)
    )
    assert stopped.stopped_since is not None
    assert (True, start.record + 1, 5) == (stopped.stopped, stopped.stopped_since.record, stopped.rate)
    assert (False, None) == (answering.stopped, answering.stopped_since)


def test_moments_out_of_reach_are_answered(live: Home) -> None:
    """Before the first record, before the first deployment, and in the future, the answer says what it is."""
    opened, deployed = (
        live.archive.newest((kind,), below=10**6)[0].time.ns for kind in ("home.opened", "endpoint.deployed")
    )
    before, between_, future = (at(live, Instant(ns)) for ns in (opened - 1, deployed - 1, deployed + 10**18))
    assert ((), None) == (before.endpoints, before.plan)
    assert "begin later" in before.note
    assert ((), None, "Nothing had been deployed yet.") == (between_.endpoints, between_.plan, between_.note)
    assert "has not come yet" in future.note
    assert ["loans@1"] == [each.ref for each in future.endpoints]
    assert "no endpoint 'other'" in at(live, live.now(), endpoint="other").note


def test_a_hidden_record_is_noticed(live: Home) -> None:
    """A change that was hidden from the look-up disagrees with the signed plan, and is no answer."""
    stop(live, "loans")
    _change(live, "UPDATE records SET subject = 'elsewhere' WHERE kind = 'endpoint.stopped'")
    with pytest.raises(Tampered, match="do not say the same"):
        at(live, live.now())


def test_a_moved_time_is_noticed(live: Home) -> None:
    """A time that was changed beside a record leads to a record that is not at that place."""
    (last,) = live.archive.newest(("endpoint.deployed",), below=10**6)
    _change(live, "UPDATE records SET time_ns = ? WHERE seq = ?", last.time.ns + DAY, last.seq)
    with pytest.raises(Tampered):
        at(live, last.time)


def test_a_changed_record_is_noticed(live: Home) -> None:
    """A record with another content is not under the signed head, and is no answer."""
    (last,) = live.archive.newest(("endpoint.deployed",), below=10**6)
    leaf = last.encode().replace(b"loans@1", b"loans@9")
    _change(live, "UPDATE records SET leaf = ? WHERE seq = ?", leaf, last.seq)
    with pytest.raises(Tampered):
        at(live, live.now())


def test_changes_between_are_those_of_the_window(live: Home) -> None:
    """Every record that changed the plan from one moment to another comes once, in order, both ends included."""
    made = keys.add(_on(live, 1), "loans", name="shop")
    keys.limit(_on(live, 2), "loans", made.entry.id, rate=7)
    keys.revoke(_on(live, 3), "loans", made.entry.id)
    seen = _on(live, 9)
    whole = list(between(seen, Instant(0), seen.now()))
    assert [0, 1, 2, 3, 4] == [number for number, _ in enumerate(whole)]
    assert sorted(each.record for each in whole) == [each.record for each in whole]
    words = [each.what for each in whole[2:]]
    name = f"key {made.entry.id} (shop)"
    assert f"{name} was made" == words[0]
    assert words[1].startswith(f"{name}: at most 7 requests a second")
    assert f"{name} is taken no more" == words[2]
    first, last = (Instant.parse(whole[number].time) for number in (2, 4))
    assert whole[2:] == list(between(seen, first, last))
    assert whole[3:] == list(between(seen, Instant(first.ns + 1), last))
    assert [] == list(between(seen, first, last, endpoint="other"))
    with pytest.raises(Misuse, match="before"):
        list(between(seen, last, first))


def test_every_plan_is_found_by_its_number(live: Home) -> None:
    """For each number that was given the record of that plan is found, and none for another number."""
    for round_ in range(5):
        stop(live, "loans")
        keys.add(live, "loans", name=f"k{round_}")
        resume(live, "loans")
    count = live.archive.position(live.now())
    found = [numbered(live, number, count) for number in range(18)]
    assert [None, *range(1, 17), None] == [None if each is None else number_in(each) for each in found]


def test_a_champion_of_many_changes_is_said_to_be_older(live: Home) -> None:
    """Where more changes came since than are looked through, the answer says that it was so before, too."""
    for _ in range(WALKED // 2 + 1):
        stop(live, "loans")
        resume(live, "loans")
    (champion,) = at(live, live.now()).endpoints[0].releases
    assert champion.longer
    assert "loans@1" == champion.ref


def test_moments_are_read_as_people_write_them() -> None:
    """RFC 3339, a date as its start in UTC, and so many days ago are moments; other words are refused."""
    now = Instant.parse("2026-03-03T12:00:00Z")
    assert Instant.parse("2026-02-28T12:00:00Z") == moment_in("3 days ago", now)
    assert Instant.parse("2026-03-03T11:59:00Z") == moment_in("1 minute ago", now)
    assert Instant.parse("2026-03-01T00:00:00Z") == moment_in("2026-03-01", now)
    for text in ("yesterday", "3 moons ago", ""):
        with pytest.raises(BadInput):
            moment_in(text, now)


def test_a_person_is_named_and_a_stranger_is_its_id(live: Home) -> None:
    """The name of a principal is told where the home knows it, else its id."""
    assert "ada" == named(live, owner(live).principal)
    assert "p-0" == named(live, "p-0")


def test_a_home_without_the_index_is_answered_and_gets_it(live: Home) -> None:
    """A home from before the index is answered all the same, and its next record makes the index."""
    before = at(live, live.now()).endpoints
    _change(live, "DROP INDEX endpoint_records_by_subject")
    assert before == at(live, live.now()).endpoints
    stop(live, "loans")
    with closing(sqlite3.connect(live.folder / "ledger.db")) as database:
        names = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'index'")}
    assert "endpoint_records_by_subject" in names
