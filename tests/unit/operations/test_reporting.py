"""Reports for machines go into the files that were named, whole, whatever the policy says."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from gatewright.kernel.errors import Misuse
from gatewright.operations.reporting import Targets
from scenario.world import Home, classifier

NOISE = (0.05, 0.05, 3.0)


@pytest.fixture(scope="module")
def lived_in(live_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home with a checked model, driven by commands."""
    root = tmp_path_factory.mktemp("reporting") / "home"
    shutil.copytree(live_template, root)
    return Home(root=root)


def test_two_documents_in_one_file_are_refused(tmp_path: Path) -> None:
    """One path given twice, however it is spelled, is wrong use."""
    with pytest.raises(Misuse) as refused:
        Targets(junit=tmp_path / "out.xml", sarif=tmp_path / "." / "out.xml")
    assert "operations.same-file" == refused.value.code


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    """A missing folder is wrong use, and the sentence says how to make it."""
    with pytest.raises(Misuse) as refused:
        Targets(junit=tmp_path / "reports" / "out.xml")
    assert "operations.no-folder" == refused.value.code
    assert f"mkdir -p {tmp_path / 'reports'}" in refused.value.refusal.next


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    """A folder in the file's place is wrong use."""
    with pytest.raises(Misuse) as refused:
        Targets(json=tmp_path)
    assert "operations.not-a-file" == refused.value.code


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is closed to root")
def test_a_closed_folder_is_named(tmp_path: Path) -> None:
    """A folder that this user may not write into is wrong use."""
    tmp_path.chmod(0o500)
    with pytest.raises(Misuse) as refused:
        Targets(sarif=tmp_path / "out.sarif")
    tmp_path.chmod(0o700)
    assert "operations.folder-closed" == refused.value.code


def test_nothing_runs_when_a_file_cannot_be_written(lived_in: Home) -> None:
    """A wrong path is refused before anything is checked or recorded."""
    before = lived_in.digest()
    ran = lived_in.run("check", "loans@1", "--junit", "none/out.xml")
    assert (2, "operations.no-folder") == (ran.code, ran.error["code"])
    assert before == lived_in.digest()


def test_the_three_documents_of_a_check(lived_in: Home, tmp_path: Path) -> None:
    """The files say what standard output says, of the newest check as well, and others may read them."""
    xml, sarif, report = (tmp_path / name for name in ("a.xml", "a.sarif", "a.json"))
    printed = lived_in.do(
        "check", "loans@1", "--last", "--junit", str(xml), "--sarif", str(sarif), "--report", str(report)
    )
    assert printed == json.loads(report.read_text("utf-8"))
    assert "0" == ET.parse(xml).getroot().attrib["failures"]  # noqa: S314 - our own
    assert "2.1.0" == json.loads(sarif.read_text("utf-8"))["version"]
    assert {0o644} == {path.stat().st_mode & 0o777 for path in (xml, sarif, report)}
    assert ["a.json", "a.sarif", "a.xml"] == sorted(path.name for path in tmp_path.iterdir())


def test_a_denied_model_leaves_its_reports(lived_in: Home, tmp_path: Path) -> None:
    """Where the policy denies, the exit code is 1 and every file is written all the same."""
    model = tmp_path / "noise.onnx"
    model.write_bytes(classifier(NOISE))
    lived_in.do("model", "add", str(model), "--name", "noise", "--trained-on", "loans")
    ran = lived_in.run("check", "noise", "--junit", str(tmp_path / "a.xml"))
    assert (1, "deny") == (ran.code, ran.document["decision"])
    assert "0" != ET.parse(tmp_path / "a.xml").getroot().attrib["failures"]  # noqa: S314 - our own
