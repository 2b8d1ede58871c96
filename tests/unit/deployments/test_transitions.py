from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest

from gatewright.deployments.transitions import (
    EXPERIMENT,
    FALLBACK,
    LINE,
    PARTS,
    RUNNING,
    SHADOW,
    Companion,
    Event,
    Experiment,
    Part,
    Running,
    State,
)
from gatewright.kernel.errors import Refusal

PAGE = Path(__file__).parents[3] / "docs" / "deployments.md"


def _everywhere() -> Iterator[tuple[str, Any, Event]]:
    for name, part in PARTS.items():
        for state in part.meaning:
            for event in Event:
                yield name, state, event


@pytest.mark.parametrize(("name", "state", "event"), list(_everywhere()))
def test_every_event_in_every_state_moves_or_explains(name: str, state: StrEnum, event: Event) -> None:
    """An event either leads where the table says or is refused with a reason that names the state."""
    part: Part[Any] = PARTS[name]
    after = part.after(state, event)
    if (state, event) in part.transitions:
        assert part.transitions[state, event] is after
    else:
        assert isinstance(after, Refusal)
        assert part.meaning[state] in after.why
        assert after.what


@pytest.mark.parametrize("name", PARTS)
def test_every_state_can_be_reached_and_left(name: str) -> None:
    """Each state but the first is the end of some transition, and none is a dead end."""
    part: Part[Any] = PARTS[name]
    first = next(iter(part.meaning))
    assert set(part.meaning) - {first} <= set(part.transitions.values())
    assert set(part.meaning) == {state for state, _ in part.transitions}


def test_every_line_can_go_live() -> None:
    """A release can always be deployed as the champion."""
    assert all(isinstance(LINE.after(state, Event.DEPLOYED), State) for state in State)


@pytest.mark.parametrize("state", [State.EMPTY, State.FIRST, State.WITHDRAWN])
def test_nothing_is_rolled_back_without_a_predecessor(state: State) -> None:
    """A rollback needs a release that was live before."""
    assert isinstance(LINE.after(state, Event.ROLLED_BACK), Refusal)


@pytest.mark.parametrize("state", [State.EMPTY, State.WITHDRAWN])
def test_nothing_stands_beside_no_champion(state: State) -> None:
    """Canary, arms, shadow and fallback need a champion."""
    assert isinstance(LINE.after(state, Event.JOINED), Refusal)


def test_rolling_back_twice_is_where_it_began() -> None:
    """A rollback of the line is its own inverse."""
    back = LINE.after(State.LIVE, Event.ROLLED_BACK)
    assert isinstance(back, State)
    assert State.LIVE is LINE.after(back, Event.ROLLED_BACK)


def test_canary_and_arms_exclude_each_other() -> None:
    """Neither joins where the other is; a rollback ends both."""
    assert isinstance(EXPERIMENT.after(Experiment.CANARY, Event.ARM), Refusal)
    assert isinstance(EXPERIMENT.after(Experiment.ARMS, Event.CANARY), Refusal)
    for state in (Experiment.CANARY, Experiment.ARMS):
        assert Experiment.NONE is EXPERIMENT.after(state, Event.ROLLED_BACK)


def test_a_rollback_takes_the_shadow_and_leaves_the_fallback() -> None:
    """The shadow ends with a rollback; the fallback's table has no such event."""
    assert Companion.ABSENT is SHADOW.after(Companion.PRESENT, Event.ROLLED_BACK)
    assert isinstance(FALLBACK.after(Companion.PRESENT, Event.ROLLED_BACK), Refusal)


def test_what_is_stopped_is_not_stopped_again() -> None:
    """Stop and resume take turns."""
    assert isinstance(RUNNING.after(Running.STOPPED, Event.STOPPED), Refusal)
    assert isinstance(RUNNING.after(Running.RUNNING, Event.RESUMED), Refusal)


@pytest.mark.parametrize("name", PARTS)
def test_the_page_shows_the_tables(name: str) -> None:
    """docs/deployments.md contains exactly the diagram that each table gives."""
    assert f"```mermaid\n{PARTS[name].diagram()}```\n" in PAGE.read_text(encoding="utf-8")


def test_the_page_names_every_state_and_event() -> None:
    """docs/deployments.md names every state and every event in code style."""
    page = PAGE.read_text(encoding="utf-8")
    states = [state for part in PARTS.values() for state in part.meaning]
    assert [] == [word for word in (*states, *Event) if f"`{word}`" not in page]
