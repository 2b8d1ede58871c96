"""The optional libraries: what is asked of one that is absent is told with its extra."""

from __future__ import annotations

from importlib.util import find_spec

from gatewright.kernel.errors import DependencyFailed


def need_extra(library: str, extra: str) -> None:
    """Raise DependencyFailed (``client.extra-absent``) where the library is not installed."""
    if find_spec(library) is None:
        raise DependencyFailed(
            "client.extra-absent",
            f"{library} is not installed here.",
            next=f"Install it: pip install 'gatewright[{extra}]'.",
        )
