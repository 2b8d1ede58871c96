"""The demo, to its end: what it promises a newcomer happens, and what it leaves behind can be used."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import httpx

from scenario.world import COMMAND_S, environment, inside

FEW = 40
PROGRAM = f"""
import sys
from gatewright.cli import story_acts
from gatewright.cli.main import run
story_acts.PREDICTIONS = {FEW}
sys.argv = ["gatewright", "demo", "--keep", "kept", "--stay"]
sys.exit(run())
"""
"""The demo with fewer predictions, and nothing else changed."""


def test_the_demo_reaches_its_end(tmp_path: Path) -> None:
    """Every act ends well; the saved answer is verified whole; the call it shows at the end is answered."""
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        cwd=tmp_path,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as told:
        assert told.stdout is not None
        lines = []
        late = threading.Timer(COMMAND_S, told.kill)
        late.start()
        for line in told.stdout:
            lines.append(line.rstrip())
            if "-d @" in line:
                break
        said = "\n".join(lines)
        try:
            shown = re.search(r"curl (\S+) \\\n.*Bearer (\S+?)'.*\n\s+-d @(\S+)$", said)
            assert shown is not None, said
            url, key, request = shown.groups()
            body = (tmp_path / request).read_bytes()
            answer = httpx.post(url, content=body, headers={"Authorization": f"Bearer {key}"}, timeout=60)
        finally:
            late.cancel()
            told.send_signal(signal.SIGTERM)
            rest, _ = told.communicate(timeout=COMMAND_S)
    kept = tmp_path / "kept"
    (verified,) = inside(kept, "verify", "answer.json", "--request", "request.json", "--json").document

    assert (0, 200) == (told.returncode, answer.status_code), said + rest
    assert f"{FEW} answers, {FEW} receipts" in said
    assert [] == verified["facts"]["not_compared"]
    assert verified["sentence"] in said
    assert json.loads((kept / "answer.json").read_bytes())["outputs"] == answer.json()["outputs"]
    for promise in ("✗ refused", "none failed", "The server refused it, as it must", "Exit code 3"):
        assert promise in said
