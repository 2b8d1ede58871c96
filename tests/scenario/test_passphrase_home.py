"""A home whose keys are encrypted: everything works with the passphrase, nothing without it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from scenario.conftest import NewHome
from scenario.world import Home, ask, classifier, command, inside, loans, serving, write_loans

PASSPHRASE = "correct horse battery staple"  # noqa: S105 - a passphrase of a test
PEOPLE = ("ada-of-the-passphrase", "grace-of-the-passphrase")


@pytest.fixture(scope="module")
def sealed_template(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home made with a passphrase file, with a second person, data and a live model."""
    root = tmp_path_factory.mktemp("sealed")
    secret = root / "passphrase"
    secret.write_text(PASSPHRASE + "\n")
    home = Home(root=root / "home", extra={"GATEWRIGHT_PASSPHRASE_FILE": str(secret)})
    home.root.mkdir()
    assert home.do("init", "--owner", PEOPLE[0])["passphrase"]
    write_loans(home.root / "train.csv", 300, 1)
    write_loans(home.root / "test.csv", 400, 2)
    home.do("data", "add", "loans", "--train", "train.csv", "--test", "test.csv", "--target", "repaid")
    (home.root / "m.onnx").write_bytes(classifier())
    home.do("model", "add", "m.onnx", "--name", "loans", "--trained-on", "loans")
    home.api_key = home.do("ship", "loans")["api_key"]
    home.do("user", "add", PEOPLE[1])
    home.do("approve", "loans", "--as", PEOPLE[1], "--comment", "A very private remark")
    return home


@pytest.fixture
def sealed(sealed_template: Home, tmp_path: Path) -> Iterator[Home]:
    """A copy, rebuilt and verified afterwards."""
    place = tmp_path / "sealed"
    shutil.copytree(sealed_template.root, place)
    home = Home(root=place, extra=sealed_template.extra, api_key=sealed_template.api_key)
    yield home
    home.rebuilt()


def test_everything_works_with_the_passphrase(sealed: Home) -> None:
    """The home serves, shows and verifies when the passphrase file is named."""
    rows, _ = loans(1, 3)
    with serving(sealed) as server, httpx.Client() as client:
        answer = ask(client, server, "loans", sealed.api_key, rows)
        assert 200 == answer.status_code, answer.text
    assert 1 == sealed.do("status")["predictions"]
    assert set(PEOPLE) == {person["name"] for person in sealed.do("user", "list")}


@pytest.mark.parametrize(
    "extra",
    [{}, {"GATEWRIGHT_PASSPHRASE": "wrong"}, {"GATEWRIGHT_PASSPHRASE_FILE": "/nowhere/at-all"}],
    ids=["missing", "wrong", "no file"],
)
def test_without_the_passphrase_nothing_works(sealed: Home, extra: dict[str, str]) -> None:
    """A missing or wrong passphrase is wrong use of the command; nothing is read out or changed."""
    before = sealed.digest()
    for arguments in ("status", "check loans", "deploy loans", "user add eve", "verify", "rollback loans"):
        ran = inside(sealed.root, *arguments.split(), "--json", extra=extra)
        assert 2 == ran.code, ran.out + ran.err
        assert "passphrase" in ran.said.lower()
        assert before == sealed.digest()


def test_the_server_does_not_start_without_it(sealed: Home) -> None:
    """``serve`` refuses with a sentence before it listens."""
    ran = command(sealed.root, "serve", "--port", "0")
    assert 2 == ran.code
    assert "passphrase" in ran.err.lower()
    assert "Traceback" not in ran.err


def test_nothing_personal_lies_in_plain(sealed: Home) -> None:
    """No private key, data row, person's name, remark or API key can be read from any stored file."""
    row = (sealed.root / "train.csv").read_text("utf-8").splitlines()[7]
    plain = [b"PRIVATE KEY", row.encode(), *(name.encode() for name in PEOPLE)]
    plain += [b"A very private remark", PASSPHRASE.encode(), sealed.api_key.encode(), b"MatMul"]
    files = [path for path in sealed.folder.rglob("*") if path.is_file()]
    assert len(files) > 15
    found = [(path.name, word) for path in files for word in plain if word in path.read_bytes()]
    assert [] == found
    assert [] == [path.name for path in files for name in PEOPLE if name in path.as_posix()]


@pytest.mark.parametrize("secret", ["", "x" * 1025])
def test_an_unusable_passphrase_makes_no_home(new_home: NewHome, secret: str) -> None:
    """An empty or huge passphrase is refused, and no half-made home stays behind."""
    home = new_home("nothing")
    ran = inside(home.root, "init", "--owner", "ada", "--json", extra={"GATEWRIGHT_PASSPHRASE": secret})
    assert (2, "assembly.passphrase") == (ran.code, ran.error["code"])
    assert [] == list(home.root.iterdir())
