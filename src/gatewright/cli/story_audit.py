"""The demo's last act: everything about the endpoint in one file, proved by a program that is in it."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from contextlib import AbstractContextManager
from pathlib import Path

from gatewright.cli import exits, show
from gatewright.cli.show import escape
from gatewright.kernel.errors import Tampered
from gatewright.kernel.instants import Instant
from gatewright.operations import evidence_pack
from gatewright.operations.home import Home

PACK = "evidence.zip"
VERIFIER = "verify_evidence.py"
HOUR_NS = 3_600 * 10**9
PATIENCE_S = 120
TOLD_LINES = 12


def export_and_verify(folder: Path, home: AbstractContextManager[Home], endpoint: str) -> str:
    """Export the evidence, take the verifier out of it, and run that alone; returns what it came to."""
    with home as opened:
        now = opened.now()
        made = evidence_pack.export(opened, endpoint, (Instant(now.ns - HOUR_NS), now), folder / PACK)
        fingerprint = opened.trust.fingerprint().hex
    show.done(
        f"{PACK}: {made.files} files, {made.bytes / 1024**2:.1f} MiB, {made.records} records without a gap."
    )
    with zipfile.ZipFile(folder / PACK) as pack:
        (folder / VERIFIER).write_bytes(pack.read(VERIFIER))
    show.out.print(f"[bold {show.ACCENT}]$ python {VERIFIER} {PACK} --fingerprint {fingerprint[:16]}[/]")
    ran = subprocess.run(  # noqa: S603 - our own interpreter and file
        [sys.executable, "-I", VERIFIER, PACK, "--fingerprint", fingerprint],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    for line in ran.stdout.splitlines()[:TOLD_LINES]:
        show.line(f"  {escape(line)}", style="dim")
    if ran.returncode != exits.DONE:
        raise Tampered(
            "cli.demo", "The evidence does not prove itself; this must not happen.", why=ran.stderr[-300:]
        )
    return f"{made.files} files in one, verified by a single Python file"
