"""Messages of the Open Inference Protocol v2 over gRPC, made from their description here.

Source: ``open_inference_grpc.proto`` of the Open Inference Protocol, package ``inference``. In each of
its messages the fields are numbered from 1 in the order in which they stand, so a message is written
here as its fields in order. The classes are of a descriptor pool of their own: whatever else a process
has loaded under these names does not meet them.

Only the extra ``grpc`` installs what this module imports.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PACKAGE = "inference"
SERVICE = f"{PACKAGE}.GRPCInferenceService"
_PARAMETERS = "parameters map"
_CHOICE = "parameter_choice"

_MESSAGES: dict[str, tuple[str, ...]] = {
    "ServerLiveRequest": (),
    "ServerLiveResponse": ("live bool",),
    "ServerReadyRequest": (),
    "ServerReadyResponse": ("ready bool",),
    "ModelReadyRequest": ("name string", "version string"),
    "ModelReadyResponse": ("ready bool",),
    "ServerMetadataRequest": (),
    "ServerMetadataResponse": ("name string", "version string", "extensions string*"),
    "ModelMetadataRequest": ("name string", "version string"),
    "ModelMetadataResponse": (
        "name string", "versions string*", "platform string", "inputs .TensorMetadata*",
        "outputs .TensorMetadata*",
    ),
    "ModelMetadataResponse.TensorMetadata": ("name string", "datatype string", "shape int64*"),
    "ModelInferRequest": (
        "model_name string", "model_version string", "id string", _PARAMETERS,
        "inputs .InferInputTensor*", "outputs .InferRequestedOutputTensor*", "raw_input_contents bytes*",
    ),
    "ModelInferRequest.InferInputTensor": (
        "name string", "datatype string", "shape int64*", _PARAMETERS, "contents InferTensorContents",
    ),
    "ModelInferRequest.InferRequestedOutputTensor": ("name string", _PARAMETERS),
    "ModelInferResponse": (
        "model_name string", "model_version string", "id string", _PARAMETERS,
        "outputs .InferOutputTensor*", "raw_output_contents bytes*",
    ),
    "ModelInferResponse.InferOutputTensor": (
        "name string", "datatype string", "shape int64*", _PARAMETERS, "contents InferTensorContents",
    ),
    "InferParameter": (
        "bool_param bool", "int64_param int64", "string_param string", "double_param double",
        "uint64_param uint64",
    ),
    "InferTensorContents": (
        "bool_contents bool*", "int_contents int32*", "int64_contents int64*", "uint_contents uint32*",
        "uint64_contents uint64*", "fp32_contents float*", "fp64_contents double*", "bytes_contents bytes*",
    ),
}  # fmt: skip

_Field = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    "bool": _Field.TYPE_BOOL,
    "bytes": _Field.TYPE_BYTES,
    "double": _Field.TYPE_DOUBLE,
    "float": _Field.TYPE_FLOAT,
    "int32": _Field.TYPE_INT32,
    "int64": _Field.TYPE_INT64,
    "string": _Field.TYPE_STRING,
    "uint32": _Field.TYPE_UINT32,
    "uint64": _Field.TYPE_UINT64,
}


def _add_field(message: Any, place: str, number: int, name: str, kind: str) -> None:
    """One field; ``kind`` is a scalar, a message, ``.`` and one nested here, or ``map`` (of parameters)."""
    field = message.field.add(name=name, number=number)
    if kind == "map":
        _add_map(message, place, field)
        return
    bare = kind.removesuffix("*")
    field.label = _Field.LABEL_REPEATED if kind != bare else _Field.LABEL_OPTIONAL
    if bare in _SCALARS:
        field.type = _SCALARS[bare]
    else:
        field.type = _Field.TYPE_MESSAGE
        field.type_name = f".{PACKAGE}.{place}{bare}" if bare.startswith(".") else f".{PACKAGE}.{bare}"


def _add_map(message: Any, place: str, field: Any) -> None:
    """A map from string to InferParameter: on the wire, entries of a nested message."""
    entry = message.nested_type.add(name="ParametersEntry")
    entry.options.map_entry = True
    _add_field(entry, place, 1, "key", "string")
    _add_field(entry, place, 2, "value", "InferParameter")
    field.label, field.type = _Field.LABEL_REPEATED, _Field.TYPE_MESSAGE
    field.type_name = f".{PACKAGE}.{place}.ParametersEntry"


def _described() -> Any:
    """The file descriptor of the protocol."""
    file = descriptor_pb2.FileDescriptorProto(
        name="gatewright/open_inference.proto", package=PACKAGE, syntax="proto3"
    )
    made: dict[str, Any] = {}
    for place, fields in _MESSAGES.items():
        outer, _, name = place.rpartition(".")
        holder = made[outer].nested_type if outer else file.message_type
        made[place] = message = holder.add(name=name)
        for number, field in enumerate(fields, start=1):
            _add_field(message, place, number, *field.split())
    parameter = made["InferParameter"]
    parameter.oneof_decl.add(name=_CHOICE)
    for field in parameter.field:
        field.oneof_index = 0
    return file


def _classes() -> dict[str, Any]:
    pool = descriptor_pool.DescriptorPool()
    file = pool.AddSerializedFile(_described().SerializeToString())
    del file
    return {
        place: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{place}"))
        for place in _MESSAGES
    }


MESSAGES = _classes()
"""Every message class by its name; a nested one as ``Outer.Inner``."""
