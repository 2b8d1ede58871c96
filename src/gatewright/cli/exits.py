"""From errors to exit codes: the command line's own table. A test proves it total.

| code | meaning |
|---|---|
| 0 | done |
| 1 | refused by a gate |
| 2 | wrong use, or input that cannot be read |
| 3 | tampering or broken evidence |
| 4 | a dependency failed |
| 5 | waiting for an approval |
| 70 | an internal fault |
| 130 | interrupted |
"""

from __future__ import annotations

from gatewright.kernel.errors import (
    ApprovalNeeded,
    BadInput,
    DependencyFailed,
    GatewrightError,
    Misuse,
    Refused,
    Tampered,
)

DONE = 0
INTERNAL = 70
INTERRUPTED = 130
WRONG_USE = 2
TAMPERED = 3
FAILED = 4

CODES: tuple[tuple[type[GatewrightError], int], ...] = (
    (ApprovalNeeded, 5),
    (Refused, 1),
    (Misuse, WRONG_USE),
    (BadInput, WRONG_USE),
    (Tampered, TAMPERED),
    (DependencyFailed, 4),
    (GatewrightError, INTERNAL),
)


def exit_code(error: GatewrightError) -> int:
    """The exit code of an error: that of its nearest class in the table."""
    return next(code for kind, code in CODES if isinstance(error, kind))
