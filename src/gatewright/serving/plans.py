"""Takes traffic plans: watch the file, prove everything in it, swap in one assignment.

A plan is taken whole or not at all. Both release keys signed it; its number is higher than that of
the plan in force; it has not expired; every release in it, the previous ones included, verifies from
the bytes that will run and has an allowing decision for its endpoint; all that answer one endpoint or
see its traffic take and give the same. Whatever fails, the table in force stays, ``refusal`` says why, and
the plan is tried again after a while. Only what a newer signed plan *stops* is stopped at once, whatever
else is wrong with it.

A plan that expires while it is in force answers nothing from then on: its table is swapped for one
of the same number whose endpoints are closed, until a newer plan is taken.
"""

from __future__ import annotations

import asyncio
import errno
import os
import stat
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic

from gatewright.deployments.plan import (
    PLAN_FILE_BYTES,
    EndpointPlan,
    Recording,
    ReleaseRef,
    TrafficPlan,
    read_plan,
)
from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import DependencyFailed, GatewrightError, Refusal, Refused, Tampered
from gatewright.kernel.instants import Instant
from gatewright.models.signature import ModelSignature
from gatewright.policy.recording import recording_allowed
from gatewright.ports import Blobs
from gatewright.releases.manifest import POLICY
from gatewright.releases.verification import VerifiedRelease, require_deployable, verify_release
from gatewright.serving.admission import Admitted
from gatewright.serving.allowances import Allowances
from gatewright.serving.codec import Codec
from gatewright.serving.engine import Engine
from gatewright.serving.following import Following
from gatewright.serving.routing import LoadedRelease, Table, close_table, make_table, stop_route
from gatewright.serving.traffic import Kept, make_route

POLL_SECONDS = 0.01
RETRY_SECONDS = 5.0

Identity = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Proved:
    """A release that is loaded, with what was proved about it (the model's bytes let go)."""

    verified: VerifiedRelease
    loaded: LoadedRelease


def _identity(path: Path) -> Identity | None:
    """What changes when another file takes the name, or None where there is no file."""
    try:
        found = os.stat(path)  # noqa: PTH116 - asked a hundred times a second
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _read(path: Path) -> bytes:
    """The bytes of a regular file; anything else (a pipe, a device, a link) is refused without waiting."""
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    with open(handle, "rb") as source:  # noqa: PTH123 - an opened file has no path
        if not stat.S_ISREG(os.fstat(source.fileno()).st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file")
        return source.read(PLAN_FILE_BYTES)


class Plans:
    """The plan in force and the watch for the next.

    ``table`` is replaced, never changed: a request that took it keeps one consistent view.
    ``refusal`` is what kept the newest file from being taken, or None. Where ``only`` is set, no plan
    is taken whose envelope has another digest. ``expired`` is set once the plan in force is. ``clock`` tells whether a plan has expired; ``report``
    is told of every plan that is taken (None) or refused, ``tell`` of what the releases in force do.
    ``following`` says by whose keys plans are proved.
    """

    def __init__(
        self,
        *,
        path: Path,
        blobs: Blobs,
        following: Following,
        clock: Callable[[], Instant],
        report: Callable[[Refusal | None], None],
        tell: Callable[[Refusal], None],
    ) -> None:
        self._path = path
        self._blobs = blobs
        self.following = following
        self._trust = following.believed.trust
        self._clock = clock
        self._report = report
        self._kept = Kept(report=tell)
        self._swap = threading.Lock()
        self._seen: Identity | None = None
        self._tried = 0.0
        self._bytes = b""
        self._proved: dict[Digest, _Proved] = {}
        self.table = Table()
        self.refusal: Refusal | None = None
        self.expired: Refusal | None = None
        self.only: Digest | None = None
        self.allowances = Allowances.alone(0)

    def load(self) -> None:
        """Take the plan that lies there now, if it holds; reports what changed."""
        self._tried = monotonic()
        self._seen = _identity(self._path)
        self._trust = self.following.look()  # the keys are published before the plan that they signed
        before = self.refusal
        try:
            changed = self._take()
        except GatewrightError as error:
            self.refusal = error.refusal
        except OSError as error:
            self.refusal = _unreadable(error)
        except Exception as error:  # noqa: BLE001 - what nobody foresaw keeps the table as well, and the watch
            self.refusal = _fault(error)
        else:
            self.refusal = None
            if changed or before is not None:
                self._report(None)
        if self.refusal is not None and self.refusal != before:
            self._report(self.refusal)

    async def watch(self) -> None:
        """Look for another plan for ever; proving it happens in a thread."""
        loop = asyncio.get_running_loop()
        loading: asyncio.Future[None] | None = None
        while True:
            await asyncio.sleep(POLL_SECONDS)
            self.expire()
            if loading is not None and not loading.done():
                continue
            again = self.refusal is not None and monotonic() - self._tried > RETRY_SECONDS
            if again or _identity(self._path) != self._seen or self.following.changed():
                loading = loop.run_in_executor(None, self.load)

    def expire(self) -> None:
        """Close every endpoint, and say so once, when the plan in force has expired."""
        with self._swap:
            expires = self.table.expires
            if expires is None or self.expired is not None or self._clock() < expires:
                return
            self.expired = self.refusal = _expired(self.table.number, expires).refusal
            self.table = close_table(self.table, "The traffic plan has expired; its owner must renew it.")
        self._report(self.expired)

    def _take(self) -> bool:
        if self._seen is None and not self.table.number:
            return False
        envelope = _read(self._path)
        if envelope == self._bytes:
            if self.expired is not None:
                raise Refused.of(self.expired)
            return False
        _require_digest(envelope, self.only)
        plan = read_plan(envelope, self._trust)
        if plan.number <= self.table.number:
            raise Refused(
                "serving.plan-number",
                f"The plan has number {plan.number}; plan {self.table.number} is in force.",
                why="A plan that is older than the one in force may be a copy put back.",
                next="Write a new plan: deploy again, or roll back.",
            )
        self._stop(plan)
        if plan.expires is not None and plan.expires <= self._clock():
            raise _expired(plan.number, plan.expires)
        proved = self._prove_all(plan)
        table = self._table(plan, proved)
        self._kept.keep(table.routes)
        with self._swap:
            self._proved, self._bytes = proved, envelope
            self.table, self.expired = table, None
        return True

    def _stop(self, plan: TrafficPlan) -> None:
        """Close what a newer plan stops, before the rest of it is proved, and even where that fails.

        To stop needs no proof but the plan's signatures: nothing serves by it.
        """
        stopped = {each.endpoint for each in plan.endpoints if each.stopped}
        with self._swap:
            table = self.table
            if any(route.endpoint in stopped and not route.closed for route in table.routes):
                routes = [stop_route(each) if each.endpoint in stopped else each for each in table.routes]
                self.table = make_table(table.number, tuple(routes), table.admitted, table.expires)

    def _prove_all(self, plan: TrafficPlan) -> dict[Digest, _Proved]:
        """Every release of the plan, by root; those in force are proved again but not loaded again."""
        found: dict[Digest, _Proved] = {}
        for endpoint in plan.endpoints:
            for ref in endpoint.releases():
                found[ref.root] = self._prove(
                    ref, endpoint, found.get(ref.root) or self._proved.get(ref.root)
                )
            _require_alike(endpoint, found)
        return found

    def _prove(self, ref: ReleaseRef, endpoint: EndpointPlan, known: _Proved | None) -> _Proved:
        statements = [self._blobs.get(digest) for digest in ref.statements]
        proved = known or self._load(ref, statements)
        _require_named(ref, proved.verified)
        require_deployable(proved.verified, statements, self._trust, endpoint.endpoint)
        if endpoint.recording is Recording.ASYNCHRONOUS and ref in endpoint.answering():
            _require_allowed(ref, self._blobs.get(ref.resources[POLICY]))
        return proved

    def _load(self, ref: ReleaseRef, statements: list[bytes]) -> _Proved:
        resources = {name: self._blobs.get(digest) for name, digest in ref.resources.items()}
        verified = verify_release(
            resources=resources,
            bundle=self._blobs.get(ref.bundle),
            statements=statements,
            trust=self._trust,
        )
        _require_runnable(verified)
        signature = verified.signature
        loaded = LoadedRelease(
            root=verified.root,
            version=verified.manifest.version,
            signature=signature,
            codec=Codec(signature),
            engine=Engine(verified.model, signature),
        )
        return _Proved(verified=_without_model(verified), loaded=loaded)

    def _table(self, plan: TrafficPlan, proved: dict[Digest, _Proved]) -> Table:
        loaded = {root: each.loaded for root, each in proved.items()}
        admitted = [
            Admitted(digest=key.digest.raw, id=key.id, endpoint=each.endpoint)
            for each in plan.endpoints
            for key in each.keys
        ]
        routes = tuple(make_route(each, loaded, plan.number, self._kept) for each in plan.endpoints)
        allowed = self.allowances.fit((each.endpoint, each.rate, each.keys) for each in routes)
        routes = tuple(replace(each, allowances=allowed.get(each.endpoint, {})) for each in routes)
        return make_table(plan.number, routes, tuple(admitted), plan.expires)


def _without_model(verified: VerifiedRelease) -> VerifiedRelease:
    return VerifiedRelease(
        root=verified.root,
        manifest=verified.manifest,
        signature=verified.signature,
        model=b"",
        verdict=verified.verdict,
        resources=verified.resources,
    )


def _require_digest(envelope: bytes, only: Digest | None) -> None:
    """A mounted folder is served with the plan it was written for: an older one is as well signed."""
    found = Digest.of(envelope)
    if only is not None and found != only:
        raise Tampered(
            "serving.plan-digest",
            f"The plan's file has digest {found.short}; the secret names {only.short}.",
            why="Another plan lies in its place. An older one of the home would be as well signed.",
            next="Mount the folders 'serving' and 'secret' of one and the same 'release mount'.",
        )


def _require_named(ref: ReleaseRef, verified: VerifiedRelease) -> None:
    """The plan must call the release what the release calls itself."""
    manifest = verified.manifest
    if (ref.root, ref.model, ref.version) != (verified.root, manifest.name, manifest.version):
        raise Tampered(
            "serving.plan-release",
            f"The plan names {ref.model}@{ref.version}, root {ref.root.short}; its files are another release.",
            place=f"release {ref.root.short}",
        )
    if dict(ref.resources) != dict(verified.resources):
        raise Tampered(
            "serving.plan-release",
            "The plan names other files than those of the release.",
            place=f"release {ref.root.short}",
        )


def _require_runnable(verified: VerifiedRelease) -> None:
    """A release that asks for more than running its model is refused, not served without it."""
    if verified.manifest.thresholds:
        raise Refused(
            "serving.thresholds",
            "The release sets decision thresholds, which this worker cannot apply.",
            next="Put the threshold into the model, or use a version of gatewright that applies it.",
            place=f"release {verified.root.short}",
        )


def _require_allowed(ref: ReleaseRef, policy: bytes) -> None:
    """Recording after the answer is the policy's to allow, for every release that may answer."""
    if not recording_allowed(policy):
        raise Refused(
            "serving.recording",
            f"The policy of {ref.model}@{ref.version} does not allow recording after the answer.",
            next="Record durably: gatewright limit ENDPOINT --recording durable",
            place=f"release {ref.root.short}",
        )


def _require_alike(endpoint: EndpointPlan, proved: Mapping[Digest, _Proved]) -> None:
    """A caller must not notice which release answers, and a shadow can only compare what is alike."""
    own = _described(proved[endpoint.champion.root].loaded.signature)
    others = (*endpoint.answering()[1:], *(() if endpoint.shadow is None else (endpoint.shadow,)))
    for ref in others:
        found = _described(proved[ref.root].loaded.signature)
        parts = [name for name, value in own.items() if found[name] != value]
        if parts:
            raise Refused(
                "serving.signatures-differ",
                f"{ref.model}@{ref.version} does not take and give what the champion of {endpoint.endpoint} does.",
                why=f"They differ in {' and '.join(parts)}, so one caller could not be answered by both.",
                next="Serve it on an endpoint of its own, or train it to the champion's signature.",
                place=f"release {ref.root.short}",
            )


def _described(signature: ModelSignature) -> dict[str, object]:
    """What all releases of an endpoint share: tensors by name, type, shape and columns, and their meaning."""
    return {
        "inputs": signature.inputs,
        "outputs": signature.outputs,
        "what the outputs mean": (
            signature.task,
            signature.label_output,
            signature.scores_output,
            signature.classes,
        ),
    }


def _expired(number: int, expires: Instant) -> Refused:
    return Refused(
        "serving.plan-expired",
        f"Plan {number} expired at {expires}.",
        why="A plan holds for a time only, so that a worker that hears nothing new stops by itself.",
        next="Write a new plan: deploy again.",
    )


def _fault(error: Exception) -> Refusal:
    return Refusal(
        code="serving.plan-fault",
        what=f"Taking the plan failed: {type(error).__name__}.",
        next="Report this as a fault of gatewright.",
    )


def _unreadable(error: OSError) -> Refusal:
    return DependencyFailed(
        "serving.plan-unreadable",
        "The traffic plan cannot be read.",
        why=error.strerror or type(error).__name__,
    ).refusal
