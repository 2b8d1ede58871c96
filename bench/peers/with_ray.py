"""The small model on Ray Serve: ``python with_ray.py PORT FOLDER``; one node, one replica, one HTTP proxy."""

from __future__ import annotations

import signal
import sys
from typing import Any

import numpy as np
import ray
from ray import serve
from small_pipeline import answers, fitted
from starlette.requests import Request


@serve.deployment(num_replicas=1, max_ongoing_requests=100, logging_config={"enable_access_log": False})
class Tumours:
    """Label and probabilities of one row."""

    def __init__(self) -> None:
        self.model = fitted()

    @serve.batch(max_batch_size=64, batch_wait_timeout_s=0.005)
    async def predict(self, rows: list[list[float]]) -> list[dict[str, Any]]:
        """Answer the rows that Ray has gathered."""
        return answers(self.model, np.asarray(rows, np.float32))

    async def __call__(self, request: Request) -> dict[str, Any]:
        """Answer one request."""
        found: dict[str, Any] = await self.predict((await request.json())["input"])
        return found


def main(port: int, folder: str) -> None:
    """Serve until told to stop."""
    ray.init(
        num_cpus=1,
        include_dashboard=False,
        log_to_driver=False,
        _node_ip_address="127.0.0.1",
        _temp_dir=folder,
    )
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    try:
        serve.run(Tumours.bind(), blocking=True)
    finally:
        serve.shutdown()
        ray.shutdown()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
