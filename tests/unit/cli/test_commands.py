"""Every command: its help, its example, its machine-readable form."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from scenario.world import COMMAND_S, Home, environment, inside
from unit.cli.commands_walked import commands, options

COMMANDS = commands()
"""User time of a cold ``--help`` that the design asks for, in seconds."""
RUNS = 3
HEAVY = ("numpy", "sqlalchemy", "onnxruntime", "onnx", "scipy", "polars", "uvicorn", "cryptography")

WITHOUT_JSON = {
    "serve": "runs until it is stopped; its state is read with 'status --json'",
    "witness serve": "runs until it is stopped; its state is read with 'witness show --json'",
}

DONE = {
    "data list": "",
    "data show": "loans",
    "model list": "",
    "model show": "loans",
    "model inspect": "policy.toml",
    "policy check": "policy.toml",
    "release list": "",
    "release show": "loans",
    "user list": "",
    "key list": "loans",
    "status": "",
    "history": "",
    "verify": "",
    "scrub": "",
    "example": "loans",
    "collect": "",
}
"""Arguments with which a command that only reads succeeds on the home of these tests."""

FAILS = {
    "init": ".",
    "data add": "loans --train none.csv --test none.csv --target repaid",
    "data split": "none.csv --name new --target repaid",
    "data list": "surplus",
    "data show": "nobody",
    "model add": "none.onnx --name loans --trained-on loans",
    "model list": "surplus",
    "model show": "nobody",
    "model inspect": "none.onnx",
    "policy check": "none.toml",
    "train": "nobody",
    "check": "nobody",
    "compare": "nobody loans",
    "ship": "nobody",
    "approve": "nobody --as ada",
    "deploy": "nobody",
    "rollback": "nobody",
    "stop": "nobody",
    "resume": "nobody",
    "undeploy": "nobody",
    "limit": "nobody --rate 5",
    "key list": "nobody",
    "key add": "nobody",
    "key revoke": "nobody 5f2b9c04d1aa",
    "key rotate": "nothing",
    "key root": "--to .gatewright/keys",
    "release create": "nobody",
    "release list": "surplus",
    "release show": "nobody",
    "release export": "nobody --to out",
    "release mount": "--to policy.toml",
    "release revoke": "nobody --reason wrong",
    "ready": "--key-file none",
    "user add": "Ada!",
    "user list": "surplus",
    "status": "surplus",
    "history": "--at yesterday",
    "why": "nowhere",
    "verify": "nowhere",
    "scrub": "surplus",
    "backup": "policy.toml --key-file none",
    "restore": "none --to policy.toml --key-file none",
    "recover": "--as ada --reason Lost.",
    "evidence log": "--to policy.toml",
    "evidence export": "nowhere --from 2020-01-01 --out policy.toml",
    "evidence receipt": "policy.toml --to answer.proof.json",
    "evidence cbom": "--to nowhere/cbom.cdx.json",
    "evidence verifier": "--to nowhere/verify_evidence.py",
    "advisory import": "none.json",
    "advisory list": "",
    "advisory check": "",
    "witness init": ". --name w1",
    "witness trust": "nowhere trust.json",
    "witness show": "nowhere",
    "witness use": "http://audit.example w1.pub",
    "witness drop": "nobody",
    "demo": "--surplus",
    "example": "nobody",
    "collect": "surplus",
}
"""Arguments with which each command fails."""


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name: str) -> None:
    """The help of a command says what it does and gives an example that begins with its own name."""
    text = COMMANDS[name].help or ""
    assert re.match(r"[A-Z].+\.", text)
    examples = re.findall(r"^Example: gatewright (.+)$", text, re.MULTILINE)
    assert 1 == len(examples)
    assert examples[0].startswith(name)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_speaks_to_machines(name: str) -> None:
    """Every command has ``--json``, but for those that have nothing to print."""
    assert (name not in WITHOUT_JSON) == ("--json" in options(COMMANDS[name]))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_parameter_is_described(name: str) -> None:
    """No option or argument stands in the help without a word about it."""
    assert [] == [each.name for each in COMMANDS[name].params if not getattr(each, "help", "")]


def test_help_loads_nothing_heavy() -> None:
    """Showing help imports no numbers, no database, no model runtime, no server and no cryptography."""
    question = (
        "import sys; from gatewright.cli import main; sys.argv = ['gatewright', 'check', '--help']; main.run();"
        f"sys.exit(' '.join(name for name in {HEAVY!r} if name in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", question],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=COMMAND_S,
        check=False,
    )
    assert "" == done.stderr.strip()


@pytest.mark.parametrize("name", COMMANDS)
def test_help_needs_no_home(nowhere: Path, name: str) -> None:
    """``--help`` of every command ends with 0 wherever it is asked for."""
    ran = inside(nowhere, *name.split(), "--help")
    assert (0, "") == (ran.code, ran.err)
    assert "Usage:" in ran.out
    assert [] == list(nowhere.iterdir())


def test_every_command_is_tried() -> None:
    """The tables of this file know every command."""
    assert set(COMMANDS) == FAILS.keys() | WITHOUT_JSON.keys()
    assert DONE.keys() <= FAILS.keys()


@pytest.mark.parametrize("name", DONE)
def test_success_is_one_json_document(lived_in: Home, name: str) -> None:
    """What a command prints with ``--json`` is one JSON document, and nothing beside it."""
    ran = lived_in.run(*name.split(), *DONE[name].split())
    assert (0, "") == (ran.code, ran.err)
    assert isinstance(ran.document, dict | list)


@pytest.mark.parametrize("name", FAILS)
def test_failure_is_one_json_document(lived_in: Home, name: str) -> None:
    """An error with ``--json`` is one JSON document with code, what, why, next and place, for any cause."""
    before = lived_in.digest()
    ran = lived_in.run(*name.split(), *FAILS[name].split())
    assert (2, "") == (ran.code, ran.err), ran.out
    assert {"code", "what", "why", "next", "place"} == ran.error.keys()
    assert before == lived_in.digest()


@pytest.mark.parametrize("name", DONE)
def test_people_get_words_instead(lived_in: Home, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without ``--json`` the same command prints lines for people, without control sequences in a pipe."""
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    assert os.environ.get("FORCE_COLOR") is None
    ran = inside(lived_in.root, *name.split(), *DONE[name].split())
    assert 0 == ran.code
    assert ran.out.strip()
    assert "\x1b" not in ran.out
