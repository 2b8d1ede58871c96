"""Takes traffic plans: watch the file, prove everything in it, swap in one assignment.

A plan is taken whole or not at all. Both release keys signed it; its number is higher than that of
the plan in force; every release in it, the previous ones included, verifies from the bytes that
will run and has an allowing decision for its endpoint. Whatever fails, the table in force stays,
``refusal`` says why, and the plan is tried again after a while.
"""

from __future__ import annotations

import asyncio
import errno
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from gatewright.deployments.plan import PLAN_FILE_BYTES, EndpointPlan, ReleaseRef, TrafficPlan, read_plan
from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import DependencyFailed, GatewrightError, Refusal, Refused, Tampered
from gatewright.ports import Blobs
from gatewright.releases.trust import TrustRoot
from gatewright.releases.verification import VerifiedRelease, require_deployable, verify_release
from gatewright.serving.admission import Admitted
from gatewright.serving.codec import Codec
from gatewright.serving.engine import Engine
from gatewright.serving.routing import LoadedRelease, Route, Table, make_route, make_table

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
    is taken whose envelope has another digest.
    """

    def __init__(
        self, *, path: Path, blobs: Blobs, trust: TrustRoot, report: Callable[[Refusal | None], None]
    ) -> None:
        self._path = path
        self._blobs = blobs
        self._trust = trust
        self._report = report
        self._seen: Identity | None = None
        self._tried = 0.0
        self._bytes = b""
        self._proved: dict[Digest, _Proved] = {}
        self.table = Table()
        self.refusal: Refusal | None = None
        self.only: Digest | None = None

    def load(self) -> None:
        """Take the plan that lies there now, if it holds; reports what changed."""
        self._tried = monotonic()
        self._seen = _identity(self._path)
        before = self.refusal
        try:
            changed = self._take()
        except GatewrightError as error:
            self.refusal = error.refusal
        except OSError as error:
            self.refusal = _unreadable(error)
        else:
            self.refusal = None
            if changed or before is not None:
                self._report(None)
        if self.refusal is not None and self.refusal != before:
            self._report(self.refusal)

    async def watch(self) -> None:
        """Look for another plan for ever; proving it happens in a thread."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(POLL_SECONDS)
            again = self.refusal is not None and monotonic() - self._tried > RETRY_SECONDS
            if again or _identity(self._path) != self._seen:
                await loop.run_in_executor(None, self.load)

    def _take(self) -> bool:
        if self._seen is None and not self.table.number:
            return False
        envelope = _read(self._path)
        if envelope == self._bytes:
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
        proved = self._prove_all(plan)
        table = self._table(plan, proved)
        self._proved, self._bytes, self.table = proved, envelope, table
        return True

    def _prove_all(self, plan: TrafficPlan) -> dict[Digest, _Proved]:
        """Every release of the plan, by root; those in force are proved again but not loaded again."""
        found: dict[Digest, _Proved] = {}
        for endpoint in plan.endpoints:
            for ref in (endpoint.champion, endpoint.previous):
                if ref is not None:
                    found[ref.root] = self._prove(
                        ref, endpoint, found.get(ref.root) or self._proved.get(ref.root)
                    )
        return found

    def _prove(self, ref: ReleaseRef, endpoint: EndpointPlan, known: _Proved | None) -> _Proved:
        statements = [self._blobs.get(digest) for digest in ref.statements]
        proved = known or self._load(ref, statements)
        _require_named(ref, proved.verified)
        require_deployable(proved.verified, statements, self._trust, endpoint.endpoint)
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
        routes: list[Route] = []
        admitted: list[Admitted] = []
        for each in plan.endpoints:
            previous = None if each.previous is None else proved[each.previous.root].loaded
            routes.append(
                make_route(
                    each.endpoint,
                    champion=proved[each.champion.root].loaded,
                    previous=previous,
                    keys=tuple(key.id for key in each.keys),
                    plan=plan.number,
                )
            )
            admitted += [
                Admitted(digest=key.digest.raw, id=key.id, endpoint=each.endpoint) for key in each.keys
            ]
        return make_table(plan.number, tuple(routes), tuple(admitted))


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


def _unreadable(error: OSError) -> Refusal:
    return DependencyFailed(
        "serving.plan-unreadable",
        "The traffic plan cannot be read.",
        why=error.strerror or type(error).__name__,
    ).refusal
