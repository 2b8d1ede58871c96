from __future__ import annotations

import json
from hashlib import sha256
from typing import Any

import pytest

from gatewright.serving.addresses import read_proxies
from gatewright.serving.admission import Turned
from gatewright.serving.board import SERIES, Board
from gatewright.serving.limits import FAILED_KEYS, REQUEST_ID
from gatewright.serving.logs import Log, LogForm
from gatewright.serving.metrics import LATENCY_BOUNDS
from gatewright.serving.seen import OTHERS, Seen, SeenSettings
from unit.serving.exposition import Family, read

WRONG = {b"authorization": b"Bearer wrong"}
NO_KEY = Turned(401, "A key is needed.", ((b"www-authenticate", b"Bearer"),))
ANSWERS = "gatewright_answer_seconds"
REFUSALS = "gatewright_refusals_total"


class Looked:
    """Something seen, its board and its log."""

    def __init__(self, **settings: Any) -> None:
        self.lines: list[str] = []
        self.board = Board.alone(0)
        log = Log(self.lines.append, LogForm.JSON, clock=lambda: 1.0)
        self.seen = Seen(self.board, log, SeenSettings(log=LogForm.JSON, **settings))

    def family(self, name: str) -> Family:
        """A metric as it is scraped."""
        return read(self.seen.scrape({}).decode())[name]

    def refusals(self) -> dict[tuple[str, ...], float]:
        """Refusals by endpoint, status and reason."""
        samples = self.family(REFUSALS).samples
        return {tuple(value for _, value in labels): count for (_, labels), count in samples.items() if count}


def test_answers_are_counted_by_release_and_time() -> None:
    """An answer counts in the bucket of its time, with its endpoint, place and version."""
    looked = Looked()
    for nanoseconds in (1, LATENCY_BOUNDS[0], LATENCY_BOUNDS[0] + 1, 10**11):
        looked.seen.answered("loans/champion/3", nanoseconds)

    samples = looked.family(ANSWERS).samples
    labels = (("endpoint", "loans"), ("place", "champion"), ("version", "3"))
    first = samples[f"{ANSWERS}_bucket", (*labels, ("le", "0.0005"))]
    assert (2, 4) == (first, samples[f"{ANSWERS}_count", labels])
    assert 100 == int(samples[f"{ANSWERS}_sum", labels])


def test_a_full_board_counts_under_others() -> None:
    """Where there is no room for one more series, the counts go to a common one, and nothing fails."""
    looked = Looked()
    for number in range(SERIES - len(looked.board.names())):
        looked.board.series(f"filler {number}")
    looked.seen.answered("loans/champion/3", 1)
    looked.seen.turned(Turned(400, "No."), {}, "203.0.113.9")
    looked.seen.pull([("records_total", 5)], {"connections": 7})

    labels = tuple((name, OTHERS) for name in ("endpoint", "place", "version"))
    assert 1 == looked.family(ANSWERS).samples[f"{ANSWERS}_count", labels]
    assert {(OTHERS, OTHERS, OTHERS): 1} == looked.refusals()


def test_counts_of_others_are_added_once() -> None:
    """What a part counted since the last look is added; a part that began anew is added from nothing."""
    looked = Looked()
    for value in (5, 5, 9, 2):
        looked.seen.pull([("records_total", value)], {"connections": value})

    assert 11 == looked.family("gatewright_records_total").samples["gatewright_records_total", ()]
    assert 2 == looked.family("gatewright_connections").samples["gatewright_connections", ()]


@pytest.mark.parametrize("given", [b"abc-123", b"4bf92f35:77/b+3@x=_", b"x" * REQUEST_ID.value])
def test_a_safe_id_comes_back(given: bytes) -> None:
    """The caller's id is on its answer, on its refusal, and in the log."""
    looked = Looked()
    headers = {b"x-request-id": given}

    assert ((b"x-request-id", given),) == looked.seen.echo(headers)
    turned = looked.seen.turned(Turned(400, "No."), headers, "203.0.113.9")
    assert given == dict(turned.headers)[b"x-request-id"]
    assert given.decode() == json.loads(looked.lines[0])["request"]


@pytest.mark.parametrize(
    "given", [b"", b"x" * (REQUEST_ID.value + 1), b"a b", b'"', b"\xff", b"<script>", b"a\x1b[2J", b"a,b"]
)
def test_an_id_that_is_not_safe_is_replaced(given: bytes) -> None:
    """Something else than the caller's text is answered and told."""
    looked = Looked()
    turned = looked.seen.turned(Turned(400, "No."), {b"x-request-id": given}, "203.0.113.9")
    made = dict(turned.headers)[b"x-request-id"]

    assert made != given
    assert made.decode().replace("-", "").isalnum()
    assert made != looked.seen.echo({b"x-request-id": given})[0][1]


def test_no_id_is_made_for_an_answer_that_asked_for_none() -> None:
    """The receipt is its id."""
    assert () == Looked().seen.echo({})


def test_wrong_keys_become_429_for_their_address_alone() -> None:
    """After the limit the same wrong key is told to wait; another address is not, nor is who sends no key."""
    looked = Looked()
    found = [looked.seen.turned(NO_KEY, WRONG, "203.0.113.9") for _ in range(FAILED_KEYS.value + 1)]

    assert [401] * FAILED_KEYS.value + [429] == [each.status for each in found]
    assert {b"www-authenticate", b"retry-after", b"x-request-id"} == set(dict(found[-1].headers))
    assert 401 == looked.seen.turned(NO_KEY, WRONG, "203.0.113.10").status
    assert 401 == looked.seen.turned(NO_KEY, {}, "203.0.113.9").status
    assert {("", "401", "no-key"): 22, ("", "429", "wrong-keys"): 1} == looked.refusals()


def test_behind_a_proxy_each_caller_counts_for_itself() -> None:
    """One caller's wrong keys do not become another's penalty, though both come from the proxy."""
    looked = Looked(proxies=read_proxies(["10.0.0.0/24"]))
    headers = WRONG | {b"x-forwarded-for": b"198.51.100.1"}
    for _ in range(FAILED_KEYS.value):
        looked.seen.turned(NO_KEY, headers, "10.0.0.5")

    other = WRONG | {b"x-forwarded-for": b"198.51.100.2"}
    assert 429 == looked.seen.turned(NO_KEY, headers, "10.0.0.5").status
    assert 401 == looked.seen.turned(NO_KEY, other, "10.0.0.5").status


def test_only_the_secret_may_scrape() -> None:
    """The right secret may, a wrong one is a 401, and without a secret the path is like any other."""
    looked = Looked(metrics_key=sha256(b"scrape-with-this").digest())

    assert looked.seen.may_scrape({b"authorization": b"Bearer scrape-with-this"})
    for value in (b"", b"Bearer scrape-with-thi", b"Basic scrape-with-this", b"scrape-with-this"):
        with pytest.raises(Turned) as caught:
            looked.seen.may_scrape({b"authorization": value})
        assert 401 == caught.value.status
    assert not Looked().seen.may_scrape({b"authorization": b"Bearer "})
