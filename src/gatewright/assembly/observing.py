"""What the owner wants to see of a server, from the options of ``serve``."""

from __future__ import annotations

import stat
from functools import partial
from hashlib import sha256
from pathlib import Path

from gatewright.kernel.errors import BadInput, Misuse
from gatewright.operations.files import file_failures, read_file
from gatewright.serving.addresses import read_proxies
from gatewright.serving.limits import KEY
from gatewright.serving.logs import LogForm
from gatewright.serving.seen import METRICS_KEY_BYTES, SeenSettings


def seen_settings(
    *,
    log: str = LogForm.TEXT,
    metrics_key_file: Path | None = None,
    proxies: tuple[str, ...] = (),
    traces: str = "",
    trace_one_in: int = 1_000,
) -> SeenSettings:
    """The settings that a worker takes.

    Raises Misuse for an option that cannot be and for a secret that every user may read, BadInput for
    one that is too short, DependencyFailed where its file cannot be read or traces cannot be encoded.
    """
    if log not in set(LogForm):
        raise Misuse(
            "assembly.log-form",
            f"{log[:40]!r} is no form of a log.",
            next="Choose 'text' or 'json'.",
        )
    tracing = None
    if traces:
        from gatewright.serving.traces import (  # noqa: PLC0415 - a worker without a collector does not load it
            Traces,
            check_url,
            encoder,
        )

        check_url(traces)
        encoder()
        tracing = partial(Traces, traces, one_in=trace_one_in)
    return SeenSettings(
        log=LogForm(log),
        metrics_key=None if metrics_key_file is None else _digest(metrics_key_file),
        proxies=read_proxies(proxies),
        traces=tracing,
    )


def _digest(place: Path) -> bytes:
    secret = read_file(place, limit=KEY.value + 1).strip()
    with file_failures("look at the secret", place):
        mode = place.stat().st_mode
    if mode & stat.S_IRWXO:
        raise Misuse(
            "keys.readable-by-others",
            f"The file {place.name} of the secret is open to every user.",
            why="What others can read keeps nobody out.",
            next=f"Close it: chmod o-rwx {place}",
            place=str(place),
        )
    if len(secret) < METRICS_KEY_BYTES or len(secret.split()) != 1:
        raise BadInput(
            "assembly.metrics-key",
            f"The secret for scraping is one word of at least {METRICS_KEY_BYTES} letters.",
            next=f"Make one: head -c 24 /dev/urandom | base64 > {place}",
            place=str(place),
        )
    return sha256(secret).digest()
