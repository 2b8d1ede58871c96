"""What the attacks on evidence start from: a served home, what an auditor was given of it, and canaries."""

from __future__ import annotations

import json
import secrets
import shutil
import socket
import time
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from scenario.world import (
    BETTER,
    READY_S,
    Home,
    Ran,
    Server,
    ask,
    classifier,
    inside,
    loans,
    serving,
    write_loans,
)

OWNER = "quetzal"
"""A name that nothing else spells: where it stands, a person is named."""
COMMENT = "xylophonist says it is fine"
HIDDEN = frozenset({"Cc", "Cf", "Co", "Cs", "Zl", "Zp"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Canary:
    """A secret outside everything, a file that an attack would make, and a port that it would call."""

    token: str
    file: Path
    marker: Path
    listener: socket.socket

    @property
    def port(self) -> int:
        """Where nobody may call."""
        return int(self.listener.getsockname()[1])

    def sang(self) -> str:
        """What an attack reached, or nothing."""
        try:
            self.listener.accept()[0].close()
        except BlockingIOError:
            return "the marker was made" if self.marker.exists() else ""
        return "somebody called"


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What an auditor has in ``place``, and where it came from.

    That is owner/, export/, log/, answer.json and other.json of one worker, request.json,
    answer.proof.json and pack.zip.
    """

    place: Path
    home: Home
    server: Server

    def copy(self, place: Path) -> Path:
        """The same files, to be spoilt."""
        shutil.copytree(self.place, place)
        return place


def unseen(text: str) -> list[str]:
    """The characters of a text that act on a terminal or cannot be seen, line ends left out."""
    return [letter for letter in text if letter != "\n" and unicodedata.category(letter) in HIDDEN]


@pytest.fixture(scope="session")
def bird(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Canary]:
    """One canary for all attacks."""
    folder = tmp_path_factory.mktemp("outside")
    token = f"canary-{secrets.token_hex(16)}"
    (folder / "secret.txt").write_text(token, "utf-8")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        yield Canary(token=token, file=folder / "secret.txt", marker=folder / "marker", listener=listener)


@pytest.fixture(autouse=True)
def canary(bird: Canary) -> Iterator[Canary]:
    """After every attack no marker stands there and nobody called."""
    yield bird
    assert "" == bird.sang()


@pytest.fixture(scope="session")
def given(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Given]:
    """One home with two versions, the first one served; and what its owner handed out."""
    root = tmp_path_factory.mktemp("attacked")
    home, place = Home(root=root / "home"), root / "auditor"
    (place / "owner").mkdir(parents=True)
    home.root.mkdir()
    home.do("init", "--owner", OWNER)
    write_loans(home.root / "train.csv", 300, 1)
    write_loans(home.root / "test.csv", 400, 2)
    home.do("data", "add", "loans", "--train", "train.csv", "--test", "test.csv", "--target", "repaid")
    for number, model in enumerate((classifier(), classifier(BETTER)), 1):
        (home.root / f"v{number}.onnx").write_bytes(model)
        home.do("model", "add", f"v{number}.onnx", "--name", "loans", "--trained-on", "loans")
        home.do("check", f"loans@{number}")
        home.do("release", "create", f"loans@{number}")
        home.do("approve", f"loans@{number}", "--as", OWNER, "--comment", COMMENT)
    home.api_key = home.do("deploy", "loans@1")["api_key"]
    rows, _ = loans(2, 5)
    with serving(home, log="attacked.log") as server, httpx.Client() as client:
        for name in ("answer.json", "other.json"):
            answer = ask(client, server, "loans", home.api_key, rows)
            assert 200 == answer.status_code, answer.text
            (place / name).write_text(json.dumps(answer.json()), "utf-8")
            (place / "request.json").write_bytes(answer.request.content)
        shutil.copy(home.folder / "trust.json", place / "owner")
        shutil.copytree(home.folder / "workers", place / "owner" / "workers")
        home.do("release", "export", "loans@1", "--to", str(place / "export"))
        home.do("evidence", "log", "--to", str(place / "log"))
        home.do("collect")
        first = str(place / "answer.json")
        until = time.monotonic() + READY_S  # its segment is sealed within seconds
        while home.run("evidence", "receipt", first, "--to", str(place / "answer.proof.json")).code:
            assert time.monotonic() < until
            time.sleep(0.2)
            home.do("collect")
        pack = ("--from", "1 day ago", "--out", str(place / "pack.zip"), "--answer", first)
        home.do("evidence", "export", "loans", *pack)
        yield Given(place=place, home=home, server=server)


def verified(place: Path, *arguments: str) -> Ran:
    """One ``verify`` of the auditor, for machines."""
    return inside(place, "verify", *arguments, "--json")


def refused(ran: Ran, canary: Canary, *, codes: tuple[int, ...] = (2, 3)) -> str:
    """The code of a clean refusal: the right exit, one document, nothing secret, nothing that acts on a terminal."""
    assert ran.code in codes, (ran.code, ran.out, ran.err)
    said = ran.out + ran.err
    assert "Traceback" not in said
    assert canary.token not in said
    assert [] == unseen(said)
    code: str = ran.error["code"]
    assert ran.error["what"]
    return code
