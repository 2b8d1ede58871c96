"""Model signatures as canonical JSON, strict in both directions."""

from __future__ import annotations

from gatewright.kernel import canonical
from gatewright.kernel.errors import BadInput
from gatewright.models.facts import spec_from_json, spec_to_json
from gatewright.models.signature import ModelSignature, Task

SIGNATURE_FORMAT = 1
_FIELDS = {"classes", "inputs", "label_output", "outputs", "scores_output", "task", "v"}


def encode_signature(signature: ModelSignature) -> bytes:
    """Canonical JSON. Law: ``decode_signature(encode_signature(s)) == s``."""
    return canonical.encode(
        {
            "classes": list(signature.classes),
            "inputs": [spec_to_json(spec) for spec in signature.inputs],
            "label_output": signature.label_output,
            "outputs": [spec_to_json(spec) for spec in signature.outputs],
            "scores_output": signature.scores_output,
            "task": signature.task.value,
            "v": SIGNATURE_FORMAT,
        }
    )


def decode_signature(data: bytes) -> ModelSignature:
    """Read what :func:`encode_signature` wrote; raises :class:`BadInput` for anything else."""
    value = canonical.decode(data)
    if not isinstance(value, dict) or set(value) != _FIELDS or value["v"] != SIGNATURE_FORMAT:
        raise BadInput("models.signature", "The bytes are not a version 1 model signature.")
    try:
        signature = ModelSignature(
            task=Task(value["task"]),
            inputs=tuple(spec_from_json(spec) for spec in value["inputs"]),
            outputs=tuple(spec_from_json(spec) for spec in value["outputs"]),
            label_output=str(value["label_output"]),
            scores_output=str(value["scores_output"]),
            classes=tuple(str(name) for name in value["classes"]),
        )
    except (AttributeError, KeyError, TypeError, ValueError):
        signature = None
    if signature is None or encode_signature(signature) != data:
        raise BadInput("models.signature", "A field of the model signature has the wrong type.")
    return signature
