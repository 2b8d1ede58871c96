"""The commit hooks: each entry is run as pre-commit runs it, with the files that its filter lets through."""

from __future__ import annotations

import os
import pickle
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from gatewright.operations.initialise import default_policy
from scenario.world import classifier, environment

ROOT = Path(__file__).parents[2]
HOOKS: dict[str, dict[str, Any]] = {
    hook["id"]: hook for hook in YAML(typ="safe").load((ROOT / ".pre-commit-hooks.yaml").read_text("utf-8"))
}
SECONDS = 240
GOOD = {"model.onnx": classifier(), "sub/policy.toml": default_policy(), "notes.md": b"Conda\nnumpy.\n"}
BAD = {
    "gatewright-model": ("weights.txt", pickle.dumps({"a": [1]})),
    "gatewright-policy": ("policy.toml", b"rules = 3\n"),
}


def committed(folder: Path, files: dict[str, bytes]) -> list[str]:
    """Write the files; returns their names."""
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        (folder / name).write_bytes(content)
    return list(files)


def ran(hook: str, folder: Path, names: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a hook as pre-commit does: its entry, split into words, then the names that pass its filter."""
    given = HOOKS[hook]
    passing = [name for name in names if re.search(given.get("files", ""), name)]
    return subprocess.run(
        [*given["entry"].split(), *passing],
        cwd=folder,
        env=environment({"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_lets_good_files_pass(hook: str, tmp_path: Path) -> None:
    """A plain ONNX model, a readable policy and a text pass."""
    done = ran(hook, tmp_path, committed(tmp_path, GOOD))
    assert 0 == done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_stops_a_bad_file(hook: str, tmp_path: Path) -> None:
    """One bad file among good ones stops the commit, and is named."""
    name, content = BAD[hook]
    done = ran(hook, tmp_path, committed(tmp_path, {**GOOD, name: content}))
    assert done.returncode in {1, 2}
    assert f"{name}: " in done.stdout + done.stderr


@pytest.mark.skipif(shutil.which("pre-commit") is None, reason="pre-commit is not installed")
def test_the_real_pre_commit_reads_the_hooks(tmp_path: Path) -> None:
    """pre-commit itself accepts the file of hooks."""
    done = subprocess.run(
        ["pre-commit", "validate-manifest", str(ROOT / ".pre-commit-hooks.yaml")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert 0 == done.returncode, done.stdout + done.stderr
