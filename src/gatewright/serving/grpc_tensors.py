"""The messages of a prediction as what REST asks and answers: an ``Asked`` in, a response out."""

from __future__ import annotations

from typing import Any, TypeAlias

from gatewright.serving.admission import Turned
from gatewright.serving.answering import Predicted
from gatewright.serving.codec import Asked, Codec
from gatewright.serving.grpc_messages import MESSAGES
from gatewright.serving.inputs import SentTensor
from gatewright.serving.routing import Route

Message: TypeAlias = Any

CONTENTS = {
    "BOOL": "bool_contents",
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
    "INT64": "int64_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
"""The field of InferTensorContents for each datatype; the others have none and come raw."""
_SHARED_MEMORY = "shared_memory_region"
_RESPONSE = MESSAGES["ModelInferResponse"]


def _contents(tensor: Message) -> SentTensor:
    """A tensor whose values stand in the field of its type."""
    name, kind = tensor.name, tensor.datatype
    field = CONTENTS.get(kind)
    found = tensor.contents.ListFields()
    if len(found) > 1 or any(descriptor.name != field for descriptor, _ in found):
        where = f"in {field}" if field else "in raw_input_contents"
        raise Turned(400, f"The contents of {name[:256]!r}, sent as {kind[:40]}, belong {where} alone.")
    return SentTensor(name, kind, list(tensor.shape), values=list(found[0][1]) if found else [])


def _subject(message: Message, head: str | None) -> str | None:
    """Whom the request is about, as its metadata (``head``) or its parameters say."""
    if "subject" not in message.parameters:
        return head
    given = message.parameters["subject"]
    if given.WhichOneof("parameter_choice") != "string_param":
        raise Turned(400, "The subject is a string_param.")
    found: str = given.string_param
    if head not in {None, found}:
        raise Turned(400, "Metadata and parameters name different subjects.")
    return found


def asked_of(codec: Codec, message: Message, head: str | None) -> Asked:
    """What a ModelInferRequest asks, checked against the signature; raises Turned (400)."""
    raws, tensors = message.raw_input_contents, []
    if raws and len(raws) != len(message.inputs):
        raise Turned(400, f"There are {len(message.inputs):,} inputs and {len(raws):,} raw contents.")
    for place, tensor in enumerate(message.inputs):
        if _SHARED_MEMORY in tensor.parameters:
            raise Turned(400, "Shared memory is not offered here.")
        if not raws:
            tensors.append(_contents(tensor))
        elif tensor.HasField("contents"):
            raise Turned(400, f"The input {tensor.name[:256]!r} has both contents and raw contents.")
        else:
            tensors.append(SentTensor(tensor.name, tensor.datatype, list(tensor.shape), raw=raws[place]))
    if any(_SHARED_MEMORY in output.parameters for output in message.outputs):
        raise Turned(400, "Shared memory is not offered here.")
    return codec.take(
        tensors,
        [output.name for output in message.outputs],
        request_id=message.id or None,
        subject=_subject(message, head),
    )


def answer_of(route: Route, found: Predicted, id_: str, token: str) -> bytes:
    """A ModelInferResponse: tensors as raw contents, which every client of the protocol reads."""
    release = found.served.release
    specs = release.signature.outputs
    answer = _RESPONSE(
        model_name=route.endpoint,
        model_version=str(release.version),
        id=id_,
        outputs=[
            {"name": specs[place].name, "datatype": str(specs[place].datatype), "shape": array.shape}
            for place, array in zip(found.places, found.arrays, strict=True)
        ],
        raw_output_contents=release.codec.raw_outputs(found.arrays, found.places),
    )
    answer.parameters["receipt"].string_param = token
    encoded: bytes = answer.SerializeToString()
    return encoded
