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
ANSWER_TIME = Limit(
    name="answer-time",
    value=30,
    unit="seconds",
    status=0,
    sentence="A caller who does not read its answer for this time is cut off.",
)
PIPELINED = Limit(
    name="pipelined",
    value=16,
    unit="requests",
    status=0,
    sentence="With more requests than this waiting behind one another, a connection is not read from.",
)
CONNECTIONS = Limit(
    name="connections",
    value=1_024,
    unit="connections",
    status=503,
    sentence="At most this many connections are open at once.",
)
HANDSHAKES = Limit(
    name="handshakes",
    value=256,
    unit="connections",
    status=0,
    sentence="At most this many TLS handshakes are under way at once; a further one ends the oldest.",
)
REQUESTS = Limit(
    name="requests",
    value=256,
    unit="requests",
    status=503,
    sentence="One key alone has at most this many requests in work; several together half as many again.",
)
WAITING_TIME = Limit(
    name="waiting-time",
    value=100,
    unit="milliseconds",
    status=503,
    sentence="With more work ahead of it a request is turned away; a key that has none in work never is.",
)
JOINED_TIME = Limit(
    name="joined-time",
    value=25,
    unit="milliseconds",
    status=0,
    sentence="Requests are joined to runs of a model that take at most this long.",
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
FAILED_KEYS = Limit(
    name="failed-keys",
    value=20,
    unit="failures",
    status=429,
    sentence="After this many wrong keys from one address, each further one is told to come later.",
)
FAILED_TIME = Limit(
    name="failed-time",
    value=60,
    unit="seconds",
    status=0,
    sentence="Wrong keys are counted over this time; a right key is answered all the same.",
)
FAILED_ADDRESSES = Limit(
    name="failed-addresses",
    value=4_096,
    unit="addresses",
    status=0,
    sentence="Wrong keys are counted for at most this many addresses, those that failed last.",
)
ALLOWANCES = Limit(
    name="allowances",
    value=4_096,
    unit="rows",
    status=0,
    sentence="At most this many keys and endpoints have a rate or a quota; a plan with more is not taken.",
)
BURST = Limit(
    name="burst",
    value=1,
    unit="seconds",
    status=429,
    sentence="A caller that paused may send the requests of this time at once, beyond its rate.",
)
SUBJECT = Limit(
    name="subject",
    value=256,
    unit="bytes",
    status=400,
    sentence="The subject that a caller names, for experiments, is at most this long.",
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
GRPC_STREAMS = Limit(
    name="grpc-streams",
    value=128,
    unit="calls",
    status=0,
    sentence="A gRPC connection has at most this many calls open at once; further ones wait in the client.",
)
GRPC_ARRIVING = Limit(
    name="grpc-arriving",
    value=128,
    unit="calls",
    status=429,
    sentence="At most this many gRPC calls of one key wait for their messages at once.",
)
GRPC_PING_TIME = Limit(
    name="grpc-ping-time",
    value=10,
    unit="seconds",
    status=0,
    sentence="A gRPC client pings at most once in this time; the connection of one that goes on closes.",
)
GRPC_AGE = Limit(
    name="grpc-age",
    value=3_600,
    unit="seconds",
    status=0,
    sentence="A gRPC connection is asked to end after this time; its client opens another.",
)
MODEL = Limit(
    name="model",
    value=2**31,
    unit="bytes",
    status=0,
    sentence="A model of more bytes is not loaded.",
)
WORKERS = Limit(
    name="workers",
    value=64,
    unit="workers",
    status=0,
    sentence="A server has at most this many worker processes.",
)

BREAKER_FAILURES = Limit(
    name="breaker-failures",
    value=5,
    unit="failures",
    status=0,
    sentence="So many failures of a release within the breaker's window, and another release answers for it.",
)
BREAKER_WINDOW = Limit(
    name="breaker-window",
    value=100,
    unit="requests",
    status=0,
    sentence="The breaker of a release looks at this many of its last requests.",
)
BREAKER_TIME = Limit(
    name="breaker-time",
    value=10,
    unit="seconds",
    status=0,
    sentence="A release whose breaker is open is tried again, with one request, after each such time.",
)
SHADOW_WAITING = Limit(
    name="shadow-waiting",
    value=256,
    unit="requests",
    status=0,
    sentence="At most this many copies of requests wait for shadow releases; more are dropped and counted.",
)
SHADOW_BYTES = Limit(
    name="shadow-bytes",
    value=64 * MIB,
    unit="bytes",
    status=0,
    sentence="The copies that wait for shadow releases hold at most this much together.",
)

LIMITS = (
    BODY, HEAD, HEADERS, ARRIVAL_TIME, IDLE_TIME, ANSWER_TIME, PIPELINED, CONNECTIONS, HANDSHAKES, REQUESTS, WAITING_TIME, JOINED_TIME, RECORD_TIME, KEY,
    REQUEST_ID, FAILED_KEYS, FAILED_TIME, FAILED_ADDRESSES, ALLOWANCES, BURST, SUBJECT, TENSORS, TENSOR_NAME, DIMENSIONS, ROWS, ELEMENTS, TEXT, DEPTH, DRAIN_TIME, GRPC_STREAMS, GRPC_ARRIVING, GRPC_PING_TIME,
    GRPC_AGE, MODEL, WORKERS,
    BREAKER_FAILURES, BREAKER_WINDOW, BREAKER_TIME, SHADOW_WAITING, SHADOW_BYTES,
)  # fmt: skip


def limits_table() -> str:
    """The table as Markdown, as the documentation holds it."""
    lines = ["| limit | value | refusal | what it bounds |", "|---|---|---|---|"]
    for limit in LIMITS:
        refusal = str(limit.status) if limit.status else "none"
        lines.append(f"| `{limit.name}` | {limit.value:,} {limit.unit} | {refusal} | {limit.sentence} |")
    return "\n".join(lines) + "\n"
