from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from dataclasses import replace

import pytest

from gatewright.deployments.plan import EndpointPlan, Portion, Showing, Shown
from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import Refusal
from gatewright.kernel.instants import Instant
from gatewright.kernel.names import Name
from gatewright.serving import plans as module
from gatewright.serving.following import Believed, Following
from gatewright.serving.plans import Plans
from unit.serving.rig import COLUMNS, NOW, SIGNATURE, Rig, api_key, linear_model


class Calendar:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> Instant:
        """The time."""
        return self.now


def plans_of(rig: Rig, said: list[Refusal | None], clock: Calendar | None = None) -> Plans:
    """What the worker has, without the worker."""
    return Plans(
        path=rig.plan_path,
        blobs=rig.blobs,
        following=Following(
            Believed(trust=rig.trust, signer=rig.worker), None, take=lambda _: None, report=said.append
        ),
        clock=clock or Calendar(),
        report=said.append,
        tell=said.append,
    )


def versions(plans: Plans) -> list[tuple[int, int | None]]:
    """Champion and previous version of every route."""
    return [
        (route.champion.release.version, route.previous.version if route.previous else None)
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
        seen.append((versions(plans), plans.table.routes[0].champion.release.engine))

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


def unproven_canary(rig: Rig) -> bytes:
    """A plan whose canary was decided for another endpoint."""
    elsewhere = rig.make_release(3, endpoint="elsewhere")
    return rig.plan(2, rig.make_release(2), canary=Portion(name=Name("canary"), release=elsewhere, share=1))


def broken_arm(rig: Rig) -> bytes:
    """A plan with an arm whose model is not all there."""
    one, two = rig.make_release(2), rig.make_release(3)
    rig.blobs.path_of(two.resources["model.onnx"]).unlink()
    return rig.plan(2, one, arms=(Portion(name=Name("b"), release=two, share=500),))


def other_columns(rig: Rig) -> bytes:
    """A plan whose fallback takes the same columns in another order."""
    turned = replace(SIGNATURE.inputs[0], columns=tuple(reversed(COLUMNS)))
    return rig.plan(
        2,
        rig.make_release(2),
        fallback=rig.make_release(3, signature=replace(SIGNATURE, inputs=(turned,))),
    )


def other_classes(rig: Rig) -> bytes:
    """A plan whose shadow means other classes by the same places."""
    turned = replace(SIGNATURE, classes=tuple(reversed(SIGNATURE.classes)))
    return rig.plan(2, rig.make_release(2), shadow=rig.make_release(3, signature=turned))


def past(rig: Rig) -> bytes:
    """A plan that is over."""
    return rig.plan(2, rig.make_release(2), issued=Instant(NOW.ns - 2), expires=NOW)


def shows_nothing(rig: Rig) -> bytes:
    """A plan with a key that is to be shown the label of a model that names none."""
    unnamed = rig.make_release(2, signature=replace(SIGNATURE, label_output=""))
    return rig.plan(2, unnamed, keys=(api_key("key-1", rig.secret, shown=Shown(kind=Showing.LABEL)),))


def same_number(rig: Rig) -> bytes:
    """Another plan with the number in force."""
    return rig.plan(1, rig.make_release(2))


@pytest.mark.parametrize(
    "bad",
    [
        flipped_model, swapped_models, other_version, no_decision, broken_previous, with_thresholds, no_model,
        other_keys, no_envelope, same_number, unproven_canary, broken_arm, other_columns, other_classes, past,
        shows_nothing,
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
        in plans.table.routes[0].champion.parts["key-1"][2]
    )
    assert isinstance(plans.table.routes[0].champion.release.root, Digest)


def test_releases_that_differ_are_refused_with_what_differs(rig: Rig) -> None:
    """The sentence names the release, the endpoint and the part; the code tells it from other refusals."""
    plans = plans_of(rig, [])
    rig.publish(other_columns(rig))
    plans.load()

    assert plans.refusal is not None
    assert "serving.signatures-differ" == plans.refusal.code
    assert all(part in plans.refusal.sentence() for part in ("tumour@3", "of tumour does", "in inputs,"))


def test_releases_that_no_plan_names_are_let_go(rig: Rig) -> None:
    """A release is kept while the plan names it in any place, and its memory is free when none does."""
    plans = plans_of(rig, [])
    one, two, three = (rig.make_release(version) for version in (1, 2, 3))
    rig.publish(rig.plan(1, one, canary=Portion(name=Name("canary"), release=two, share=100), shadow=three))
    plans.load()
    route = plans.table.routes[0]
    engines = [weakref.ref(each.release.engine) for each in route.served()]
    del route
    alive = []
    for envelope in (rig.plan(2, two, one), rig.plan(3, two)):
        rig.publish(envelope)
        plans.load()
        gc.collect()
        alive.append([engine() is not None for engine in engines])

    assert [[True, True, False], [False, True, False]] == alive


def test_a_plan_that_expires_closes_its_endpoints_once(rig: Rig) -> None:
    """From its moment on nothing is answered, under the same number, until a newer plan comes; it is said once."""
    said: list[Refusal | None] = []
    clock = Calendar()
    plans = plans_of(rig, said, clock)
    first = rig.make_release(1)
    end = Instant(NOW.ns + 10)
    rig.publish(rig.plan(1, first, expires=end))
    plans.load()
    plans.expire()
    before = [route.closed for route in plans.table.routes]
    clock.now = end
    plans.expire()
    plans.expire()
    plans.load()
    clock.now = NOW
    plans.expire()
    after = plans.table
    rig.publish(rig.plan(2, first))
    plans.load()

    assert ([""], (), 1, True) == (before, after.routes, after.number, bool(after.admitted))
    target = after.targets["/v2/models/tumour/infer"]
    assert target.route is not None
    assert "expired" in target.route.closed
    assert [None, "serving.plan-expired", None] == [refusal and refusal.code for refusal in said]
    assert (2, [(1, None)], None, None) == (
        plans.table.number,
        versions(plans),
        plans.refusal,
        plans.expired,
    )


def test_a_stopped_endpoint_keeps_its_release_warm(rig: Rig) -> None:
    """Stopping and resuming load nothing: the engine is the same one before, while and after."""
    plans = plans_of(rig, [])
    first = rig.make_release(1)
    engines = []
    for number, stopped in enumerate((False, True, False), 1):
        rig.publish(rig.plan(number, first, stopped=stopped))
        plans.load()
        route = plans.table.routes[0]
        engines.append((bool(route.closed), route.champion.release.engine))

    assert [False, True, False] == [closed for closed, _ in engines]
    assert 1 == len({id(engine) for _, engine in engines})


def test_a_stop_holds_whatever_else_is_wrong_with_its_plan(rig: Rig) -> None:
    """A plan that cannot be taken still stops the endpoints that it stops, and no other one."""
    plans = plans_of(rig, [])
    one, other = rig.make_release(1), rig.make_release(2, endpoint="loans")
    loans = EndpointPlan(endpoint=Name("loans"), champion=other, previous=None, keys=())
    rig.publish(rig.plan(1, one, others=(loans,)))
    plans.load()
    broken = replace(loans, champion=rig.make_release(3, endpoint="elsewhere"))
    rig.publish(rig.plan(2, one, others=(broken,), stopped=True))
    plans.load()

    assert plans.refusal is not None
    assert (1, {"tumour": True, "loans": False}) == (
        plans.table.number,
        {route.endpoint: bool(route.closed) for route in plans.table.routes},
    )
    rig.publish(rig.plan(3, one, others=(loans,)))
    plans.load()
    assert [""] * 2 == [route.closed for route in plans.table.routes]


def test_a_fault_that_nobody_foresaw_keeps_the_table(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even an error of the worker's own leaves what serves, is said, and the next plan is taken."""
    said: list[Refusal | None] = []
    plans = plans_of(rig, said)
    first = rig.make_release(1)
    rig.publish(rig.plan(1, first))
    plans.load()
    table = plans.table
    monkeypatch.setattr(module, "read_plan", lambda *_: 1 // 0)
    rig.publish(rig.plan(2, first))
    plans.load()
    monkeypatch.undo()
    kept, refusal = plans.table, plans.refusal
    plans.load()

    assert kept is table
    assert refusal is not None
    assert ("serving.plan-fault", 2) == (refusal.code, plans.table.number)
