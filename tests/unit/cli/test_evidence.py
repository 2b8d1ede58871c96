from __future__ import annotations

from typing import Any

import pytest

from gatewright.cli.standing import _tell_serving


def model(**change: Any) -> dict[str, Any]:
    """What a worker says of one release."""
    said = {"endpoint": "loans", "place": "champion", "version": 3, "run": "inline", "joined_rows": 1}
    return said | {"microseconds": {"1": 1234}} | change


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (model(), "loans version 3 (champion): inline, 1,234 µs for one row."),
        (
            model(run="batched", joined_rows=8, place="canary"),
            "loans version 3 (canary): batched, 1,234 µs for one row, up to 8 rows in one run.",
        ),
    ],
)
def test_status_tells_how_each_model_is_run(
    said: dict[str, Any], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """For each release that may answer: how requests meet it, and what was measured when it was loaded."""
    _tell_serving([{"serving": True, "plan": 7, "url": "http://127.0.0.1:8080", "models": [said]}], {})

    assert expected in capsys.readouterr().out
