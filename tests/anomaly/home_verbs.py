"""Every verb of the command line that writes, each with the home it starts from, and their judge.

A verb runs as its user runs it (``gatewright.cli.main.run``), in a copy of a prepared home. The
homes are made by the verbs themselves, undisturbed, in the order of a model's life; what such a run
leaves is the *new* state, what it started from the *old* one.

The judge reads a home as the next command would: opened, recovered, verified. States are compared
without times and random identifiers; a digest that should be kept content counts as such only where
the content is there, whole.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import re
import shutil
import sqlite3
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from onnx import TensorProto, helper

from anomaly.fault_injection import INTERRUPTED, FaultLab, Mode, Outcome
from gatewright.adapters.key_files import HomeKey, KeyFolder
from gatewright.assembly.backups import opener, restore
from gatewright.assembly.homes import read_home
from gatewright.assembly.packs import expected_fingerprint, verify_pack
from gatewright.assembly.verifying import verify_home, verify_path
from gatewright.assembly.witnesses import create_witness
from gatewright.cli.main import run
from gatewright.deployments.plan import read_plan
from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import GatewrightError
from gatewright.kernel.instants import Instant
from gatewright.ledger.receipts import leaf_parts
from gatewright.operations.forks import RESTORED_FILE, Restored, found, restored_file
from gatewright.operations.home import Home
from gatewright.operations.plans import publish
from gatewright.operations.workers import publish_certificates
from gatewright.serving.recorder import Recorder
from gatewright.serving.segment_files import SegmentFiles
from unit.serving.rig import token_of

FOLDER = ".gatewright"
NAME = "tiny"
ROWS = 30
PREDICTIONS = 3
TOKEN_FILE = "receipt.txt"  # noqa: S105 - the file of a receipt
WITNESS = "audit.example/w1"
OSV = {
    "id": "TEST-2026-1",
    "modified": "2026-01-02T03:04:05Z",
    "summary": "A harmless marker",
    "affected": [
        {
            "package": {"ecosystem": "PyPI", "name": "NumPy"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "9999"}]}],
        }
    ],
}
DEPENDENCY_FAILED = 4
WRONG_USE = 2
DONE_ALREADY = {
    "assembly.home-exists",
    "operations.user-exists",
    "operations.approved-already",
    "operations.live-already",
    "operations.split-already",
    "deployments.transition",
    "deployments.nothing-changed",
    "operations.key-exists",
    "operations.no-endpoint",
    "operations.not-put-back",
    "operations.revoked-already",
}
IN_THE_WAY = {"operations.file-exists", "storage.exists"}
OUTSIDE = {
    "export",
    "evidence-export",
    "cbom",
    "receipt",
    "key-root",
    "evidence-log",
    "backup",
    "restore",
    "scrub",
}
"""Verbs that leave the home as it is: what they write lies beside it, in ``out``, or is a bookmark."""
FAULTS: tuple[tuple[Mode, bool], ...] = (
    (Mode.EIO, False),
    (Mode.ENOSPC, False),
    (Mode.SHORT_WRITE, False),
    (Mode.KILL_BEFORE, False),
    (Mode.KILL_TORN, False),
    (Mode.KILL_AFTER, False),
    (Mode.ENOSPC, True),
    (Mode.EIO, True),
    (Mode.INTERRUPT, False),
)
KILLS = {Mode.KILL_BEFORE, Mode.KILL_TORN, Mode.KILL_AFTER}
COMMAND = "anomaly.home_verbs:command"

POLICY = """format = 1
title = "{title}"

[tiers]
default = "low"

[approvals.low]
count = 1
owner_may_approve = true

[approvals.high]
count = 2
owner_may_approve = false

[[rules]]
check = "performance.metrics"
metric = "accuracy"
at_least = {least}
applies_to = ["binary-classification"]
"""

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z")
_DIGEST = re.compile(r"\b[0-9a-f]{64}\b")
_KEY = re.compile(r"[A-Za-z0-9+/]{80,}={0,2}")
_RANDOM = re.compile(r"[0-9a-f]{12,}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Verb:
    """One command: what is typed, after which other verb, and how it ends undisturbed.

    ``before`` are further commands that must have run. ``steps`` are the numbers of new records at
    which it may stop: a chain of verbs (``ship``) may stop between two. The tests try ``sampled``
    faults: few where each costs isolated children. ``already`` is a further code by which this verb says
    that it was done.
    """

    name: str
    typed: str
    after: str
    before: tuple[str, ...] = ()
    expected: int = 0
    steps: tuple[int, ...] = (0, 1)
    sampled: int = 1
    already: str = ""

    @property
    def arguments(self) -> dict[str, object]:
        """What :func:`command` takes."""
        return {"typed": [*self.typed.split(), "--json"], "expected": self.expected}


VERBS = (
    Verb(name="init", typed="init --owner ada", after="", steps=(0, 3)),
    Verb(name="user-add", typed="user add grace", after="init"),
    Verb(
        name="data-add",
        typed=f"data add {NAME} --train train.csv --test test.csv --target ok",
        after="init",
    ),
    Verb(
        name="data-split",
        typed=f"data split whole.csv --name {NAME} --target ok --seed 7 --out .",
        after="init",
    ),
    Verb(
        name="model-add",
        typed=f"model add model.onnx --name {NAME} --trained-on {NAME}",
        after="data-add",
    ),
    Verb(
        name="model-refused",
        typed=f"model add bad.onnx --name {NAME} --trained-on {NAME}",
        after="data-add",
        expected=1,
    ),
    Verb(name="check", typed=f"check {NAME}", after="model-add"),
    Verb(name="release-create", typed=f"release create {NAME}", after="check"),
    Verb(
        name="release-denied", typed=f"release create {NAME} --policy strict.toml", after="check", expected=1
    ),
    Verb(name="approve", typed=f"approve {NAME} --as ada --comment Good.", after="release-create"),
    Verb(name="deploy", typed=f"deploy {NAME}", after="approve", steps=(0, 2)),
    Verb(
        name="deploy-second",
        typed=f"deploy {NAME}",
        after="deploy",
        before=(
            f"model add model.onnx --name {NAME} --trained-on {NAME}",
            f"check {NAME}",
            f"release create {NAME}",
            f"approve {NAME} --as ada",
        ),
    ),
    Verb(name="rollback", typed=f"rollback {NAME}", after="deploy-second"),
    Verb(name="stop", typed=f"stop {NAME}", after="deploy"),
    Verb(name="limit", typed=f"limit {NAME} --rate 5", after="deploy"),
    Verb(name="key-add", typed=f"key add {NAME} --name shop", after="deploy"),
    Verb(name="rotate-worker", typed="key rotate worker", after="deploy"),
    Verb(name="rotate-log", typed="key rotate log", after="deploy", sampled=2),
    Verb(name="rotate-root", typed="key rotate root", after="deploy", sampled=2),
    Verb(
        name="rotate-release",
        typed="key rotate release --compromised",
        after="deploy",
        steps=(0, 4),
    ),
    Verb(name="undeploy", typed=f"undeploy {NAME}", after="deploy"),
    Verb(
        name="canary",
        typed=f"deploy {NAME} --canary 10%",
        after="deploy",
        before=(
            f"model add model.onnx --name {NAME} --trained-on {NAME}",
            f"check {NAME}",
            f"release create {NAME}",
            f"approve {NAME} --as ada",
        ),
    ),
    Verb(name="mount", typed="release mount --to out", after="deploy", steps=(0, 1, 2)),
    Verb(name="collect", typed="collect", after="deploy"),
    Verb(name="export", typed=f"release export {NAME} --to out", after="deploy", steps=(0,)),
    Verb(name="evidence-log", typed="evidence log --to out", after="deploy", steps=(0,)),
    Verb(
        name="evidence-export",
        typed=f"evidence export {NAME} --from 2020-01-01 --out out.zip",
        after="deploy",
        steps=(0,),
    ),
    Verb(name="cbom", typed="evidence cbom --to out.cdx.json", after="deploy", steps=(0,)),
    Verb(
        name="receipt",
        typed=f"evidence receipt {TOKEN_FILE} --to out.proof.json",
        after="collect",
        steps=(0,),
    ),
    Verb(name="advisory-import", typed="advisory import osv.json", after="init"),
    Verb(name="witness-use", typed="witness use http://127.0.0.1:8640 w1/witness.pub", after="init"),
    Verb(
        name="witness-drop",
        typed=f"witness drop {WITNESS}",
        after="witness-use",
        already="assembly.no-such-witness",
    ),
    Verb(name="key-rotate", typed="key rotate release", after="deploy", steps=(0, 3), sampled=2),
    Verb(name="key-rotate-log", typed="key rotate log", after="deploy", steps=(0, 1)),
    Verb(name="key-root", typed="key root --to out", after="deploy", steps=(0,), already="keys.missing"),
    Verb(name="release-revoke", typed=f"release revoke {NAME} --reason Wrong.", after="deploy", steps=(0, 2)),
    Verb(name="backup", typed="backup out --key-file b.key --with-keys", after="deploy", steps=(0,)),
    Verb(
        name="restore",
        typed="restore b --to out --key-file b.key",
        after="deploy",
        before=("backup b --key-file b.key --with-keys",),
        steps=(0,),
    ),
    Verb(name="recover", typed="recover --as ada --reason Lost.", after="deploy", steps=(0, 3)),
    Verb(name="scrub", typed="scrub", after="deploy", steps=(0,)),
    Verb(name="ship", typed=f"ship {NAME}", after="model-add", steps=(0, 1, 2, 3, 5)),
)


def command(home: Path, typed: list[str], expected: int) -> None:
    """Run one command in a home, as ``gatewright`` does; ends with 0 where it ends as expected."""
    for name in ("GATEWRIGHT_HOME", "GATEWRIGHT_PASSPHRASE", "GATEWRIGHT_PASSPHRASE_FILE"):
        os.environ.pop(name, None)
    os.chdir(home)
    sys.argv = ["gatewright", *(word for word in typed if typed[0] != "collect" or word != "--json")]
    status = run()
    raise SystemExit(0 if status == expected else status or 99)


# ---- the homes that verbs start from ---------------------------------------------------------------


def write_inputs(folder: Path) -> None:
    """Two numbers a row; the answer says which is larger, and so does the model."""
    generator = random.Random(7)  # noqa: S311 - data of a test, always the same
    for name, rows in (("train.csv", ROWS), ("test.csv", ROWS), ("whole.csv", 2 * ROWS)):
        pairs = [(generator.random(), generator.random()) for _ in range(rows)]
        lines = [f"{a:.6f},{b:.6f},{'yes' if b > a else 'no'}" for a, b in pairs]
        (folder / name).write_text("\n".join(["a,b,ok", *lines]) + "\n", "utf-8")
    graph = helper.make_graph(
        [helper.make_node("Softmax", ["x"], ["p"])],
        "larger",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 2])],
        [helper.make_tensor_value_info("p", TensorProto.FLOAT, [None, 2])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    (folder / "bad.onnx").write_bytes(b"\x80\x04cposix\nsystem\n(S'true'\ntR.")
    (folder / "osv.json").write_text(json.dumps(OSV), "utf-8")
    (folder / "strict.toml").write_text(POLICY.format(title="Strict", least="0.9999"), "utf-8")


async def _record(recorder: Recorder) -> str:
    """The token of the last of a few predictions."""
    recorder.start(asyncio.get_running_loop())
    parts = leaf_parts(endpoint=NAME, key="k", plan=1, release=Digest.of(b""))
    tokens = [await token_of(recorder, parts, f"r{number}") for number in range(PREDICTIONS)]
    await asyncio.to_thread(recorder.close)
    return tokens[-1] or ""


def seal_a_segment(home: Path) -> None:
    """Leave what a worker leaves: one sealed segment with a few predictions; and the receipt of the last."""
    folder = home / FOLDER
    keys = KeyFolder(folder=folder / "keys")
    recorder = Recorder(
        disk=SegmentFiles(folder / "segments"),
        signer=keys.worker,
        home_key=keys.data_key(),
        clock=lambda: Instant(time.time_ns()),
        report=lambda refusal: sys.stderr.write(refusal.sentence()),
    )
    (home / TOKEN_FILE).write_text(asyncio.run(_record(recorder)), "utf-8")


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A verb with its home: the folder it starts from, its states, and its points in order."""

    verb: Verb
    template: Path
    old: State | None
    new: State
    points: tuple[str, ...]


class Homes:
    """Makes the homes as they are asked for, each once."""

    def __init__(self, lab: FaultLab, folder: Path) -> None:
        self._lab = lab
        self._folder = folder
        self._made: dict[str, Prepared] = {}

    def prepared(self, name: str) -> Prepared:
        """The verb's home; the verbs before it have run undisturbed."""
        if name not in self._made:
            verb = next(one for one in VERBS if one.name == name)
            template = self._template(verb)
            old = None if verb.name == "init" else state_of(template)
            points = self._lab.points(COMMAND, template, arguments=verb.arguments)
            left = shutil.copytree(self._lab.home, self._folder / f"{verb.name}.left")
            self._made[name] = Prepared(
                verb=verb, template=template, old=old, new=state_of(left), points=points
            )
        return self._made[name]

    def _template(self, verb: Verb) -> Path:
        template = self._folder / f"{verb.name}.template"
        if not verb.after:
            template.mkdir(parents=True)
            write_inputs(template)
            return template
        self.prepared(verb.after)
        shutil.copytree(self._folder / f"{verb.after}.left", template)
        if verb.after == "init":
            (template / "policy.toml").write_text(POLICY.format(title="Tiny", least="0.1"), "utf-8")
        for typed in verb.before:
            arguments = Verb(name="", typed=typed, after="").arguments
            self._lab.points(COMMAND, template, arguments=arguments)
            shutil.rmtree(template)
            shutil.copytree(self._lab.home, template)
        if verb.name == "witness-use":
            create_witness(template / "w1", WITNESS)
        if verb.name == "collect":
            seal_a_segment(template)
        if verb.name == "recover":
            mark = Restored(records=1, root="", made="2026-03-03T14:05:00Z", plan=1)
            (template / FOLDER / RESTORED_FILE).write_bytes(restored_file(mark))
        return template


# ---- what a home holds -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """All that a home says: exactly (``leaves``), and without times and random identifiers."""

    leaves: tuple[bytes, ...]
    records: tuple[str, ...]
    documents: tuple[str, ...]
    plan: int
    people: int
    settings: Mapping[str, bytes]


@contextlib.contextmanager
def opened(root: Path) -> Iterator[Home]:
    """The home as the next command opens it; one that was put back is opened all the same."""
    with read_home(root, put_back=True) as home, home.exclusive():
        home.archive.require_tables()
        fork = found(home)
        if fork is None or not fork.restored:
            publish_certificates(home)
            publish(home)
        yield home


def state_of(root: Path) -> State:
    """Open the home as the next command does, and read all of it. Raises what opening raises."""
    with opened(root) as home:
        leaves = tuple(home.archive.leaves())
        people = [key for key, _ in home.archive.scan("users")]
        for principal in people:
            home.keys.person(principal)
        return State(
            leaves=leaves,
            records=tuple(_shape(home, leaf.decode()) for leaf in leaves),
            documents=tuple(_shape(home, line) for line in _documents(home)),
            plan=read_plan(home.plan_path.read_bytes(), home.trust).number if home.plan_path.exists() else 0,
            people=len(people),
            settings={name: (root / name).read_bytes() for name in ("gatewright.toml", "policy.toml")},
        )


def _documents(home: Home) -> list[str]:
    with contextlib.closing(sqlite3.connect(home.folder / "ledger.db")) as database:
        rows = database.execute("SELECT seq, collection, key, document FROM projections").fetchall()
    return sorted(f"{seq:06d} {collection} {key} {text.decode()}" for seq, collection, key, text in rows)


def _shape(home: Home, text: str) -> str:
    """The text without what differs from run to run; digests of kept content become ``<kept>``."""

    def kept(found: re.Match[str]) -> str:
        try:
            home.blobs.get(Digest(found[0]))
        except GatewrightError:
            return "<digest>"
        return "<kept>"

    text = _KEY.sub("<key>", _DIGEST.sub(kept, _TIME.sub("<time>", text)))
    return _RANDOM.sub("<random>", text)


def verify(root: Path) -> int:
    """Verify all of a home, and that its documents follow from its records; returns how many parts hold."""
    held = len(list(verify_home(root)))
    with opened(root) as home:
        before = _documents(home)
        home.archive.rebuild()
        assert before == _documents(home), "the documents do not follow from the records"
    return held


def leftovers(root: Path) -> list[str]:
    """Files that only an unfinished write can have left: what a next command should have cleared."""
    found = list(root.glob(".*.part"))
    found += root.glob(".gatewright-new-*")
    found += [path for path in (root / FOLDER).rglob("*") if path.suffix in {".part", ".open"}]
    return sorted(str(path.relative_to(root)) for path in found)


def orphans(root: Path) -> tuple[int, int]:
    """Key files of nobody, and blobs that no record names: allowed, and counted."""
    with opened(root) as home:
        people = {key for key, _ in home.archive.scan("users")}
        text = "".join(leaf.decode() for leaf in home.archive.leaves())
    keys = [path.name.removesuffix("-p256.pem") for path in (root / FOLDER / "keys/people").glob("*.pem")]
    blobs = [path.parent.name + path.name for path in (root / FOLDER / "blobs").glob("*/*")]
    return len(set(keys) - people), sum(1 for blob in blobs if blob not in text)


# ---- the judge -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """How a fault ended: ``new`` tells which state was found, ``again`` how the next try ended."""

    new: bool
    again: str
    orphan_keys: int


def judge(lab: FaultLab, prepared: Prepared, outcome: Outcome) -> Judged:
    """Assert all that must hold after a fault; see the module's first test for the list."""
    root = lab.folder / "judged"
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(outcome.home, root)
    judged = judge_left(lab, prepared, root)
    _judge_end(outcome, new=judged.new)
    return judged


def judge_left(lab: FaultLab, prepared: Prepared, root: Path) -> Judged:
    """Assert all that must hold of a home that was left in ``root``, however that came."""
    new = _judge_state(prepared, root)
    if (root / FOLDER).exists():
        verify(root)
    again = _try_again(lab, prepared, root)
    verify(lab.home)
    found = leftovers(lab.home)
    assert not found, f"left behind after the next try: {found}"
    return Judged(new=new, again=again, orphan_keys=orphans(lab.home)[0])


def _judge_end(outcome: Outcome, *, new: bool) -> None:
    assert "Traceback" not in outcome.output, outcome.output
    if not outcome.fired or outcome.exit == 0:
        assert outcome.exit == 0, (outcome.error, outcome.output)
        assert new, f"reported success without effect: {outcome.output}"
    elif outcome.mode in KILLS:
        assert outcome.killed, (outcome.error, outcome.output)
    else:
        want = INTERRUPTED if outcome.mode is Mode.INTERRUPT else DEPENDENCY_FAILED
        assert want == outcome.exit, (outcome.error, outcome.output)


def _judge_state(prepared: Prepared, root: Path) -> bool:
    """Whether the home has the new state; raises where it has neither."""
    verb, old, new = prepared.verb, prepared.old, prepared.new
    if old is None:
        if not (root / FOLDER).exists():
            return False
        found = state_of(root)
        assert (new.records, new.documents) == (found.records, found.documents)
        assert new.settings["policy.toml"] == found.settings["policy.toml"]
        return True
    found = state_of(root)
    assert found.settings in (old.settings, new.settings)
    assert old.leaves == found.leaves[: len(old.leaves)], "what was recorded before has changed"
    if verb.name in OUTSIDE:
        assert (old.records, old.documents) == (found.records, found.documents)
        return _judge_outside(verb.name, root)
    more = len(found.leaves) - len(old.leaves)
    assert more in verb.steps, f"{more} new records; {verb.steps} can be"
    assert new.records[: len(found.records)] == found.records
    if more == 0:
        assert (old.documents, old.plan, old.people) == (found.documents, found.plan, found.people)
        return False
    if more == verb.steps[-1]:
        assert (new.documents, new.plan, new.people) == (found.documents, found.plan, found.people)
        if verb.name == "data-split":
            assert _split_is_whole(root)
    return more == verb.steps[-1]


def _split_is_whole(root: Path) -> bool:
    with opened(root) as home:
        document = home.archive.get("datasets", f"{NAME}@1")
    assert document is not None
    parts = [Digest.of((root / f"{NAME}-{part}.csv").read_bytes()).hex for part in ("train", "test")]
    return parts == [document["train"], document["test"]]


def _judge_outside(name: str, root: Path) -> bool:
    """What has the asked name is whole: it verifies offline, or opens as a backup or as a home; else it is not there."""
    out, elsewhere = root / "out", root.parent / "elsewhere"
    if name == "scrub":
        return (root / FOLDER / "scrub.json").exists()
    if name == "key-root":
        return _root_keys_are_whole(root, out)
    if name in ("evidence-export", "cbom", "receipt"):
        found = list(root.glob("out.*"))
        if name == "evidence-export":
            return bool(found) and bool(
                verify_pack(found[0], expected_fingerprint(found[0], root / FOLDER, ""))
            )
        if name == "receipt":
            return bool(found) and bool(verify_path(found[0], root / FOLDER).facts)
        return bool(found) and json.loads(found[0].read_bytes())["bomFormat"] == "CycloneDX"
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    shutil.rmtree(elsewhere, ignore_errors=True)
    if name == "backup":
        remade = restore(out, elsewhere, opener(None, root / "b.key"), say=lambda _sentence: None)
        return remade.missing == ""
    shutil.copytree(out, elsewhere)
    if name == "restore":
        return len(list(verify_home(elsewhere))) > 0 and (elsewhere / FOLDER / RESTORED_FILE).exists()
    kind = verify_path(elsewhere, elsewhere / "trust.json").kind
    return kind == {"export": "release", "evidence-log": "log"}[name]


def _root_keys_are_whole(root: Path, out: Path) -> bool:
    """The root keys lie in the home or in the folder they were taken to, never in neither; whether they have left."""
    for name in (HomeKey.ROOT, HomeKey.ROOT_PQ):
        places = [place for place in (root / FOLDER / "keys", out) if (place / f"{name}.pem").exists()]
        assert places, f"{name} is lost"
        assert all(KeyFolder(folder=place).signer(name) for place in places)
    return not (root / FOLDER / "keys" / f"{HomeKey.ROOT}.pem").exists()


def _try_again(lab: FaultLab, prepared: Prepared, root: Path) -> str:
    """Type the same once more, in what the fault left; it is done, or says that it was."""
    verb = prepared.verb
    again = _once_more(lab, verb, root)
    if again.exit == 0:
        return "done"
    code = _code(again.output)
    if code in IN_THE_WAY:
        for out in root.glob("out*"):
            shutil.rmtree(out) if out.is_dir() else out.unlink()
        again = _once_more(lab, verb, root)
        assert again.exit == 0, (again.error, again.output)
        return "done, after moving away the folder it named"
    assert (WRONG_USE, True) == (again.exit, code in DONE_ALREADY or code == verb.already), (
        again.error,
        again.output,
    )
    return "said it was done"


def _once_more(lab: FaultLab, verb: Verb, root: Path) -> Outcome:
    return lab.run(COMMAND, root, 0, Mode.COUNT, arguments=verb.arguments)


def _code(output: str) -> str:
    """The stable code in the JSON that a failing command prints."""
    for line in reversed(output.splitlines()):
        with contextlib.suppress(ValueError, KeyError, TypeError):
            return str(json.loads(line)["error"]["code"])
    found = re.search(r'"code": ?"([^"]+)"', output)
    return found[1] if found else ""


def sample(prepared: Prepared, count: int, seed: int) -> Iterator[tuple[Mode, bool, int]]:
    """``count`` faults of a verb: every kind in turn, at points drawn by the seed."""
    generator = random.Random(f"{seed} {prepared.verb.name}")  # noqa: S311 - which points, repeatably
    last = len(prepared.points)
    kinds = list(FAULTS)
    generator.shuffle(kinds)
    for number in range(count):
        mode, sticky = kinds[number % len(kinds)]
        yield mode, sticky, generator.randint(1, last)
