from __future__ import annotations

from hashlib import sha256

from gatewright.serving.seen import SeenSettings
from unit.serving.exposition import Family, read
from unit.serving.rig import Rig, Running, wait_for

SECRET = "a-secret-for-scraping"  # noqa: S105 - of a test
SHADOW = "gatewright_shadow_copies_total"


def scraped(server: Running) -> dict[str, Family]:
    """The metrics of a worker."""
    answer = server.client.get("/metrics", headers={"authorization": f"Bearer {SECRET}"})
    assert (200, "text/plain; version=0.0.4; charset=utf-8") == (
        answer.status_code,
        answer.headers["content-type"],
    )
    return read(answer.text)


def value(found: dict[str, Family], name: str) -> float:
    """A sample without labels."""
    return found[name].samples[name, ()]


def test_what_the_parts_of_a_worker_count_is_scraped(rig: Rig) -> None:
    """Records, batches, connections, plan, breakers and shadows stand in one scrape, up to date."""
    first, second, third = (rig.make_release(number) for number in (1, 2, 3))
    rig.publish(rig.plan(4, first, shadow=second, fallback=third))
    seen = SeenSettings(metrics_key=sha256(SECRET.encode()).digest())

    def copies(server: Running, outcome: str) -> float:
        labels = (("endpoint", "tumour"), ("place", "shadow"), ("version", "2"), ("outcome", outcome))
        return scraped(server)[SHADOW].samples[SHADOW, labels]

    with rig.running(seen=seen) as server:
        assert [200] * 3 == [server.infer().status_code for _ in range(3)]
        wait_for(lambda: copies(server, "agreed") + copies(server, "differed") == 3)
        found = scraped(server)
        champion = (("endpoint", "tumour"), ("place", "champion"), ("version", "1"))

        assert 3 == copies(server, "seen")
        assert 6 == value(found, "gatewright_records_total")  # the shadow's, too
        assert 1 <= value(found, "gatewright_record_batches_total") <= 6
        assert 0 < value(found, "gatewright_record_sync_seconds_total")
        assert 0 == value(found, "gatewright_records_failed_total")
        assert (1, 1, 4) == tuple(
            value(found, f"gatewright_{name}") for name in ("connections", "workers", "plan_number")
        )
        assert (0, 0) == (
            value(found, "gatewright_requests_in_work"),
            value(found, "gatewright_plan_refused"),
        )
        for name in ("gatewright_breaker_open", "gatewright_release_failures_total"):
            assert 0 == found[name].samples[name, champion]
        rig.plan_path.write_bytes(b"nonsense")
        wait_for(lambda: value(scraped(server), "gatewright_plan_refused") == 1)
