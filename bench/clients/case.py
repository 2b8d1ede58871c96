"""What every client is asked to do, and what must come of it; runs with what the client's own environment has.

A script gets a file with the case and says, a line of JSON for each call, what it called and what came.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

INPUT = "input"
TOLERANCE = 1e-5


@dataclass(frozen=True)
class Case:
    """A live endpoint: addresses without their scheme, and rows with what the model answers to them.

    ``grpc`` is empty where the server has no such port; ``rows`` has shape (n, features), ``label`` (n),
    ``probabilities`` (n, classes).
    """

    rest: str
    grpc: str
    key: str
    endpoint: str
    version: str
    rows: list[list[float]]
    label: list[Any]
    probabilities: list[list[float]]

    @property
    def headers(self) -> dict[str, str]:
        """The header that admits; new each time, for clients add to it."""
        return {"authorization": f"Bearer {self.key}"}

    def require(self, label: Any, probabilities: Any, receipt: Any) -> None:
        """Raise unless these are the model's answers, with a receipt. Texts may come as bytes."""
        same([_text(each) for each in label], self.label)
        flat = [float(each) for row in probabilities for each in row]
        expected = [each for row in self.probabilities for each in row]
        if len(flat) != len(expected) or any(
            abs(one - other) > TOLERANCE for one, other in zip(flat, expected, strict=True)
        ):
            raise ValueError(f"expected {expected}, got {flat}")
        if not str(receipt).startswith("gwr1."):
            raise ValueError(f"no receipt: {receipt!r}")


def _text(value: Any) -> Any:
    value = value.item() if hasattr(value, "item") else value
    return value.decode() if isinstance(value, bytes) else value


def read_case() -> Case:
    """The case in the file that the command line names."""
    return Case(**json.loads(Path(sys.argv[1]).read_text("utf-8")))


def same(found: Any, expected: Any) -> None:
    """Raise unless both are equal."""
    if found != expected:
        raise ValueError(f"expected {expected!r}, got {found!r}")


def holds(found: Any) -> None:
    """Raise unless it is true."""
    if found is not True:
        raise ValueError(f"got {found!r}")


def said(call: Callable[[], Any], *words: str) -> None:
    """Raise unless the call fails, and with each of these words."""
    try:
        call()
    except Exception as error:  # noqa: BLE001 - every client has errors of its own
        text = str(error)
        missing = [word for word in words if word.lower() not in text.lower()]
        if missing:
            raise ValueError(f"{missing} not in {text!r}") from None
        return
    raise ValueError("nothing was refused")


def tell(what: str, outcome: str, why: str = "") -> None:
    """One line of the result: ``passed``, ``failed`` or ``skipped``."""
    print(json.dumps({"call": what, "outcome": outcome, "why": why[:300]}), flush=True)


def attempt(what: str, call: Callable[[], Any]) -> None:
    """Make one call and tell what came of it."""
    try:
        call()
    except Exception as error:  # noqa: BLE001 - whatever a client raises, its call did not succeed
        tell(what, "failed", f"{type(error).__name__}: {error}")
    else:
        tell(what, "passed")
