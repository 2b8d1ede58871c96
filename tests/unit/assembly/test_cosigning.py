"""The thread beside the collector: it asks when there is something new, goes on after failures, and ends."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gatewright.assembly import cosigning as module
from gatewright.assembly.cosigning import cosigning
from gatewright.assembly.homes import create_home, open_home, read_home
from gatewright.assembly.witness_calls import use_witness
from gatewright.operations.cosigning import problems_told, witnesses
from gatewright.operations.users import add
from scenario.witness_world import WitnessProcess, made_witness, served_witness
from scenario.world import inside
from unit.serving.rig import wait_for


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounds come quickly."""
    monkeypatch.setattr(module, "PERIOD_S", 0.01)
    monkeypatch.setattr(module, "PATIENCE_S", 0.05)


@pytest.fixture
def witness(tmp_path: Path) -> Iterator[WitnessProcess]:
    """A served witness."""
    with served_witness(made_witness(tmp_path / "w1")) as made:
        yield made


@pytest.fixture
def root(tmp_path: Path, witness: WitnessProcess) -> Path:
    """A home that uses it, and that it knows."""
    place = tmp_path / "home"
    create_home(place, "ada")
    use_witness(place, witness.url, [str(witness.folder / "witness.pub")])
    trust = str(place / ".gatewright" / "trust.json")
    assert 0 == inside(tmp_path, "witness", "trust", str(witness.folder), trust).code
    return place


def standing(root: Path) -> tuple[int, int]:
    """How many records there are, and how many are cosigned."""
    with read_home(root) as home:
        return sum(1 for _ in home.archive.leaves()), witnesses(home)[0].size


def test_each_new_head_is_cosigned(root: Path) -> None:
    """What is recorded while the thread runs reaches the witness, without anybody asking for it."""
    with cosigning(root):
        wait_for(lambda: standing(root) == (4, 4))
        with open_home(root) as home:
            add(home, "bob")
        wait_for(lambda: standing(root) == (5, 5))


def test_the_last_head_is_cosigned_at_the_end(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was recorded just before the end is submitted once more."""
    monkeypatch.setattr(module, "PERIOD_S", 3_600.0)
    with cosigning(root):
        assert (4, 0) == standing(root)
    assert (4, 4) == standing(root)


def test_a_witness_that_comes_back_is_caught_up_with(
    root: Path, witness: WitnessProcess, capfd: pytest.CaptureFixture[str]
) -> None:
    """While it is away that is said once; when it is back the newest head is cosigned and nothing is said any more."""
    witness.end()
    with cosigning(root):
        wait_for(lambda: bool(problems_told(root / ".gatewright")))
        with served_witness(witness.folder, port=witness.port):
            wait_for(lambda: standing(root) == (4, 4))
            wait_for(lambda: not problems_told(root / ".gatewright"))
    assert 1 == capfd.readouterr().err.count("does not answer")


def test_a_home_without_witnesses_asks_nobody(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Nothing is written and nothing is said."""
    create_home(tmp_path / "home", "ada")
    with cosigning(tmp_path / "home"):
        pass
    assert not (tmp_path / "home/.gatewright/witnessed").exists()
    assert "" == capfd.readouterr().err


def test_a_home_that_cannot_be_opened_is_said_and_ends_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The thread goes on when the home has no settings, and says why, once."""
    create_home(tmp_path / "home", "ada")
    settings = tmp_path / "home" / "gatewright.toml"
    content = settings.read_bytes()
    settings.write_bytes(b"nonsense = [")
    said = ""

    def heard() -> bool:
        nonlocal said
        said += capfd.readouterr().err
        return "cannot be read" in said

    with cosigning(tmp_path / "home"):
        wait_for(heard)
        settings.write_bytes(content)
    said += capfd.readouterr().err
    assert 1 == said.count("cannot be read")
