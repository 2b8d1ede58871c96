"""The Containerfile: linted, its steps executed in an empty folder, and what it starts asked for answers."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from typer.main import get_command

from contract.containerfile import Instruction, problems, read
from contract.prepared_home import NAME, PreparedHome, prepare
from contract.test_wheel import closure, locked
from gatewright.adapters.key_files import KeyFolder
from gatewright.assembly.homes import create_home, read_home
from gatewright.assembly.mounting import mount_home
from gatewright.assembly.probing import ask
from gatewright.assembly.serving import DATA_FILE, PLAN_DIGEST_FILE, WORKER_FILE, serve_folder
from gatewright.cli.commands import app
from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import BadInput, GatewrightError, Misuse
from gatewright.kernel.version import VERSION
from gatewright.operations.collect import recorded_predictions

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "Containerfile").read_text("utf-8")
LOCK = ROOT / "deploy" / "serving.lock"
LOCK_HEAD = "# What the serving set needs of requirements.lock, and nothing else; a test compares the two.\n"
STEPS = read(TEXT)
STAGE = STEPS[max(index for index, each in enumerate(STEPS) if each.word == "FROM") :]
STEP_SECONDS = 300
READY_SECONDS = 120


def test_the_containerfile_is_clean() -> None:
    """Pinned by digest without a default, no shell, no ADD, no tag, hashed installs, a user that is not root."""
    assert [] == problems(TEXT)


@pytest.mark.parametrize(
    ("good", "bad", "said"),
    [
        ("${BASE_IMAGE}@${BASE_DIGEST}", "python:3.13", "not pinned by digest"),
        ("ARG BASE_DIGEST", f"ARG BASE_DIGEST=sha256:{'0' * 64}", "BASE_DIGEST has a default"),
        ("ARG BASE_IMAGE=python", "ARG BASE_IMAGE=python:latest", "a tag 'latest'"),
        ("USER 65532:65532", "USER 0:0", "other than root"),
        ("USER 65532:65532", "USER gatewright", "other than root"),
        ("USER 65532:65532\n", "", "other than root"),
        ('"--require-hashes", ', "", "an install without hashes"),
        ("COPY dist/", "ADD https://host.example/", "ADD https"),
        ('RUN ["python", "-m", "venv"', 'RUN ["sh", "-c", "python -m venv"', "RUN calls a shell"),
        ('RUN ["python", "-m", "venv", "--without-pip", "/opt/gatewright"]', "RUN python -m venv", "RUN runs a shell"),
        ("ENV PYTHONUNBUFFERED=1", "ENV API_TOKEN=1", "a secret in ENV"),
        ("HEALTHCHECK", "#", "no HEALTHCHECK"),
    ],
)  # fmt: skip
def test_the_lint_finds_each_fault(good: str, bad: str, said: str) -> None:
    """Each planted fault is named, so that the lint can fail."""
    assert good in TEXT
    assert [one for one in problems(TEXT.replace(good, bad)) if said in one]


def test_the_serving_lock_is_the_part_of_the_lock_that_serving_needs() -> None:
    """``deploy/serving.lock`` has each base requirement, with what it needs, as the lock has it, and no more."""
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["dependencies"]
    expected = (
        LOCK_HEAD
        + locked(closure(canonicalize_name(Requirement(line).name) for line in needed)).rstrip()
        + "\n"
    )
    if os.environ.get("GATEWRIGHT_WRITE_DOCS"):
        LOCK.write_text(expected, "utf-8")
    assert expected == LOCK.read_text("utf-8")


def test_the_context_holds_only_what_is_copied() -> None:
    """A build is given the lock and the wheel of this version; keys and homes never enter an image."""
    lines = (ROOT / ".containerignore").read_text("utf-8").split()
    assert ["*", "!deploy/serving.lock", "!dist/*.whl"] == lines
    copied = [
        each.rest.split()[0] for each in read(TEXT) if each.word == "COPY" and "--from" not in each.rest
    ]
    assert ["deploy/serving.lock", f"dist/gatewright-{VERSION}-py3-none-any.whl"] == copied


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """A folder in which the steps of the Containerfile were executed."""

    root: Path

    def inside(self, argument: str) -> str:
        """An argument with the paths of the image as paths below the folder."""
        return re.sub(r"^/(opt|build|mnt)/", f"{self.root}/\\1/", argument)

    def command(self, word: str) -> list[str]:
        """What the image runs for ENTRYPOINT or HEALTHCHECK."""
        (found,) = [each for each in read(TEXT) if each.word == word]
        return [self.inside(argument) for argument in found.arguments]


def _execute(step: Instruction, image: Image, wheels: Path) -> None:
    if step.word == "COPY" and "--from" not in step.rest:
        source, target = step.rest.split()
        place = Path(image.inside(target))
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(wheels / Path(source).name if source.startswith("dist/") else ROOT / source, place)
    elif step.word == "RUN":
        command = [sys.executable if one == "python" else image.inside(one) for one in step.arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=STEP_SECONDS, check=False)
        assert 0 == done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """The steps of the Containerfile, executed in order in an empty folder."""
    wheels = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(wheels), str(ROOT)]
    done = subprocess.run(build, capture_output=True, text=True, timeout=STEP_SECONDS, check=False)
    assert 0 == done.returncode, done.stdout + done.stderr
    made = Image(root=tmp_path_factory.mktemp("image"))
    for step in read(TEXT):
        _execute(step, made, wheels)
    return made


@dataclass(frozen=True, slots=True, kw_only=True)
class Mounted:
    """A home, the folder that ``release mount`` wrote of it, and what the command said."""

    home: PreparedHome
    folder: Path
    fingerprint: str
    plan: int


@pytest.fixture(scope="module")
def mounted(tmp_path_factory: pytest.TempPathFactory) -> Mounted:
    """A live home and its mounted folder, made by the commands."""
    folder = tmp_path_factory.mktemp("home")
    home = prepare(folder)
    done = subprocess.run(
        [sys.executable, "-m", "gatewright", "release", "mount", "--to", "out", "--json"],
        cwd=folder, capture_output=True, text=True, timeout=STEP_SECONDS, check=False,
    )  # fmt: skip
    assert 0 == done.returncode, done.stdout + done.stderr
    told = json.loads(done.stdout)
    assert [NAME] == told["endpoints"]
    return Mounted(home=home, folder=folder / "out", fingerprint=told["fingerprint"], plan=told["plan"])


def _tree(root: Path) -> dict[str, tuple[int, int]]:
    return {
        str(path.relative_to(root)): (path.lstat().st_size, path.lstat().st_mtime_ns)
        for path in sorted(root.rglob("*"))
        if not path.is_dir()
    }


@dataclass(slots=True, kw_only=True)
class Running:
    """The image's worker, where it answers, and what it says."""

    port: int
    image: Image
    log: Path = Path()

    def infer(self, home: PreparedHome, host: str = "localhost") -> httpx.Response:
        """One prediction."""
        row = {"name": "input", "shape": [1, len(home.row)], "datatype": "FP32", "data": list(home.row)}
        return httpx.post(
            f"http://127.0.0.1:{self.port}/v2/models/{NAME}/infer",
            json={"inputs": [row]},
            headers={"Authorization": f"Bearer {home.api_key}", "Host": host},
            timeout=60,
        )

    def probe(self, *more: str) -> int:
        """Exit code of the image's own health check."""
        done = subprocess.run(
            [*self.image.command("HEALTHCHECK"), "--port", str(self.port), *more],
            env={"PATH": "/usr/bin:/bin"}, capture_output=True, timeout=60, check=False,
        )  # fmt: skip
        return done.returncode


@pytest.fixture(scope="module")
def served(image: Image, mounted: Mounted, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The image's entry point on the mounted folder, on every address, until the tests are over."""
    mnt = image.root / "mnt"
    mnt.mkdir()
    shutil.copytree(mounted.folder / "serving", mnt / "serving")
    shutil.copytree(mounted.folder / "secret", mnt / "kept")
    _as_an_orchestrator_mounts(mnt / "kept", mnt / "keys")
    before = _tree(image.root / "opt"), _tree(mnt / "serving"), _tree(mnt / "keys")
    log = tmp_path_factory.mktemp("log") / "worker.log"
    command = [*image.command("ENTRYPOINT"), "--host", "0.0.0.0", "--port", "0"]  # noqa: S104 - as a container does
    command += ["--allow-host", "loans.models.svc", "--fingerprint", mounted.fingerprint]
    command += ["--tls-ended-by", "nothing, in this test"]
    environment = {
        each.rest.partition("=")[0]: each.rest.partition("=")[2] for each in STAGE if each.word == "ENV"
    }
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd="/", env=environment, stdout=output, stderr=output)
    try:
        yield Running(port=_port(process, log), image=image, log=log)
    finally:
        process.terminate()
        process.wait(READY_SECONDS)
    assert 0 == process.returncode, log.read_text("utf-8")
    assert before == (_tree(image.root / "opt"), _tree(mnt / "serving"), _tree(mnt / "keys"))


def _as_an_orchestrator_mounts(secret: Path, place: Path) -> None:
    """Keys as Kubernetes mounts them: links into another folder, readable by the group."""
    place.mkdir()
    for path in secret.iterdir():
        path.chmod(0o440)
        (place / path.name).symlink_to(path)


def _port(process: subprocess.Popen[bytes], log: Path) -> int:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        found = re.search(r"on http://0\.0\.0\.0:(\d+)", log.read_text("utf-8"))
        if found:
            return int(found[1])
        time.sleep(0.05)
    raise AssertionError(log.read_text("utf-8"))


def test_the_image_answers_with_a_receipt(served: Running, mounted: Mounted) -> None:
    """The executed image serves the mounted release, for the host that was allowed, with a receipt."""
    answer = served.infer(mounted.home, "loans.models.svc")
    assert 200 == answer.status_code, answer.text
    assert answer.json()["parameters"]["receipt"]
    assert 421 == served.infer(mounted.home, "elsewhere.example").status_code


def test_the_image_holds_nothing_heavy(image: Image) -> None:
    """Of the locked packages only those of the serving set are in it, and no installer."""
    (site,) = (image.root / "opt" / "gatewright" / "lib").glob("python*/site-packages")
    names = {path.name.partition("-")[0] for path in site.glob("*.dist-info")}
    assert "gatewright" in names
    assert set() == names & {"SQLAlchemy", "sqlalchemy", "scipy", "onnx", "scikit_learn", "polars", "pip"}


def test_the_health_check_says_yes_and_no(served: Running, mounted: Mounted, tmp_path: Path) -> None:
    """Exit 0 for a worker that lives, with a key for one that is ready; 4 for a wrong key and for nobody there."""
    key, wrong = tmp_path / "key", tmp_path / "wrong"
    key.write_text(mounted.home.api_key + "\n")
    wrong.write_text("gw_wrong")
    assert (0, 0, 4) == (
        served.probe(),
        served.probe("--key-file", str(key)),
        served.probe("--key-file", str(wrong)),
    )
    assert 4 == Running(port=1, image=served.image).probe()


def test_records_are_collected_at_home_and_the_receipt_verifies_there(
    served: Running, mounted: Mounted, tmp_path: Path
) -> None:
    """Sealed records of the image, copied into the home, enter its ledger; the answer verifies with its keys."""
    records = served.image.root / "mnt" / "records"
    before = set(records.rglob("*.sealed"))  # each worker has a folder of its own
    answer = served.infer(mounted.home)
    saved = tmp_path / "answer.json"
    saved.write_text(answer.text)
    deadline = time.monotonic() + READY_SECONDS
    while set(records.rglob("*.sealed")) == before and time.monotonic() < deadline:
        time.sleep(0.1)
    for path in records.rglob("*.sealed"):
        shutil.copy(path, mounted.home.folder / ".gatewright" / "segments")
    for command in (["collect"], ["verify", str(saved)], ["verify"]):
        done = subprocess.run(
            [sys.executable, "-m", "gatewright", *command],
            cwd=mounted.home.folder, capture_output=True, text=True, timeout=STEP_SECONDS, check=False,
        )  # fmt: skip
        assert 0 == done.returncode, done.stdout + done.stderr
    with read_home(mounted.home.folder) as home:
        assert recorded_predictions(home) >= 1


def test_beyond_the_loopback_it_says_that_nothing_is_encrypted(served: Running) -> None:
    """Whoever serves a network in plain text is told plainly what that means, with the words that allowed it."""
    said = served.log.read_text("utf-8")
    assert "Traffic is NOT encrypted" in said
    assert "nothing, in this test" in said


def test_the_folder_holds_no_key_and_the_secret_two_and_the_plans_digest(mounted: Mounted) -> None:
    """What many may read has no private key and no API key; the secret has three files, for its owner alone."""
    everything = b"".join(
        path.read_bytes() for path in (mounted.folder / "serving").rglob("*") if path.is_file()
    )
    assert b"PRIVATE KEY" not in everything
    assert mounted.home.api_key.encode() not in everything
    assert (mounted.folder / "secret" / DATA_FILE).read_bytes() not in everything
    home = mounted.home.folder / ".gatewright" / "keys" / DATA_FILE
    assert home.read_bytes() != (mounted.folder / "secret" / DATA_FILE).read_bytes()
    modes = {path.name: path.stat().st_mode & 0o777 for path in (mounted.folder / "secret").iterdir()}
    assert {WORKER_FILE: 0o600, DATA_FILE: 0o600, PLAN_DIGEST_FILE: 0o600} == modes
    digest = Digest.of((mounted.folder / "serving" / "plan.dsse").read_bytes())
    assert digest.hex == (mounted.folder / "secret" / PLAN_DIGEST_FILE).read_text("ascii")


def _refusal(folder: Path, tmp_path: Path, fingerprint: str, host: str = "127.0.0.1") -> str:
    with pytest.raises(GatewrightError) as caught:
        serve_folder(
            folder / "serving",
            keys=folder / "secret",
            segments=tmp_path / "records",
            fingerprint=fingerprint,
            host=host,
            port=0,
            allowed_hosts=(),
        )
    return caught.value.code


def test_a_network_is_not_served_in_plain_text_by_default(mounted: Mounted, tmp_path: Path) -> None:
    """Beyond the loopback a mounted folder needs a certificate, or a word about what ends TLS."""
    code = _refusal(mounted.folder, tmp_path, mounted.fingerprint, host="0.0.0.0")  # noqa: S104 - what is refused
    assert "assembly.certificate-needed" == code


def _copy(mounted: Mounted, tmp_path: Path) -> Path:
    return Path(shutil.copytree(mounted.folder, tmp_path / "copy"))


@pytest.mark.parametrize(
    ("fingerprint", "code"),
    [("", "assembly.fingerprint-needed"), ("0" * 64, "assembly.other-fingerprint")],
)
def test_a_folder_is_served_only_against_its_fingerprint(
    mounted: Mounted, tmp_path: Path, fingerprint: str, code: str
) -> None:
    """Without a fingerprint, and with another one, nothing is served."""
    assert code == _refusal(mounted.folder, tmp_path, fingerprint)


@pytest.mark.parametrize("name", ["plan.dsse", "worker.dsse.json", "trust.json"])
def test_a_changed_file_is_not_served(mounted: Mounted, tmp_path: Path, name: str) -> None:
    """One byte changed in the plan, the certificate or the keys: the worker ends without listening."""
    folder = _copy(mounted, tmp_path)
    place = folder / "serving" / name
    content = bytearray(place.read_bytes())
    content[len(content) // 2] ^= 1
    place.write_bytes(content)
    assert _refusal(folder, tmp_path, mounted.fingerprint)


def test_a_changed_content_is_not_served(mounted: Mounted, tmp_path: Path) -> None:
    """One byte changed in the largest stored content, the model: the plan is not taken, and nothing listens."""
    folder = _copy(mounted, tmp_path)
    largest = max(
        (folder / "serving" / "blobs").rglob("*"), key=lambda path: path.stat().st_size * path.is_file()
    )
    content = bytearray(largest.read_bytes())
    content[-1] ^= 1
    largest.write_bytes(content)
    assert "serving.no-plan" == _refusal(folder, tmp_path, mounted.fingerprint)


def test_another_folder_put_in_the_place_of_this_one_is_refused(mounted: Mounted, tmp_path: Path) -> None:
    """The contents of a folder that was mounted at another time do not open with this one's payload key."""
    folder = _copy(mounted, tmp_path)
    mount_home(mounted.home.folder, tmp_path / "again")
    shutil.rmtree(folder / "serving")
    shutil.copytree(tmp_path / "again" / "serving", folder / "serving")
    assert "serving.no-plan" == _refusal(folder, tmp_path, mounted.fingerprint)


def _gatewright(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gatewright", *arguments],
        cwd=home, env={**os.environ, "NO_COLOR": "1"}, capture_output=True, text=True,
        timeout=READY_SECONDS, check=False,
    )  # fmt: skip


def test_an_older_plan_of_the_home_is_not_put_back(mounted: Mounted, tmp_path: Path) -> None:
    """A plan that answered with version 1, put into a folder of version 2, is refused by its digest."""
    # All but the digest holds: its signatures, and every content, as version 1 is the previous release.
    home = Path(shutil.copytree(mounted.home.folder, tmp_path / "home", ignore=shutil.ignore_patterns("out")))
    for command in (
        ["deploy", NAME, "--new-key"],
        ["release", "mount", "--to", "older"],
        ["model", "add", "model.onnx", "--name", NAME, "--trained-on", NAME],
        ["ship", NAME],
        ["release", "mount", "--to", "newer"],
    ):
        done = _gatewright(home, *command)
        assert 0 == done.returncode, done.stdout + done.stderr
    older, newer = home / "older" / "serving" / "plan.dsse", home / "newer" / "serving" / "plan.dsse"
    named, found = (Digest.of(place.read_bytes()).short for place in (newer, older))
    shutil.copy(older, newer)

    served = _gatewright(
        home, "serve", "--folder", "newer/serving", "--keys", "newer/secret", "--segments", "records",
        "--fingerprint", mounted.fingerprint, "--port", "0",
    )  # fmt: skip

    assert 1 == served.returncode, served.stdout + served.stderr
    said = " ".join(served.stderr.split())
    assert f"The plan's file has digest {found}; the secret names {named}." in said
    assert "in force" not in said


@pytest.mark.parametrize("content", [b"", b"\xff" * 64, b"0" * 63])
def test_a_secret_without_the_digest_of_a_plan_serves_nothing(
    mounted: Mounted, tmp_path: Path, content: bytes
) -> None:
    """What is no digest allows no plan; it does not allow every plan."""
    folder = _copy(mounted, tmp_path)
    (folder / "secret" / PLAN_DIGEST_FILE).write_bytes(content)
    assert "assembly.plan-digest" == _refusal(folder, tmp_path, mounted.fingerprint)
    (folder / "secret" / PLAN_DIGEST_FILE).unlink()
    assert "operations.no-file" == _refusal(folder, tmp_path, mounted.fingerprint)


def test_another_worker_key_is_refused(mounted: Mounted, tmp_path: Path) -> None:
    """A key that the folder's certificate does not name would sign worthless receipts."""
    folder = _copy(mounted, tmp_path)
    KeyFolder(folder=tmp_path / "other").create()
    shutil.copy(tmp_path / "other" / WORKER_FILE, folder / "secret" / WORKER_FILE)
    assert "assembly.worker-not-certified" == _refusal(folder, tmp_path, mounted.fingerprint)


@pytest.mark.parametrize("name", [WORKER_FILE, DATA_FILE, PLAN_DIGEST_FILE])
def test_a_secret_that_everybody_can_read_is_refused(mounted: Mounted, tmp_path: Path, name: str) -> None:
    """A secret of which one file is mounted with mode 0444 is not used."""
    folder = _copy(mounted, tmp_path)
    (folder / "secret" / name).chmod(0o444)
    assert "keys.readable-by-others" == _refusal(folder, tmp_path, mounted.fingerprint)


def test_a_folder_that_is_there_is_not_written_over(mounted: Mounted) -> None:
    """``release mount`` refuses a folder that holds something."""
    before = _tree(mounted.folder)
    with pytest.raises(Misuse, match="is not empty"):
        mount_home(mounted.home.folder, mounted.folder)
    assert before == _tree(mounted.folder)


def test_without_a_live_release_there_is_nothing_to_mount(tmp_path: Path) -> None:
    """A fresh home says what to do first, and writes nothing."""
    create_home(tmp_path / "fresh", "ada")
    with pytest.raises(Misuse, match="Nothing is live"):
        mount_home(tmp_path / "fresh", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("more", "code"),
    [
        (["--keys", "k"], "cli.folder-missing"),
        (["--fingerprint", "0" * 16], "cli.folder-missing"),
        (["--folder", "f"], "cli.folder-parts"),
        (["--folder", "f", "--keys", "k"], "cli.folder-parts"),
    ],
)
def test_half_of_the_options_of_a_folder_are_wrong_use(more: list[str], code: str) -> None:
    """A folder without keys or a place for records, and keys without a folder, are refused at once."""
    said = CliRunner().invoke(get_command(app), ["serve", *more])
    assert isinstance(said.exception, Misuse)
    assert code == said.exception.code


def test_a_key_that_is_no_text_is_bad_input(tmp_path: Path) -> None:
    """A probe is given a file with an API key, not any file."""
    (tmp_path / "key").write_bytes(b"\xff\xfe")
    with pytest.raises(BadInput):
        ask("127.0.0.1", 1, tmp_path / "key")
