"""The demo: a real model's whole life on real data, told while it happens.

The data are the breast-cancer Wisconsin set that scikit-learn carries (569 rows, 30 features).
Nothing is staged: every refusal, receipt and proof comes from the same code that serves a user.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.rule import Rule

from gatewright.assembly.homes import create_home, open_home
from gatewright.cli import show
from gatewright.cli.show import escape
from gatewright.cli.story_acts import Acts
from gatewright.cli.story_audit import export_and_verify
from gatewright.cli.story_server import client_library
from gatewright.releases.unproven import UNPROVEN


@dataclass(slots=True)
class Clock:
    """How long each act took."""

    times: list[tuple[str, float]] = field(default_factory=list)

    @contextmanager
    def act(self, number: int, title: str) -> Iterator[None]:
        """Tell an act and time it."""
        show.out.print()
        show.out.print(Rule(f"[bold {show.ACCENT}]{number}[/]  {escape(title)}", align="left", style="dim"))
        begun = time.monotonic()
        yield
        self.times.append((title, time.monotonic() - begun))


def tell(*, keep: Path | None, stay: bool | None, machine: bool = False) -> None:
    """Tell the story; at a terminal (or with ``stay``) the endpoint stays up until interrupted.

    With ``machine`` the story goes to standard error, and one JSON document with each act's seconds
    to standard output.
    """
    show.out.stderr = machine
    stay = sys.stdout.isatty() and not machine if stay is None else stay
    client_library()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="gatewright-demo-") as folder:
            _tell(Path(folder), stay=stay, machine=machine)
    else:
        _tell(keep.absolute(), stay=stay, machine=machine)


def _tell(folder: Path, *, stay: bool, machine: bool) -> None:
    begun = time.monotonic()
    show.out.print("[bold]Gatewright[/]: from a trained model to an endpoint its owner can answer for.")
    show.line(
        "Real data (breast-cancer Wisconsin, from scikit-learn), real models, a temporary home.", style="dim"
    )
    create_home(folder, "ada")
    clock = Clock()
    with Acts.begin(folder, lambda: open_home(folder)) as acts:
        with clock.act(1, "The data are registered, and the test rows are locked before training"):
            acts.data()
        with clock.act(2, "A first model learned from part of the test set: refused"):
            acts.leaky_candidate()
        with clock.act(3, "A second model is converted, checked, released, approved, deployed"):
            acts.good_candidate()
        with clock.act(4, "2,000 predictions by a client we did not write, each with a receipt"):
            acts.predictions()
        with clock.act(5, "A third version goes live and is rolled back, under load"):
            acts.switch_under_load()
        with clock.act(6, "Somebody tampers"):
            acts.tampering()
        with clock.act(7, "All evidence about the endpoint goes into one file, which proves itself"):
            acts.results.append(
                ("The evidence in one file", export_and_verify(folder, acts.opening(), acts.ENDPOINT))
            )
        with clock.act(8, "What happened"):
            _summary(acts, clock)
        seconds = time.monotonic() - begun
        show.line(f"The whole life took {seconds:.0f} s.", style="dim")
        if machine:
            show.as_json(_plain(acts, clock, seconds))
        if stay:
            _stay(acts)


def _summary(acts: Acts, clock: Clock) -> None:
    show.table(("what", "result"), ((escape(what), escape(result)) for what, result in acts.results))
    show.table(
        ("act", "seconds"),
        ((escape(title), f"{seconds:.1f}") for title, seconds in clock.times),
        right=("seconds",),
    )
    show.out.print("[bold]What all this does not prove[/]")
    for number, sentence in enumerate(UNPROVEN, 1):
        show.line(f"  {number}. {sentence}")
    show.line()
    show.out.print("[bold]Try next, with your own data[/]")
    for command in (
        "gatewright init",
        "gatewright data split yours.csv --name yours --target COLUMN --seed 7",
        "gatewright model add yours.onnx --name yours --trained-on yours && gatewright ship yours",
    ):
        show.hint(command.replace("gatewright", _program()))


def _program() -> str:
    """How the reader starts this program: by name where the shell finds it, else by its path."""
    if shutil.which("gatewright"):
        return "gatewright"
    place = Path(sys.executable).with_name("gatewright")
    return min(os.path.relpath(place), str(place), key=len)


def _plain(acts: Acts, clock: Clock, seconds: float) -> dict[str, Any]:
    return {
        "acts": [{"title": title, "seconds": round(taken, 3)} for title, taken in clock.times],
        "results": [{"what": what, "result": result} for what, result in acts.results],
        "seconds": round(seconds, 3),
    }


def _stay(acts: Acts) -> None:
    show.line()
    show.done("The endpoint stays up.")
    show.line("  Ask it from another terminal (Ctrl-C here stops it):")
    show.line(f"  curl http://127.0.0.1:{acts.server.port}/v2/models/{acts.ENDPOINT}/infer \\")
    show.line(f"    -H 'Authorization: Bearer {acts.api_key}' -H 'Content-Type: application/json' \\")
    show.line(f"    -d @{acts.request}")
    sys.stdout.flush()  # who reads it through a pipe sees it now
    try:
        acts.server.wait()
    except KeyboardInterrupt:
        show.line("Stopped.")
