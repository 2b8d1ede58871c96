"""What the repository says about itself holds: its commands, its licence, its lock, its pages."""

from __future__ import annotations

import re
import subprocess
from functools import cache
from hashlib import sha256
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# SHA-256 of the text at apache.org/licenses/LICENSE-2.0.txt.
APACHE_2 = "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"
UNHASHED = frozenset({"torch"})
MAKE_TARGETS = frozenset({"demo", "test", "bench", "campaign", "lint", "help"})
# Folders that tools make, when git cannot say what belongs to the repository (an unpacked archive).
MADE_BY_TOOLS = re.compile(
    r"(?:^|/)(?:\.venv|\.git|__pycache__|\.[a-z_]+_cache|\.hypothesis|dist|build)(?:/|$)"
)


@cache
def repository_files() -> tuple[Path, ...]:
    """Every file that belongs to the repository, committed or about to be."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    names = (
        listed.stdout.split("\0")
        if listed.returncode == 0
        else (path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*"))
    )
    return tuple(
        ROOT / name
        for name in sorted(set(names))
        if name and not MADE_BY_TOOLS.search(name) and (ROOT / name).is_file()
    )


def mentions(pattern: re.Pattern[str]) -> list[str]:
    """Where a pattern stands in the repository's text files, as ``path: match``."""
    found = []
    for path in repository_files():
        try:
            text = path.read_text("utf-8")
        except UnicodeDecodeError:
            continue
        found += [f"{path.relative_to(ROOT)}: {match.group()}" for match in pattern.finditer(text)]
    return found


def locked() -> dict[str, str]:
    """Each requirement of the lock by name, with its whole entry."""
    text = (ROOT / "requirements.lock").read_text("utf-8")
    entries = re.split(r"\n(?=[a-zA-Z0-9])", "\n" + text)[1:]
    return {re.split(r"[=\[ ]", entry)[0]: entry for entry in entries}


def test_every_make_target_explains_itself() -> None:
    """``make help`` lists every target that the Makefile has, the promised ones among them."""
    makefile = (ROOT / "Makefile").read_text("utf-8")
    targets = set(re.findall(r"^([a-z][a-z-]*):", makefile, re.MULTILINE))
    told = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert targets == set(re.findall(r"^  make ([a-z-]+) +\S", told, re.MULTILINE))
    assert targets >= MAKE_TARGETS


def test_ci_runs_what_people_run() -> None:
    """``.ci/run`` is executable, stops at the first failure and runs ``make test``."""
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o111
    text = script.read_text("utf-8")
    assert "set -euo pipefail" in text
    assert text.rstrip().endswith("make test")


def test_the_licence_is_apache_2() -> None:
    """LICENSE is the full, unaltered text of the Apache License 2.0."""
    assert APACHE_2 == sha256((ROOT / "LICENSE").read_bytes()).hexdigest()


def test_the_lock_pins_every_requirement_by_hash() -> None:
    """Every requirement of the lock has an exact version and SHA-256 hashes, torch alone excepted."""
    entries = locked()
    assert entries
    assert [] == [
        name
        for name, entry in entries.items()
        if name not in UNHASHED and not re.search(r"--hash=sha256:[0-9a-f]{64}", entry)
    ]
    assert [] == [name for name, entry in entries.items() if not re.match(r"[\w.-]+==[\w.!+]+", entry)]


def test_the_lock_takes_nothing_from_an_address() -> None:
    """No requirement of the lock is an address, a path or an option that names a place."""
    text = (ROOT / "requirements.lock").read_text("utf-8")
    assert [] == re.findall(r"^(?:-(?!-hash).*|.* @ .*|\.{0,2}/.*|.*://.*)$", text, re.MULTILINE)


# The patterns are put together here so that this file does not hold what it looks for.
INDEX = re.compile(
    r"https?://[^\s\"'`)]*(?:"
    + "|".join(["py" + r"pi\.", "python" + "hosted", "/sim" + r"ple\b", "devpi", "artifactory"])
    + r")[^\s\"'`)]*|--(?:extra-)?index"
    + "-url|--find"
    + "-links",
    re.IGNORECASE,
)
MACHINE = re.compile(
    r"(?<![\w.~/-])/(?:" + "|".join(["wo" + "rk", "ho" + "me", "ro" + "ot", "Use" + "rs"]) + r")/\w+"
)


def test_no_file_names_a_package_index() -> None:
    """No file names the address of a package index; where packages come from is the installer's business."""
    assert [] == mentions(INDEX)


def test_no_file_names_a_place_on_a_machine() -> None:
    """No file holds the absolute path of somebody's machine."""
    assert [] == mentions(MACHINE)


@pytest.mark.parametrize(
    ("pattern", "planted"),
    [
        (INDEX, "https://files.python" + "hosted.org/packages/x"),
        (INDEX, "http://mirror.example/sim" + "ple/"),
        (INDEX, "pip install --index" + "-url x"),
        (MACHINE, "see /ho" + "me/ada/x"),
    ],
)
def test_planted_addresses_are_seen(pattern: re.Pattern[str], planted: str) -> None:
    """Each kind of address is found in a planted line."""
    assert pattern.search(planted)


def pages() -> list[Path]:
    """Every Markdown page of the repository."""
    return [path for path in repository_files() if path.suffix == ".md"]


def test_links_between_pages_lead_somewhere() -> None:
    """Every relative link of every page names a file that exists."""
    assert [] == [
        f"{page.relative_to(ROOT)}: {target}"
        for page in pages()
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text("utf-8"))
        if "://" not in target and not target.startswith("mailto:") and not (page.parent / target).exists()
    ]


def test_every_decision_stands_in_the_index() -> None:
    """Each decision page is named in the index, and the index names no other."""
    folder = ROOT / "docs" / "decisions"
    numbered = {path.name for path in folder.glob("[0-9][0-9][0-9][0-9]-*.md")}
    assert numbered == set(re.findall(r"\]\((\d{4}-[^)]+)\)", (folder / "README.md").read_text("utf-8")))


def test_paths_in_the_contributing_guide_exist() -> None:
    """The guide for contributors names only files that are there, its own example excepted."""
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    named = set(re.findall(r"`((?:src|tests|docs)/[\w./-]+|(?:checks|models|kernel)/[\w/]+\.py)`", text))
    example = {name for name in named if "noise" in name}
    missing = {
        name
        for name in named - example
        if not (ROOT / name).exists() and not (ROOT / "src" / "gatewright" / name).exists()
    }
    assert len(example) == 2
    assert missing == set()
