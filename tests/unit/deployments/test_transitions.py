from pathlib import Path

import pytest

from gatewright.deployments.transitions import MEANING, TRANSITIONS, Event, State, diagram, next_state
from gatewright.kernel.errors import Refusal

PAGE = Path(__file__).parents[3] / "docs" / "deployments.md"


@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize("event", list(Event))
def test_every_event_in_every_state_moves_or_explains(state: State, event: Event) -> None:
    """An event either leads where the table says or is refused with a reason."""
    after = next_state(state, event)
    if (state, event) in TRANSITIONS:
        assert TRANSITIONS[state, event] is after
    else:
        assert isinstance(after, Refusal)
        assert MEANING[state] in after.why


def test_every_state_can_be_reached() -> None:
    """Each state but the first is the end of some transition."""
    assert {state for state in State if state is not State.EMPTY} == set(TRANSITIONS.values())


def test_every_state_can_go_live() -> None:
    """No state is a dead end: a release can always be deployed."""
    assert all(isinstance(next_state(state, Event.DEPLOYED), State) for state in State)


@pytest.mark.parametrize("state", [State.EMPTY, State.FIRST, State.WITHDRAWN])
def test_nothing_is_rolled_back_without_a_predecessor(state: State) -> None:
    """A rollback needs a release that was live before."""
    assert isinstance(next_state(state, Event.ROLLED_BACK), Refusal)


def test_rolling_back_twice_is_where_it_began() -> None:
    """A rollback is its own inverse."""
    back = next_state(State.LIVE, Event.ROLLED_BACK)
    assert isinstance(back, State)
    assert State.LIVE is next_state(back, Event.ROLLED_BACK)


def test_the_page_shows_the_table() -> None:
    """docs/deployments.md contains exactly the diagram that the table gives."""
    assert f"```mermaid\n{diagram()}```\n" in PAGE.read_text(encoding="utf-8")


def test_the_page_names_every_state_and_event() -> None:
    """docs/deployments.md names every state and every event in code style."""
    page = PAGE.read_text(encoding="utf-8")
    assert [] == [word for word in (*State, *Event) if f"`{word}`" not in page]
