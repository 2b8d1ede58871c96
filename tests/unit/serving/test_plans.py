from __future__ import annotations

from collections.abc import Callable

import pytest

from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import Refusal
from gatewright.serving import plans as module
from gatewright.serving.plans import Plans
from unit.serving.rig import COLUMNS, Rig, linear_model


def plans_of(rig: Rig, said: list[Refusal | None]) -> Plans:
    """What the worker has, without the worker."""
    return Plans(path=rig.plan_path, blobs=rig.blobs, trust=rig.trust, report=said.append)


def versions(plans: Plans) -> list[tuple[int, int | None]]:
    """Champion and previous version of every route."""
    return [
        (route.champion.version, route.previous.version if route.previous else None)
        for route in plans.table.routes
    ]


def test_a_plan_is_taken_and_switched_back(rig: Rig) -> None:
    """A new plan replaces the table; a rollback makes the previous release, still loaded, the champion."""
    said: list[Refusal | None] = []
    plans = plans_of(rig, said)
    first, second = rig.make_release(1), rig.make_release(2)
    seen = []
    for envelope in (rig.plan(1, first), rig.plan(2, second, first), rig.plan(3, first, second)):
        rig.publish(envelope)
        plans.load()
        seen.append((versions(plans), plans.table.routes[0].champion.engine))

    assert [[(1, None)], [(2, 1)], [(1, 2)]] == [each for each, _ in seen]
    assert seen[0][1] is seen[2][1]
    assert ([None] * 3, None) == (said, plans.refusal)


def test_only_the_plan_of_the_digest_is_taken(rig: Rig) -> None:
    """Where one digest is named, neither an older nor a newer plan of the same keys is taken, at any time."""
    said: list[Refusal | None] = []
    plans = plans_of(rig, said)
    older, named, newer = (rig.plan(number, rig.make_release(number)) for number in (1, 2, 3))
    plans.only = Digest.of(named)
    seen = []
    for envelope in (older, named, newer, older):
        rig.publish(envelope)
        plans.load()
        seen.append((versions(plans), plans.refusal and plans.refusal.code))

    refused = "serving.plan-digest"
    assert [([], refused), ([(2, None)], None), ([(2, None)], refused), ([(2, None)], refused)] == seen


def test_without_a_plan_nothing_is_served(rig: Rig) -> None:
    """No plan yet is no fault: there are no endpoints and no keys."""
    said: list[Refusal | None] = []
    plans = plans_of(rig, said)

    plans.load()

    assert (0, (), (), []) == (plans.table.number, plans.table.routes, plans.table.admitted, said)


def flipped_model(rig: Rig) -> bytes:
    """A plan whose model has one other byte on the disk."""
    ref = rig.make_release(2)
    path = rig.blobs.path_of(ref.resources["model.onnx"])
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o600)
    path.write_bytes(bytes(data))
    return rig.plan(2, ref)


def swapped_models(rig: Rig) -> bytes:
    """A plan whose release names the model of another release."""
    one, two = rig.make_release(2), rig.make_release(3)
    mixed = type(one)(
        root=one.root,
        model=one.model,
        version=one.version,
        resources={**one.resources, "model.onnx": two.resources["model.onnx"]},
        bundle=one.bundle,
        statements=one.statements,
    )
    return rig.plan(2, mixed)


def other_version(rig: Rig) -> bytes:
    """A plan that calls a release by another version."""
    one = rig.make_release(2)
    named = type(one)(
        root=one.root,
        model=one.model,
        version=9,
        resources=one.resources,
        bundle=one.bundle,
        statements=one.statements,
    )
    return rig.plan(2, named)


def no_decision(rig: Rig) -> bytes:
    """A plan whose release was decided for another endpoint."""
    return rig.plan(2, rig.make_release(2, endpoint="elsewhere"))


def broken_previous(rig: Rig) -> bytes:
    """A plan whose previous release is not all there."""
    one, two = rig.make_release(2), rig.make_release(3)
    rig.blobs.path_of(one.bundle).unlink()
    return rig.plan(2, two, one)


def with_thresholds(rig: Rig) -> bytes:
    """A plan whose release asks for thresholds."""
    return rig.plan(2, rig.make_release(2, thresholds={COLUMNS[0]: 0.5}))


def no_model(rig: Rig) -> bytes:
    """A plan whose release is signed, and does not run."""
    return rig.plan(2, rig.make_release(2, model=linear_model(1.0)[:-30]))


def other_keys(rig: Rig) -> bytes:
    """A plan that only one of the release keys signed."""
    rig.signers = (rig.release, rig.worker)
    return rig.plan(2, rig.make_release(2))


def no_envelope(rig: Rig) -> bytes:
    """Bytes that are no plan."""
    return b"{}" + bytes(len(rig.secret))


def same_number(rig: Rig) -> bytes:
    """Another plan with the number in force."""
    return rig.plan(1, rig.make_release(2))


@pytest.mark.parametrize(
    "bad",
    [
        flipped_model, swapped_models, other_version, no_decision, broken_previous, with_thresholds, no_model,
        other_keys, no_envelope, same_number,
    ],
)  # fmt: skip
def test_a_plan_that_does_not_hold_changes_nothing(rig: Rig, bad: Callable[[Rig], bytes]) -> None:
    """The table in force stays, the refusal says why, and the next good plan is taken."""
    said: list[Refusal | None] = []
    plans = plans_of(rig, said)
    first = rig.make_release(1)
    rig.publish(rig.plan(1, first))
    plans.load()
    table, signers = plans.table, rig.signers

    rig.publish(bad(rig))
    plans.load()
    plans.load()

    assert plans.table is table
    assert plans.refusal is not None
    assert [None, plans.refusal] == said
    rig.signers = signers
    rig.publish(rig.plan(5, rig.make_release(4), first))
    plans.load()
    assert (5, [(4, 1)], None) == (plans.table.number, versions(plans), plans.refusal)


def test_an_older_plan_is_not_taken(rig: Rig) -> None:
    """Numbers never go back: a plan that was put back is refused."""
    plans = plans_of(rig, [])
    first, second = rig.make_release(1), rig.make_release(2)
    old = rig.plan(1, first)
    rig.publish(rig.plan(2, second, first))
    plans.load()

    rig.publish(old)
    plans.load()

    assert plans.refusal is not None
    assert ("serving.plan-number", 2) == (plans.refusal.code, plans.table.number)


def test_a_plan_that_vanishes_leaves_the_table(rig: Rig) -> None:
    """Without the file the worker goes on serving what it proved."""
    plans = plans_of(rig, [])
    rig.publish(rig.plan(1, rig.make_release(1)))
    plans.load()

    rig.plan_path.unlink()
    plans.load()

    assert plans.refusal is not None
    assert [(1, None)] == versions(plans)


def test_the_watch_is_quick_enough() -> None:
    """A swap is seen within 20 milliseconds."""
    assert module.POLL_SECONDS <= 0.02


def test_roots_are_what_the_receipts_will_name(rig: Rig) -> None:
    """The leaves of a caller name the root that was proved."""
    plans = plans_of(rig, [])
    ref = rig.make_release(1)
    rig.publish(rig.plan(4, ref))
    plans.load()

    assert (
        f'"plan":4,"recording":"durable","release":"{ref.root.hex}"'
        in plans.table.routes[0].parts["key-1"][2]
    )
    assert isinstance(plans.table.routes[0].champion.root, Digest)
