"""The entry point: run a command, and turn every failure into a sentence and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from gatewright.cli import exits
from gatewright.cli.commands import app
from gatewright.kernel.errors import DependencyFailed, GatewrightError, Refusal

MACHINE = "--json"


def main() -> None:
    """Run the command line and exit."""
    sys.exit(run())


def run() -> int:
    """Run the command line; returns the exit code of :mod:`gatewright.cli.exits`."""
    try:
        result = app(standalone_mode=False)
    except GatewrightError as error:
        _say(error.refusal)
        return exits.exit_code(error)
    except KeyboardInterrupt:
        return _interrupted()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return exits.DONE
    except ModuleNotFoundError as error:
        missing = _not_installed(error)
        if missing is None:
            return _unexpected(error)
        _say(missing.refusal)
        return exits.exit_code(missing)
    except Exception as error:  # noqa: BLE001 - the last resort: nothing may end in a bare traceback
        return _unexpected(error)
    if result == exits.INTERRUPTED:  # what the parser makes of an interrupt
        return _interrupted()
    return result if isinstance(result, int) else exits.DONE


def _not_installed(error: ModuleNotFoundError) -> DependencyFailed | None:
    """What to do where a package is missing that the serving and verifying set does without."""
    package = (error.name or "").partition(".")[0]
    if package in ("", "gatewright"):
        return None
    return DependencyFailed(
        "cli.not-installed",
        f"This command needs the package {package!r}, which is not installed here.",
        why="The plain installation serves and verifies: 'gatewright verify' and 'gatewright serve' with "
        "a mounted folder need no more.",
        next="Run it where the whole is installed: pip install 'gatewright[studio]'",
    )


def _interrupted() -> int:
    _say(Refusal(code="cli.interrupted", what="Interrupted; what was recorded until now stands."))
    return exits.INTERRUPTED


def _misused(error: Exception, show: Callable[[], object]) -> int:
    """The parser's own complaint about the call: its usage for people, the same sentence for machines."""
    if MACHINE not in sys.argv:
        show()
        return exits.WRONG_USE
    described = getattr(error, "format_message", None)
    what = str(described() if callable(described) else error).rstrip(".") or "The command is not complete"
    next_step = "Add --help to the command to see what it takes."
    _say(Refusal(code="cli.usage", what=f"{what}.", next=next_step))
    return exits.WRONG_USE


def _unexpected(error: Exception) -> int:
    code = getattr(error, "exit_code", None)
    show = getattr(error, "show", None)
    if callable(show):
        return _misused(error, show)
    if type(error).__name__ in {"Exit", "Abort"}:
        return code if isinstance(code, int) else _interrupted()
    if os.environ.get("GATEWRIGHT_TRACEBACK"):
        raise error
    _say(
        Refusal(
            code="cli.internal",
            what="Something went wrong inside gatewright.",
            why=f"{type(error).__name__}: {str(error)[:300]}",
            next="Run again with GATEWRIGHT_TRACEBACK=1 and report it with what it prints.",
        )
    )
    return exits.INTERNAL


def _say(refusal: Refusal) -> None:
    from gatewright.cli import show

    show.failure(refusal, machine=MACHINE in sys.argv)
