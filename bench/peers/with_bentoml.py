"""The small model on BentoML: ``bentoml serve with_bentoml:Tumours``; one worker, no access log."""

from __future__ import annotations

from typing import Any

import bentoml
import numpy as np
from small_pipeline import answers, fitted


@bentoml.service(workers=1, logging={"access": {"enabled": False}}, traffic={"timeout": 10})
class Tumours:
    """Label and probabilities of the rows that BentoML has gathered."""

    def __init__(self) -> None:
        self.model = fitted()

    @bentoml.api(batchable=True, max_batch_size=64, max_latency_ms=10_000)
    async def predict(self, rows: list[list[float]]) -> list[dict[str, Any]]:
        """Answer them; on the event loop, which is quicker here than a thread."""
        return answers(self.model, np.asarray(rows, np.float32))
