"""Bodies made to be slow to read."""

from __future__ import annotations

import time
from contextlib import suppress

import pytest

from gatewright.serving.admission import Turned
from gatewright.serving.frames import check_depth, read_request

MIB = 2**20
HUNG_S = 300.0
"""Looking again and again at two megabytes takes hours; a slow machine takes seconds."""


@pytest.mark.parametrize("unit", [b'"[\\', b'"', b"[", b'\\"', b'{"a":"[', b'"\\"['])
def test_a_body_costs_time_in_proportion_to_its_length(unit: bytes) -> None:
    """Unclosed strings, escapes and brackets by the megabyte are looked at once, not again and again."""
    body = unit * (2 * MIB // len(unit))
    begun = time.process_time()
    with suppress(Turned):
        check_depth(body)
    assert time.process_time() - begun < HUNG_S


def test_too_many_inputs_are_refused_before_they_are_read() -> None:
    """Hundreds of thousands of tiny inputs are turned away by counting them."""
    body = b'{"inputs":[' + b'{"name":"a","shape":[1],"datatype":"FP32"},' * 300_000 + b"]}"
    with pytest.raises(Turned, match="at most"):
        read_request(body)
