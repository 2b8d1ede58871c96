"""The small model on LitServe: ``python with_litserve.py PORT``; one worker of the model, one of the API."""

from __future__ import annotations

import sys
from typing import Any

import litserve
import numpy as np
from small_pipeline import fitted


class Tumours(litserve.LitAPI):
    """Label and probabilities of one row."""

    def setup(self, device: str) -> None:
        """Train once, when the worker starts."""
        del device
        self.model = fitted()

    def predict(self, request: dict[str, Any]) -> dict[str, Any]:
        """Answer one decoded body."""
        shares = self.model.predict_proba(np.asarray([request["input"]], np.float32))[0]
        return {"label": str(self.model.classes_[shares.argmax()]), "probabilities": shares.tolist()}


if __name__ == "__main__":
    server = litserve.LitServer(Tumours(), accelerator="cpu", workers_per_device=1)
    server.run(
        host="127.0.0.1",
        port=int(sys.argv[1]),
        num_api_servers=1,
        generate_client_file=False,
        log_level="warning",
    )
