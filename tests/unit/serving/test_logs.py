from __future__ import annotations

import json
from typing import Any

from gatewright.kernel.errors import Refusal
from gatewright.serving.logs import LINES_IN_A_SECOND, TEXT_CHARACTERS, Level, Log, LogForm

FAULT = Refusal(code="serving.fault", what="A request failed: ValueError.")


class Lines:
    """A log, what it wrote, and its clock."""

    def __init__(self, form: LogForm) -> None:
        self.written: list[str] = []
        self.now = 1_772_546_700.25
        self.log = Log(self.written.append, form, worker=2, among=3, clock=lambda: self.now)

    @property
    def events(self) -> list[dict[str, Any]]:
        """The lines as objects."""
        return [json.loads(line) for line in self.written]


def test_people_are_told_sentences() -> None:
    """In text a line is the sentence, and refused requests are not told."""
    lines = Lines(LogForm.TEXT)
    lines.log.say("plan-taken", "Plan 3 is in force.", plan=3)
    lines.log.turned(status=401)
    lines.log.stopped()

    assert ["Worker 2: Plan 3 is in force."] == lines.written


def test_a_number_stands_where_there_are_several() -> None:
    """The first of several workers says its number like the others; one that is alone has none."""
    written: list[str] = []
    Log(written.append, worker=0, among=2).say("note", "Here.")
    Log(written.append, worker=0).say("note", "Here.")

    assert ["Worker 0: Here.", "Here."] == written


def test_machines_are_told_one_object_a_line() -> None:
    """In JSON each line has time, level, event, worker and sentence, and the facts that are known."""
    lines = Lines(LogForm.JSON)
    lines.log.say("plan-refused", "No.", Level.WARNING, code="serving.plan-number", address=None)

    assert [
        {
            "time": "2026-03-03T14:05:00.250+00:00",
            "level": "warning",
            "event": "plan-refused",
            "worker": 2,
            "sentence": "No.",
            "code": "serving.plan-number",
        }
    ] == lines.events


def test_nothing_said_ends_a_line_or_moves_a_terminal() -> None:
    """Letters of control are written as escapes, and long texts are cut."""
    lines = Lines(LogForm.JSON)
    lines.log.say("note", "a\n\x1b[2Jé\u202e" + "x" * 5_000, request="r\r\n" * 900)

    (line,) = lines.written
    assert line.isascii()
    assert line.isprintable()
    assert {TEXT_CHARACTERS} == {len(lines.events[0][name]) for name in ("sentence", "request")}


def test_a_flood_is_bounded_and_says_so() -> None:
    """Within a second only so many refusals are told; the next second's first line tells how many were not."""
    lines = Lines(LogForm.JSON)
    for _ in range(LINES_IN_A_SECOND + 500):
        lines.log.turned(status=401)
    lines.now += 1
    lines.log.turned(status=401)

    assert LINES_IN_A_SECOND + 1 == len(lines.written)
    assert (500, 500) == (lines.events[-1]["left_out"], lines.log.dropped)


def test_a_flood_does_not_hide_a_fault() -> None:
    """However many requests are refused, a fault of another kind is still told; and a flood of faults is bounded."""
    for form in LogForm:
        lines = Lines(form)
        for _ in range(100):
            lines.log.turned(status=401)
            lines.log.refusal(FAULT)
        lines.log.refusal(Refusal(code="serving.cannot-record", what="The disk is full."))

        assert "The disk is full." in lines.written[-1]
        assert LINES_IN_A_SECOND == sum("ValueError" in line for line in lines.written)
