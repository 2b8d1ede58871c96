"""Projections: total over the kinds, deaf to others, and a function of the records alone."""

from __future__ import annotations

import inspect
import re
from importlib import import_module
from pkgutil import iter_modules

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewright import operations
from gatewright.kernel.instants import Instant
from gatewright.ledger.projection import Put
from gatewright.ledger.records import Draft, Record
from gatewright.operations.home import Home
from gatewright.operations.projections import KINDS, project

KIND = st.from_regex(r"[a-z]{1,12}(-[a-z]{1,5})?\.[a-z]{1,12}", fullmatch=True)


def _record(draft: Draft, seq: int = 5) -> Record:
    return Record(seq=seq, time=Instant.parse("2026-03-03T14:05:00Z"), draft=draft)


@given(kind=KIND, body=st.dictionaries(st.text(max_size=5), st.integers(0, 9), max_size=3))
@settings(max_examples=50, deadline=None)
def test_an_unknown_kind_changes_nothing(kind: str, body: dict[str, int]) -> None:
    """Records of a later version are passed over, whatever they hold."""
    draft = Draft(kind=kind, actor="p-1", subject="s", body=body)
    assert (kind in KINDS) or [] == list(project(_record(draft)))


def test_every_kind_that_is_recorded_is_projected() -> None:
    """No operation writes a kind that the projections do not know, and none is known in vain."""
    sources = [
        inspect.getsource(import_module(f"{operations.__name__}.{module.name}"))
        for module in iter_modules(operations.__path__)
        if not module.name.startswith("child")
    ]
    written = {kind for source in sources for kind in re.findall(r'kind="([a-z-]+\.[a-z-]+)"', source)}
    assert set(KINDS) == written


def test_every_record_of_a_life_is_projected(live: Home) -> None:
    """Each known record makes at least one document that carries its number and time."""
    seen = set()
    for leaf in live.archive.leaves():
        record = Record.decode(leaf)
        puts = list(project(record))
        seen.add(record.draft.kind)
        assert all(isinstance(put, Put) and put.collection and put.key for put in puts)
        stamps = [put.document["seq"] for put in puts if put.document and "seq" in put.document]
        assert record.seq in stamps, record.draft.kind
    assert {"home.opened", "dataset.added", "model.checked", "release.created", "endpoint.deployed"} <= seen


def test_projecting_twice_is_projecting_once(live: Home) -> None:
    """The same record gives the same documents, always."""
    for leaf in live.archive.leaves():
        record = Record.decode(leaf)
        assert list(project(record)) == list(project(record))


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_known_kind_with_another_body_is_an_error_not_a_guess(kind: str) -> None:
    """A body without its fields raises, or is kept under the one key that the kind has."""
    draft = Draft(kind=kind, actor="p-1", subject="s")
    try:
        puts = list(project(_record(draft)))
    except KeyError:
        return
    assert kind in {"home.opened", "model.refused", "release.refused"}
    assert 1 == len(puts)
