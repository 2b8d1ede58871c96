"""Every limit of the data plane, in one table: ``docs/serving.md`` is tested against it.

A limit that is reached is a refusal with a status and a sentence, never a shorter answer.
"""

from __future__ import annotations

from dataclasses import dataclass

MIB = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """A named bound: its value, the HTTP status of a refusal (0: none is sent), and a sentence."""

    name: str
    value: int
    unit: str
    status: int
    sentence: str


BODY = Limit(
    name="body",
    value=16 * MIB,
    unit="bytes",
    status=413,
    sentence="A request body, announced or streamed, is at most this long.",
)
HEAD = Limit(
    name="head",
    value=16_384,
    unit="bytes",
    status=431,
    sentence="Request line and headers together are at most this long; the connection closes.",
)
HEADERS = Limit(
    name="headers",
    value=64,
    unit="headers",
    status=431,
    sentence="A request has at most this many headers; the connection closes.",
)
ARRIVAL_TIME = Limit(
    name="arrival-time",
    value=10,
    unit="seconds",
    status=0,
    sentence="A request that began to arrive is whole within this time; else the connection closes.",
)
IDLE_TIME = Limit(
    name="idle-time",
    value=30,
    unit="seconds",
    status=0,
    sentence="A kept-alive connection without a request closes after this time.",
)
CONNECTIONS = Limit(
    name="connections",
    value=1_024,
    unit="connections",
    status=503,
    sentence="At most this many connections are open at once.",
)
REQUESTS = Limit(
    name="requests",
    value=256,
    unit="requests",
    status=503,
    sentence="At most this many requests are in work at once; the others are asked to come again.",
)
RECORD_TIME = Limit(
    name="record-time",
    value=10,
    unit="seconds",
    status=503,
    sentence="A record reaches the disk within this time, or its answer is withheld.",
)
KEY = Limit(
    name="api-key",
    value=256,
    unit="bytes",
    status=401,
    sentence="An API key is at most this long.",
)
REQUEST_ID = Limit(
    name="request-id",
    value=128,
    unit="characters",
    status=400,
    sentence="The id that a caller gives a request is at most this long.",
)
TENSORS = Limit(
    name="tensors",
    value=1_000,
    unit="tensors",
    status=400,
    sentence="A request has at most this many inputs, and names at most this many outputs.",
)
TENSOR_NAME = Limit(
    name="tensor-name",
    value=256,
    unit="characters",
    status=400,
    sentence="The name of a tensor is at most this long.",
)
DIMENSIONS = Limit(
    name="dimensions",
    value=8,
    unit="dimensions",
    status=400,
    sentence="A tensor has at most this many dimensions.",
)
ROWS = Limit(
    name="rows",
    value=16_384,
    unit="rows",
    status=400,
    sentence="A request asks for at most this many rows.",
)
ELEMENTS = Limit(
    name="elements",
    value=4_194_304,
    unit="elements",
    status=400,
    sentence="All tensors of a request together hold at most this many elements.",
)
TEXT = Limit(
    name="text",
    value=65_536,
    unit="bytes",
    status=400,
    sentence="One text in a BYTES tensor is at most this long, in UTF-8.",
)
DEPTH = Limit(
    name="json-depth",
    value=32,
    unit="levels",
    status=400,
    sentence="JSON is nested at most this deep.",
)
DRAIN_TIME = Limit(
    name="drain-time",
    value=20,
    unit="seconds",
    status=0,
    sentence="Requests in work may take this long to end once the worker was asked to stop.",
)
MODEL = Limit(
    name="model",
    value=2**31,
    unit="bytes",
    status=0,
    sentence="A model of more bytes is not loaded.",
)

LIMITS = (
    BODY, HEAD, HEADERS, ARRIVAL_TIME, IDLE_TIME, CONNECTIONS, REQUESTS, RECORD_TIME, KEY,
    REQUEST_ID, TENSORS, TENSOR_NAME, DIMENSIONS, ROWS, ELEMENTS, TEXT, DEPTH, DRAIN_TIME, MODEL,
)  # fmt: skip


def limits_table() -> str:
    """The table as Markdown, as the documentation holds it."""
    lines = ["| limit | value | refusal | what it bounds |", "|---|---|---|---|"]
    for limit in LIMITS:
        refusal = str(limit.status) if limit.status else "none"
        lines.append(f"| `{limit.name}` | {limit.value:,} {limit.unit} | {refusal} | {limit.sentence} |")
    return "\n".join(lines) + "\n"
