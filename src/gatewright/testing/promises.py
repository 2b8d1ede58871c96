"""How a contract suite says that an implementation broke a promise; no test framework is needed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class PromiseBroken(AssertionError):
    """An implementation does not keep a promise of its port."""


def agree(expected: object, actual: object, promise: str) -> None:
    """Raise PromiseBroken unless both are equal; ``promise`` is the sentence that should hold."""
    if expected != actual:
        raise PromiseBroken(f"{promise} Expected {expected!r}, found {actual!r}.")


@contextmanager
def refuses(kind: type[Exception], promise: str) -> Iterator[None]:
    """Raise PromiseBroken unless the body raises ``kind``; ``promise`` is the sentence that should hold."""
    try:
        yield
    except kind:
        return
    raise PromiseBroken(f"{promise} Expected {kind.__name__}; nothing was raised.")
