"""What every ledger must keep: the contract of ``Ledger`` and ``Projections``, as functions.

Give each of :data:`PROMISES` a :class:`LedgerBench` over a new, empty place; a promise that is not
kept raises :class:`~gatewright.testing.promises.PromiseBroken`. With pytest::

    @pytest.mark.parametrize("promise", ledger_contract.PROMISES, ids=lambda each: each.__name__)
    def test_my_ledger(promise, tmp_path):
        promise(LedgerBench(open=..., key=..., origin=...))
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from gatewright.kernel.errors import BadInput
from gatewright.kernel.instants import Instant
from gatewright.ledger.audit import audit
from gatewright.ledger.checkpoints import open_checkpoint
from gatewright.ledger.projection import Project, Put
from gatewright.ledger.records import Draft, Record
from gatewright.ledger.tree import EMPTY_ROOT
from gatewright.ports import Ledger, Projections
from gatewright.releases.keys import PublicKey
from gatewright.testing.promises import PromiseBroken, agree, refuses

_SECOND = 1_000_000_000
NOON = Instant(1_767_000_000 * _SECOND)
"""The moment at which the promises append."""


class OpenLedger(Ledger, Projections, Protocol):
    """A ledger with its documents."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerBench:
    """What a promise is tried on.

    ``open`` opens the same place again each time, with the given projection; ``key`` and ``origin``
    are those of its checkpoints.
    """

    open: Callable[[Project], OpenLedger]
    key: PublicKey
    origin: str

    def verify(self, ledger: Ledger) -> int:
        """Audit all leaves against the newest checkpoint; returns how many there are."""
        found = audit(
            [(leaf, None) for leaf in ledger.leaves()],
            note=ledger.checkpoint(),
            key=self.key,
            origin=self.origin,
        )
        if not found.holds:
            raise PromiseBroken(found.problems[0].sentence())
        return found.size


def latest(record: Record) -> Sequence[Put]:
    """A projection that needs order and removal: where each subject was last recorded."""
    subject = record.draft.subject
    last = Put(collection="last", key="seq", document={"seq": record.seq, "body": record.draft.body})
    if record.draft.kind == "model.removed":
        return [last, Put(collection="subjects", key=subject, document=None)]
    return [last, Put(collection="subjects", key=subject, document={"last": record.seq})]


def draft(subject: str, kind: str = "model.added") -> Draft:
    """A small draft about ``subject``."""
    return Draft(kind=kind, actor="ada", subject=subject, body={"size": 1.0, "tags": ("a", "b")})


def _documents(ledger: Projections) -> list[object]:
    return [list(ledger.scan(collection)) for collection in ("last", "subjects")]


def an_empty_ledger_is_signed(bench: LedgerBench) -> None:
    """A ledger without records has a signed checkpoint that says so."""
    ledger = bench.open(latest)
    head = open_checkpoint(ledger.checkpoint(), origin=bench.origin, key=bench.key)
    agree((0, EMPTY_ROOT), (head.size, head.root), "An empty ledger has the empty root.")
    agree([], list(ledger.leaves()), "An empty ledger has no leaves.")


def numbers_have_no_gap(bench: LedgerBench) -> None:
    """Records are numbered from 0 without a gap, across appends, and stored as they were returned."""
    ledger = bench.open(latest)
    records = [*ledger.append([draft("a"), draft("b")], NOON), *ledger.append([draft("c")], NOON)]
    agree([0, 1, 2], [record.seq for record in records], "Numbers have no gap.")
    agree([record.encode() for record in records], list(ledger.leaves()), "Leaves are the records.")


def records_come_back_as_they_will_be_read(bench: LedgerBench) -> None:
    """What ``append`` returns equals what reading the leaves gives, whatever types the draft used."""
    ledger = bench.open(latest)
    records = ledger.append([draft("a")], NOON)
    agree(records, tuple(Record.decode(leaf) for leaf in ledger.leaves()), "Records equal their leaves.")


def nothing_appends_nothing(bench: LedgerBench) -> None:
    """Appending no drafts changes nothing, the checkpoint included."""
    ledger = bench.open(latest)
    before = ledger.checkpoint()
    agree((), ledger.append([], NOON), "No drafts make no records.")
    agree(before, ledger.checkpoint(), "No drafts leave the checkpoint.")


def time_never_goes_back(bench: LedgerBench) -> None:
    """A clock that was set back does not make a record earlier than the one before it."""
    ledger = bench.open(latest)
    ledger.append([draft("a")], NOON)
    (later,) = ledger.append([draft("b")], Instant(NOON.ns - _SECOND))
    agree(NOON, later.time, "Time never goes back.")


def every_append_is_signed(bench: LedgerBench) -> None:
    """After each append the newest checkpoint covers exactly the leaves."""
    ledger = bench.open(latest)
    for count in range(1, 8):
        ledger.append([draft(f"a{count}")], NOON)
        agree(count, bench.verify(ledger), "The checkpoint covers every leaf.")


def leaves_can_be_read_in_part(bench: LedgerBench) -> None:
    """``leaves(start, stop)`` is the slice of all leaves."""
    ledger = bench.open(latest)
    ledger.append([draft(f"a{index}") for index in range(7)], NOON)
    every = list(ledger.leaves())
    for start, stop in ((0, 7), (2, 5), (3, None), (5, 3), (7, None), (0, 99)):
        agree(every[start:stop], list(ledger.leaves(start, stop)), "Leaves are read in part.")


def a_failing_projection_leaves_nothing(bench: LedgerBench) -> None:
    """When the projection of one record fails, no record, document or checkpoint of the append stays."""
    ledger = bench.open(latest)
    ledger.append([draft("a")], NOON)
    before = (list(ledger.leaves()), ledger.checkpoint(), _documents(ledger))

    def failing(record: Record) -> Sequence[Put]:
        if record.draft.subject == "bad":
            raise LookupError(record.draft.subject)
        return latest(record)

    broken = bench.open(failing)
    with refuses(LookupError, "The failure of a projection reaches the caller."):
        broken.append([draft("b"), draft("bad"), draft("c")], NOON)
    for each in (broken, ledger):
        agree(
            before,
            (list(each.leaves()), each.checkpoint(), _documents(each)),
            "A failed append leaves nothing.",
        )
    agree(1, ledger.append([draft("d")], NOON)[0].seq, "The next append goes on.")


def a_bad_draft_leaves_nothing(bench: LedgerBench) -> None:
    """One draft that is no record refuses the whole append."""
    ledger = bench.open(latest)
    with refuses(BadInput, "A bad kind is refused."):
        ledger.append([draft("a"), draft("b", kind="Not A Kind")], NOON)
    agree([], list(ledger.leaves()), "A refused append leaves nothing.")
    agree(0, bench.verify(ledger), "A refused append signs nothing.")


def documents_follow_records(bench: LedgerBench) -> None:
    """The last record of an append that speaks of a document decides it, and may remove it."""
    ledger = bench.open(latest)
    ledger.append([draft("a"), draft("b"), draft("a")], NOON)
    agree({"last": 2}, ledger.get("subjects", "a"), "The last record decides.")
    ledger.append([draft("b", kind="model.removed")], NOON)
    agree(None, ledger.get("subjects", "b"), "A put of nothing removes.")
    agree(None, ledger.get("nothing", "a"), "A collection that nobody wrote is empty.")


def scans_are_by_prefix_and_in_order(bench: LedgerBench) -> None:
    """``scan`` yields the keys that begin with the prefix, in order, and takes no letter as a wildcard."""
    ledger = bench.open(latest)
    ledger.append([draft(name) for name in ("b", "a%c", "a_b", "a", "ab", "é")], NOON)
    keys = [key for key, _ in ledger.scan("subjects", "a")]
    agree(["a", "a%c", "a_b", "ab"], keys, "A scan is by prefix and in order.")
    agree(["a%c"], [key for key, _ in ledger.scan("subjects", "a%")], "A percent sign is a letter.")
    agree(6, len(list(ledger.scan("subjects"))), "An empty prefix matches all.")


def rebuilding_changes_nothing(bench: LedgerBench) -> None:
    """Documents made again from the records are the documents that were there."""
    ledger = bench.open(latest)
    for index in range(5):
        ledger.append([draft(f"a{index % 2}"), draft("b", kind="model.removed")], NOON)
    before = _documents(ledger)
    agree(10, ledger.rebuild(), "A rebuild reads every record.")
    agree(before, _documents(ledger), "A rebuild makes the same documents.")
    agree(10, bench.verify(ledger), "A rebuild leaves the records.")


def everything_is_there_after_opening_again(bench: LedgerBench) -> None:
    """A ledger opened again goes on where the last one ended."""
    first = bench.open(latest)
    first.append([draft("a")], NOON)
    again = bench.open(latest)
    agree(first.checkpoint(), again.checkpoint(), "The checkpoint is kept.")
    agree(1, again.append([draft("a")], NOON)[0].seq, "Numbers go on.")
    agree({"last": 1}, again.get("subjects", "a"), "Documents go on.")
    agree(2, bench.verify(again), "The tree goes on.")


PROMISES: tuple[Callable[[LedgerBench], None], ...] = (
    an_empty_ledger_is_signed,
    numbers_have_no_gap,
    records_come_back_as_they_will_be_read,
    nothing_appends_nothing,
    time_never_goes_back,
    every_append_is_signed,
    leaves_can_be_read_in_part,
    a_failing_projection_leaves_nothing,
    a_bad_draft_leaves_nothing,
    documents_follow_records,
    scans_are_by_prefix_and_in_order,
    rebuilding_changes_nothing,
    everything_is_there_after_opening_again,
)
"""Every promise of the port, each a function of a bench over a new, empty place."""
