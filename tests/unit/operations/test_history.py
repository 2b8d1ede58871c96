"""What was live when: the records alone answer, as a naive fold over them would."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from gatewright.adapters.sqlite_ledger import SqliteLedger
from gatewright.assembly.homes import open_home
from gatewright.kernel.digests import Digest
from gatewright.kernel.instants import Instant
from gatewright.ledger.records import Draft
from gatewright.operations.catalogue import Endpoint, body_of
from gatewright.operations.history import between, changes, live_at
from gatewright.operations.home import Home
from gatewright.operations.projections import project

EVENTS = st.lists(
    st.tuples(
        st.integers(0, 3), st.sampled_from(("a", "b", "c")), st.integers(1, 5), st.booleans(), st.booleans()
    ),
    max_size=12,
)


def _entry(endpoint: str, version: int, number: int) -> Endpoint:
    digest = Digest.of(f"{endpoint}{version}".encode())
    return Endpoint(
        endpoint=endpoint, state="first", root=digest, ref=f"m@{version}", previous_root=None, previous_ref="",
        decision=digest, plan_number=number, plan=digest,
    )  # fmt: skip


def test_live_at_is_a_fold(fresh_template: Path) -> None:
    """For any sequence of changes and any moment, each endpoint serves its last change up to then."""
    with open_home(fresh_template) as home:

        @given(events=EVENTS, moment=st.integers(-1, 40))
        @settings(max_examples=15, deadline=None)
        def law(events: list[tuple[int, str, int, bool, bool]], moment: int) -> None:
            with TemporaryDirectory() as folder:
                _law(home, Path(folder), events, moment)

        law()


def _law(home: Home, folder: Path, events: list[tuple[int, str, int, bool, bool]], moment: int) -> None:
    ledger = SqliteLedger(folder / "l.db", signer=home.keys.log, origin=home.origin, project=project)  # type: ignore[attr-defined]
    try:
        clock, expected, everything = 0, {}, []
        for number, (pause, endpoint, version, rolled, other) in enumerate(events, 1):
            clock += pause
            entry = _entry(endpoint, version, number)
            kind = "endpoint.rolled-back" if rolled else "endpoint.deployed"
            drafts = [Draft(kind=kind, actor="p-1", subject=endpoint, body=body_of(entry))]
            if other:
                drafts.append(Draft(kind="made.up", actor="p-1", subject=endpoint, body=body_of(entry)))
            ledger.append(drafts, Instant(clock))
            everything.append((endpoint, number, kind))
            if clock <= moment:
                expected[endpoint] = (number, kind, clock)
        seen = replace(home, archive=ledger)
        assert everything == [(c.entry.endpoint, c.entry.plan_number, c.kind) for c in changes(seen)]
        found = live_at(seen, Instant(moment))
        assert expected == {c.entry.endpoint: (c.entry.plan_number, c.kind, c.time.ns) for c in found}
        assert sorted(expected) == [c.entry.endpoint for c in found]
        only = live_at(seen, Instant(moment), endpoint="a")
        assert [c for c in found if c.entry.endpoint == "a"] == list(only)
    finally:
        ledger.close()


MANY, FEW = 4_000, 2_000
GROWTH = 1.3


def test_a_long_window_is_read_page_by_page(fresh_template: Path, tmp_path: Path) -> None:
    """Thousands of changes come in order, each once, in no more memory than half of them take."""
    with open_home(fresh_template) as home:
        ledger = SqliteLedger(
            tmp_path / "l.db", signer=home.keys.log, origin=home.origin, project=lambda _: ()
        )
        try:
            for start in range(0, MANY, FEW):
                drafts = [
                    Draft(
                        kind="endpoint.deployed",
                        actor="p-1",
                        subject="a",
                        body=body_of(_entry("a", number % 5 + 1, number + 1)),
                    )
                    for number in range(start, start + FEW)
                ]
                ledger.append(drafts, Instant(start))
            seen = replace(home, archive=ledger)
            peaks = []
            for count in (FEW, MANY):
                tracemalloc.start()
                numbers = [each.body["plan_number"] for each in between(seen, Instant(0), Instant(count - 1))]
                peaks.append(tracemalloc.get_traced_memory()[1])
                tracemalloc.stop()
                assert list(range(1, count + 1)) == numbers
            assert peaks[1] < GROWTH * peaks[0], peaks
        finally:
            ledger.close()
