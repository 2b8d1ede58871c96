"""Which release of an endpoint answers a request: the route of a plan, and the choice within it.

Shares are of requests or of subjects. A request that names a subject meets the release that has the
subject's point among the thousandths of the traffic, on every worker and under every plan with
the same shares. A request without one draws a point, or, where the shares are of subjects, stands
at the point of its API key.

A release that fails is stood in for by the fallback, and where there is none, a canary or an arm by
the champion; a champion without fallback is not stood in for. A request that asks for a version is
answered by that version or not at all. A release fails that raises, or whose output is not what
the signature says; where another release can stand in for it, an output with a number that is
not finite is a failure, too.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import lru_cache, partial
from time import monotonic
from typing import TypeAlias

import numpy as np

from gatewright.deployments.plan import ARMS, WHOLE, EndpointPlan, ReleaseRef
from gatewright.kernel.canonical import JsonObject
from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import Refusal
from gatewright.models.signature import ModelSignature
from gatewright.serving.admission import Turned
from gatewright.serving.batching import Outcome
from gatewright.serving.breaker import Breaker
from gatewright.serving.codec import Array, Asked
from gatewright.serving.engine import Engine
from gatewright.serving.minimising import views_of
from gatewright.serving.routing import (
    LoadedRelease,
    Route,
    Served,
    Tally,
    answering,
    model_metadata,
    serve_as,
    stop_route,
)

DRAWN = 1_024
"""Points that are drawn from the system's random source at once."""
FEW = 64
"""Up to so many values a look at each costs less than calling NumPy to do it."""

_Place = tuple[str, Digest]
Runs: TypeAlias = Generator[Engine, Outcome, tuple[Served, list[Array]]]
"""Gives each engine that is to run, takes what came of it, ends with who answered and the outputs."""


class Unanswered(Turned):
    """A release could not answer these inputs (500)."""


class Kept:
    """What outlives a plan: breakers and tallies, by endpoint and root, of the releases that stay.

    ``clock`` gives seconds that never run back; ``report`` is told of breakers that open and close.
    """

    def __init__(self, *, report: Callable[[Refusal], None], clock: Callable[[], float] = monotonic) -> None:
        self._report = report
        self._clock = clock
        self._breakers: dict[_Place, Breaker] = {}
        self._tallies: dict[_Place, Tally] = {}

    def breaker(self, endpoint: str, release: LoadedRelease) -> Breaker:
        """The breaker of a release of an endpoint."""
        place = (endpoint, release.root)
        if place not in self._breakers:
            self._breakers[place] = Breaker(endpoint, release.version, clock=self._clock, report=self._report)
        return self._breakers[place]

    def tally(self, endpoint: str, release: LoadedRelease) -> Tally:
        """The tally of a shadow of an endpoint."""
        return self._tallies.setdefault((endpoint, release.root), Tally())

    def keep(self, routes: Sequence[Route]) -> None:
        """Let go what belongs to no release of these routes."""
        places = {(each.endpoint, served.release.root) for each in routes for served in each.served()}
        self._breakers = {place: found for place, found in self._breakers.items() if place in places}
        self._tallies = {place: found for place, found in self._tallies.items() if place in places}


def make_route(plan: EndpointPlan, loaded: Mapping[Digest, LoadedRelease], number: int, kept: Kept) -> Route:
    """The route of one endpoint of plan ``number``; every release that it names is in ``loaded``.

    Raises Refused (``serving.shown``) where a key is to be shown what the model does not have.
    """

    def served(place: str, ref: ReleaseRef, instead: Served | None = None) -> Served:
        release = loaded[ref.root]
        made = serve_as(
            place,
            release,
            endpoint=plan.endpoint,
            keys=[key.id for key in plan.keys],
            plan=number,
            recording=plan.recording.value,
        )
        breaker = None if instead is None else kept.breaker(plan.endpoint, release)
        return replace(made, instead=instead, breaker=breaker)

    fallback = None if plan.fallback is None else served("fallback", plan.fallback)
    champion = served("champion", plan.champion, fallback)
    portions = []
    for each in plan.arms if plan.canary is None else (plan.canary,):
        own = fallback is None or fallback.release.root == each.release.root
        portions.append((served(each.name, each.release, champion if own else fallback), each.share))
    shadow = None if plan.shadow is None else served("shadow", plan.shadow)
    route = Route(
        endpoint=plan.endpoint,
        champion=champion,
        previous=None if plan.previous is None else loaded[plan.previous.root],
        portions=tuple(portions),
        sticky=bool(plan.arms),
        shadow=shadow,
        fallback=fallback,
        rate=plan.rate,
        recording=plan.recording,
        keys={key.id: key for key in plan.keys},
        number=number,
        points=share_out(champion, portions),
        views=views_of(champion.release.signature, plan.keys),
        tally=Tally() if shadow is None else kept.tally(plan.endpoint, shadow.release),
    )
    versions = sorted({each.release.version for each in answering(route)})
    describe = partial(model_metadata, plan.endpoint, champion.release, versions)
    views = {key: replace(view, metadata=describe(view.seen)) for key, view in route.views.items()}
    route = replace(route, metadata=describe(), views=views)
    return stop_route(route) if plan.stopped else route


def traffic_status(routes: Sequence[Route]) -> list[JsonObject]:
    """For ``status``: of each endpoint that has them, its breakers and what its shadow did."""
    found: list[JsonObject] = []
    for route in routes:
        breakers: list[JsonObject] = [
            {
                "failures": each.breaker.failures,
                "open": each.breaker.is_open,
                "openings": each.breaker.openings,
                "place": each.place,
                "replaced": each.breaker.replaced,
                "version": each.release.version,
            }
            for each in route.served()
            if each.breaker is not None
        ]
        shadow: JsonObject | None = None
        if route.shadow is not None:
            shadow = {"version": route.shadow.release.version, **asdict(route.tally)}
        if breakers or shadow is not None:
            found.append({"breakers": breakers, "endpoint": route.endpoint, "shadow": shadow})
    return found


def share_out(champion: Served, portions: Sequence[tuple[Served, int]]) -> tuple[Served, ...]:
    """Who has each of the thousandths; empty where there are no portions.

    Each portion likes the points in an order of its own, fixed by its name; the portions take theirs
    one after the other, by name, and the champion has what is left. So a single portion whose share
    changes moves exactly the difference, and a change among several moves no point of those that
    come before it by name.
    """
    if not portions:
        return ()
    found = [champion] * WHOLE
    for served, share in sorted(portions, key=lambda portion: portion[0].place):
        free = [point for point in _liked(served.place) if found[point] is champion]
        for point in free[:share]:
            found[point] = served
    return tuple(found)


@lru_cache(maxsize=4 * ARMS)
def _liked(name: str) -> tuple[int, ...]:
    """All points, in the order in which a portion of this name likes them."""
    return tuple(sorted(range(WHOLE), key=lambda point: _hash(f"{name}\0{point}")))


def _hash(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=8).digest()


def point_of(endpoint: str, subject: str) -> int:
    """Where a subject stands among the thousandths of an endpoint's traffic: the same always."""
    return int.from_bytes(_hash(f"{endpoint}\0{subject}"), "big") % WHOLE


_drawn: list[int] = []


def draw() -> int:
    """A point that nobody can foresee: many at a time from the system's random source."""
    try:
        return _drawn.pop()
    except IndexError:
        numbers = np.frombuffer(os.urandom(8 * DRAWN), np.uint64) % WHOLE
        _drawn.extend(numbers.tolist())
        return int(numbers[0])


def choose(route: Route, subject: str | None, key: str) -> Served:
    """The release that is to answer a request about ``subject`` from the API key with this id."""
    if not route.points:
        return route.champion
    if subject is None:
        if not route.sticky:
            return route.points[draw()]
        subject = key
    return route.points[point_of(route.endpoint, subject)]


class Trial:
    """The attempt at an answer by a release that another one can stand in for.

    ``first`` is to run, and ``second`` where it fails; a breaker that is open leaves the stand-in alone.
    Whoever runs them says how it ended.
    """

    __slots__ = ("_breaker", "_probing", "first", "second")

    def __init__(self, served: Served, other: Served, breaker: Breaker) -> None:
        self.first = served
        self.second: Served | None = other
        self._breaker = breaker
        self._probing = breaker.is_open
        if self._probing and not breaker.may_probe():
            self.first, self.second = other, None
            breaker.replaced += 1

    def succeeded(self) -> None:
        """The first one answered."""
        if self._probing and self.second is not None:
            self._breaker.probed()
        elif not self._probing:
            self._breaker.succeeded()

    def failed(self) -> None:
        """The first one failed and the second answered; a failure of both is the inputs' fault, and not counted."""
        self._breaker.failed()
        self._breaker.replaced += 1


def trial_of(served: Served, *, pinned: bool) -> Trial | None:
    """The trial of a release that was chosen; None where nothing can stand in for it."""
    if served.instead is None or served.breaker is None or pinned:
        return None
    return Trial(served, served.instead, served.breaker)


def answer(served: Served, asked: Asked, *, pinned: bool) -> Runs:
    """Have the release run that was chosen, or the one that stands in for it: who answered, and its outputs.

    Raises Unanswered where neither can, and what an engine gives as Turned. Where a stand-in is there,
    a number that is not finite is a failure, too, unless it is asked for in binary: JSON cannot hold it.
    """
    trial = trial_of(served, pinned=pinned)
    if trial is None:
        return served, checked(served.release, asked, (yield served.release.engine))
    finite = not asked.binary
    try:
        found = checked(trial.first.release, asked, (yield trial.first.release.engine), finite=finite)
    except Unanswered:
        if trial.second is None:
            raise
        second = trial.second.release
        found = checked(second, asked, (yield second.engine), finite=finite)
        trial.failed()
        return trial.second, found
    trial.succeeded()
    return trial.first, found


def checked(release: LoadedRelease, asked: Asked, outcome: Outcome, *, finite: bool = False) -> list[Array]:
    """What an engine gave, if it is what the signature says: shapes, and as many rows as came.

    With ``finite``, a number that is not finite is refused, too. Raises Unanswered, and Turned as it came.
    """
    if isinstance(outcome, Exception):
        if isinstance(outcome, Turned):
            raise outcome
        raise Unanswered(500, "The model could not answer these inputs.")  # no text of ONNX Runtime leaves
    rows, tails = asked.inputs[0].shape[:1], release.tails
    for array, place in zip(outcome, asked.outputs, strict=True):
        shape = array.shape
        if (shape[1:] != tails[place] or shape[:1] != rows) and not _fits(
            array, rows, place, release.signature
        ):
            name = release.signature.outputs[place].name
            raise Unanswered(500, f"The model's output {name!r} has an unexpected shape.")
        if finite and array.dtype.kind == "f" and not _finite(array):
            name = release.signature.outputs[place].name
            raise Unanswered(500, f"The model's output {name!r} is not a finite number.")
    return outcome


def _fits(array: Array, rows: tuple[int, ...], place: int, signature: ModelSignature) -> bool:
    """Whether an output has the shape that the signature says; where both are free, as many rows as came."""
    fixed = signature.outputs[place].shape
    if fixed[:1] == (-1,) == signature.inputs[0].shape[:1]:
        fixed = (*rows, *fixed[1:])
    return len(array.shape) == len(fixed) and all(
        size in {-1, found} for size, found in zip(fixed, array.shape, strict=True)
    )


def _finite(array: Array) -> bool:
    if array.size <= FEW:
        return all(map(math.isfinite, array.ravel().tolist()))
    return bool(np.isfinite(array).all())
