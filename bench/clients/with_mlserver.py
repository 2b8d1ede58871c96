"""MLServer's command ``mlserver infer``: a file of requests in, a file of answers out."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from case import INPUT, Case, attempt, read_case, same, tell

REQUESTS = 6


def answers(case: Case, key: str, *more: str) -> list[dict[str, Any]]:
    """What the command writes about some requests of the same rows."""
    rows = case.rows
    flat = [each for row in rows for each in row]
    tensor = {"name": INPUT, "shape": [len(rows), len(rows[0])], "datatype": "FP32", "data": flat}
    with tempfile.TemporaryDirectory() as folder:
        asked, answered = Path(folder) / "in.jsonl", Path(folder) / "out.jsonl"
        asked.write_text(f"{json.dumps({'inputs': [tensor]})}\n" * REQUESTS, "utf-8")
        command = [
            str(Path(sys.executable).with_name("mlserver")),
            "infer",
            *("--url", case.rest, "--model-name", case.endpoint, "--transport", "rest"),
            *("--input-data-path", str(asked), "--output-data-path", str(answered)),
            *("--request-headers", f"Authorization: Bearer {key}"),
            *more,
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        if done.returncode != 0 or not answered.is_file():
            raise ValueError(done.stderr[-300:])
        return [json.loads(line) for line in answered.read_text("utf-8").splitlines()]


def require(case: Case, found: list[dict[str, Any]]) -> None:
    """Raise unless every answer is right."""
    same(len(found), REQUESTS)
    for answer in found:
        if "outputs" not in answer:
            raise ValueError(str(answer))
        outputs = {each["name"]: each for each in answer["outputs"]}
        flat = outputs["probabilities"]["data"]
        width = outputs["probabilities"]["shape"][1]
        rows = [flat[at : at + width] for at in range(0, len(flat), width)]
        case.require(outputs["label"]["data"], rows, answer["parameters"]["receipt"])


def refused(found: list[dict[str, Any]]) -> None:
    """Raise unless every answer is a refusal, in words."""
    if len(found) != REQUESTS or any("API key" not in str(answer.get("error")) for answer in found):
        raise ValueError(str(found))


def rest(case: Case) -> None:
    """The ways in which the command asks."""
    attempt("infer", lambda: require(case, answers(case, case.key)))
    attempt("infer --binary-data", lambda: require(case, answers(case, case.key, "--binary-data")))
    attempt("infer --workers 4", lambda: require(case, answers(case, case.key, "--workers", "4")))
    attempt("without a key: refused", lambda: refused(answers(case, "none", "--retries", "1")))


if __name__ == "__main__":
    tell("REST", "section")
    rest(read_case())
    tell("gRPC", "section")
    tell("everything", "skipped", "mlserver infer has no gRPC yet, as its help says")
