"""The acts of the demo, one method each; what they print is what happened."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.progress import Progress
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from gatewright.cli import exits, options, show
from gatewright.cli.life import tell_check
from gatewright.cli.show import escape
from gatewright.cli.story_server import Answer, Caller, Load, Server
from gatewright.client.conversion import convert
from gatewright.datasets.csv_reader import read_csv
from gatewright.datasets.datasheet import Datasheet
from gatewright.datasets.splits import to_csv
from gatewright.datasets.table import Table
from gatewright.kernel.errors import DependencyFailed, Refused, Tampered
from gatewright.models.signature_format import decode_signature
from gatewright.operations import check, data, deploy, models, release, ship
from gatewright.operations.catalogue import ModelVersion
from gatewright.operations.home import Home

NAME = "breast-cancer"
SEED = 7
LEAKED_ROWS = 25
PREDICTIONS = 2_000
CALLERS = 2
NAMED_ROWS = 6
Opening = Callable[[], AbstractContextManager[Home]]


@dataclass(slots=True)
class Acts:
    """What the acts share: the folder, the server once it runs, the key, and the results so far."""

    folder: Path
    opening: Opening
    results: list[tuple[str, str]] = field(default_factory=list)
    api_key: str = ""
    rows: NDArray[np.float32] = field(default_factory=lambda: np.empty((0, 0), np.float32))
    input_name: str = ""
    output_names: tuple[str, ...] = ()
    _server: Server | None = None

    ENDPOINT = NAME

    @classmethod
    @contextmanager
    def begin(cls, folder: Path, opening: Opening) -> Iterator[Acts]:
        """Acts whose server ends with them."""
        acts = cls(folder=folder, opening=opening)
        try:
            yield acts
        finally:
            if acts._server is not None:
                acts._server.__exit__(None, None, None)

    @property
    def server(self) -> Server:
        """The running server."""
        if self._server is None:
            raise DependencyFailed("cli.demo-server", "The server does not run yet.")
        return self._server

    def data(self) -> None:
        """Register the data with its datasheet and a locked split."""
        source = self.folder / f"{NAME}.csv"
        source.write_bytes(_breast_cancer())
        command(f"data split {NAME}.csv --name {NAME} --target diagnosis --seed {SEED}")
        about = data.Description(
            target="diagnosis",
            datasheet=Datasheet(
                title="Breast cancer Wisconsin (diagnostic)",
                origin="UCI Machine Learning Repository, DOI 10.24432/C5DW2B, as scikit-learn carries it",
                licence="CC-BY-4.0",
                allowed_uses=("demonstration",),
            ),
        )
        with self.opening() as home:
            version, *_ = data.split_file(
                home, NAME, source=source, seed=SEED, test_share=0.3, out=self.folder, about=about
            )
        show.done(
            f"{version.ref}: {version.train_rows} rows to train on; {version.test_rows} locked for the test, "
            "digests recorded."
        )
        show.line(f"  The datasheet does not state: {', '.join(version.unstated)}.", style="yellow")
        self.results.append(
            (
                "Test rows locked before training",
                f"{version.test_rows} of {version.train_rows + version.test_rows}",
            )
        )

    def leaky_candidate(self) -> None:
        """A forest that saw part of the test set is refused, and the rows are named."""
        train, test = self._split()
        both = _joined(train, test.take(np.arange(LEAKED_ROWS) * 3))
        (self.folder / "leaky.csv").write_bytes(to_csv(both))
        forest = RandomForestClassifier(n_estimators=50, max_depth=5, random_state=SEED)
        self._fit_and_write(forest, both, "leaky.onnx")
        command(f"model add leaky.onnx --name {NAME} --trained-on leaky.csv --data {NAME}")
        with self.opening() as home:
            version = models.add(
                home,
                self.folder / "leaky.onnx",
                NAME,
                models.Declared(trained_on=str(self.folder / "leaky.csv"), dataset=NAME),
            )
            command(f"check {version.ref}")
            checked = check.check(home, version.ref, progress=options.quiet)
            leak = next(found for found in checked.report.findings if found.check == "data.leakage")
            show.out.print(f"{show.mark(leak.outcome.value)} {escape(leak.summary)}")
            _name_rows(leak.evidence)
            command(f"release create {version.ref}")
            try:
                release.create(home, version.ref)
            except Refused as refused:
                show.out.print(
                    f"[red]✗ refused[/] {escape(refused.refusal.what)} The refusal is a record in the ledger."
                )
                self.results.append(("Model trained on test rows", f"refused: {leak.summary}"))
            else:
                raise Tampered("cli.demo", "The leaky model was released; this must not happen.")

    def good_candidate(self) -> None:
        """Another kind of model goes the whole way."""
        train, _ = self._split()
        line = make_pipeline(StandardScaler(), LogisticRegression(C=0.5, max_iter=1000))
        said = self._fit_and_write(line, train, "good.onnx")
        show.done(f"Converted to ONNX: {said}")
        with self.opening() as home:
            version = self._add(home, "good.onnx")
            command(f"ship {version.ref}")
            shipped = ship.ship(home, version.ref, progress=options.quiet)
            tell_check(shipped.checked)
            signature = decode_signature(home.blobs.get(version.signature))
        self.input_name = signature.inputs[0].name
        self.output_names = tuple(each.name for each in signature.outputs)
        self.api_key = shipped.deployed.api_key
        show.done(
            f"Released as root {shipped.release.root.hex[:16]}…, approved by the owner (tier {shipped.release.tier}), live."
        )
        self.results.append(("Good model", f"{version.ref} checked, signed, approved, deployed"))

    def predictions(self) -> None:
        """A public client asks; every answer carries a receipt; one is verified offline."""
        command("serve")
        self._server = Server(self.folder)
        started = self.server.wait_ready()
        show.done(
            f"Ready after {started:.2f} s on 127.0.0.1:{self.server.port}; the release was verified from the bytes in memory."
        )
        caller = self._caller()
        receipts: set[str] = set()
        begun = time.monotonic()
        with Progress(console=show.err, transient=True) as bar:
            for number in bar.track(range(PREDICTIONS), description="tritonclient, JSON tensors"):
                row = self.rows[number % len(self.rows)]
                last = caller.ask(row)
                receipts.add(last.receipt)
        spent = time.monotonic() - begun
        if len(receipts) != PREDICTIONS:
            raise Tampered("cli.demo", f"{PREDICTIONS} answers carried {len(receipts)} receipts.")
        show.done(
            f"{PREDICTIONS:,} answers, {len(receipts):,} receipts, one connection: {spent / PREDICTIONS * 1000:.2f} ms each, client included."
        )
        self._verify_answer(last, caller.request(row))
        self.results.append(
            ("Predictions with a durable, signed receipt", f"{len(receipts):,} of {PREDICTIONS:,}")
        )

    def _verify_answer(self, answer: Answer, request: bytes) -> None:
        """Save an answer and its request, as the client got and sent them, and compare both with the receipt."""
        self.request.write_bytes(request)
        (self.folder / "answer.json").write_text(json.dumps(answer.body), "utf-8")
        code, (found, *_) = self._verify("answer.json --request request.json")
        if code != 0 or found["facts"]["not_compared"]:
            raise Tampered("cli.demo", "An answer was not verified whole; this must not happen.")
        show.done(found["sentence"])

    @property
    def request(self) -> Path:
        """A request that the endpoint answered, as a file."""
        return self.folder / "request.json"

    def _verify(self, arguments: str) -> tuple[int, Any]:
        """Run ``gatewright verify``, as it is shown: its exit code and what it says."""
        command(f"verify {arguments}")
        ran = subprocess.run(  # noqa: S603 - our own program
            [sys.executable, "-m", "gatewright", "verify", *arguments.split(), "--json"],
            capture_output=True,
            text=True,
            check=False,
            cwd=self.folder,
            env={**os.environ, "GATEWRIGHT_HOME": str(self.folder)},
        )
        said = json.loads(ran.stdout)
        if isinstance(said, dict) and ran.returncode != exits.TAMPERED:
            raise DependencyFailed("cli.demo-verify", said["error"]["what"], why=said["error"]["why"])
        return ran.returncode, said

    def switch_under_load(self) -> None:
        """A third version goes live and comes back while callers keep asking."""
        train, _ = self._split()
        self._fit_and_write(
            GradientBoostingClassifier(n_estimators=60, random_state=SEED), train, "third.onnx"
        )
        load = Load()
        with self.opening() as home:
            third = self._add(home, "third.onnx")
            load.start([self._caller() for _ in range(CALLERS)], self.rows)
            command(f"ship {third.ref}")
            shipped = ship.ship(home, third.ref, progress=options.quiet)
        new = str(third.version)
        _wait_for(load, lambda: load.answers[-1].version == new)
        time.sleep(0.5)
        command(f"rollback {NAME}")
        with self.opening() as home:
            back = deploy.roll_back_endpoint(home, NAME)
        _wait_for(load, lambda: load.answers[-1].version != new)
        time.sleep(0.5)
        load.stop()
        late = max(answer.came for answer in load.answers if answer.version == new) - back.committed.ns
        total = len(load.answers)
        if load.failures:
            raise DependencyFailed(
                "cli.demo-load", f"{len(load.failures)} requests failed: {load.failures[0]}"
            )
        show.done(
            f"{shipped.release.ref} went live and {back.entry.ref} came back: {total:,} requests under way, none failed."
        )
        told = f"{late / 1e6:.0f} ms" if late > 0 else "at once: no old answer came after it"
        show.done(f"From the rollback's record to the last answer of the version taken back: {told}.")
        self.results.append(
            (
                "Switch and rollback under load",
                f"{total:,} requests, 0 failed; last old answer after the record: {told}",
            )
        )

    def tampering(self) -> None:
        """One byte of a stored model, then one byte of a copy of the ledger."""
        train, _ = self._split()
        forest = RandomForestClassifier(n_estimators=20, max_depth=4, random_state=SEED + 1)
        self._fit_and_write(forest, train, "fourth.onnx")
        with self.opening() as home:
            fourth = self._add(home, "fourth.onnx")
            check.check(home, fourth.ref, progress=options.quiet)
            made = release.create(home, fourth.ref)
            ship.approve_as_owner(home, made)
        place = flip_blob(self.folder, fourth.model.hex)
        show.line(f"One byte of the stored {fourth.ref} is flipped ({place.relative_to(self.folder)}).")
        command(f"deploy {fourth.ref}")
        with self.opening() as home:
            deploy.deploy_release(home, fourth.ref)
        said = self.server.said(fourth.model.hex[:8], within_s=10)
        kept = self._caller().ask(self.rows[0]).version
        if not said or kept == str(fourth.version):
            raise Tampered("cli.demo", "The server did not refuse the altered model; this must not happen.")
        show.out.print(
            f"[green]✓[/] The server refused it, as it must, and kept version {kept}: [dim]{escape(said[:200])}[/]"
        )
        flip_blob(self.folder, fourth.model.hex)
        with self.opening() as home:
            back = deploy.roll_back_endpoint(home, NAME)
        taken = self.server.said(f"Plan {back.entry.plan_number} is in force", within_s=10)
        show.done(f"The byte is put back, the deployment rolled back. {taken}")
        self.results.append(
            ("One byte of a stored model flipped", f"not loaded; version {kept} kept answering")
        )
        self._tamper_with_ledger()

    def _tamper_with_ledger(self) -> None:
        copy = self.folder / "ledger-copy.db"
        content = bytearray((self.folder / ".gatewright" / "ledger.db").read_bytes())
        at = bytes(content).index(b'"kind":"release.approved"')
        at = bytes(content).rindex(b'"root":"', 0, at) + 8  # a digit of the root that was approved
        content[at] ^= 0x01
        copy.write_bytes(content)
        code, said = self._verify("ledger-copy.db --trust .gatewright/trust.json")
        if code != exits.TAMPERED:
            raise Tampered("cli.demo", "The altered ledger was not found out; this must not happen.")
        error: dict[str, Any] = said["error"]
        show.out.print(
            f"[green]✓[/] Exit code 3, as it must: {escape(error['what'])} [bold]{escape(error['place'])}[/]"
        )
        self.results.append(("One byte of a ledger's copy flipped", f"found, at {error['place']}"))

    def _split(self) -> tuple[Table, Table]:
        train, test = (
            read_csv((self.folder / f"{NAME}-{part}.csv").read_bytes(), name=part)
            for part in ("train", "test")
        )
        self.rows = _matrix(test)
        return train, test

    def _fit_and_write(self, estimator: Any, rows: Table, file: str) -> str:
        answers = rows.column("diagnosis").values.astype(str)
        estimator.fit(_matrix(rows), answers)
        converted = convert(estimator, self.rows)
        (self.folder / file).write_bytes(converted.onnx)
        return converted.parity.sentence()

    def _add(self, home: Home, file: str) -> ModelVersion:
        command(f"model add {file} --name {NAME} --trained-on {NAME}")
        version = models.add(home, self.folder / file, NAME, models.Declared(trained_on=NAME))
        show.done(f"{version.ref}: {version.bytes:,} bytes, sha256 {version.model.short}…")
        return version

    def _caller(self) -> Caller:
        return Caller(self.server, NAME, self.api_key, self.input_name, self.output_names)


def command(text: str) -> None:
    """Show the command that does by hand what the next lines do."""
    show.out.print(f"[bold {show.ACCENT}]$ gatewright {escape(text)}[/]")


def flip_blob(folder: Path, digest: str) -> Path:
    """Flip one byte in the middle of a stored blob; a second time puts it back."""
    place = folder / ".gatewright" / "blobs" / digest[:2] / digest[2:]
    content = bytearray(place.read_bytes())
    content[len(content) // 2] ^= 0x01
    place.write_bytes(content)
    return place


def _wait_for(load: Load, reached: Callable[[], bool]) -> None:
    until = time.monotonic() + 20
    while not (load.answers and reached()):
        if time.monotonic() > until or load.failures:
            load.stop()
            raise DependencyFailed(
                "cli.demo-load", "The switch did not happen.", why="; ".join(load.failures[:1])
            )
        time.sleep(0.01)


def _name_rows(evidence: Any) -> None:
    rows = evidence.get("rows", [])
    for row in rows[:NAMED_ROWS]:
        show.line(
            f"    test row {row['test_row']} is training row {row['training_row']} ({row['match']})",
            style="dim",
        )
    if len(rows) > NAMED_ROWS:
        show.line(f"    … and {len(rows) - NAMED_ROWS} more are named in the report", style="dim")


def _breast_cancer() -> bytes:
    found = load_breast_cancer()
    names = [name.replace(" ", "_") for name in found.feature_names]
    lines = [",".join([*names, "diagnosis"])]
    lines += [
        ",".join([*(repr(float(value)) for value in row), str(found.target_names[kind])])
        for row, kind in zip(found.data, found.target, strict=True)
    ]
    return ("\r\n".join(lines) + "\r\n").encode()


def _matrix(rows: Table) -> NDArray[np.float32]:
    features = rows.without(("diagnosis",))
    return np.column_stack([column.values for column in features.columns]).astype(np.float32)


def _joined(first: Table, second: Table) -> Table:
    return read_csv(to_csv(first) + to_csv(second).split(b"\n", 1)[1], name="joined")
