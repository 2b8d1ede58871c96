"""Somebody changes the stored model on disk: it is never answered with."""

from __future__ import annotations

import httpx
import pytest

from scenario.conftest import NewHome
from scenario.world import Home, ask, loans, serving


def _flip(home: Home, digest: str) -> None:
    (place,) = (
        path for path in (home.folder / "blobs").rglob("*") if digest in path.as_posix().replace("/", "")
    )
    data = bytearray(place.read_bytes())
    data[len(data) // 2] ^= 1
    place.chmod(0o600)
    place.write_bytes(data)


def test_a_running_server_keeps_what_it_had(new_home: NewHome) -> None:
    """A plan whose model does not hold is not taken; the old version goes on answering."""
    home = new_home("live")
    home.broken = True
    home.do("release", "create", "loans@2")
    home.do("approve", "loans@2", "--as", "ada")
    rows, _ = loans(1, 4)
    with serving(home) as server, httpx.Client() as client:
        assert "1" == ask(client, server, "loans", home.api_key, rows).json()["model_version"]
        _flip(home, home.do("release", "show", "loans@2")["resources"]["model.onnx"])
        home.do("deploy", "loans@2")
        said = server.wait_for("A traffic plan was not taken")
        assert "Plan 1 stays in force" in said
        answer = ask(client, server, "loans", home.api_key, rows)
        assert (200, "1") == (answer.status_code, answer.json()["model_version"])
        assert "storage.blob-tampered" == home.do("status")["worker"]["refusal"]["code"]
    verified = home.run("verify")
    assert (3, "storage.blob-tampered") == (verified.code, verified.error["code"])


def test_a_new_server_serves_nothing_instead(new_home: NewHome) -> None:
    """Started on a changed model, the server answers no prediction and says which content is wrong."""
    home = new_home("live")
    home.broken = True
    digest = home.do("release", "show", "loans@1")["resources"]["model.onnx"]
    _flip(home, digest)
    with serving(home) as server, httpx.Client() as client:
        said = server.wait_for("A traffic plan was not taken")
        assert digest in said
        rows, _ = loans(1, 4)
        answer = ask(client, server, "loans", home.api_key, rows)
        assert answer.status_code in {401, 404, 503}
        assert "outputs" not in answer.json()


@pytest.mark.parametrize("verb", [("check", "loans@1"), ("release", "export", "loans@1", "--to", "out")])
def test_a_command_that_needs_the_model_stops(new_home: NewHome, verb: tuple[str, ...]) -> None:
    """Neither a check nor an export works on changed bytes; nothing is recorded or written."""
    home = new_home("live")
    home.broken = True
    _flip(home, home.do("release", "show", "loans@1")["resources"]["model.onnx"])
    before = home.digest()
    ran = home.run(*verb)
    assert (3, "storage.blob-tampered") == (ran.code, ran.error["code"])
    assert before == home.digest()
