"""Every limit on models that arrive, by name. The version bounds are those of ONNX Runtime 1.31."""

from __future__ import annotations

MODEL_BYTES = 2 * 1024**3  # also the limit of a protobuf message
OPSET_OLDEST = 9
OPSET_NEWEST = 26
ML_OPSET_OLDEST = 1
ML_OPSET_NEWEST = 5
IR_OLDEST = 3  # the first with operator set versions
IR_NEWEST = 13
NODES = 1_000_000
GRAPH_DEPTH = 16
TENSORS = 1_000  # inputs or outputs
DIMENSIONS = 8
NAME_CHARACTERS = 1_000
CLASSES = 10_000
LOOP_TRIPS = 1_000_000  # of a Loop, times those of the Loops around it
