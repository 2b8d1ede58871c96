"""The child's job of inspecting an ONNX model: its bytes in, its facts out."""

from __future__ import annotations

from gatewright.kernel.errors import Refusal, Refused
from gatewright.models.facts import encode_facts
from gatewright.models.onnx_reader import inspect


def work(data: bytes) -> bytes:
    """Encoded facts; raises :class:`Refused` for what is not accepted."""
    found = inspect(data)
    if isinstance(found, Refusal):
        raise Refused.of(found)
    return encode_facts(found)
