"""An operator with every key but the witness's: what the witness refuses, and what then convicts."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from gatewright.operations.witness import file_name
from scenario.conftest import NewHome
from scenario.witness_world import WitnessProcess, made_witness, served_witness
from scenario.world import Home, Server, ask, inside, serving
from unit.serving.rig import wait_for

ROW = [[0.5, -0.25, 1.0]]


@pytest.fixture
def witness(tmp_path: Path) -> Iterator[WitnessProcess]:
    """A witness in a process and a folder of its own, that knows nobody yet."""
    with served_witness(made_witness(tmp_path / "w1")) as made:
        yield made


def used(home: Home, witness: WitnessProcess) -> None:
    """The home names the witness, and the witness is given the home's public keys."""
    home.do("witness", "use", witness.url, str(witness.folder / "witness.pub"))
    ran = inside(home.root, "witness", "trust", str(witness.folder), ".gatewright/trust.json")
    assert 0 == ran.code, ran.err


def witnessed(home: Home) -> tuple[int, int]:
    """How many records there are, and how many of them the witness cosigned."""
    found = home.do("status")
    return found["records"], found["witnesses"][0]["size"]


def seen(witness: WitnessProcess) -> int:
    """How many records the witness cosigned last."""
    return int(inside_json(witness)["logs"][0]["size"])


def inside_json(witness: WitnessProcess) -> dict[str, list[dict[str, int]]]:
    """What ``witness show`` says."""
    found: dict[str, list[dict[str, int]]] = inside(
        witness.folder.parent, "witness", "show", str(witness.folder), "--json"
    ).document
    return found


def put_back(home: Home, older: Path) -> None:
    """Replace everything kept by an older or another state of it."""
    shutil.rmtree(home.folder)
    shutil.copytree(older, home.folder)
    home.broken = True


def test_a_rewritten_history_is_refused_and_convicted(
    new_home: NewHome, witness: WitnessProcess, tmp_path: Path
) -> None:
    """With the log's real keys another history is signed: the witness declines it, and its head convicts."""
    home = new_home("opened")
    used(home, witness)
    shutil.copytree(home.folder, tmp_path / "before")
    home.do("user", "add", "bob")
    assert ["audit.example/w1"] == home.do("collect")["witnesses"]["cosigned"]
    note = witness.ask("GET", f"/checkpoint/{file_name(home.do('status')['origin'])}").body
    (tmp_path / "kept").write_bytes(note)
    put_back(home, tmp_path / "before")
    for name in ("mallory", "eve"):
        home.do("user", "add", name)
    assert 0 == home.run("verify").code  # in itself the new history holds
    ran = home.run("collect")
    assert (3, 5) == (ran.code, seen(witness))
    convicted = home.run("verify")
    assert (3, "operations.log-forked") == (convicted.code, convicted.error["code"])
    assert 3 == home.run("user", "add", "carl").code
    home.do("evidence", "log", "--to", str(tmp_path / "log"))
    ran = inside(tmp_path, "verify", "log", "--trust", "log", "--kept", "kept", "--json")
    assert (3, "operations.log-forked") == (ran.code, ran.error["code"])


def test_a_home_that_was_put_back_is_convicted_by_its_witness(
    new_home: NewHome, witness: WitnessProcess, tmp_path: Path
) -> None:
    """Yesterday's copy beside today's witness: the missing records are named, and nothing is recorded."""
    home = new_home("opened")
    used(home, witness)
    shutil.copytree(home.folder, tmp_path / "yesterday")
    home.do("user", "add", "bob")
    home.do("collect")
    put_back(home, tmp_path / "yesterday")
    assert 0 == home.run("verify").code
    assert 3 == home.run("collect").code
    convicted = home.run("verify")
    assert (3, "record 4") == (convicted.code, convicted.error["place"])
    refused = home.run("user", "add", "carl")
    assert 3 == refused.code
    assert "record 4" in refused.said


def test_outsiders_see_who_cosigned_what(new_home: NewHome, witness: WitnessProcess, tmp_path: Path) -> None:
    """The exported log carries the cosignatures; what came after them is told, and a kept head must be extended."""
    home = new_home("opened")
    used(home, witness)
    home.do("collect")
    home.do("evidence", "log", "--to", str(tmp_path / "log"))
    (whole,) = home.do("verify", str(tmp_path / "log"))
    assert (4, 4) == (whole["facts"]["records"], whole["facts"]["witnessed"]["witnessed"])
    home.do("user", "add", "bob")
    home.do("evidence", "log", "--to", str(tmp_path / "log"))
    (behind,) = home.do("verify", str(tmp_path / "log"))
    assert (5, 4) == (behind["facts"]["records"], behind["facts"]["witnessed"]["witnessed"])
    assert "Records from number 4 on are not witnessed yet." in behind["sentence"]
    home.do("collect")
    home.do("evidence", "log", "--to", str(tmp_path / "log"))
    (again,) = home.do("verify", str(tmp_path / "log"))
    assert 5 == again["facts"]["witnessed"]["witnessed"]


def predict(home: Home, server: Server, client: httpx.Client, collected: int) -> int:
    """One prediction, and wait until its segment is in the ledger; how many records there were before."""
    before = witnessed(home)[0]
    assert 200 == ask(client, server, "loans", home.api_key, ROW).status_code
    wait_for(lambda: home.do("status")["predictions"] == collected + 1)
    return before


def test_predictions_reach_the_witness_by_themselves_and_one_that_hangs_delays_nobody(
    new_home: NewHome, witness: WitnessProcess
) -> None:
    """Beside a server heads are cosigned as they come; a witness that takes calls and is silent holds nothing up."""
    home = new_home("live")
    used(home, witness)
    with serving(home) as server, httpx.Client() as client:
        before = predict(home, server, client, 0)
        wait_for(lambda: before < witnessed(home)[0] == witnessed(home)[1])
        with socket.create_server(("127.0.0.1", 0), backlog=64) as hanging:
            url = f"http://127.0.0.1:{hanging.getsockname()[1]}"
            home.do("witness", "use", url, str(witness.folder / "witness.pub"))
            for collected in (1, 2):
                predict(home, server, client, collected)
            assert home.do("status")["collecting"]
        assert witnessed(home)[0] > witnessed(home)[1]
    assert "Traceback" not in server.said()
    assert 0 == home.run("verify").code


def test_a_witness_alone_needs_no_home(tmp_path: Path, witness: WitnessProcess) -> None:
    """Its commands work in any folder, show what it knows, and say what is wrong with what they are given."""
    shown = inside(tmp_path, "witness", "show", str(witness.folder))
    assert (0, True) == (shown.code, "knows 0 logs" in shown.out)
    refused = inside(tmp_path, "witness", "serve", str(witness.folder), "--port", "0", "--json")
    assert 2 == refused.code
    for arguments in (
        ("init", str(witness.folder), "--name", "w1"),
        ("init", "new", "--name", "two words"),
        ("trust", str(witness.folder), "nonsense"),
        ("trust", str(witness.folder), str(witness.folder / "witness.pub")),
        ("trust", "nowhere", "nonsense"),
        ("show", str(tmp_path)),
        ("serve", str(witness.folder), "--host", "0.0.0.0"),  # noqa: S104 - what is refused
    ):
        assert 2 == inside(tmp_path, "witness", *arguments).code, arguments
