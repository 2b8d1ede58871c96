"""The small model on BentoML: ``bentoml serve with_bentoml:Tumours``; one worker."""

from __future__ import annotations

from typing import Any

import bentoml
import numpy as np
from small_pipeline import fitted


@bentoml.service(workers=1)
class Tumours:
    """Label and probabilities of one row."""

    def __init__(self) -> None:
        self.model = fitted()

    @bentoml.api
    def predict(self, row: list[float]) -> dict[str, Any]:
        """Answer one decoded body."""
        shares = self.model.predict_proba(np.asarray([row], np.float32))[0]
        return {"label": str(self.model.classes_[shares.argmax()]), "probabilities": shares.tolist()}
