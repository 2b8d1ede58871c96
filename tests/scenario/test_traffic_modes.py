"""Every way in which a plan can share out the traffic, against a worker that serves and records it."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from gatewright.deployments.plan import Portion, Recording, ReleaseRef, Showing, Shown
from gatewright.kernel.instants import Instant
from gatewright.kernel.names import Name
from gatewright.ledger.receipts import PredictionRecord, Receipt, verify_receipt
from gatewright.serving.limits import BREAKER_FAILURES
from gatewright.serving.worker import STATUS_FILE
from unit.serving.rig import NOW, Rig, Running, api_key, error_of, linear_model, question, wait_for
from unit.serving.test_recorder import FailingFiles, recorded

INFER = "/v2/models/tumour/infer"
LARGE = [1e10, 1e10, 1e10]
"""Inputs at which the model of :func:`frail` gives no numbers."""


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    """Keys, blobs and folders, with nothing published yet."""
    return Rig(tmp_path)


def portion(name: str, release: ReleaseRef, share: int) -> Portion:
    """A named share."""
    return Portion(name=Name(name), release=release, share=share)


def frail(rig: Rig, version: int) -> ReleaseRef:
    """A release that is signed and runs, and fails at large inputs."""
    return rig.make_release(version, model=linear_model(1e30))


def answered(rig: Rig, answer: httpx.Response) -> PredictionRecord:
    """The record of a good answer, whose receipt verifies and names the release that the answer names."""
    body = answer.json()
    assert 200 == answer.status_code, body
    record = verify_receipt(Receipt.parse(body["parameters"]["receipt"]), rig.worker.public)
    assert rig.roots[record.release.hex] == body["model_version"]
    return record


def ask(running: Running, subject: str = "", path: str = INFER, **change: Any) -> httpx.Response:
    """One request, about a subject where one is named."""
    headers = {"gatewright-subject": subject} if subject else {}
    return running.client.post(path, json=question(**change), headers=headers)


def take(rig: Rig, running: Running, number: int, *releases: Any, **traffic: Any) -> None:
    """Publish a plan and wait until it is in force."""
    rig.publish(rig.plan(number, *releases, **traffic))
    wait_for(lambda: running.worker.plans.table.number == number)


def counts(records: list[PredictionRecord], rig: Rig) -> Counter[str]:
    """How many predictions each version made."""
    return Counter(rig.roots[record.release.hex] for record in records)


def test_a_canary_takes_its_share_and_every_answer_names_who_gave_it(rig: Rig) -> None:
    """Subjects stay with one release; those of the canary are recorded as the canary's."""
    rig.publish(rig.plan(1, rig.make_release(1), canary=portion("canary", rig.make_release(2), 300)))
    with rig.running() as running:
        records = [answered(rig, ask(running, f"subject-{number % 40}")) for number in range(80)]

    versions = [rig.roots[record.release.hex] for record in records]
    assert versions[:40] == versions[40:]
    assert {"1", "2"} == set(versions)
    assert counts(records, rig) == counts(recorded(rig), rig)


def test_arms_are_sticky_and_a_version_in_the_path_pins_one(rig: Rig) -> None:
    """A subject meets its arm by header or by parameter; a path with a version meets that version."""
    arms = (portion("a", rig.make_release(2), 333), portion("b", rig.make_release(3), 333))
    rig.publish(rig.plan(1, rig.make_release(1), arms=arms))
    subjects = [f"subject-{number}" for number in range(30)]
    with rig.running() as running:
        by_header = [answered(rig, ask(running, subject)).release for subject in subjects]
        by_parameter = [
            answered(
                rig, running.client.post(INFER, json=question() | {"parameters": {"subject": subject}})
            ).release
            for subject in subjects
        ]
        by_key = {answered(rig, ask(running)).release for _ in range(10)}
        pinned = [
            ask(running, "subject-1", f"/v2/models/tumour/versions/{version}/infer").json()["model_version"]
            for version in (1, 2, 3)
        ]

    assert by_header == by_parameter
    assert (3, 1) == (len(set(by_header)), len(by_key))
    assert ["1", "2", "3"] == pinned


def test_the_fallback_answers_and_the_receipt_says_so(rig: Rig) -> None:
    """What the champion cannot answer the fallback does, under its own root; then the breaker opens, and is told of."""
    rig.publish(rig.plan(1, frail(rig, 1), fallback=rig.make_release(2)))
    with rig.running() as running:
        good = answered(rig, ask(running))
        failed = [answered(rig, ask(running, data=LARGE)) for _ in range(BREAKER_FAILURES.value)]
        opened = answered(rig, ask(running))
        pinned = ask(running, path="/v2/models/tumour/versions/1/infer", data=LARGE)
        fallback = ask(running, path="/v2/models/tumour/versions/2/infer")

    versions = [rig.roots[record.release.hex] for record in (good, *failed, opened)]
    assert ["1", *["2"] * BREAKER_FAILURES.value, "2"] == versions
    assert (500, 404) == (pinned.status_code, fallback.status_code)
    assert 1 == sum("keeps failing" in text for text in rig.said)
    assert counts([good, *failed, opened], rig) == counts(recorded(rig), rig)


def test_a_failing_canary_costs_no_caller_an_answer(rig: Rig) -> None:
    """Without a fallback the champion answers for its canary."""
    rig.publish(rig.plan(1, rig.make_release(1), canary=portion("canary", frail(rig, 2), 1_000)))
    with rig.running() as running:
        versions = [
            rig.roots[answered(rig, ask(running, data=data)).release.hex] for data in ([1.0, 2.0, 3.0], LARGE)
        ]

    assert ["2", "1"] == versions


def told_of(rig: Rig) -> list[int]:
    """What the worker's status says of its shadow."""
    traffic = json.loads((rig.segments / STATUS_FILE).read_text())["traffic"]
    return [each["shadow"][outcome] for each in traffic for outcome in ("agreed", "differed")]


def test_a_shadow_answers_nobody_and_its_disagreement_is_evidence(rig: Rig) -> None:
    """Every answer is the champion's; the shadow's predictions are records that name the receipts they are about."""
    rig.publish(rig.plan(1, rig.make_release(1), shadow=rig.make_release(2, model=linear_model(-1.0))))
    with rig.running() as running:
        tally = running.worker.plans.table.routes[0].tally
        records = [answered(rig, ask(running, data=data)) for data in ([1.0, 2.0, 3.0], [0.0, 0.0, 0.0])]
        wait_for(lambda: tally.agreed + tally.differed == 2)
        wait_for(lambda: told_of(rig) == [1, 1])

    mirrored = [record for record in recorded(rig) if record.recording.startswith("shadow")]
    told = {record.request: (record.recording, rig.roots[record.release.hex]) for record in mirrored}
    names = [f"{record.segment}/{record.seq}" for record in records]
    assert {names[0]: ("shadow-differs", "2"), names[1]: ("shadow-agrees", "2")} == told
    assert ("1", 4) == (rig.roots[records[0].release.hex], len(recorded(rig)))
    assert (2, 0, 1, 1, 0) == (tally.seen, tally.dropped, tally.agreed, tally.differed, tally.failed)
    assert tally.apart > 0.9


def test_a_shadow_that_fails_touches_no_caller(rig: Rig) -> None:
    """The callers have their answers; the failures are counted, and said once."""
    rig.publish(rig.plan(1, rig.make_release(1), shadow=rig.make_release(2)))
    with rig.running() as running:
        route = running.worker.plans.table.routes[0]
        assert route.shadow is not None
        route.shadow.release.engine.run = lambda *_: 1 // 0  # type: ignore[method-assign]
        records = [answered(rig, ask(running)) for _ in range(3)]
        wait_for(lambda: route.tally.failed == 3)

    assert records == recorded(rig)
    assert 1 == sum("shadow of endpoint tumour failed" in text for text in rig.said)


@contextmanager
def under_load(rig: Rig, running: Running, clients: int = 3) -> Iterator[list[httpx.Response]]:
    """Clients that keep asking; the answers come in as they are given."""
    answers: list[httpx.Response] = []
    done = threading.Event()

    def load() -> None:
        headers = {"authorization": f"Bearer {rig.secret}"}
        with httpx.Client(base_url=running.url, headers=headers, timeout=60) as client:
            while not done.is_set():
                answers.append(client.post(INFER, json=question()))

    threads = [threading.Thread(target=load) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield answers
    finally:
        done.set()
        for thread in threads:
            thread.join()


def more(answers: list[httpx.Response], fits: Callable[[httpx.Response], bool]) -> None:
    """Wait until ten more answers came, all of which fit."""
    before = len(answers)
    wait_for(lambda: len(answers) >= before + 10 and all(map(fits, answers[-10:])))


def test_stopping_gives_whole_answers_or_none(rig: Rig) -> None:
    """Under load a stopped endpoint answers 503 with a sentence, is not ready, and resumes with its release warm."""
    release = rig.make_release(1)
    rig.publish(rig.plan(1, release))
    with rig.running() as running:
        engine = running.worker.plans.table.routes[0].champion.release.engine
        with under_load(rig, running) as answers:
            more(answers, lambda answer: answer.status_code == 200)
            take(rig, running, 2, release, stopped=True)
            more(answers, lambda answer: answer.status_code == 503)
            ready = running.client.get("/v2/models/tumour/ready").status_code
            take(rig, running, 3, release)
            more(answers, lambda answer: answer.status_code == 200)
        again = running.worker.plans.table.routes[0].champion.release.engine

    good = [answered(rig, answer) for answer in answers if answer.status_code == 200]
    bad = {error_of(answer) for answer in answers if answer.status_code != 200}
    assert ({"The endpoint tumour was stopped by its owner."}, 503) == (bad, ready)
    assert {"60"} == {each.headers["retry-after"] for each in answers if each.status_code == 503}
    assert len(good) == len(recorded(rig))
    assert engine is again


def test_a_plan_that_expires_answers_nothing_more(rig: Rig) -> None:
    """At its moment the worker answers 503 and is not ready; a newer plan ends that."""
    now = [NOW]
    release = rig.make_release(1)
    end = Instant(NOW.ns + 10)
    rig.publish(rig.plan(1, release, expires=end))
    rig.clock = lambda: now[0]
    with rig.running() as running:
        before = answered(rig, ask(running))
        now[0] = end
        wait_for(lambda: running.worker.plans.expired is not None)
        after, ready = ask(running), running.client.get("/v2/health/ready").status_code
        take(rig, running, 2, release)
        last = answered(rig, ask(running))

    assert (503, 503) == (after.status_code, ready)
    assert "expired" in error_of(after)
    assert 1 == sum("Plan 1 expired" in text for text in rig.said)
    assert [before, last] == recorded(rig)


def test_each_key_is_shown_what_the_plan_says(rig: Rig) -> None:
    """Labels only, the top score, rounded scores: in the answer and in the commitment that the receipt opens."""
    shown = {
        "label": Shown(kind=Showing.LABEL),
        "top": Shown(kind=Showing.TOP, number=1),
        "rounded": Shown(kind=Showing.ROUNDED, number=2),
        "full": Shown(),
    }
    keys = tuple(api_key(name, f"secret-{name}", shown=each) for name, each in shown.items())
    rig.publish(rig.plan(1, rig.make_release(1), keys=keys))
    found = {}
    with rig.running() as running:
        for name in shown:
            running.client.headers["authorization"] = f"Bearer secret-{name}"
            answer = ask(running, data=[0.1, 0.2, 0.3])
            assert name == answered(rig, answer).key
            found[name] = {each["name"]: each["data"] for each in answer.json()["outputs"]}
            described = running.client.get("/v2/models/tumour").json()["outputs"]
            assert set(found[name]) == {each["name"] for each in described}
        running.client.headers["authorization"] = "Bearer secret-label"
        body = question() | {"outputs": [{"name": "probabilities"}]}
        refused = running.client.post(INFER, json=body)

    least, most = found["full"]["probabilities"]
    assert {"label": [1]} == found["label"]
    assert [0.0, most] == found["top"]["probabilities"]
    assert [round(least, 2), round(most, 2)] == pytest.approx(found["rounded"]["probabilities"])
    assert {(1,)} == {tuple(outputs["label"]) for outputs in found.values()}
    assert (400, True) == (refused.status_code, "'probabilities'" in error_of(refused))


def test_plans_with_a_canary_come_and_go_without_a_lost_request(rig: Rig) -> None:
    """A canary begins, grows, becomes the champion and is taken back, under load: every request is answered once."""
    first, second = rig.make_release(1), rig.make_release(2)
    rig.publish(rig.plan(1, first))
    with rig.running() as running, under_load(rig, running) as answers:
        for number, share in ((2, 100), (3, 500)):
            take(rig, running, number, first, canary=portion("canary", second, share))
            more(answers, lambda answer: answer.status_code == 200)
        take(rig, running, 4, second, first)
        more(answers, lambda answer: answer.json()["model_version"] == "2")
        take(rig, running, 5, first, second)
        more(answers, lambda answer: answer.json()["model_version"] == "1")

    records = [answered(rig, answer) for answer in answers]
    assert {1, 2, 3, 4, 5} >= {record.plan for record in records} >= {2, 3, 4, 5}
    assert counts(records, rig) == counts(recorded(rig), rig)


def test_asynchronous_recording_answers_before_the_disk_and_says_so(rig: Rig) -> None:
    """While the disk hangs, an endpoint that may record later answers; its receipts say how, and all are kept."""
    disk = FailingFiles(rig.segments)
    allows = rig.make_release(1, policy=b"[recording]\nasynchronous = true\n")
    rig.publish(rig.plan(1, allows, recording=Recording.ASYNCHRONOUS))
    back = threading.Event()
    with rig.running(disk=disk) as running:
        disk.held["append"] = back
        promised = [answered(rig, ask(running)) for _ in range(9)]
        disk.held = {}
        back.set()
    kept = {(record.segment, record.seq): record for record in recorded(rig)}

    assert {"asynchronous"} == {record.recording for record in promised}
    assert promised == [kept[record.segment, record.seq] for record in promised]
