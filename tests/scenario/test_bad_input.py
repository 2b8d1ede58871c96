"""What people hand in by mistake, or on purpose: one clear sentence, the right exit code, nothing changed."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from onnx import TensorProto, helper, numpy_helper

from scenario.conftest import NewHome
from scenario.world import (
    COMMAND_S,
    FEATURES,
    Home,
    changed,
    classifier,
    command,
    environment,
    inside,
    write_loans,
)

WORST_COMMAND_S = 240.0

Prepare = Callable[[Path], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One mistake: what is typed where, and what must be said. ``recorded`` is the refusal kept of it."""

    name: str
    arguments: str
    code: int
    error: str
    words: tuple[str, ...]
    stage: str = "registered"
    prepare: Prepare = lambda _: None
    recorded: str = ""

    def __str__(self) -> str:
        return self.name


def cases(*each: Case) -> pytest.MarkDecorator:
    """One test per case, named like it."""
    return pytest.mark.parametrize("case", each, ids=str)


def refused(home: Home, case: Case) -> None:
    """Run the case and see that it is told well and changes nothing but its own refusal."""
    before, kinds = home.digest(), home.kinds() if home.folder.is_dir() else []
    ran = home.run(*case.arguments.split())
    assert case.code == ran.code, ran.out + ran.err
    assert "Traceback" not in ran.out + ran.err
    error = ran.error
    assert case.error == error["code"], ran.said
    assert error["what"].endswith((".", "!", "?"))
    assert "\n" not in error["what"]
    missing = [word for word in case.words if word not in ran.said]
    assert [] == missing, ran.said
    if case.recorded:
        assert [*kinds, case.recorded] == home.kinds()
        changed = _changed(before, home.digest())
        assert ".gatewright/ledger.db" in changed
        (sentence,) = changed - {".gatewright/ledger.db"}
        assert sentence.startswith(".gatewright/blobs/")  # why, encrypted: it may quote data
    else:
        assert set() == _changed(before, home.digest())
        home.untouched = True


def _changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


# ---- data -----------------------------------------------------------------------------------------

ADD = "data add new --train train.csv --test bad.csv --target repaid"
HEADER = ",".join((*FEATURES, "repaid"))
ROW = "1,2,3,yes"


def bad(content: str | bytes) -> Prepare:
    """Write the bad file."""
    data = content.encode() if isinstance(content, str) else content
    return lambda root: (root / "bad.csv").write_bytes(data)


def lines(*rows: str) -> str:
    """A CSV text."""
    return "\n".join(rows) + "\n"


def with_answers(*answers: str) -> Prepare:
    """A training file with these answers."""
    return bad(lines(HEADER, *(f"{n},{n + 1},{n + 2},{said}" for n, said in enumerate(answers))))


TRAIN_BAD = "data add new --train bad.csv --test test.csv --target repaid"


@cases(
    Case(name="missing", arguments=ADD, code=2, error="operations.no-file", words=("bad.csv",)),
    Case(
        name="empty",
        arguments=ADD,
        prepare=bad(""),
        code=2,
        error="datasets.empty",
        words=("bad.csv is empty", "header"),
    ),
    Case(
        name="binary",
        arguments=ADD,
        prepare=bad(bytes(range(256)) * 20),
        code=2,
        error="datasets.binary",
        words=("bad.csv", "zero byte"),
    ),
    Case(
        name="image",
        arguments=ADD,
        prepare=bad(b"\x89PNG\r\n\x1a\n" + bytes(64)),
        code=2,
        error="datasets.binary",
        words=("bad.csv",),
    ),
    Case(
        name="ragged",
        arguments=ADD,
        prepare=bad(lines(HEADER, ROW, ROW, "1,2,yes")),
        code=2,
        error="datasets.ragged",
        words=("Row 3", "3 cells", "4"),
    ),
    Case(
        name="duplicate header",
        arguments=ADD,
        prepare=bad(lines("income,debts,income,repaid", ROW)),
        code=2,
        error="datasets.duplicate-column",
        words=("'income'", "columns 1 and 3"),
    ),
    Case(
        name="header only",
        arguments=ADD,
        prepare=bad(lines(HEADER)),
        code=2,
        error="datasets.no-rows",
        words=("no rows",),
    ),
    Case(
        name="wrong encoding",
        arguments=ADD,
        prepare=bad(lines(HEADER, ROW, "1,2,3,sí").encode("latin-1")),
        code=2,
        error="datasets.not-utf-8",
        words=("UTF-8", "0xed", "line 3", "iconv"),
    ),
    Case(
        name="UTF-16",
        arguments=ADD,
        prepare=bad(lines(HEADER, ROW).encode("utf-16")),
        code=2,
        error="datasets.utf-16",
        words=("UTF-16", "iconv"),
    ),
    Case(
        name="too wide",
        arguments=ADD,
        prepare=bad(lines(",".join(f"c{n}" for n in range(10_001)), ",".join("1" * 10_001))),
        code=2,
        error="datasets.too-wide",
        words=("10,001 columns", "10,000"),
    ),
    Case(
        name="semicolons",
        arguments=ADD,
        prepare=bad(lines(HEADER.replace(",", ";"), ROW.replace(",", ";"))),
        code=2,
        error="datasets.separator",
        words=("commas",),
    ),
    Case(
        name="folder",
        arguments=ADD,
        prepare=lambda root: (root / "bad.csv").mkdir(),
        code=2,
        error="operations.not-a-file",
        words=("folder", "bad.csv"),
    ),
    Case(
        name="device",
        arguments="data add new --train train.csv --test /dev/zero --target repaid",
        code=2,
        error="operations.not-a-file",
        words=("/dev/zero", "regular file"),
    ),
    Case(
        name="damaged Parquet",
        arguments=ADD,
        prepare=bad(b"PAR1" + b"\x15" * 200 + b"PAR1"),
        code=2,
        error="datasets.parquet",
        words=("bad.csv", "Parquet"),
    ),
    Case(
        name="different columns",
        arguments=ADD,
        prepare=bad(lines("income,debts,years,repaid", ROW)),
        code=2,
        error="datasets.columns-differ",
        words=("age", "years", "train.csv", "bad.csv"),
    ),
    Case(
        name="target absent",
        arguments="data add new --train train.csv --test test.csv --target repayed",
        code=2,
        error="datasets.no-target",
        words=("'repayed'", "repaid"),
    ),
    Case(
        name="one class",
        arguments=TRAIN_BAD,
        prepare=with_answers("yes", "yes", "yes"),
        code=2,
        error="datasets.one-class",
        words=("'repaid'", "'yes'"),
    ),
    Case(
        name="regression on text",
        arguments=f"{TRAIN_BAD} --task regression",
        prepare=with_answers("yes", "no"),
        code=2,
        error="datasets.target-not-numeric",
        words=("'repaid'", "text"),
    ),
    Case(
        name="binary with three classes",
        arguments=f"{TRAIN_BAD} --task binary-classification",
        prepare=with_answers("yes", "no", "perhaps"),
        code=2,
        error="datasets.not-binary",
        words=("'repaid'", "3"),
    ),
    Case(
        name="no such task",
        arguments=f"{TRAIN_BAD} --task clustering",
        prepare=with_answers("yes", "no"),
        code=2,
        error="cli.task",
        words=("'clustering'", "regression"),
    ),
    Case(
        name="sensitive column absent",
        arguments="data add new --train train.csv --test test.csv --target repaid --sensitive agee",
        code=2,
        error="datasets.no-column",
        words=("'agee'", "age"),
    ),
    Case(
        name="target declared sensitive",
        arguments="data add new --train train.csv --test test.csv --target repaid --sensitive repaid",
        code=2,
        error="operations.declared-column",
        words=("target", "sensitive"),
    ),
    Case(
        name="capital letters",
        arguments="data add Loans_2024 --train train.csv --test test.csv --target repaid",
        code=2,
        error="kernel.name",
        words=("'Loans_2024'", "'loans-2024'"),
    ),
    Case(
        name="a path for a name",
        arguments="data add ../loans --train train.csv --test test.csv --target repaid",
        code=2,
        error="kernel.name",
        words=("'../loans'", "'loans'"),
    ),
    Case(
        name="split share",
        arguments="data split train.csv --name new --target repaid --test-share 1.5",
        code=2,
        error="operations.test-share",
        words=("0.05", "0.95"),
    ),
    Case(
        name="split over a file",
        arguments="data split train.csv --name new --target repaid",
        prepare=lambda root: (root / "new-test.csv").write_text("precious"),
        code=2,
        error="operations.file-exists",
        words=("new-test.csv",),
    ),
    Case(
        name="split into nowhere",
        arguments="data split train.csv --name new --target repaid --out test.csv/in",
        code=2,
        error="operations.no-folder",
        words=("test.csv/in", "Not a directory"),
    ),
    Case(
        name="split seed out of range",
        arguments="data split train.csv --name new --target repaid --seed -1",
        code=2,
        error="cli.usage",
        words=("--seed",),
    ),
)
def test_bad_data_changes_nothing(new_home: NewHome, case: Case) -> None:
    """Each bad data file is refused with its place and a way out, and nothing changes."""
    home = new_home(case.stage)
    case.prepare(home.root)
    refused(home, case)


@pytest.mark.parametrize(
    "arguments",
    [
        ADD,
        "model add bad.csv --name new --trained-on loans",
        "model add v1.onnx --name new --trained-on bad.csv --data loans",
        "check loans --policy bad.csv",
        "verify bad.csv",
    ],
)
def test_a_pipe_is_never_waited_for(new_home: NewHome, arguments: str) -> None:
    """A named pipe without a writer is refused at once instead of being waited for."""
    home = new_home("added")
    os.mkfifo(home.root / "bad.csv")
    before = home.digest()
    hung = signal.signal(signal.SIGALRM, _hung)
    signal.alarm(int(WORST_COMMAND_S))
    try:
        ran = home.run(*arguments.split())
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, hung)
    assert 2 == ran.code
    assert ran.error["code"] in {"operations.not-a-file", "operations.no-training-rows"}
    assert "bad.csv" in ran.said
    assert before == home.digest()


def _hung(*_: object) -> None:
    raise AssertionError("The command waits for a pipe.")


# ---- models ---------------------------------------------------------------------------------------

ADD_MODEL = "model add bad.onnx --name new --trained-on loans"


def model(content: bytes) -> Prepare:
    """Write the bad model."""
    return lambda root: (root / "bad.onnx").write_bytes(content)


def archive(*members: str) -> Prepare:
    """Write a ZIP archive with these members."""

    def prepare(root: Path) -> None:
        with zipfile.ZipFile(root / "bad.onnx", "w") as made:
            for member in members:
                made.writestr(member, b"x" * 64)

    return prepare


def _external() -> bytes:
    made = changed(classifier())
    tensor = made.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../../etc/passwd"
    return bytes(made.SerializeToString())


def _not_finite() -> bytes:
    weights = np.array([[0, np.nan], [0, 1], [0, 1]], dtype=np.float32)
    made = changed(classifier())
    made.graph.initializer[0].CopyFrom(numpy_helper.from_array(weights, "w"))
    return bytes(made.SerializeToString())


def _custom() -> bytes:
    node = helper.make_node("Backdoor", ["scores"], ["z"], domain="com.example")
    return classifier(nodes=[node], opsets=[("", 17), ("com.example", 1)])


def _zip_map() -> bytes:
    made = changed(classifier())
    made.graph.node.append(
        helper.make_node(
            "ZipMap", ["probabilities"], ["maps"], domain="ai.onnx.ml", classlabels_strings=["no", "yes"]
        )
    )
    made.graph.output[1].CopyFrom(
        helper.make_value_info(
            "maps",
            helper.make_sequence_type_proto(
                helper.make_map_type_proto(
                    TensorProto.STRING, helper.make_tensor_type_proto(TensorProto.FLOAT, [])
                )
            ),
        )
    )
    return bytes(made.SerializeToString())


def code_bearing(name: str, prepare: Prepare) -> Case:
    """A file that can carry code, renamed to ``.onnx``: refused, recorded, with the way out."""
    return Case(
        name=name,
        arguments=ADD_MODEL,
        prepare=prepare,
        code=1,
        error="models.format-not-allowed",
        words=("bad.onnx", "ONNX"),
        recorded="model.refused",
    )


def unfit(name: str, content: bytes, error: str, *words: str, arguments: str = ADD_MODEL) -> Case:
    """An ONNX model that is refused after it was read."""
    return Case(
        name=name,
        arguments=arguments,
        prepare=model(content),
        code=1,
        error=error,
        words=words,
        recorded="model.refused",
    )


@cases(
    code_bearing("renamed pickle", model(pickle.dumps({"weights": [1.0]}))),
    code_bearing("old pickle", model(pickle.dumps({"weights": [1.0]}, protocol=0))),
    code_bearing("joblib", model(b"\x1f\x8b\x08\x00" + bytes(60))),
    code_bearing("torch zip", archive("archive/data.pkl", "archive/version")),
    code_bearing("keras zip", archive("config.json", "metadata.json", "model.weights.h5")),
    code_bearing("h5", model(b"\x89HDF\r\n\x1a\n" + bytes(64))),
    unfit("empty model", b"", "models.empty", "bad.onnx"),
    unfit("truncated model", classifier()[:-40], "models.unreadable", "cut off", "Copy"),
    unfit("unknown opset", classifier(opsets=[("", 99)]), "models.opset", "99"),
    unfit("custom operator", _custom(), "models.custom-operator", "Backdoor", "com.example"),
    unfit("external data", _external(), "models.external-data", "w"),
    unfit("NaN weights", _not_finite(), "models.not-finite", "w"),
    unfit("ZipMap outputs", _zip_map(), "models.not-a-tensor", "zipmap"),
    unfit(
        "inputs that the data does not have",
        classifier(input_names=("income", "debts", "salary")),
        "models.unknown-inputs",
        "'salary'",
        "income, debts, age",
    ),
    unfit("more features than the data", classifier((1.0,) * 5), "models.feature-count", "5 features", "3"),
)
def test_a_bad_model_is_refused_and_recorded(new_home: NewHome, case: Case) -> None:
    """Each bad model is refused with exit code 1; the refusal is the only record of it."""
    home = new_home(case.stage)
    case.prepare(home.root)
    refused(home, case)
    assert 1 == home.do("status")["refusals"]
    assert [] == home.do("model", "list")


@cases(
    Case(name="missing model", arguments=ADD_MODEL, code=2, error="operations.no-file", words=("bad.onnx",)),
    Case(
        name="bad model name",
        arguments="model add bad.onnx --name My.Model --trained-on loans",
        prepare=model(classifier()),
        code=2,
        error="kernel.name",
        words=("'My.Model'", "'my-model'"),
    ),
    Case(
        name="no dataset named",
        arguments="model add bad.onnx --name new",
        prepare=model(classifier()),
        code=2,
        error="operations.no-dataset-named",
        words=("--trained-on",),
    ),
    Case(
        name="unknown dataset",
        arguments="model add bad.onnx --name new --trained-on laons",
        prepare=model(classifier()),
        code=2,
        error="operations.no-training-rows",
        words=("'laons'", "loans@1"),
    ),
    Case(
        name="unknown dataset version",
        arguments="model add bad.onnx --name new --trained-on loans@7",
        prepare=model(classifier()),
        code=2,
        error="operations.no-such-version",
        words=("'loans@7'", "loans@1"),
    ),
    Case(
        name="training rows without the columns",
        arguments="model add bad.onnx --name new --trained-on rows.csv --data loans",
        prepare=lambda root: (
            model(classifier())(root),
            (root / "rows.csv").write_text("income,debts\n1,2\n"),
        ),
        code=2,
        error="datasets.no-column",
        words=("'age'", "income, debts"),
    ),
)
def test_a_model_that_cannot_be_placed_changes_nothing(new_home: NewHome, case: Case) -> None:
    """A call that does not say enough, or names what is not there, is wrong use and leaves no trace."""
    home = new_home(case.stage)
    case.prepare(home.root)
    refused(home, case)


# ---- policy ---------------------------------------------------------------------------------------

JUDGE = "check loans@1 --policy strange.toml"


def policy(change: Callable[[str], str]) -> Prepare:
    """The default policy with a change."""
    return lambda root: (root / "strange.toml").write_text(
        change((root / "policy.toml").read_text("utf-8")), "utf-8"
    )


def bad_policy(name: str, change: Callable[[str], str], *words: str) -> Case:
    """A policy file that is refused."""
    return Case(
        name=name,
        arguments=JUDGE,
        prepare=policy(change),
        code=2,
        error="policy.file",
        words=words,
        stage="added",
    )


@cases(
    bad_policy(
        "unknown rule",
        lambda text: text.replace('"data.leakage"', '"data.leekage"'),
        "data.leekage",
        "data.leakage",
    ),
    bad_policy("misspelt metric", lambda text: text.replace('"r2"', '"r3"'), "r3", "r2"),
    bad_policy("misspelt key", lambda text: text.replace("at_most", "at_mots"), "at_mots", "at_most"),
    bad_policy("no rules", lambda text: text.partition("[[rules]]")[0], "rule"),
    bad_policy("empty", lambda _: "", "format"),
    bad_policy("not TOML", lambda text: text + "\n[[rules\n", "TOML", "line"),
    Case(
        name="no policy file",
        arguments="check loans@1 --policy nowhere.toml",
        code=2,
        error="operations.no-file",
        words=("nowhere.toml",),
        stage="added",
    ),
    Case(
        name="the home's own policy is gone",
        arguments="release create loans@1",
        prepare=lambda root: (root / "policy.toml").unlink(),
        code=2,
        error="operations.no-file",
        words=("policy.toml",),
        stage="checked",
    ),
)
def test_a_bad_policy_judges_nothing(new_home: NewHome, case: Case) -> None:
    """A policy that is not understood is refused with place and nearest spelling before any check runs."""
    home = new_home(case.stage)
    case.prepare(home.root)
    refused(home, case)


# ---- the order of a life --------------------------------------------------------------------------


def wrong(name: str, arguments: str, error: str, *words: str, stage: str = "added", code: int = 2) -> Case:
    """A call that is out of order, or names what is not there."""
    return Case(name=name, arguments=arguments, stage=stage, code=code, error=error, words=words)


@cases(
    wrong(
        "check before add",
        "check loans",
        "operations.no-such-version",
        "'loans'",
        "model add",
        stage="registered",
    ),
    wrong("check an unknown version", "check loans@9", "operations.no-such-version", "'loans@9'", "loans@2"),
    wrong(
        "release before check",
        "release create loans@1",
        "operations.not-checked",
        "loans@1",
        "gatewright check loans@1",
    ),
    wrong(
        "approve before release",
        "approve loans@1 --as ada",
        "operations.no-release",
        "release create loans@1",
    ),
    wrong("deploy before release", "deploy loans@1", "operations.no-release", "release create loans@1"),
    wrong("show an unknown model", "model show lones", "operations.no-such-version", "'lones'", "loans@2"),
    wrong("show an unknown dataset", "data show lones", "operations.no-such-version", "'lones'", "loans@1"),
    wrong("show an unknown release", "release show lones", "operations.no-release", "'lones'"),
    wrong("unknown person", "approve loans@1 --as grce", "operations.no-user", "'grce'", "ada", stage="live"),
    wrong(
        "approve twice",
        "approve loans@1 --as ada",
        "operations.approved-already",
        "ada",
        "loans@1",
        stage="live",
    ),
    wrong("deploy twice", "deploy loans@1", "operations.live-already", "loans@1", "live", stage="live"),
    wrong(
        "deploy to a bad name", "deploy loans@1 --to Live!", "kernel.name", "'Live!'", "'live'", stage="live"
    ),
    wrong(
        "roll back a first deployment",
        "rollback loans",
        "deployments.nothing-to-roll-back-to",
        "one release only",
        stage="live",
    ),
    wrong("roll back nothing", "rollback loans", "operations.no-endpoint", "'loans'"),
    wrong("a person twice", "user add ada", "operations.user-exists", "'ada'"),
    wrong("a bad person", "user add Grace_H", "kernel.name", "'Grace_H'", "'grace-h'"),
    wrong("a home in a home", "init", "assembly.home-exists", "already"),
    wrong("a bad owner", "init elsewhere --owner Ada!", "kernel.name", "'Ada!'", "'ada'"),
    wrong("a bad moment", "history --at yesterday", "kernel.instant", "'yesterday'", "2026-03-03T14:05:00Z"),
    wrong("an impossible day", "history --at 2026-02-30", "kernel.instant", "'2026-02-30'"),
    wrong("seed below range", "check loans --seed -1", "cli.usage", "--seed", "0"),
    wrong("seed above range", "check loans --seed 4294967296", "cli.usage", "--seed"),
    wrong("seed in words", "check loans --seed seven", "cli.usage", "--seed", "integer"),
    wrong("unknown command", "lauch loans", "cli.usage", "lauch"),
    wrong("unknown option", "check loans --sede 1", "cli.usage", "--sede"),
    wrong("missing option", "model add model.onnx", "cli.usage", "--name"),
    wrong("verify nothing", "verify nowhere", "operations.no-file", "nowhere"),
    wrong("verify a folder", "verify .", "operations.nothing-to-verify", "release export"),
    wrong("verify without a receipt", "verify policy.toml", "operations.no-receipt", "receipt"),
    wrong(
        "export over files",
        "release export loans@1 --to .gatewright",
        "operations.file-exists",
        "empty",
        stage="live",
    ),
    wrong(
        "export over a file",
        "release export loans@1 --to policy.toml",
        "operations.file-exists",
        "policy.toml",
        stage="live",
    ),
)
def test_what_is_out_of_order_changes_nothing(new_home: NewHome, case: Case) -> None:
    """Each call that comes too early, twice, or names nothing says what to do instead."""
    refused(new_home(case.stage), case)


@pytest.mark.parametrize(
    "arguments",
    [
        "status",
        "data list",
        "model list",
        "check x",
        "deploy x",
        "verify",
        "collect",
        "serve",
        "user list",
        "history",
    ],
)
def test_no_home_here(tmp_path: Path, arguments: str) -> None:
    """Outside a home every command says so, and how to make one."""
    ran = inside(tmp_path, *arguments.split())
    assert 2 == ran.code
    assert "assembly.no-home" in ran.err
    assert ("--trust" if arguments == "verify" else "gatewright init") in ran.err
    assert [] == list(tmp_path.iterdir())


# ---- serving --------------------------------------------------------------------------------------


def _serve(home: Home, *arguments: str) -> tuple[int, str]:
    ran = command(home.root, "serve", *arguments)
    assert "Traceback" not in ran.err
    return ran.code, ran.err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--tls-cert", "chain.pem"), "--tls-key"),
        (("--tls", "--tls-ended-by", "the mesh"), "--tls-ended-by"),
        (("--tls-ended-by", "two\nlines"), "one line"),
        (("--tls", "--allow-host", "no name"), "'no name'"),
        (("--tls-cert", "missing.pem", "--tls-key", "missing.pem"), "missing.pem"),
    ],
)
def test_options_of_tls_that_make_no_sense_are_refused(
    new_home: NewHome, options: tuple[str, ...], words: str
) -> None:
    """Half a certificate, a contradiction or a name that is none is named before anything listens."""
    home = new_home("live")
    code, said = _serve(home, "--port", "0", "--workers", "1", *options)
    assert 2 == code, said
    assert words in said


def test_a_port_in_use_is_named(new_home: NewHome) -> None:
    """A port that another program holds is a failed dependency, with the way out."""
    home = new_home("live")
    before = home.digest()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        code, said = _serve(home, "--port", port)
    assert 4 == code
    assert port in said
    assert "--port" in said
    assert set() == _changed(before, home.digest())


# ---- being interrupted ----------------------------------------------------------------------------


def test_ctrl_c_ends_a_check_and_leaves_a_home_that_works(new_home: NewHome) -> None:
    """A check that is interrupted ends with 130; nothing is recorded and the next command works."""
    home = new_home("registered")
    write_loans(home.root / "many.csv", 2_000, 9)
    home.do("data", "add", "many", "--train", "many.csv", "--test", "test.csv", "--target", "repaid")
    (home.root / "v1.onnx").write_bytes(classifier())
    home.do("model", "add", "v1.onnx", "--name", "loans", "--trained-on", "many")
    kinds = home.kinds()
    process = subprocess.Popen(
        [sys.executable, "-m", "gatewright", "check", "loans"],
        cwd=home.root,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stderr is not None
        first = process.stderr.readline()
        assert "reading the locked rows" in first
        time.sleep(0.1)
        os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=COMMAND_S)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    assert 130 == process.returncode, said
    assert "Interrupted" in said
    assert "Traceback" not in said
    assert kinds == home.kinds()
    assert "deny" != home.do("check", "loans")["decision"]


def test_a_parquet_file_with_nested_columns_is_refused(new_home: NewHome) -> None:
    """A list inside a cell is no value, and the column that holds it is named."""
    home = new_home("registered")
    pl.DataFrame({"income": [[1.0], [2.0]], "repaid": ["yes", "no"]}).write_parquet(home.root / "bad.csv")
    before = home.digest()
    ran = home.run(*TRAIN_BAD.split())
    assert 2 == ran.code
    assert "income" in ran.said
    assert set() == _changed(before, home.digest())
