"""The small model on Triton with PyTriton: ``python with_pytriton.py FOLDER HTTP GRPC METRICS``."""

from __future__ import annotations

import sys

import numpy as np
from numpy.typing import NDArray
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig
from small_pipeline import FEATURES, NAME, fitted

MODEL = fitted()
LARGEST_BATCH = 64


@batch
def answer(rows: NDArray[np.float32]) -> dict[str, NDArray[np.generic]]:
    """Labels and probabilities of the rows that Triton has gathered."""
    shares = MODEL.predict_proba(rows)
    labels = MODEL.classes_[shares.argmax(axis=1)].astype(np.bytes_)
    return {"label": labels[:, None], "probabilities": shares.astype(np.float32)}


def main(folder: str, http: int, grpc: int, metrics: int) -> None:
    """Serve until told to stop."""
    here = "127.0.0.1"
    config = TritonConfig(
        http_address=here,
        http_port=http,
        grpc_address=here,
        grpc_port=grpc,
        metrics_address=here,
        metrics_port=metrics,
    )
    with Triton(config=config, workspace=folder) as triton:
        triton.bind(
            model_name=NAME,
            infer_func=answer,
            inputs=[Tensor(name="rows", dtype=np.float32, shape=(FEATURES,))],
            outputs=[
                Tensor(name="label", dtype=np.bytes_, shape=(1,)),
                Tensor(name="probabilities", dtype=np.float32, shape=(2,)),
            ],
            config=ModelConfig(max_batch_size=LARGEST_BATCH, batcher=DynamicBatcher()),
        )
        triton.serve()


if __name__ == "__main__":
    main(sys.argv[1], *(int(port) for port in sys.argv[2:5]))
