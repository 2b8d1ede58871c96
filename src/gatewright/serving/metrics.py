"""What Prometheus sees: one table of metrics, and their text (exposition format 0.0.4).

The numbers stand on the board that the workers share, so any worker tells those of all of them. A
series on the board is called ``name{label=value,label=value}``; its name must be one of the table, and
its labels those of the table, or it is not shown. Values of labels are names of the signed plan, of
this table, or numbers: nothing that a caller sends becomes one. ``docs/monitoring.md`` is tested
against the table.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from gatewright.kernel.version import VERSION

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
PREFIX = "gatewright_"
_NS = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A row of the table; what is kept as whole units is shown times ``scale``.

    ``kind`` is counter, gauge or histogram. The bounds of a histogram's buckets are in kept units.
    """

    name: str
    kind: str
    sentence: str
    labels: tuple[str, ...] = ()
    scale: float = 1.0
    bounds: tuple[int, ...] = ()

    @property
    def shown(self) -> str:
        """Its name as Prometheus knows it."""
        return PREFIX + self.name


_RELEASE = ("endpoint", "place", "version")
LATENCY_BOUNDS = tuple(
    int(seconds * 1e9)
    for seconds in (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0)
)

ANSWERS = Metric(
    name="answer_seconds",
    kind="histogram",
    labels=_RELEASE,
    scale=_NS,
    bounds=LATENCY_BOUNDS,
    sentence="Predictions that were answered, and the time from a request's head to its answer, record included.",
)
REFUSALS = Metric(
    name="refusals_total",
    kind="counter",
    labels=("endpoint", "status", "reason"),
    sentence="Requests that were turned away; the endpoint is empty where the request led to none.",
)
RECORDS = Metric(name="records_total", kind="counter", sentence="Prediction records that are on the disk.")
RECORDS_FAILED = Metric(
    name="records_failed_total",
    kind="counter",
    sentence="Predictions that could not be recorded, and so were not answered.",
)
RECORDS_LOST = Metric(
    name="records_lost_total",
    kind="counter",
    sentence="Answers under asynchronous recording whose promised record could not be kept.",
)
BATCHES = Metric(
    name="record_batches_total",
    kind="counter",
    sentence="Group commits: batches of records, each synced once.",
)
SYNC = Metric(
    name="record_sync_seconds_total",
    kind="counter",
    scale=_NS,
    sentence="Time spent writing and syncing batches of records.",
)
CONNECTIONS = Metric(name="connections", kind="gauge", sentence="Connections that are open now.")
IN_WORK = Metric(name="requests_in_work", kind="gauge", sentence="Predictions that are in work now.")
WORKERS = Metric(name="workers", kind="gauge", sentence="Workers that serve now.")
JOINED_RUNS = Metric(
    name="joined_runs_total",
    kind="counter",
    labels=_RELEASE,
    sentence="Runs of a model that answered several requests at once.",
)
JOINED_REQUESTS = Metric(
    name="joined_requests_total",
    kind="counter",
    labels=_RELEASE,
    sentence="Requests that such runs answered; over the runs, the mean size of a batch.",
)
COLLECTOR = Metric(
    name="collector_running",
    kind="gauge",
    sentence="1 while a collector brings sealed segments into the ledger, else 0; absent for a mounted folder.",
)
SEALED_WAIT = Metric(
    name="sealed_wait_seconds",
    kind="gauge",
    sentence="How long the first of the sealed segments has waited for the collector, 0 where none does; "
    "absent for a mounted folder.",
)
FAILURES = Metric(
    name="release_failures_total",
    kind="counter",
    labels=_RELEASE,
    sentence="Predictions at which a release failed that another one can stand in for.",
)
REPLACED = Metric(
    name="replaced_answers_total",
    kind="counter",
    labels=_RELEASE,
    sentence="Answers that another release gave instead of this one.",
)
BREAKER_OPENINGS = Metric(
    name="breaker_openings_total",
    kind="counter",
    labels=_RELEASE,
    sentence="How often the circuit breaker before a release opened.",
)
BREAKER_OPEN = Metric(
    name="breaker_open",
    kind="gauge",
    labels=_RELEASE,
    sentence="Workers whose circuit breaker before a release is open now.",
)
SHADOW = Metric(
    name="shadow_copies_total",
    kind="counter",
    labels=(*_RELEASE, "outcome"),
    sentence="Copies for a shadow: seen, dropped, agreed, differed, failed or unrecorded.",
)
PLAN = Metric(
    name="plan_number", kind="gauge", sentence="Number of the traffic plan in force, 0 where there is none."
)
PLAN_REFUSED = Metric(
    name="plan_refused", kind="gauge", sentence="1 while a newer plan lies there that was not taken, else 0."
)
EXPIRY = Metric(
    name="plan_expires_seconds",
    kind="gauge",
    scale=_NS,
    sentence="Seconds until the plan in force expires; absent where it never does.",
)
LOG_DROPPED = Metric(
    name="log_lines_dropped_total",
    kind="counter",
    sentence="Log lines that were left out, so that a flood of requests does not fill the disk.",
)
SPANS = Metric(name="spans_total", kind="counter", sentence="Spans that the trace collector took.")
SPANS_DROPPED = Metric(
    name="spans_dropped_total", kind="counter", sentence="Spans that were lost: too many, or no collector."
)
BUILD = Metric(
    name="build_info", kind="gauge", labels=("version",), sentence="Always 1; names the version that serves."
)

METRICS = (
    ANSWERS, REFUSALS, RECORDS, RECORDS_FAILED, RECORDS_LOST, BATCHES, SYNC, COLLECTOR, SEALED_WAIT, JOINED_RUNS,
    JOINED_REQUESTS, FAILURES, REPLACED, BREAKER_OPENINGS, BREAKER_OPEN, SHADOW, CONNECTIONS, IN_WORK, WORKERS, PLAN,
    PLAN_REFUSED, EXPIRY, LOG_DROPPED, SPANS, SPANS_DROPPED, BUILD,
)  # fmt: skip


def series(metric: Metric, **labels: str) -> str:
    """What a series is called on the board; the labels in the table's order."""
    return metric.name + _braced(f"{label}={labels[label]}" for label in metric.labels)


def buckets(metric: Metric, **labels: str) -> tuple[str, ...]:
    """The series of a histogram: one for each bound, one for what is beyond, one for the sum."""
    each = [f"{label}={labels[label]}" for label in metric.labels]
    bounds = [*(str(bound) for bound in metric.bounds), "+Inf"]
    return (
        *(f"{metric.name}_bucket{_braced([*each, f'le={bound}'])}" for bound in bounds),
        f"{metric.name}_sum{_braced(each)}",
    )


def _braced(parts: Iterable[str]) -> str:
    joined = ",".join(parts)
    return f"{{{joined}}}" if joined else ""


def exposition(values: Mapping[str, int], own: Mapping[Metric, float]) -> bytes:
    """The text of a scrape: ``values`` by series of the board, ``own`` what only this worker knows."""
    found: dict[str, list[tuple[dict[str, str], int]]] = {}
    for name, value in values.items():
        base, labels = named(name)
        found.setdefault(base, []).append((labels, value))
    lines = []
    for metric in METRICS:
        rows = _rows(metric, found)
        if metric in own:
            rows = [(metric.shown, {}, own[metric])]
        elif metric is BUILD:
            rows = [(metric.shown, {"version": VERSION}, 1)]
        if rows:
            lines += [f"# HELP {metric.shown} {metric.sentence}", f"# TYPE {metric.shown} {metric.kind}"]
            lines += [f"{name}{_quoted(labels)} {value:.12g}" for name, labels, value in rows]
    return ("\n".join(lines) + "\n").encode()


def named(series: str) -> tuple[str, dict[str, str]]:
    """The name and the labels of a series of the board."""
    name, _, text = series.partition("{")
    parts = (part.partition("=") for part in text.rstrip("}").split(",") if part)
    return name, {label: value for label, _, value in parts}


def _quoted(labels: Mapping[str, str]) -> str:
    return _braced(
        '{}="{}"'.format(label, value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n"))
        for label, value in labels.items()
    )


_Row = tuple[str, dict[str, str], float]


def _rows(metric: Metric, found: Mapping[str, list[tuple[dict[str, str], int]]]) -> list[_Row]:
    if metric.kind == "histogram":
        return _histogram(metric, found)
    return [
        (metric.shown, labels, value * metric.scale)
        for labels, value in found.get(metric.name, ())
        if tuple(labels) == metric.labels
    ]


def _histogram(metric: Metric, found: Mapping[str, list[tuple[dict[str, str], int]]]) -> list[_Row]:
    """Buckets as Prometheus counts them: each holds those below it; the last one is the count."""
    counts: dict[tuple[str, ...], dict[str, int]] = {}
    for parts, value in found.get(f"{metric.name}_bucket", ()):
        if tuple(parts) == (*metric.labels, "le"):
            *above, last = parts.values()
            counts.setdefault(tuple(above), {})[last] = value
    sums = {tuple(parts.values()): value for parts, value in found.get(f"{metric.name}_sum", ())}
    rows: list[_Row] = []
    for key, each in counts.items():
        labels = dict(zip(metric.labels, key, strict=True))
        total = 0
        for bound in metric.bounds:
            total += each.get(str(bound), 0)
            rows.append((f"{metric.shown}_bucket", labels | {"le": f"{bound * metric.scale:.12g}"}, total))
        total += each.get("+Inf", 0)
        rows.append((f"{metric.shown}_bucket", labels | {"le": "+Inf"}, total))
        rows.append((f"{metric.shown}_sum", labels, sums.get(key, 0) * metric.scale))
        rows.append((f"{metric.shown}_count", labels, total))
    return rows


def metrics_table() -> str:
    """The table as Markdown, as the documentation holds it."""
    lines = ["| metric | kind | labels | what it tells |", "|---|---|---|---|"]
    for metric in METRICS:
        labels = ", ".join(f"`{label}`" for label in metric.labels) or "none"
        lines.append(f"| `{metric.shown}` | {metric.kind} | {labels} | {metric.sentence} |")
    return "\n".join(lines) + "\n"
