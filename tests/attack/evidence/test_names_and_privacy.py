"""Who may name what, and who may read what.

- AU-02, CVE-2025-54997 (OpenBao): the audit log's place or form is set through an interface.
- AU-09, CVE-2021-41131, CVE-2024-47534, CVE-2026-24686 (TUF, go-tuf): names that climb.
- AU-10: what a record, a log, a segment or a receipt shows of people and of what they sent.
"""

from __future__ import annotations

import base64
import json
import shutil
import struct
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from attack.evidence.conftest import COMMENT, OWNER, Canary, Given, refused, verified
from gatewright.adapters.ledger_file import read_ledger
from gatewright.kernel import canonical
from gatewright.kernel.digests import Digest
from gatewright.ledger.receipts import Receipt
from gatewright.releases.bundle import root_of_resources
from scenario.world import Home, ask, inside

CLIMBS = (
    "../secret.txt", "../../secret.txt", "/etc/hostname", "a/../../secret.txt", "..", ".", "", "a//b", "a/./b", "a\\..\\b",
    "%2e%2e/secret.txt", "a\0b", "~/x", "C:\\x", "tile/../checkpoint", "x" * 5_000,
)  # fmt: skip
NAMES = tuple(name for name in CLIMBS if "\0" not in name and len(name) < 1_000)
MARKER = -777.515625
"""A value that is the same in every number format, and that nothing else has."""
DIGITS = b"777.515625"
FORMS = (struct.pack("<f", MARKER), struct.pack("<d", MARKER), struct.pack(">d", MARKER), DIGITS)


@pytest.fixture
def place(given: Given, tmp_path: Path, canary: Canary) -> Path:
    """The auditor's files, to be spoilt, with a way up to the canary's secret."""
    copied = given.copy(tmp_path / "auditor")
    shutil.copy(canary.file, tmp_path / "secret.txt")
    shutil.copy(canary.file, copied / "secret.txt")
    return copied


# ---- AU-02: nobody sets where or how records are kept ----------------------------------------------


@pytest.mark.parametrize(
    "path", ["/v2/logging", "/v2/trace/setting", "/v2/audit", "/sys/audit/file", "/v1/sys/audit/x"]
)
def test_au02_no_interface_sets_the_log(given: Given, canary: Canary, path: str) -> None:
    """No path of the server, by no method, takes a place, a prefix or a form for its records."""
    body = {
        "type": "file",
        "options": {"file_path": str(canary.marker), "prefix": "#!/bin/sh\n", "mode": "0755"},
    }
    with httpx.Client(
        base_url=given.server.url, headers={"Authorization": f"Bearer {given.home.api_key}"}, timeout=60
    ) as client:
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
            assert 404 == client.request(method, path, json=body).status_code
    assert not canary.marker.exists()


def test_au02_no_request_sets_the_log(given: Given, canary: Canary) -> None:
    """Parameters, headers and tensors that name a log, a sink or a segment change nothing of where records lie."""
    before = {path.name for path in given.home.root.iterdir()} | {
        path.name for path in given.home.folder.iterdir()
    }
    tensor = {"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1.0, 2.0, 3.0]}
    names = (
        "audit",
        "audit_file",
        "log_file",
        "segment",
        "segments",
        "recording",
        "receipt",
        "ledger",
        "home",
    )
    body = {"inputs": [tensor], "parameters": {name: str(canary.marker) for name in names}}
    headers = {"Authorization": f"Bearer {given.home.api_key}"}
    headers |= {f"X-Gatewright-{name.replace('_', '-')}": str(canary.marker) for name in names}
    answer = httpx.post(f"{given.server.url}/v2/models/loans/infer", json=body, headers=headers, timeout=60)
    assert answer.status_code in (200, 400), answer.text
    after = {path.name for path in given.home.root.iterdir()} | {
        path.name for path in given.home.folder.iterdir()
    }
    assert before == after


@pytest.mark.parametrize(
    "arguments",
    [
        ("status", "--log-file"), ("serve", "--audit"), ("serve", "--segments"), ("verify", "--audit"),
        ("history", "--ledger"), ("collect", "--to"), ("evidence", "log", "--prefix"),
    ],
)  # fmt: skip
def test_au02_no_option_sets_the_log(given: Given, canary: Canary, arguments: tuple[str, ...]) -> None:
    """No command has an option for the place or the form of the ledger."""
    assert "cli.usage" == refused(given.home.run(*arguments, str(canary.marker)), canary, codes=(2,))


# ---- AU-09: names that climb -----------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_au09_names_of_kept_things_do_not_climb(given: Given, canary: Canary, name: str) -> None:
    """Nobody and nothing can be named with dots, slashes, drives or escapes; nothing is written for a try."""
    before = sorted(str(path) for path in given.home.root.parent.iterdir())
    for arguments in (
        ("user", "add", name),
        ("key", "add", "loans", "--name", name),
        ("data", "add", name, "--train", "train.csv", "--test", "test.csv", "--target", "repaid"),
        ("model", "add", "v1.onnx", "--name", name, "--trained-on", "loans"),
        ("deploy", "loans@1", "--to", name),
        ("approve", "loans@1", "--as", name),
        ("release", "export", name, "--to", "climbed"),
        ("release", "create", name),
        ("check", name),
    ):
        if name == "" and arguments[0] in ("key", "deploy", "approve"):
            continue  # an empty option is the option left out
        refused(given.home.run(*arguments), canary)
    assert before == sorted(str(path) for path in given.home.root.parent.iterdir())
    assert not (given.home.root / "climbed").exists()


@pytest.mark.parametrize("name", CLIMBS)
def test_au09_a_bundle_that_names_other_files(place: Path, canary: Canary, name: str) -> None:
    """A bundle, even one whose list was rewritten whole, leads to no file outside the folder."""
    path = place / "export" / "model.sig"
    bundle = json.loads(path.read_bytes())
    payload = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
    listed = {each["name"]: Digest(each["digest"]) for each in payload["predicate"]["resources"]}
    listed[name] = Digest.of(canary.token.encode())
    payload["predicate"]["resources"] = [
        {"algorithm": "sha256", "digest": listed[each].hex, "name": each} for each in sorted(listed)
    ]
    payload["subject"][0]["digest"]["sha256"] = root_of_resources(listed).hex
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(canonical.encode(payload)).decode()
    path.write_bytes(canonical.encode(bundle))
    refused(verified(place, "export", "--trust", "owner"), canary)


@pytest.mark.parametrize(
    "where", ["export/release", "export/statements", "export/workers", "log/tile/0/000.p", "log/tile"]
)
def test_au09_links_lead_nowhere(place: Path, canary: Canary, where: str) -> None:
    """A link among evidence, to a file or folder outside, is refused and its content told to nobody."""
    for target in (canary.file, canary.file.parent, Path("/proc/self/environ"), Path("/dev/zero")):
        link = place / where / "linked"
        link.symlink_to(target)
        asked = "log" if where.startswith("log") else "export"
        ran = verified(place, asked, "--trust", "owner")
        if not (target.is_dir() and ran.code == 0):  # an empty extra folder is nothing
            refused(ran, canary)
        assert canary.token not in ran.out
        link.unlink()


@pytest.mark.parametrize(
    "name", ["..", "x001", "000.p.x", "1000", "-01", "00", "x00x/000", "000/../000", "\u0660\u0660\u0660"]
)
def test_au09_tiles_of_other_names(place: Path, canary: Canary, name: str) -> None:
    """A file below ``tile/`` that is not named as a tile is refused by name."""
    path = place / "log" / "tile" / "0" / name
    if name != ".." and ".." not in name:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x", "utf-8")
        assert "operations.not-a-tile" == refused(
            verified(place, "log", "--trust", "owner"), canary, codes=(3,)
        )


def test_au09_workers_and_statements_of_other_names(place: Path, canary: Canary) -> None:
    """What a file is called gives it no standing: certificates and statements are what their signatures say."""
    (certificate,) = (place / "owner" / "workers").iterdir()
    certificate.rename(certificate.with_name("..dsse.json"))
    assert 0 == verified(place, "answer.json", "--trust", "owner").code
    (place / "owner" / "workers" / "..dsse.json").rename(place / "owner" / "workers" / "forged\n.dsse.json")
    assert 0 == verified(place, "answer.json", "--trust", "owner").code
    statements = place / "export" / "statements"
    (statements / "countersignature.dsse.json").rename(statements / "\x1b[2J..dsse.json")
    (decision,) = statements.glob("decision-*")
    decision.write_bytes(decision.read_bytes()[:-1])
    refused(verified(place, "export", "--trust", "owner"), canary)


def test_au09_exports_stay_in_their_folder(given: Given, canary: Canary, tmp_path: Path) -> None:
    """An export writes below the folder that was named and nowhere else, and not over what is there."""
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "precious").write_text("precious", "utf-8")
    (tmp_path / "link").symlink_to(tmp_path / "there")
    for target in ("there", "there/precious", "link"):
        for arguments in (("release", "export", "loans@1"), ("evidence", "log")):
            refused(given.home.run(*arguments, "--to", str(tmp_path / target)), canary, codes=(2, 3, 4))
    assert ["precious"] == [path.name for path in (tmp_path / "there").iterdir()]


# ---- AU-10: what is shown --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def answered(given: Given, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What there is of a prediction whose input can be recognised: the receipt, the log, the records."""
    place = tmp_path_factory.mktemp("shown")
    with httpx.Client() as client:
        rows = np.array([[MARKER, MARKER, MARKER]])
        answer = ask(client, given.server, "loans", given.home.api_key, rows)
    (place / "answer.json").write_bytes(answer.content)
    assert DIGITS in answer.request.content
    given.home.do("collect")
    given.home.do("evidence", "log", "--to", str(place / "log"))
    return place


def _found(content: bytes, of: tuple[bytes, ...]) -> list[bytes]:
    return [each for each in of if each in content]


def test_au10_the_log_shows_no_inputs_and_no_people(given: Given, answered: Path) -> None:
    """No file of an exported log, and no record, holds a value that was sent, a name or a comment."""
    secrets = (*FORMS, OWNER.encode(), COMMENT.encode(), given.home.api_key.encode())
    seen = 0
    for path in (answered / "log").rglob("*"):
        if path.is_file():
            seen += 1
            assert [] == _found(path.read_bytes(), secrets), path
    assert 3 < seen
    leaves = [leaf for leaf, _ in read_ledger(given.home.folder / "ledger.db").leaves]
    assert [] == _found(b"\n".join(leaves), secrets)


def test_au10_what_lies_on_the_disk_shows_none_either(given: Given, answered: Path) -> None:
    """Segments, database and contents of the home hold no input, person, comment or API key in plain."""
    assert answered.is_dir()
    secrets = (*FORMS, COMMENT.encode(), given.home.api_key.encode(), OWNER.encode())
    for path in given.home.folder.rglob("*"):
        if path.is_file():
            assert [] == _found(path.read_bytes(), secrets), path


def test_au10_a_receipt_shows_commitments_only(answered: Path) -> None:
    """The receipt of an answer holds no value: two salted commitments, and the salts, which its caller has."""
    receipt = Receipt.parse(json.loads((answered / "answer.json").read_bytes())["parameters"]["receipt"])
    assert [] == _found(receipt.leaf + receipt.statement + b"".join(receipt.path), FORMS)
    leaf = json.loads(receipt.leaf)
    assert {64} == {len(leaf[name]) for name in ("input", "output", "release")}
    assert 64 == len(receipt.input_salt + receipt.output_salt)


def test_au10_equal_inputs_look_different(given: Given) -> None:
    """Two equal questions have unlike commitments: nobody learns from the log that they were equal."""
    one, two = (
        json.loads(Receipt.parse(json.loads((given.place / name).read_bytes())["parameters"]["receipt"]).leaf)
        for name in ("answer.json", "other.json")
    )
    assert one["input"] != two["input"]
    assert one["output"] != two["output"]


def test_au10_what_commands_tell_of_records(given: Given, answered: Path) -> None:
    """No command that reads the past shows an input, and people only where their name was not forgotten."""
    assert answered.is_dir()
    for arguments in (
        ("status",),
        ("history",),
        ("release", "list"),
        ("release", "show", "loans@1"),
        ("key", "list", "loans"),
    ):
        for machine in ((), ("--json",)):
            shown = inside(given.home.root, *arguments, *machine)
            assert 0 == shown.code, shown.err
            assert [] == _found(shown.out.encode(), (DIGITS, COMMENT.encode(), given.home.api_key.encode()))


def test_au10_a_refusal_keeps_no_words_of_its_cause(given: Given, tmp_path: Path) -> None:
    """A refused file may quote data: the record of its refusal has a commitment, the words are encrypted."""
    home = Home(root=tmp_path / "home")
    shutil.copytree(given.home.root, home.root)
    (home.root / "xylophone-patient-4711.onnx").write_bytes(b"\x80\x04patient 4711")
    ran = home.run("model", "add", "xylophone-patient-4711.onnx", "--name", "odd", "--trained-on", "loans")
    assert 1 == ran.code
    for path in home.folder.rglob("*"):
        if path.is_file():
            assert b"patient-4711" not in path.read_bytes(), path
    kinds: list[Any] = home.kinds()
    assert "model.refused" in kinds
