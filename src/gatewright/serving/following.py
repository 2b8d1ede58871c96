"""Whom a running worker believes, and with which key it signs: followed while it serves, never backwards.

The assembly says how the newest are read and where their files lie. Whatever fails while they are
read, the worker goes on with those it has, says so once, and tries again.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import TypeAlias

from gatewright.kernel.errors import DependencyFailed, GatewrightError, Refusal
from gatewright.ports import Signer
from gatewright.releases.trust import TrustRoot

AGAIN_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Believed:
    """The public keys of the home, and the worker's own key."""

    trust: TrustRoot
    signer: Signer


Read: TypeAlias = Callable[[Believed], Believed]
"""Gives what is believed now by whoever believed that before; raises where it does not follow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """How the newest keys are read, and the files and folders that change when they do."""

    read: Read
    watched: Sequence[Path]


class Following:
    """What is believed now. ``take`` is told of another signer, ``report`` of what cannot be followed."""

    def __init__(
        self,
        believed: Believed,
        source: Source | None,
        *,
        take: Callable[[Signer], None],
        report: Callable[[Refusal], None],
    ) -> None:
        self.believed = believed
        self._source = source
        self._take = take
        self._report = report
        self._reading = threading.Lock()
        self._seen = self._identities()
        self._failed_at: float | None = None
        self._said = ""

    def changed(self) -> bool:
        """Whether there is something to look at."""
        if self._failed_at is not None and monotonic() - self._failed_at > AGAIN_SECONDS:
            return True
        return self._identities() != self._seen

    def look(self) -> TrustRoot:
        """Take what the files say now; returns the public keys in force."""
        with self._reading:
            if self._source is not None and self.changed():
                self._seen = self._identities()
                self._follow(self._source)
        return self.believed.trust

    def _follow(self, source: Source) -> None:
        try:
            found = source.read(self.believed)
        except GatewrightError as error:
            self._fail(error.refusal)
            return
        except OSError as error:
            self._fail(_unreadable(error))
            return
        self._failed_at, self._said = None, ""
        before, self.believed = self.believed, found
        if found.signer.public != before.signer.public:
            self._take(found.signer)

    def _fail(self, refusal: Refusal) -> None:
        self._failed_at = monotonic()
        if refusal.sentence() != self._said:
            self._said = refusal.sentence()
            self._report(refusal)

    def _identities(self) -> tuple[tuple[int, int, int] | None, ...]:
        """What changes when another file takes a name, or a folder gets one."""
        return () if self._source is None else tuple(map(_identity, self._source.watched))


def _identity(path: Path) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116 - asked a hundred times a second
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_ctime_ns


def _unreadable(error: OSError) -> Refusal:
    return DependencyFailed(
        "serving.keys-unreadable",
        "The keys of the home cannot be read anew.",
        why=error.strerror or type(error).__name__,
    ).refusal
