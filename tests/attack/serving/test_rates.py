"""Floods: of names, of keys, of forged addresses, and beyond what a key may do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import httpx
import pytest

from gatewright.serving.limits import FAILED_KEYS
from gatewright.serving.logs import LINES_IN_A_SECOND, LogForm
from gatewright.serving.seen import SeenSettings
from unit.serving.exposition import read
from unit.serving.rig import WAIT_S, Rig, Running, api_key, question

INFER = "/v2/models/tumour/infer"
SCRAPE = "a-secret-for-scraping"
MARK = "PAYLOAD-MARKER"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A worker that tells everything it may: metrics, and a log for machines."""
    rig = Rig(tmp_path_factory.mktemp("flooded"))
    keys = (
        api_key("key-1", rig.secret),
        api_key("slow", "gw_slow", rate=1),
        api_key("few", "gw_few", quota=3),
    )
    rig.publish(rig.plan(1, rig.make_release(1), keys=keys))
    seen = SeenSettings(log=LogForm.JSON, metrics_key=sha256(SCRAPE.encode()).digest())
    with rig.running(seen=seen) as found:
        yield found


def scraped(server: Running) -> httpx.Response:
    """The metrics."""
    return server.client.get("/metrics", headers={"authorization": f"Bearer {SCRAPE}"})


def test_sv07_invented_names_add_nothing_to_what_is_kept(server: Running) -> None:
    """SV-07: thousands of names of models, versions, ids and headers add no series; tables stay as they are."""
    for path in ("/v2/models/x0/infer", "/v2/models/tumour/versions/90/infer", INFER):
        server.client.post(path, content=b"{", headers={"x-request-id": "first"})
    before = {line.rpartition(" ")[0] for line in scraped(server).text.splitlines()}

    for number in range(1_000):
        path = (f"/v2/models/x{number}/infer", f"/v2/models/tumour/versions/9{number}/infer", INFER)[
            number % 3
        ]
        server.client.post(
            path,
            content=b"{",
            headers={"x-request-id": f"id-{number}", f"x-{number}": "y", "gatewright-subject": f"s{number}"},
        )

    after = {line.rpartition(" ")[0] for line in scraped(server).text.splitlines()}
    assert before == after
    assert not any(f"x{number}" in line for line in after for number in (7, 500))


def test_sv16_forged_addresses_do_not_undo_the_limit(server: Running) -> None:
    """SV-16: wrong keys with another forged address each are still one caller's; the right key is answered."""
    found = [
        server.client.post(
            INFER,
            json=question(),
            headers={
                "authorization": f"Bearer guess-{number}",
                "x-forwarded-for": f"198.51.{number // 250}.{number % 250}",
                "x-real-ip": f"198.51.100.{number % 250}",
                "forwarded": f"for=198.51.100.{number % 250}",
            },
        )
        for number in range(500)
    ]

    statuses = [each.status_code for each in found]
    assert statuses.count(401) <= FAILED_KEYS.value
    assert {429} == set(statuses[FAILED_KEYS.value :])
    assert all("retry-after" in each.headers for each in found[FAILED_KEYS.value :])
    assert 200 == server.infer().status_code


def test_sv12_a_wrong_key_is_a_wrong_key_however_near(server: Running) -> None:
    """SV-12: a key that shares all but its last letter with a right one is refused in the same words."""
    secret = server.rig.secret
    near = [secret[:length] for length in range(len(secret))] + [secret + "x", secret[:-1] + "u"]
    answers = {
        server.client.get("/v2", headers={"authorization": f"Bearer {guess}"}).text for guess in near if guess
    }

    assert all("key" in each.lower() for each in answers)
    assert len(answers) <= 2  # before the limit and after it


def test_a_rate_is_refused_before_the_body(server: Running) -> None:
    """A key beyond its rate has a 429 with Retry-After though its body never comes; other keys are answered."""
    with httpx.Client(
        base_url=server.url, headers={"authorization": "Bearer gw_slow"}, timeout=WAIT_S
    ) as slow:
        statuses = [slow.post(INFER, json=question()).status_code for _ in range(20)]
        refused = slow.post(INFER, headers={"content-length": "0"})
    assert {200, 429} == set(statuses)
    assert refused.status_code in {400, 429}
    assert 200 == server.infer().status_code


def test_a_quota_ends_with_a_time_to_wait(server: Running) -> None:
    """After its requests of the day a key is told how long the day still is."""
    headers = {"authorization": "Bearer gw_few"}
    found = [server.client.post(INFER, json=question(), headers=headers) for _ in range(6)]

    assert [200, 200, 200] == [each.status_code for each in found[:3]]
    assert {429} == {each.status_code for each in found[3:]}
    assert 0 < int(found[-1].headers["retry-after"]) <= 86_401


def test_no_secret_and_no_payload_is_ever_told(server: Running) -> None:
    """Whatever a caller sends, neither keys nor payloads nor its words stand in the log, metrics or refusals."""
    lines = len(server.rig.said)
    told = ""
    for body, headers in (
        (json.dumps(question(data=[MARK, 1, 2])).encode(), {}),
        (f'{{"id":"{MARK}","inputs":"{MARK}"'.encode(), {"x-request-id": f"{MARK} {MARK}"}),
        (MARK.encode(), {"content-type": MARK, "gatewright-subject": MARK * 40}),
        (b"{}", {"authorization": f"Bearer {MARK}", "x-forwarded-for": MARK}),
        (b"{}", {"host": f"{MARK}.example", "traceparent": MARK}),
    ):
        server.client.post(INFER, content=body, headers=headers)
        server.client.post(f"/v2/models/{MARK}/infer?{MARK}", content=body, headers=headers)
    told += "\n".join(server.rig.said[lines:]) + scraped(server).text

    assert "refused" in told
    for secret in (MARK, server.rig.secret, SCRAPE, "gw_slow", "gw_few"):
        assert secret not in told


def test_a_flood_of_refusals_does_not_fill_the_log(server: Running) -> None:
    """Of hundreds of refused requests a few lines are written in each second, and all are counted."""
    lines = len(server.rig.said)
    before = _refused(server)
    for _ in range(300):
        server.client.post(INFER, content=b"{")

    seconds = {json.loads(line)["time"][:19] for line in server.rig.said[lines:]}
    assert len(server.rig.said) - lines <= LINES_IN_A_SECOND * max(1, len(seconds))
    assert 300 == _refused(server) - before


def _refused(server: Running) -> float:
    samples = read(scraped(server).text)["gatewright_refusals_total"].samples
    return sum(value for (_, labels), value in samples.items() if ("status", "400") in labels)


def test_metrics_are_closed_by_default(tmp_path: Path) -> None:
    """Without a secret of its own the path is no path: 401 without a key, 404 with one, even for an empty one."""
    rig = Rig(tmp_path)
    rig.publish(rig.plan(1, rig.make_release(1)))
    with rig.running() as plain:
        assert 404 == plain.client.get("/metrics").status_code
        for value in ("", "Bearer", "Bearer x"):
            assert 401 == plain.client.get("/metrics", headers={"authorization": value}).status_code
