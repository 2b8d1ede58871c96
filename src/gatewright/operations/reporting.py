"""Writing a check's report into files for machines: JUnit XML, SARIF, JSON."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from gatewright.checks.report_format import encode_report
from gatewright.kernel import canonical
from gatewright.kernel.canonical import Json
from gatewright.kernel.errors import Misuse
from gatewright.operations.catalogue import body_of
from gatewright.operations.check import Checked
from gatewright.operations.files import file_failures
from gatewright.operations.home import Home
from gatewright.operations.models import model
from gatewright.policy.verdict import encode_verdict
from gatewright.reports.junit import junit
from gatewright.reports.sarif import sarif

FILE_MODE = 0o644
"""A build server often collects results as another user."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Targets:
    """Where the documents go, each a file or None for none: refused before anything runs.

    Raises Misuse for two documents in one file, a folder that is not there or not writable, and a
    place that is no regular file.
    """

    junit: Path | None = None
    sarif: Path | None = None
    json: Path | None = None

    def __post_init__(self) -> None:
        named: dict[Path, str] = {}
        for what, path in self.given().items():
            place = path.resolve()
            if place in named:
                raise Misuse(
                    "operations.same-file",
                    f"{named[place]} and {what} would go into one file, {path}.",
                    next="Give each a name of its own.",
                )
            named[place] = what
            _require_writable(path)

    def given(self) -> dict[str, Path]:
        """The documents asked for, by what they are."""
        return {each.name: found for each in fields(self) if (found := getattr(self, each.name)) is not None}


def _require_writable(path: Path) -> None:
    folder = path.parent
    if not folder.is_dir():
        raise Misuse(
            "operations.no-folder",
            f"There is no folder {folder} to write {path.name} into.",
            next=f"Make it first: mkdir -p {folder}",
        )
    if path.exists() and not path.is_file():
        raise Misuse("operations.not-a-file", f"{path} is there and is no regular file.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise Misuse("operations.folder-closed", f"This user may not write into the folder {folder}.")


def document(checked: Checked) -> Mapping[str, Json]:
    """The JSON form of a check: what was recorded, the report and the verdict."""
    return {
        **body_of(checked.entry),
        "report_document": canonical.decode(encode_report(checked.report)),
        "verdict_document": canonical.decode(encode_verdict(checked.verdict)),
    }


def write(home: Home, targets: Targets, checked: Checked) -> None:
    """Write what was asked for, each file whole or not at all. Raises DependencyFailed for the disk."""
    ref, report, verdict = checked.entry.ref, checked.report, checked.verdict
    made = {
        "junit": lambda: junit(ref, report, verdict),
        "sarif": lambda: sarif(ref, report, verdict, model_bytes=model(home, ref).bytes),
        "json": lambda: canonical.encode(dict(document(checked))) + b"\n",
    }
    for what, path in targets.given().items():
        home.write(path, made[what]())
        with file_failures("open the report to its readers", path):
            path.chmod(FILE_MODE)
