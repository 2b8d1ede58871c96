"""Clients that this project did not write, each from an environment of its own, against a served endpoint.

``python bench/conformance.py [CLIENT ...] [--json FILE]``, or ``make conformance``. An endpoint is made by the
product's own commands and served; each client of the Open Inference Protocol v2 is installed under
``.state/conformance`` from its hashed list in ``bench/clients`` and asked to do what it can. Our
answers are also held against a schema that was written from the protocol's published OpenAPI document.
Prints a table; the exit status is 1 when anything failed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).with_name("clients")))

import httpx
import onnxruntime
from case import Case
from endpoint import free_port
from jsonschema import Draft202012Validator
from prepared import NAME, prepare, started
from timing import Python

ROOT = Path(__file__).parents[1]
STATE = ROOT / ".state" / "conformance"
LISTS = ROOT / "bench" / "clients"
ROWS = 2
CLIENT_SECONDS = 300
GRPC_OPTION = "--grpc-port"


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """An outside client: what is installed, and the script that makes its calls."""

    name: str
    package: str

    @property
    def listed(self) -> Path:
        """Its environment, package by package."""
        return LISTS / f"{self.name}.txt"

    @property
    def version(self) -> str:
        """The version in that list."""
        lines = self.listed.read_text("utf-8").splitlines()
        return next(line.split()[0] for line in lines if line.startswith(f"{self.package}==")).partition(
            "=="
        )[2]

    @property
    def script(self) -> Path:
        """What is run in that environment."""
        return LISTS / f"with_{self.name}.py"


CLIENTS = (
    Client(name="tritonclient", package="tritonclient"),
    Client(name="kserve", package="kserve"),
    Client(name="openapi", package="open-inference-openapi"),
    Client(name="mlserver", package="mlserver"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One call: by whom, over what, and whether it ``passed``, ``failed`` or was ``skipped``, with the reason."""

    client: str
    over: str
    call: str
    outcome: str
    why: str = ""


def environment(client: Client) -> Path:
    """The client's own environment, made once; its Python."""
    folder = STATE / client.name
    python = folder / "bin" / "python"
    wanted = client.listed.read_bytes()
    mark = folder / "installed.txt"
    if not (mark.is_file() and mark.read_bytes() == wanted):
        print(f"Installing {client.package} {client.version} into {folder}.", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        pip = [str(python), "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--no-input"]
        subprocess.run([*pip, "--require-hashes", "-r", str(client.listed)], check=True)
        mark.write_bytes(wanted)
    return python


def rows_of(client: Client, case: Path) -> list[Row]:
    """What the client's script says of each call; a script that ends early is a failure, too."""
    label = f"{client.package} {client.version}"
    try:
        done = subprocess.run(
            [str(environment(client)), str(client.script), str(case)],
            capture_output=True,
            text=True,
            timeout=CLIENT_SECONDS,
            check=False,
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        return [Row(client=label, over="", call="run", outcome="failed", why=str(error)[:300])]
    over, found = "", []
    for line in done.stdout.splitlines():
        said = json.loads(line)
        if said["outcome"] == "section":
            over = said["call"]
            continue
        found.append(Row(client=label, over=over, **said))
    if done.returncode != 0 or not found:
        found.append(Row(client=label, over=over, call="run", outcome="failed", why=done.stderr[-300:]))
    return found


# The protocol's own document, as far as it speaks of answers.

_TEXT = {"type": "string"}
_SHAPE = {"type": "array", "items": {"type": "integer"}}
_VALUES = {"anyOf": [{"$ref": "#/$defs/data"}, {"type": "number"}, _TEXT, {"type": "boolean"}]}
_DATA = {"type": "array", "items": _VALUES}


def _object(required: tuple[str, ...], **properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": list(required), "properties": properties}


_TENSORS = {
    "type": "array",
    "items": _object(("name", "datatype", "shape"), name=_TEXT, datatype=_TEXT, shape=_SHAPE),
}
_OUTPUT = _object(
    ("name", "shape", "datatype", "data"),
    name=_TEXT,
    shape=_SHAPE,
    datatype=_TEXT,
    parameters={"type": "object"},
    data={"$ref": "#/$defs/data"},
)
SERVER = _object(
    ("name", "version", "extensions"),
    name=_TEXT,
    version=_TEXT,
    extensions={"type": "array", "items": _TEXT},
)
MODEL = _object(
    ("name", "platform"),
    name=_TEXT,
    platform=_TEXT,
    versions={"type": "array", "items": _TEXT},
    inputs=_TENSORS,
    outputs=_TENSORS,
)
ANSWER = _object(
    ("model_name", "outputs"),
    model_name=_TEXT,
    model_version=_TEXT,
    id=_TEXT,
    parameters={"type": "object"},
    outputs={"type": "array", "items": _OUTPUT},
) | {"$defs": {"data": _DATA}}
ERROR = _object(("error",), error=_TEXT)


def schema_rows(case: Case) -> list[Row]:
    """Each REST answer of the protocol, with its status, against the schema."""
    model = f"/v2/models/{case.endpoint}"
    version = f"{model}/versions/{case.version}"
    flat = [each for row in case.rows for each in row]
    tensor = {"name": "input", "shape": [ROWS, len(flat) // ROWS], "datatype": "FP32", "data": flat}
    good, bad = {"id": "c-1", "inputs": [tensor]}, {"inputs": [tensor | {"shape": [1, 1]}]}
    asked: list[tuple[str, str, Any, int, dict[str, Any]]] = [
        ("GET", "/v2/health/live", None, 200, {}),
        ("GET", "/v2/health/ready", None, 200, {}),
        ("GET", "/v2", None, 200, SERVER),
        ("GET", "/v2/", None, 200, SERVER),
        *[("GET", path, None, 200, MODEL) for path in (model, version)],
        *[("GET", f"{path}/ready", None, 200, {}) for path in (model, version)],
        *[("POST", f"{path}/infer", good, 200, ANSWER) for path in (model, version)],
        *[("POST", f"{path}/infer", bad, 400, ERROR) for path in (model, version)],
        ("GET", "/v2/models/no-such", None, 404, ERROR),
        ("POST", f"{model}/versions/999/infer", good, 404, ERROR),
    ]
    found = []
    with httpx.Client(base_url=f"http://{case.rest}", headers=case.headers, timeout=30) as client:
        for method, path, body, status, schema in asked:
            answer = client.request(method, path, json=body)
            wrong = [error.message for error in Draft202012Validator(schema).iter_errors(answer.json())]
            if answer.status_code != status:
                wrong.append(f"status {answer.status_code}, not {status}")
            found.append(
                Row(
                    client="OpenAPI document 2.0",
                    over="REST",
                    call=f"{method} {path} is {status}",
                    outcome="failed" if wrong else "passed",
                    why="; ".join(wrong)[:300],
                )
            )
    return found


@contextmanager
def served(folder: Path) -> Iterator[Case]:
    """An endpoint, made and served by the product's own commands, and what its model answers."""
    python = Python(environment=dict(os.environ), compiled="")
    prepared = prepare(python, folder / "home")
    rows = prepared.row.repeat(ROWS, axis=0)
    rows[1] *= 1.5
    session = onnxruntime.InferenceSession(prepared.model, providers=["CPUExecutionProvider"])
    label, probabilities = session.run(["label", "probabilities"], {session.get_inputs()[0].name: rows})
    port, command = free_port(), ["-m", "gatewright", "serve"]
    grpc = ""
    if GRPC_OPTION in python.output(*command, "--help", folder=folder):
        grpc = f"127.0.0.1:{free_port()}"
        command += [GRPC_OPTION, grpc.rpartition(":")[2]]
    with started(python, prepared.folder, port, *command, "--port", str(port), path="/v2/health/live"):
        yield Case(
            rest=f"127.0.0.1:{port}",
            grpc=grpc,
            key=prepared.api_key,
            endpoint=NAME,
            version="1",
            rows=rows.tolist(),
            label=label.tolist(),
            probabilities=probabilities.tolist(),
        )


def table(rows: list[Row]) -> str:
    """The rows, for people."""
    heads = ("client", "over", "call", "outcome")
    cells = [heads, *((row.client, row.over, row.call, row.outcome) for row in rows)]
    wide = [max(len(cell[at]) for cell in cells) for at in range(len(heads))]
    lines = []
    for row, cell in zip([None, *rows], cells, strict=True):
        text = "  ".join(part.ljust(width) for part, width in zip(cell, wide, strict=True)).rstrip()
        lines.append(f"{text}  {row.why}" if row is not None and row.why else text)
    return "\n".join(lines)


def main() -> int:
    """Run everything and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    names = [client.name for client in CLIENTS]
    parser.add_argument("clients", nargs="*", metavar="CLIENT", help=f"some of {', '.join(names)}")
    parser.add_argument("--json", type=Path, help="write the rows to this file, too")
    chosen = parser.parse_args()
    unknown = set(chosen.clients) - set(names)
    if unknown:
        parser.error(f"no such client: {', '.join(sorted(unknown))}")
    wanted = [client for client in CLIENTS if not chosen.clients or client.name in chosen.clients]
    for client in wanted:
        environment(client)
    with tempfile.TemporaryDirectory(prefix="gatewright-conformance-") as name, served(Path(name)) as case:
        file = Path(name) / "case.json"
        file.write_text(json.dumps(asdict(case)), "utf-8")
        rows = schema_rows(case)
        for client in wanted:
            rows += rows_of(client, file)
    print(table(rows))
    count = {
        outcome: sum(row.outcome == outcome for row in rows) for outcome in ("passed", "failed", "skipped")
    }
    print(", ".join(f"{number} {outcome}" for outcome, number in count.items()) + ".")
    if chosen.json:
        chosen.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n", "utf-8")
    return 1 if count["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
