"""The page on gRPC says what is answered."""

from __future__ import annotations

import re
from pathlib import Path

from gatewright.serving.grpc_calls import CODES
from gatewright.serving.grpc_messages import MESSAGES

PAGE = (Path(__file__).parents[2] / "docs" / "grpc.md").read_text("utf-8")


def test_the_statuses_are_those_that_are_answered() -> None:
    """The table of statuses is the one in force."""
    told = {int(http): name for http, name in re.findall(r"^\| (\d{3}) \| `(\w+)` \|$", PAGE, re.MULTILINE)}

    assert {http: code.name for http, code in CODES.items()} == told


def test_the_methods_are_those_of_the_protocol() -> None:
    """Each method of the table has its messages, and no other has."""
    told = re.findall(r"^\| `(\w+)` \| (?:yes|no) \|", PAGE, re.MULTILINE)

    assert sorted(name.removesuffix("Request") for name in MESSAGES if name.endswith("Request")) == sorted(
        told
    )
