from __future__ import annotations

from pathlib import Path

from gatewright.assembly.counting import counted
from gatewright.serving.board import BOARD_FILE, Board
from gatewright.serving.metrics import (
    ANSWERS,
    BREAKER_OPEN,
    CONNECTIONS,
    REFUSALS,
    SHADOW,
    buckets,
    series,
)


def test_counts_are_those_of_all_workers(tmp_path: Path) -> None:
    """Answers by place, refusals, the shadow's copies and open breakers are summed over the slots."""
    assert {} == counted(tmp_path)
    canary = {"endpoint": "loans", "place": "canary", "version": "2"}
    shadow = {"endpoint": "loans", "place": "shadow", "version": "3"}
    for slot, number in ((0, 5), (1, 7)):
        board = Board.open(tmp_path / BOARD_FILE, slot)
        places = [board.series(name) for name in buckets(ANSWERS, **canary)]
        board.add(places[0], number)
        board.add(places[-2], 1)
        board.add(places[-1], 10**9)
        board.add(board.series(series(SHADOW, **shadow, outcome="differed")), number)
        board.add(board.series(series(REFUSALS, endpoint="loans", status="429", reason="rate")), 2)
        board.add(board.series(series(REFUSALS, endpoint="", status="404", reason="not-there")), 9)
        board.cells[board.series(series(BREAKER_OPEN, **canary), gauge=True)] = 1
        board.cells[board.series(CONNECTIONS.name, gauge=True)] = 3
    found = counted(tmp_path)

    assert ["loans"] == list(found)
    assert ({("canary", 2): 14}, {3: {"differed": 12}}, {("canary", 2): 2}, 4) == (
        found["loans"].answers, found["loans"].shadow, found["loans"].breakers_open, found["loans"].refused,
    )  # fmt: skip
