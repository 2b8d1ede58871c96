"""The frame of a REST request: its JSON as values, and the binary tensors that follow it.

Fields that are not named here are not looked at, as the Open Inference Protocol v2 asks. The data of
an input stays text until its signature is known (:mod:`gatewright.serving.inputs`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import msgspec
import numpy as np

from gatewright.serving.admission import Turned
from gatewright.serving.limits import DEPTH, REQUEST_ID, SUBJECT, TENSORS

OBJECTS = 4 * TENSORS.value + 4
"""Most JSON objects of a request: each tensor and its parameters, asked for and given."""
TOO_MANY = f"A request names at most {TENSORS.value:,} inputs and as many outputs."

# Possessive, and taking an unclosed string whole: every byte is looked at once, whatever is sent.
_STRINGS = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)', re.DOTALL)
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_NOT_SIGNS = bytes(set(range(256)) - set(b'[]{}"'))
_STEPS = np.zeros(256, np.int64)
_STEPS[list(b"[{")] = 1
_STEPS[list(b"]}")] = -1


class InputParameters(msgspec.Struct):
    """What may be said beside an input."""

    binary_data_size: int | None = None
    shared_memory_region: msgspec.Raw = msgspec.Raw(b"")


class WireInput(msgspec.Struct):
    """One input tensor of a request, its data still as text."""

    name: str
    shape: list[int]
    datatype: str
    data: msgspec.Raw = msgspec.Raw(b"")
    parameters: InputParameters | None = None


class OutputParameters(msgspec.Struct):
    """What may be said beside an output that is asked for."""

    binary_data: bool | None = None
    classification: msgspec.Raw = msgspec.Raw(b"")
    shared_memory_region: msgspec.Raw = msgspec.Raw(b"")


class WireOutput(msgspec.Struct):
    """One output that a request asks for."""

    name: str
    parameters: OutputParameters | None = None


class RequestParameters(msgspec.Struct):
    """What may be said of a whole request."""

    binary_data_output: bool | None = None
    subject: str | None = None


class WireRequest(msgspec.Struct):
    """A request."""

    inputs: list[WireInput]
    id: str | None = None
    outputs: list[WireOutput] | None = None
    parameters: RequestParameters | None = None


_REQUEST = msgspec.json.Decoder(WireRequest)


def plainly(error: Exception) -> str:
    """A decoder's complaint as half a sentence: bounded, and about the caller's text only."""
    return str(error)[:200].rstrip(".")


def check_depth(body: bytes) -> None:
    """Refuse deep nesting before any parser recurses; linear in the length of the body."""
    if body.count(b"[") + body.count(b"{") <= DEPTH.value or _is_flat(body):
        return
    brackets = _STRINGS.sub(b"", body).translate(None, _NOT_BRACKETS)
    if brackets.count(b"{") > OBJECTS:
        raise Turned(400, TOO_MANY)
    levels = np.cumsum(_STEPS[np.frombuffer(brackets, np.uint8)])
    if levels.size and int(levels.max()) > DEPTH.value:
        raise Turned(400, f"The JSON is nested deeper than {DEPTH.value} levels.")


def _is_flat(body: bytes) -> bool:
    """Whether a body is within the limits, seen at once; False says nothing.

    Without an escaped quote, quotes open and close in turn. So where all brackets stand outside strings,
    the quotes between two of them come in pairs. Taking away empty pairs of brackets, squares and then
    braces, takes one or two levels.
    """
    if b'\\"' in body:
        return False
    left = body.translate(None, _NOT_SIGNS).replace(b'""', b"")
    if left.count(b"{") > OBJECTS:
        return False
    for _ in range(DEPTH.value // 2):
        shorter = left.replace(b"[]", b"").replace(b"{}", b"")
        if not shorter or len(shorter) == len(left):
            return not shorter
        left = shorter
    return False


def check_id(request_id: str | None) -> None:
    """Refuse an id that is too long."""
    if request_id is not None and len(request_id) > REQUEST_ID.value:
        raise Turned(400, f"The id has more than {REQUEST_ID.value} characters.")


def check_subject(subject: str) -> None:
    """Refuse a subject that is too long."""
    if len(subject) * 4 > SUBJECT.value and len(subject.encode()) > SUBJECT.value:
        raise Turned(400, f"The subject has more than {SUBJECT.value} bytes.")


def read_request(body: bytes) -> WireRequest:
    """The request's frame, or 400."""
    check_depth(body)
    try:
        request = _REQUEST.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Turned(400, f"The body is not an inference request: {plainly(error)}.") from None
    check_id(request.id)
    if len(request.inputs) > TENSORS.value or (request.outputs and len(request.outputs) > TENSORS.value):
        raise Turned(400, TOO_MANY)
    return request


def split(body: bytes, header: int) -> tuple[bytes, memoryview]:
    """The JSON of a request, ``header`` bytes long, and what follows it, not copied."""
    if header > len(body):
        raise Turned(
            400, f"The JSON header is said to have {header:,} bytes; the whole body has {len(body):,}."
        )
    return body[:header], memoryview(body)[header:]


def cut(inputs: Sequence[WireInput], data: memoryview) -> Mapping[str, memoryview]:
    """The binary data of the inputs that have some, by name; together they must be all of ``data``.

    The names are known to be the model's: a refusal may hold one.
    """
    found: dict[str, memoryview] = {}
    at = 0
    for wire in inputs:
        size = None if wire.parameters is None else wire.parameters.binary_data_size
        if size is None:
            continue
        if size < 0:
            raise Turned(400, f"The input {wire.name!r} declares binary data of a negative size.")
        if at + size > len(data):
            raise Turned(400, f"The inputs declare more binary data than the {len(data):,} bytes that came.")
        found[wire.name] = data[at : at + size]
        at += size
    if at != len(data):
        raise Turned(400, f"The inputs declare {at:,} bytes of binary data, and {len(data):,} came.")
    return found
