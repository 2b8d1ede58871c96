"""Which home is meant: the one named, or the nearest at or above the current folder."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from gatewright.assembly.homes import Made, create_home
from gatewright.assembly.settings import find_root
from gatewright.client.display import Mark, Sheet, Shown
from gatewright.kernel.errors import Misuse

Place: TypeAlias = "str | Path | None"


@dataclass(frozen=True, slots=True, repr=False)
class Begun(Shown):
    """A home that was just made."""

    made: Made

    def sheet(self) -> Sheet:
        """Where it is, and the fingerprint by which others know its keys."""
        unprotected = (
            "The keys are protected by file permissions only; GATEWRIGHT_PASSPHRASE_FILE, set before, "
            "encrypts them."
        )
        return Sheet(
            title=f"A home for {self.made.owner}",
            lead=((Mark(word="done"), f"It is at {self.made.root}."),),
            notes=(
                f"Fingerprint of its keys: {self.made.trust}",
                *(() if self.made.passphrase else (unprotected,)),
            ),
            next=(f"Read the rules in {self.made.root / 'policy.toml'}, then: gw.submit(...)",),
        )


def init(folder: str | Path = ".", *, owner: str = "") -> Begun:
    """Make a home in a folder, as ``gatewright init`` does: keys, ledger, policy.

    Raises Misuse (``assembly.home-exists``) where there is one already.
    """
    return Begun(create_home(Path(folder), owner))


def root_of(home: Place) -> Path:
    """The folder of the home that is meant.

    Raises Misuse: ``client.no-home`` where there is none, ``client.two-homes`` where ``GATEWRIGHT_HOME``
    names another one than the caller does.
    """
    start = (Path.cwd() if home is None else Path(home)).resolve()
    try:
        root = find_root(start, os.environ)
    except Misuse as error:
        raise Misuse(
            "client.no-home",
            error.refusal.what,
            next="Make one, once, with gw.init() or, in a terminal, with: gatewright init",
        ) from None
    if home is not None and root not in (start, *start.parents):
        raise Misuse(
            "client.two-homes",
            f"The home named is {start}, and GATEWRIGHT_HOME names {root}.",
            next="Leave one of the two out.",
        )
    return root
