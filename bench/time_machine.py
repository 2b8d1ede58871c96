"""The time machine: ``history --at`` in a ledger of a million records, inside the process and as a command.

    python bench/time_machine.py --records 1000000 --changes 1000 --json

The home and its changes are made by the product's own operations; the clock alone is given, so that the changes
lie over the time that the home's first keys last. Between two of them stand the sealed segments that serving
would have recorded.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path

from prepared import NAME, prepare, product
from timing import Python, Row, Section, python, quantile, timed

from gatewright.assembly.homes import open_home, read_home
from gatewright.deployments.deployment import Beside, Seat
from gatewright.kernel.digests import Digest
from gatewright.kernel.instants import Instant
from gatewright.ledger.records import Draft
from gatewright.operations.catalogue import Segment, body_of
from gatewright.operations.collect import recorded_predictions
from gatewright.operations.deploy import deploy_release, roll_back_endpoint
from gatewright.operations.history import at, between
from gatewright.operations.home import Home
from gatewright.operations.users import owner

DAY = 86_400 * 10**9
SPAN = 600 * DAY
"""All changes lie within this time from today on: before the keys of a new home expire."""
WINDOW = 30
"""Changes in a window that is asked about."""
APPENDED = 2_000
"""Segments that are recorded in one append."""
ASKED = 200
COMMANDS = 7
LIMIT_MS = 20


def main() -> int:
    """Make the home where it is not there yet, then measure."""
    reader = argparse.ArgumentParser(description=__doc__)
    reader.add_argument("--records", type=int, default=1_000_000)
    reader.add_argument("--changes", type=int, default=1_000)
    reader.add_argument("--folder", type=Path, help="Where the home is made, and found the next time.")
    reader.add_argument("--json", action="store_true", help="Print one JSON document.")
    options = reader.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        interpreter = python(Path(temporary) / "compiled")
        section = measure(
            interpreter, options.folder or Path(temporary), records=options.records, changes=options.changes
        )
    if options.json:
        print(json.dumps(asdict(section), indent=2))
    else:
        print(section.title)
        for row in section.rows:
            print(f"  {row.what}: {row.value:,.1f} {row.unit}")
        print(f"  ({section.note})")
    return 0 if section.rows[0].value <= LIMIT_MS else 1


def measure(interpreter: Python, folder: Path, *, records: int, changes: int) -> Section:
    """The time of a look into the past; the home is made in ``folder`` where it is not there yet."""
    root = folder / "home"
    if not root.exists():
        folder.mkdir(parents=True, exist_ok=True)
        _make(interpreter, root, records, changes)
    return _measure(interpreter, root)


def _make(interpreter: Python, root: Path, records: int, changes: int) -> None:
    prepare(interpreter, root)
    product(interpreter, root, "model", "add", "model.onnx", "--name", NAME, "--trained-on", NAME)
    for arguments in (f"check {NAME}@2", f"release create {NAME}@2", f"approve {NAME}@2 --as ada"):
        product(interpreter, root, *arguments.split())
    start, share, apart = time.time_ns(), records // changes, SPAN // changes
    with open_home(root) as opened:
        for number in range(changes):
            moment = Instant(start + number * apart)
            home = replace(opened, now=lambda moment=moment: moment)
            _change(home, number)
            for _ in range(0, share, APPENDED):
                _sealed(home, min(share, APPENDED))


def _change(home: Home, number: int) -> None:
    """A canary is tried, becomes the champion, and is rolled back; then again."""
    match number % 4:
        case 0 | 2:
            deploy_release(
                home, f"{NAME}@{2 if number % 4 == 0 else 1}", seat=Seat(beside=Beside.CANARY, share=100)
            )
        case 1:
            deploy_release(home, f"{NAME}@2")
        case _:
            roll_back_endpoint(home, NAME)
            deploy_release(home, f"{NAME}@1")


def _sealed(home: Home, many: int) -> None:
    total, actor = recorded_predictions(home), owner(home).principal
    drafts = []
    for _ in range(many):
        total += 1
        digest = Digest.of(str(total).encode())
        entry = Segment(
            id=digest.hex[:32], worker=digest.hex[:16], records=1, root=digest, file=digest,
            first=str(home.now()), last=str(home.now()), total=total,
        )  # fmt: skip
        drafts.append(Draft(kind="predictions.sealed", actor=actor, subject=entry.id, body=body_of(entry)))
    home.archive.append(drafts, home.now())


def _measure(interpreter: Python, root: Path) -> Section:
    with read_home(root) as home:
        seen = list(home.archive.history(("endpoint.deployed", "endpoint.joined"), None))
        size = home.archive.position(Instant(time.time_ns() + 10**18))
        rng = random.Random(7)  # noqa: S311 - which moments are asked about
        first, last = seen[0].time.ns, seen[-1].time.ns
        moments = [Instant(rng.randrange(first, last)) for _ in range(ASKED)]
        asked, windows = iter(moments), iter(moments)
        window = WINDOW * (last - first) // len(seen)
        busy = time.process_time()
        spent = timed(lambda: at(home, next(asked)), ASKED)
        busy = (time.process_time() - busy) / ASKED
        spans = timed(
            lambda: list(between(home, (start := next(windows)), Instant(start.ns + window))), ASKED
        )
    moment = str(moments[0])
    whole = [
        interpreter.run("-m", "gatewright", "history", "--at", moment, folder=root).wall
        for _ in range(COMMANDS)
    ]
    none = [
        interpreter.run("-m", "gatewright", "status", "--help", folder=root).wall for _ in range(COMMANDS)
    ]
    middle = statistics.median(spent)
    return Section(
        title=f"The time machine, in {size:,} records",
        rows=[
            _row(
                "what was live at a moment, inside the process",
                middle,
                beside=f"of {LIMIT_MS} ms",
                ratio=middle * 1e3 / LIMIT_MS,
            ),
            _row("  99 of 100 within", quantile(spent, 0.99)),
            _row("  computed by this process, on average", busy),
            _row(f"every change of a window of {WINDOW}, inside the process", statistics.median(spans)),
            _row("  99 of 100 within", quantile(spans, 0.99)),
            _row("the command: gatewright history --at", statistics.median(whole)),
            _row("  a command that only prints its help", statistics.median(none)),
        ],
        note=f"Medians of {ASKED} moments and {COMMANDS} commands; {len(seen):,} changes in all.",
    )


def _row(what: str, seconds: float, *, beside: str = "", ratio: float | None = None) -> Row:
    return Row(what=what, value=seconds * 1e3, unit="ms", beside=beside, ratio=ratio)


if __name__ == "__main__":
    sys.exit(main())
