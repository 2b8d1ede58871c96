"""What several workers of one home tell together: metrics, limits, log and traces, over a restart."""

from __future__ import annotations

import json
from pathlib import Path

import httpx

from scenario.conftest import NewHome
from scenario.world import Home, Server, ask, loans, serving
from unit.serving.exposition import Labels, read
from unit.serving.test_traces import collecting, facts_of

SECRET = "a-secret-for-scraping"  # noqa: S105 - of a test
ASKED = 24
QUOTA = 40
ROWS, _ = loans(1, 3)


def statuses(server: Server, home: Home, count: int) -> list[int]:
    """So many predictions, each on a connection of its own: they meet every worker."""
    found = []
    for _ in range(count):
        with httpx.Client() as client:
            found.append(ask(client, server, "loans", home.api_key, ROWS).status_code)
    return found


def metric(server: Server, name: str, labels: Labels = ()) -> float:
    """A sample of a scrape."""
    answer = httpx.get(f"{server.url}/metrics", headers={"authorization": f"Bearer {SECRET}"}, timeout=60)
    assert 200 == answer.status_code
    family = name.removesuffix("_count")
    return read(answer.text)[family].samples[name, labels]


def options(folder: Path, url: str) -> list[str]:
    """Everything that can be seen."""
    secret = folder / "scrape.key"
    secret.write_text(SECRET + "\n", "utf-8")
    secret.chmod(0o600)
    seen = ["--log", "json", "--metrics-key-file", str(secret), "--traces", url, "--trace-one-in", "1"]
    return ["--workers", "2", *seen]


def test_workers_tell_and_limit_as_one(new_home: NewHome, tmp_path: Path) -> None:
    """Any worker tells the answers of all; a key's quota holds over all and over a restart; the log is JSON."""
    home = new_home("live")
    (key,) = home.do("key", "list", "loans")
    home.do("limit", "loans", "--key", key["id"], "--quota", str(QUOTA))
    labels = (("endpoint", "loans"), ("place", "champion"), ("version", "1"))
    with collecting() as collector:
        with serving(home, *options(tmp_path, collector.url)) as server:
            assert [200] * ASKED == statuses(server, home, ASKED)
            counts = {metric(server, "gatewright_answer_seconds_count", labels) for _ in range(8)}
            assert {ASKED} == counts
            first = server.said()
        with serving(home, *options(tmp_path, collector.url), log="again.log") as server:
            assert sorted([200] * (QUOTA - ASKED) + [429] * 4) == sorted(
                statuses(server, home, QUOTA - ASKED + 4)
            )
            assert QUOTA == metric(server, "gatewright_answer_seconds_count", labels)
            refused = (("endpoint", "loans"), ("status", "429"), ("reason", "quota"))
            assert 4 == metric(server, "gatewright_refusals_total", refused)
            second = server.said()

    spans = [facts_of(span) for span in collector.spans]
    assert QUOTA == sum(facts["http.response.status_code"] == 200 for facts in spans)
    receipts = [facts["gatewright.receipt"] for facts in spans if "gatewright.receipt" in facts]
    assert QUOTA == len(set(receipts))
    events = [json.loads(line) for line in (first + second).splitlines()]
    assert {"start", "plan-taken", "refused"} <= {event["event"] for event in events}
    assert home.api_key not in first + second
    assert SECRET not in first + second
