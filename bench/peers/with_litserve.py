"""The small model on LitServe: ``python with_litserve.py PORT``; one worker of the model, one of the API."""

from __future__ import annotations

import sys
from typing import Any

import litserve
import numpy as np
from numpy.typing import NDArray
from small_pipeline import answers, fitted


class Tumours(litserve.LitAPI):
    """Label and probabilities of the rows that LitServe has gathered."""

    def setup(self, device: str) -> None:
        """Train once, when the worker starts."""
        del device
        self.model = fitted()

    def decode_request(self, request) -> list[float]:
        """One row; without an annotation the request is the decoded body."""
        row: list[float] = request["input"]
        return row

    def batch(self, inputs: list[list[float]]) -> NDArray[np.float32]:
        """Many rows."""
        return np.asarray(inputs, np.float32)

    def predict(self, rows: NDArray[np.float32]) -> list[dict[str, Any]]:
        """Answer them."""
        return answers(self.model, rows)

    def unbatch(self, output: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """One answer a row."""
        return output


if __name__ == "__main__":
    interface = Tumours(max_batch_size=64, batch_timeout=0.005)
    server = litserve.LitServer(interface, accelerator="cpu", workers_per_device=1)
    server.run(
        host="127.0.0.1",
        port=int(sys.argv[1]),
        num_api_servers=1,
        generate_client_file=False,
        log_level="warning",
    )
