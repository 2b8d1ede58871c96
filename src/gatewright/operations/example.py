"""A request that an endpoint will answer, made from the first row of its training split."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from gatewright.kernel.errors import Misuse
from gatewright.models.feeds import feeds
from gatewright.models.signature_format import decode_signature
from gatewright.operations.casework import columns_of
from gatewright.operations.catalogue import find_live
from gatewright.operations.data import dataset
from gatewright.operations.home import Home
from gatewright.operations.isolation import load_table
from gatewright.operations.models import model


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """An Open Inference Protocol v2 request: its path and its body."""

    path: str
    body: Mapping[str, Any]


def example(home: Home, endpoint: str) -> Example:
    """A request with one row for what is live on an endpoint; raises Misuse when nothing is."""
    live = find_live(home, endpoint)
    if live is None:
        raise Misuse(
            "operations.nothing-live",
            f"Nothing is live on {endpoint!r}.",
            next=f"Deploy first: gatewright ship {endpoint}",
        )
    version = model(home, live.ref)
    signature = decode_signature(home.blobs.get(version.signature))
    rows = load_table(home.blobs.get(dataset(home, version.dataset).train), "the training rows")
    first = feeds(signature, columns_of(rows.take(np.arange(min(1, rows.rows)))))
    inputs = [
        {
            "name": spec.name,
            "datatype": spec.datatype.value,
            "shape": list(first[spec.name].shape),
            "data": [_plain(value) for value in first[spec.name].reshape(-1)],
        }
        for spec in signature.inputs
    ]
    return Example(path=f"/v2/models/{endpoint}/infer", body={"inputs": inputs})


def _plain(value: Any) -> Any:
    """A number or text as JSON has it; a missing number is null."""
    if isinstance(value, np.floating):
        return None if np.isnan(value) else float(str(value))  # the shortest text, not its float64 tail
    return value.item() if isinstance(value, np.generic) else value
