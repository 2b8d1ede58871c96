"""What a worker says on standard error: sentences for people, or one JSON object a line.

Nothing is said about a request that was answered. What a caller sent is never said, but for the id
it gave its request, bounded and of safe characters; neither are payloads nor secrets. Lines that
callers can cause are bounded in a second, and the next one tells how many were left out.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from time import time

from gatewright.kernel.errors import Refusal

LINES_IN_A_SECOND = 10
"""Lines of one worker about refused requests, and about each kind of fault."""
TEXT_CHARACTERS = 1_000


class LogForm(StrEnum):
    """How lines are written."""

    TEXT = "text"
    JSON = "json"


class Level(StrEnum):
    """How much a line matters."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Log:
    """The lines of one worker ``among`` so many; from any thread. ``write`` takes a line without its end.

    ``dropped`` counts the lines that were left out.
    """

    def __init__(
        self,
        write: Callable[[str], None],
        form: LogForm = LogForm.TEXT,
        *,
        worker: int = 0,
        among: int = 1,
        clock: Callable[[], float] = time,
    ) -> None:
        self._write = write
        self._form = form
        self._worker = worker
        self._named = f"Worker {worker}: " if among > 1 else ""
        self._clock = clock
        self._second = 0
        self._lines: dict[str, int] = {}
        self._left_out = 0
        self.dropped = 0

    def say(self, event: str, sentence: str, level: Level = Level.INFO, **facts: str | int | None) -> None:
        """One event; people are told the sentence only, and which worker says it where there are several.

        A fact that is None is left out.
        """
        if self._form is LogForm.TEXT:
            self._write(self._named + sentence)
            return
        line = {
            "time": datetime.fromtimestamp(self._clock(), UTC).isoformat(timespec="milliseconds"),
            "level": level.value,
            "event": event,
            "worker": self._worker,
            "sentence": sentence[:TEXT_CHARACTERS],
        }
        line |= {
            name: fact[:TEXT_CHARACTERS] if isinstance(fact, str) else fact
            for name, fact in facts.items()
            if fact is not None
        }
        self._write(json.dumps(line))  # ASCII: nothing in it can move a terminal or end the line

    def stopped(self) -> None:
        """The worker's last line; people see the prompt of their shell come back instead."""
        if self._form is LogForm.JSON:
            self.say("stop", "The worker ended.", Level.INFO, **self._untold())

    def refusal(self, refusal: Refusal, event: str = "fault", level: Level = Level.ERROR) -> None:
        """Something that a person should know; bounded by its code, for a caller may be its cause."""
        if self._room(refusal.code):
            self.say(event, refusal.sentence(), level, code=refusal.code, **self._untold())

    def turned(self, **facts: str | int) -> None:
        """A request that was turned away; people are not told, for it is their callers' affair."""
        if self._form is LogForm.JSON and self._room("refused"):
            self.say("refused", "A request was turned away.", Level.WARNING, **facts, **self._untold())

    def _untold(self) -> dict[str, int]:
        left_out, self._left_out = self._left_out, 0
        return {"left_out": left_out} if left_out else {}

    def _room(self, kind: str) -> bool:
        """Whether one more line of a kind may be said in this second; kinds are words of this program."""
        second = int(self._clock())
        if second != self._second:
            self._second, self._lines = second, {}
        lines = self._lines[kind] = self._lines.get(kind, 0) + 1
        if lines <= LINES_IN_A_SECOND:
            return True
        self._left_out += 1
        self.dropped += 1
        return False
