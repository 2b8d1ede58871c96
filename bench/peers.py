"""The endpoint beside other servers: one small model, and the Adult pipeline with its texts.

``python bench/peers.py [--small] [ADULT_FOLDER] [--only PEER]... [--rounds N] [--seconds S] [--json FILE]``, or
``make bench-peers``. Each peer gets an environment of its own under ``.state/peers`` from its hashed list
in ``bench/peers``, trains the same pipeline there, and serves it in the way its documentation gives
for one process; one that can gather requests into batches does (MLServer is told both ways). One
peer at a time stands beside ours, and rounds of the two alternate; servers have core 0, the caller
core 1. Ours is governed: key check, typed decoding, encryption and a synced record before every
answer; the peers do none of it. A peer that does not run is told with the reason.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from contenders import Contender, Server, last_line, of_adult, said, small
from timing import CLIENT_CORE, SERVER_CORE, pinned, python

READY_SECONDS = 90.0
STOP_SECONDS = 30.0
SETTLE_SECONDS = 1.0
CONNECTIONS = 64
QUIET = {
    "BENTOML_DO_NOT_TRACK": "True",
    "DO_NOT_TRACK": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "RAY_USAGE_STATS_ENABLED": "0",
}
_UNITS_MS = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One run of the caller: requests a second, latencies in milliseconds, answers that failed or did not come."""

    rate: float
    p50: float
    p99: float
    errors: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Medians over a contender's rounds; ``ours_is`` is the median of the rounds' ratios, ``why`` a peer's absence."""

    server: str
    requests_per_second: float = 0.0
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    errors: int = 0
    ours_is: float | None = None
    why: str = ""

    def line(self) -> str:
        """A line of a Markdown table."""
        if self.why:
            return f"| {self.server} | not measured: {self.why} | | | | |"
        times = "" if self.ours_is is None else f"{self.ours_is:.1f} times"
        figures = f"{self.requests_per_second:,.0f} | {self.p50_ms:.1f} ms | {self.p99_ms:.1f} ms"
        return f"| {self.server} | {figures} | {self.errors} | {times} |"


@contextmanager
def serving(server: Server) -> Iterator[None]:
    """Run a server on the server's core until the context ends; it has answered once."""
    paths = [str(server.tools)] if server.tools else []
    found = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"} | QUIET
    found["PATH"] = os.pathsep.join([*paths, os.environ["PATH"]])
    found["HOME"] = str(server.folder)  # some keep folders of their own there
    log = server.folder / "server.log"
    with log.open("wb") as handle, pinned(SERVER_CORE):
        process = subprocess.Popen(
            server.command, cwd=server.folder, env=found, stdout=handle, stderr=handle, start_new_session=True
        )
    try:
        ready(server, process, log)
        yield
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # what it started and left behind
        process.wait()


def ready(server: Server, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait for the first answer; raises RuntimeError with what was said last when none comes."""
    deadline = time.monotonic() + READY_SECONDS
    while True:
        try:
            answer_of(server)
        except OSError as error:
            if process.poll() is not None:
                told = last_line(log.read_text("utf-8", "replace"))
                raise RuntimeError(f"it ended: {told}") from None
            if time.monotonic() > deadline:
                raise RuntimeError(f"no answer in {READY_SECONDS:.0f} s: {error}") from None
            time.sleep(0.2)
        else:
            return


def answer_of(server: Server) -> bytes:
    """The body of one answer; raises OSError when none comes, or one that is not 200."""
    request = urllib.request.Request(  # noqa: S310 - loopback
        server.url, server.body.encode(), {"Content-Type": "application/json", **server.headers}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - loopback
        found: bytes = answer.read()
        return found


def load(server: Server, seconds: int) -> Round:
    """One round of wrk."""
    script = server.folder / "post.lua"
    headers = {"Content-Type": "application/json", **server.headers}
    lines = "\n".join(f'wrk.headers["{name}"] = "{value}"' for name, value in headers.items())
    script.write_text(f'wrk.method = "POST"\nwrk.body = [==[{server.body}]==]\n{lines}\n', "utf-8")
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--timeout", "10s", "--latency"]
    with pinned(CLIENT_CORE):
        found = said([*command, "-s", str(script), server.url])
    time.sleep(SETTLE_SECONDS)  # what was still asked when the caller hung up must not burden the next round
    rate = re.search(r"Requests/sec:\s*([\d.]+)", found)
    at = {
        share: (float(value), unit) for share, value, unit in re.findall(r"(\d+)%\s+([\d.]+)([a-z]+)", found)
    }
    failed = re.search(r"Non-2xx or 3xx responses: (\d+)", found)
    lost = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", found)
    return Round(
        rate=float(rate[1]) if rate else 0.0,
        p50=at["50"][0] * _UNITS_MS[at["50"][1]],
        p99=at["99"][0] * _UNITS_MS[at["99"][1]],
        errors=(int(failed[1]) if failed else 0) + (sum(map(int, lost.groups())) if lost else 0),
    )


def beside(
    us: Server, other: Contender, folder: Path, options: argparse.Namespace
) -> list[tuple[Round, Round]]:
    """Alternating rounds of ours and of one other, which runs only meanwhile."""
    folder.mkdir()
    them = other.made(folder)
    with serving(them):
        print(f"{other.label}: {answer_of(them)[:200]!r}", flush=True)
        load(them, 2)
        return [(load(us, options.seconds), load(them, options.seconds)) for _ in range(options.rounds)]


def row_of(label: str, rounds: list[Round], ratios: list[float]) -> Row:
    """The medians."""
    return Row(
        server=label,
        requests_per_second=statistics.median(each.rate for each in rounds),
        p50_ms=statistics.median(each.p50 for each in rounds),
        p99_ms=statistics.median(each.p99 for each in rounds),
        errors=sum(each.errors for each in rounds),
        ours_is=statistics.median(ratios) if ratios else None,
    )


def measured(contenders: list[Contender], folder: Path, options: argparse.Namespace) -> list[Row]:
    """A row for each contender; the first is ours."""
    first, *others = contenders
    (folder / first.name).mkdir()
    us = first.made(folder / first.name)
    own: list[Round] = []
    rows: list[Row] = []
    with serving(us):
        print(f"{first.label}: {answer_of(us)[:200]!r}", flush=True)
        load(us, 2)
        for other in (each for each in others if not options.only or each.name in options.only):
            try:
                pairs = beside(us, other, folder / other.name, options)
                ratios = [a.rate / b.rate for a, b in pairs]
            except (RuntimeError, OSError, subprocess.SubprocessError, KeyError, ZeroDivisionError) as error:
                rows.append(Row(server=other.label, why=str(error)))
                continue
            own += [a for a, _ in pairs]
            rows.append(row_of(other.label, [b for _, b in pairs], ratios))
    return [row_of(first.label, own, []), *rows] if own else rows


def main() -> int:
    """Measure, print, keep."""
    reader = argparse.ArgumentParser(description="The endpoint beside other servers.")
    reader.add_argument("adult", type=Path, nargs="?", help="Folder with Adult's train.csv and test.csv.")
    reader.add_argument("--small", action="store_true", help="Measure the small model; needs no folder.")
    reader.add_argument(
        "--only", action="append", metavar="PEER", help="Only this one beside ours; may be repeated."
    )
    reader.add_argument("--seconds", type=int, default=4, help="Length of a round.")
    reader.add_argument("--rounds", type=int, default=5, help="Alternating rounds of each pair.")
    reader.add_argument("--json", type=Path, help="Also write the figures to this file.")
    options = reader.parse_args()
    if not (options.small or options.adult):
        reader.error("name --small, or the folder with Adult's train.csv and test.csv, or both")
    tables: dict[str, list[Row]] = {}
    with tempfile.TemporaryDirectory(prefix="gatewright-peers-") as place:
        folder = Path(place)
        parts = {"small": small(python(folder / "compiled"), folder)} if options.small else {}
        parts |= {"adult": of_adult(options.adult.resolve())} if options.adult else {}
        for part, contenders in parts.items():
            (folder / part).mkdir()
            tables[part] = measured(contenders, folder / part, options)
    for part, rows in tables.items():
        print(f"\n{part}, {CONNECTIONS} connections, {options.rounds} rounds of {options.seconds} s\n")
        print("| server | requests/s | p50 | p99 | errors | ours is |\n|---|---:|---:|---:|---:|---:|")
        print("\n".join(row.line() for row in rows))
    if options.json:
        figures = {part: [asdict(row) for row in rows] for part, rows in tables.items()}
        options.json.write_text(json.dumps(figures, indent=2) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
