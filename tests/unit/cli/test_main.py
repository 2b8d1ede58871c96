"""The entry point: whatever goes wrong becomes a sentence and an exit code."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable

import pytest

from gatewright.cli import main
from gatewright.kernel.errors import Tampered


def _raise(error: BaseException) -> Callable[..., object]:
    def app(**_: object) -> object:
        raise error

    return app


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (Tampered("test.code", "It broke.", place="row 3"), 3, "test.code"),
        (KeyboardInterrupt(), 130, "cli.interrupted"),
        (ValueError("surprise"), 70, "cli.internal"),
        (ModuleNotFoundError("none", name="sqlalchemy.engine"), 4, "cli.not-installed"),
        (ModuleNotFoundError("none", name="gatewright.nothing"), 70, "cli.internal"),
    ],
)
def test_errors_become_documents(
    error: BaseException,
    code: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """An expected error, an interrupt, a surprise and a missing package each end with their code and one document."""
    monkeypatch.setattr(main, "app", _raise(error))
    monkeypatch.setattr(sys, "argv", ["gatewright", "status", "--json"])
    assert code == main.run()
    printed = capsys.readouterr()
    assert (said, "") == (json.loads(printed.out)["error"]["code"], printed.err)


def test_a_surprise_shows_its_trace_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever reports a fault can have the trace; nobody else sees one."""
    monkeypatch.setattr(main, "app", _raise(ValueError("surprise")))
    monkeypatch.setenv("GATEWRIGHT_TRACEBACK", "1")
    with pytest.raises(ValueError, match="surprise"):
        main.run()


@pytest.mark.parametrize(("result", "code"), [(None, 0), (1, 1), ("text", 0)])
def test_a_command_may_name_its_exit_code(result: object, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A number that a command returns is the exit code; anything else means done."""
    monkeypatch.setattr(main, "app", lambda **_: result)
    assert code == main.run()


@pytest.mark.parametrize("said", [["--sede", "1"], ["x", "y"], []])
def test_wrong_use_is_told_to_people_with_the_usage(
    said: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The parser's own complaints end with 2 and show how the command is used."""
    monkeypatch.setattr(sys, "argv", ["gatewright", "check", *said])
    assert 2 == main.run()
    assert "Usage:" in capsys.readouterr().err
