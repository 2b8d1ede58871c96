"""Keys are rotated and revoked while requests come: none that is valid is refused, nothing that counted is lost."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from gatewright.assembly.homes import open_home
from gatewright.kernel.instants import Instant
from gatewright.ledger.records import Draft
from gatewright.operations.signing import release_signers
from gatewright.operations.users import owner
from gatewright.releases.statement import WorkerKey
from gatewright.releases.trust import TrustRoot
from gatewright.releases.worker_keys import certify
from scenario.conftest import NewHome
from scenario.world import Home, Server, ask, inside, loans, serving

WAIT_S = 60.0
CALLERS = 2


class Callers:
    """Threads that ask without a pause: every status that came, and some answers by when they came."""

    def __init__(self, home: Home, server: Server) -> None:
        self._home = home
        self._server = server
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._call, daemon=True) for _ in range(CALLERS)]
        self.statuses: list[int] = []
        self.answers: list[dict[str, Any]] = []

    def _call(self) -> None:
        rows, _ = loans(1, 3)
        with httpx.Client() as client:
            while not self._end.is_set():
                answer = ask(client, self._server, "loans", self._home.api_key, rows)
                self.statuses.append(answer.status_code)
                self.answers.append(answer.json())

    def newest(self) -> dict[str, Any]:
        """An answer to a request that was sent after this call."""
        before = len(self.answers)
        wait(lambda: len(self.answers) > before + CALLERS)
        return self.answers[-1]

    @contextmanager
    def calling(self) -> Iterator[None]:
        """They ask during the block."""
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self._end.set()
            for thread in self._threads:
                thread.join(WAIT_S)


def wait(until: Any) -> None:
    """Wait for something that comes, however slow the machine is."""
    deadline = time.monotonic() + WAIT_S
    while not until():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def serves(home: Home, **wanted: object) -> bool:
    """Whether every worker says that it uses these keys (``trust``, ``worker``) and this ``plan``."""
    workers = home.do("status")["workers"]
    told = [{**each["keys"], "plan": each["plan"]} for each in workers]
    return bool(told) and all(each[name] == value for each in told for name, value in wanted.items())


def plan_number(home: Home) -> int:
    """The number of the recorded plan."""
    return int(home.do("status")["plan_number"])


def saved(home: Home, name: str, answer: dict[str, Any]) -> Path:
    """An answer in a file."""
    place = home.root / name
    place.write_text(json.dumps(answer))
    return place


def test_every_key_is_rotated_under_load(new_home: NewHome, tmp_path: Path) -> None:
    """Worker, release, log and root keys are rotated and revoked while requests come: all are answered, all receipts hold."""
    home = new_home("live")
    kept = {}
    with serving(home) as server:
        callers = Callers(home, server)
        with callers.calling():
            kept["first"] = callers.newest()
            for name, command in (
                ("worker", ("rotate", "worker")),
                ("release", ("rotate", "release")),
                ("log", ("rotate", "log")),
                ("root", ("rotate", "root")),
                ("release-revoked", ("rotate", "release", "--compromised")),
                ("worker-revoked", ("rotate", "worker", "--compromised")),
                ("log-revoked", ("rotate", "log", "--compromised")),
            ):
                done = home.do("key", *command)
                wanted: dict[str, object] = {"trust": done["version"], "plan": plan_number(home)}
                if done["part"] == "worker":
                    wanted["worker"] = done["after"][0]
                wait(lambda wanted=wanted: serves(home, **wanted))
                kept[name] = callers.newest()
    assert {200} == set(callers.statuses)
    home.do("collect")
    for name, answer in kept.items():
        story = home.do("why", str(saved(home, f"{name}.json", answer)))
        assert "loans" == story["facts"]["endpoint"], name
    home.do("verify")
    folder = tmp_path / "export"
    home.do("release", "export", "loans@1", "--to", str(folder))
    home.do("verify", str(folder), "--trust", str(folder))


def test_a_revoked_api_key_is_refused_once_the_plan_is_in_force(new_home: NewHome) -> None:
    """After the workers say that they serve the plan without it no request with a revoked key is answered; others are."""
    home = new_home("live")
    rows, _ = loans(1, 3)
    with serving(home) as server, httpx.Client() as client:
        made = home.do("key", "add", "loans", "--name", "second")
        wait(lambda: serves(home, plan=made["plan_number"]))
        callers = Callers(home, server)
        with callers.calling():
            assert 200 == ask(client, server, "loans", made["api_key"], rows).status_code
            gone = home.do("key", "revoke", "loans", made["id"])
            wait(lambda: serves(home, plan=gone["plan_number"]))
            after = {ask(client, server, "loans", made["api_key"], rows).status_code for _ in range(20)}
        assert {401} == after
        assert {200} == set(callers.statuses)


def test_a_revoked_worker_key_counts_for_nothing_more(new_home: NewHome) -> None:
    """Once a worker key is revoked, its receipts hold only with their place in the log from before."""
    home = new_home("live")
    with serving(home) as server, httpx.Client() as client:
        answer = ask(client, server, "loans", home.api_key, loans(1, 3)[0]).json()
    home.do("collect")
    before = saved(home, "before.json", answer)
    home.do("verify", str(before))
    home.do("key", "rotate", "worker", "--compromised")
    refused = home.run("verify", str(before))
    assert (3, "releases.worker-revoked") == (refused.code, refused.error["code"])
    assert "loans" == home.do("why", str(before))["facts"]["endpoint"]
    proof = home.root / "before.proof.json"
    home.do("evidence", "receipt", str(before), "--to", str(proof))
    home.do("verify", str(proof))
    home.do("verify")


@pytest.mark.parametrize("how", ["retired", "revoked"])
def test_what_was_signed_before_a_rotation_holds(new_home: NewHome, tmp_path: Path, how: str) -> None:
    """An export from before holds with the newest keys where its own were retired, and not where they were revoked."""
    home = new_home("live")
    old = tmp_path / "old"
    home.do("release", "export", "loans@1", "--to", str(old))
    home.do("key", "rotate", "release", *(["--compromised"] if how == "revoked" else []))
    now = home.folder / "trust.json"
    if how == "retired":
        home.do("verify", str(old), "--trust", str(now))
    else:
        refused = home.run("verify", str(old), "--trust", str(now))
        assert (3, "releases.revoked-key") == (refused.code, refused.error["code"])
    new = tmp_path / "new"
    home.do("release", "export", "loans@1", "--to", str(new))
    home.do("verify", str(new), "--trust", str(now))


def test_a_verifier_follows_an_older_fingerprint(new_home: NewHome, tmp_path: Path) -> None:
    """The fingerprint that a verifier was given once leads to the newest keys; a newer one shows that a folder is old."""
    home = new_home("live")
    first = home.do("status")["fingerprint"]
    old, new = tmp_path / "old", tmp_path / "new"
    home.do("release", "export", "loans@1", "--to", str(old))
    for part in ("log", "root", "release"):
        done = home.do("key", "rotate", part)
    home.do("release", "export", "loans@1", "--to", str(new))
    told = home.do("verify", str(new), "--trust", str(new), "--fingerprint", first)
    assert (4, 1) == (told[0]["trust"]["version"], told[0]["trust"]["since"])
    refused = home.run("verify", str(old), "--trust", str(old), "--fingerprint", done["fingerprint"])
    assert (3, "assembly.other-fingerprint") == (refused.code, refused.error["code"])
    assert "this folder is old" in refused.error["next"]


def test_a_verifier_with_older_keys_follows_the_steps_in_the_evidence(
    new_home: NewHome, tmp_path: Path
) -> None:
    """Keys given from before lead to those of newer evidence by its signed steps; without a step nothing is believed."""
    home = new_home("live")
    owner_s, new, log = tmp_path / "owner", tmp_path / "new", tmp_path / "log"
    home.do("key", "rotate", "log")
    home.do("release", "export", "loans@1", "--to", str(owner_s))
    for part in ("release", "log"):
        home.do("key", "rotate", part, "--compromised")
    home.do("release", "export", "loans@1", "--to", str(new))
    home.do("evidence", "log", "--to", str(log))
    for evidence in (new, log):
        told = home.do("verify", str(evidence), "--trust", str(owner_s))
        assert (4, 2) == (told[0]["trust"]["version"], told[0]["trust"]["since"])
    shown = inside(tmp_path, "verify", "new", "--trust", "owner", extra={"COLUMNS": "300"}).out
    assert "(version 4), which follows by signed steps from version 2, the one you gave" in shown
    (new / "trust" / "4.dsse.json").write_bytes((new / "trust" / "3.dsse.json").read_bytes())
    assert 3 == home.run("verify", str(new), "--trust", str(owner_s)).code
    (new / "trust" / "4.dsse.json").unlink()
    refused = home.run("verify", str(new), "--trust", str(owner_s))
    assert (3, "operations.trust-gap") == (refused.code, refused.error["code"])


def test_every_key_is_listed_and_a_rotated_worker_key_says_what_to_hand_on(new_home: NewHome) -> None:
    """The data key is listed without an id, a retired worker key ends where the next began, and the hint names its certificate."""
    home = new_home("live")
    told = inside(home.root, "key", "rotate", "worker", extra={"COLUMNS": "300"}).out
    assert "trust.json is as before" in told
    assert "folder workers/" in told
    assert "Publish trust.json" not in told
    listed = home.do("key", "list")["keys"]
    (data,) = [each for each in listed if each["role"] == "data"]
    assert ("aes-256", "", "in force", True) == (
        data["algorithm"], data["id"], data["state"], bool(data["since"]),
    )  # fmt: skip
    now, old = (each for each in listed if each["role"] == "worker")
    assert ("in force", "retired", now["since"]) == (now["state"], old["state"], old["until"])


def test_the_root_key_is_taken_off_the_machine(new_home: NewHome, tmp_path: Path) -> None:
    """Without the root keys everything goes on but a change of keys; with their folder that works, too."""
    home = new_home("live")
    safe = tmp_path / "safe"
    home.do("key", "root", "--to", str(safe))
    refused = home.run("key", "rotate", "release")
    assert (2, "operations.root-away") == (refused.code, refused.error["code"])
    home.do("key", "add", "loans", "--name", "second")
    assert 2 == home.do("key", "rotate", "release", "--root", str(safe))["version"]
    assert 3 == home.do("key", "rotate", "root", "--root", str(safe))["version"]
    assert 4 == home.do("key", "rotate", "worker", "--compromised", "--root", str(safe))["version"]
    assert 2 == len(list(safe.glob("root-*.pem")))
    assert not list((home.folder / "keys").glob("root-*"))
    home.do("verify")


def as_format_1(home: Home) -> str:
    """Make the home what one of an earlier version was: no root keys, one log key, a plain certificate; its fingerprint."""
    with open_home(home.root) as opened:
        now, actor = opened.now(), owner(opened).principal
        first = TrustRoot(
            origin=opened.trust.origin,
            release=opened.trust.release,
            release_pq=opened.trust.release_pq,
            log=opened.trust.log,
        )
        worker = WorkerKey(public=opened.keys.worker.public, valid_from=Instant(0), origin=opened.origin)
        certificate = certify(worker, release_signers(opened))
        body = {"key": worker.public.id, "statement": opened.blobs.put(certificate).hex}
        draft = Draft(kind="worker.certified", actor=actor, subject=worker.public.id, body=body)
        opened.archive.hand_over((draft,), now, origin=first.origin, signer=opened.keys.log, signer_pq=None)
        (opened.folder / "workers" / f"{worker.public.id}.dsse.json").write_bytes(certificate)
        (opened.folder / "trust.json").write_bytes(first.encode())
    for name in ("root-p256", "root-ml-dsa-65", "log-ml-dsa-44"):
        (home.folder / "keys" / f"{name}.pem").unlink()
    return first.fingerprint().hex


@pytest.mark.parametrize("part", ["log", "release", "worker --compromised"])
def test_an_old_home_is_served_verified_and_upgraded(new_home: NewHome, tmp_path: Path, part: str) -> None:
    """A home without root keys serves and verifies as before; its first change of keys brings them in."""
    home = new_home("live")
    first = as_format_1(home)
    home.do("verify")
    with serving(home) as server, httpx.Client() as client:
        answer = ask(client, server, "loans", home.api_key, loans(1, 3)[0])
        assert 200 == answer.status_code
    home.do("collect")
    assert first == home.do("status")["fingerprint"]
    assert 2 == home.do("key", "rotate", *part.split())["version"]
    listed = {each["role"] for each in home.do("key", "list")["keys"] if each["state"] == "in force"}
    assert {"data", "log", "release", "root", "worker"} == listed
    home.do("verify")
    home.do("why", str(saved(home, "answer.json", answer.json())))
    folder = tmp_path / "export"
    home.do("release", "export", "loans@1", "--to", str(folder))
    home.do("verify", str(folder), "--trust", str(folder), "--fingerprint", first)


def test_a_mounted_folder_follows_the_chain_and_never_back(new_home: NewHome, tmp_path: Path) -> None:
    """A worker elsewhere believes newer keys that follow from its fingerprint, and no older ones after that."""
    home = new_home("live")
    first = home.do("status")["fingerprint"]
    old, new = tmp_path / "old", tmp_path / "new"
    home.do("release", "mount", "--to", str(old))
    for part in ("release", "worker", "log"):
        home.do("key", "rotate", part)
    home.do("release", "mount", "--to", str(new))
    segments = tmp_path / "segments"
    segments.mkdir(mode=0o700)

    def serve(folder: Path, *, ready: str = "Serving plan") -> str:
        options = (
            "--folder", str(folder / "serving"), "--keys", str(folder / "secret"),
            "--segments", str(segments), "--fingerprint", first,
        )  # fmt: skip
        with serving(home, *options, ready=ready) as server:
            with httpx.Client() as client:
                assert 200 == ask(client, server, "loans", home.api_key, loans(1, 3)[0]).status_code
            return server.url

    assert serve(new)
    with pytest.raises(AssertionError, match="version 3 was seen before"):
        serve(old)
