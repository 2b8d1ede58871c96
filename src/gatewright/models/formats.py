"""What a model file is, by its content; its name is never asked.

The gate is an allow-list: ONNX goes on to inspection, everything else is refused. The other formats
are told apart only so that the refusal can name the way out. Nothing is decompressed, unpacked or
unpickled here.
"""

from __future__ import annotations

import re
from enum import StrEnum

from gatewright.kernel.errors import Refusal
from gatewright.models.limits import MODEL_BYTES


class Format(StrEnum):
    """Model file formats and containers."""

    ONNX = "ONNX"
    EMPTY = "empty file"
    PICKLE = "Python pickle"
    COMPRESSED = "compressed file (joblib may write these)"
    TORCH_ZIP = "PyTorch archive"
    TORCH_LEGACY = "legacy PyTorch file"
    KERAS_ZIP = "Keras archive"
    HDF5 = "HDF5 file (Keras writes these)"
    SAVED_MODEL = "TensorFlow SavedModel"
    TFLITE = "TensorFlow Lite model"
    SAFETENSORS = "safetensors file"
    GGUF = "GGUF file"
    NUMPY = "NumPy array file"
    NUMPY_ZIP = "NumPy archive"
    ZIP = "ZIP archive"
    TAR = "TAR archive"
    PROGRAM = "program"
    UNKNOWN = "file of unknown format"


_MAGIC = (
    (b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.", Format.TORCH_LEGACY),
    (b"\x89HDF\r\n\x1a\n", Format.HDF5),
    (b"\x93NUMPY", Format.NUMPY),
    (b"GGUF", Format.GGUF),
    (b"\x1f\x8b", Format.COMPRESSED),  # gzip
    (b"BZh", Format.COMPRESSED),
    (b"\xfd7zXZ\x00", Format.COMPRESSED),
    (b"\x5d\x00\x00", Format.COMPRESSED),  # LZMA alone
    (b"\x04\x22\x4d\x18", Format.COMPRESSED),  # LZ4 frame
    (b"\x28\xb5\x2f\xfd", Format.COMPRESSED),  # Zstandard
    (b"7z\xbc\xaf\x27\x1c", Format.COMPRESSED),
    (b"\x7fELF", Format.PROGRAM),
    (b"MZ", Format.PROGRAM),
    (b"#!", Format.PROGRAM),
)
_ZIP_STARTS = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08", b"PK\x01\x02")
_ZIP_MARKS = (
    (b"data.pkl", Format.TORCH_ZIP),
    (b"constants.pkl", Format.TORCH_ZIP),
    (b"model.weights.h5", Format.KERAS_ZIP),
    (b".npy", Format.NUMPY_ZIP),
)
_ZIP_END = b"PK\x05\x06"
_WINDOW = 65_536  # archives name their members near both ends
_TEXT_PICKLE = re.compile(
    rb"c[\w.]+\n[\w.]+\n|\(i[\w.]+\n|[(\])}]{1,4}[dlptqcISVUXKJMGN.]|[IFL][-+\d.e]+L?\n|[SV]['\"]?[^\n]*\n[p.]|N\."
)
_PICKLE_PROTOCOLS = range(2, 6)

# Fields of onnx.ModelProto and their wire types (onnx.proto; protobuf encoding, "Message Structure").
_MODEL_FIELDS = {1: 0, 2: 2, 3: 2, 4: 2, 5: 0, 6: 2, 7: 2, 8: 2, 14: 2, 20: 2, 25: 2, 26: 2}
_GRAPH_FIELD = 7
_HEADER_FIELDS = 200_000  # operator sets, metadata and functions before or after the graph


def recognise(data: bytes) -> Format:
    """The format of a file, from its bytes alone."""
    if not data:
        return Format.EMPTY
    for magic, found in _MAGIC:
        if data.startswith(magic):
            return found
    if data.startswith(_ZIP_STARTS):
        return _zip(data)
    for looks_like, found in _QUESTIONS:
        if looks_like(data):
            return found
    return _zip(data) if _ZIP_END in data[-_WINDOW:] else Format.UNKNOWN


def _zip(data: bytes) -> Format:
    ends = data[:_WINDOW] + data[-_WINDOW:]
    return next((found for mark, found in _ZIP_MARKS if mark in ends), Format.ZIP)


def _is_tar(data: bytes) -> bool:
    return data[257:262] == b"ustar"


def _is_legacy_torch_tar(data: bytes) -> bool:
    return _is_tar(data) and b"pickle" in data and b"storages" in data


def _is_tflite(data: bytes) -> bool:
    return data[4:8] == b"TFL3"


def _is_zlib(data: bytes) -> bool:
    return data[0] == 0x78 and data[1:2] in (b"\x01", b"\x5e", b"\x9c", b"\xda")


def _is_saved_model(data: bytes) -> bool:
    """Schema version 1, then meta graphs; an ONNX model has an IR version of 3 at least."""
    return data.startswith(b"\x08\x01\x12")


def _is_pickle(data: bytes) -> bool:
    """Protocols 2 to 5 declare themselves; 0 and 1 begin with an opcode and end with STOP."""
    if data[0] == 0x80:
        return len(data) > 1 and data[1] in _PICKLE_PROTOCOLS
    return data.rstrip(b"\r\n").endswith(b".") and bool(_TEXT_PICKLE.match(data))


def _is_safetensors(data: bytes) -> bool:
    """8 bytes of header length, then a JSON object (safetensors format, "Format")."""
    return len(data) > 8 and data[8:9] == b"{" and int.from_bytes(data[:8], "little") <= len(data) - 8


def _is_onnx(data: bytes) -> bool:
    """Whether the outer message is an ONNX model: IR version first, known fields, and a graph.

    A graph that runs beyond the end of the file still counts: the inspection says that the file is
    cut off, which teaches more than "unknown format".
    """
    if data[:1] != b"\x08":
        return False
    at, graph = 0, False
    for _ in range(_HEADER_FIELDS):
        if at >= len(data):
            break
        tag, at = _varint(data, at)
        field, wire = tag >> 3, tag & 7
        if _MODEL_FIELDS.get(field) != wire:
            return False
        value, at = _varint(data, at)
        if at < 0:
            return False
        at += value if wire == 2 else 0
        graph = graph or field == _GRAPH_FIELD
    return graph


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A protobuf varint and the place after it; the place is -1 where there is none."""
    value = 0
    for shift in range(0, 70, 7):
        if not 0 <= at < len(data):
            return 0, -1
        value |= (data[at] & 0x7F) << shift
        at += 1
        if data[at - 1] < 0x80:
            return value, at
    return 0, -1


_QUESTIONS = (
    (_is_legacy_torch_tar, Format.TORCH_LEGACY),
    (_is_tar, Format.TAR),
    (_is_tflite, Format.TFLITE),
    (_is_pickle, Format.PICKLE),
    (_is_zlib, Format.COMPRESSED),
    (_is_safetensors, Format.SAFETENSORS),
    (_is_saved_model, Format.SAVED_MODEL),
    (_is_onnx, Format.ONNX),
)

_TORCH = (
    "Convert it where it was trained: torch.onnx.export(model, example, 'model.onnx', external_data=False)."
)
_SKLEARN = (
    "Convert it where it was trained; for scikit-learn: "
    "skl2onnx.to_onnx(model, rows[:1], options={'zipmap': False})."
)
_KERAS = "Convert it where it was trained: model.export('model.onnx', format='onnx')."
_TENSORFLOW = (
    "Convert it where it was trained: python -m tf2onnx.convert --saved-model FOLDER --output model.onnx."
)
_ANY = "Export the model as ONNX with its weights inlined."
_WEIGHTS = "It holds weights and no graph: export the model that uses them as ONNX."
_CODE = "Such a file can carry code that runs when it is opened, so it is never opened here."

_WAYS_OUT: dict[Format, tuple[str, str]] = {
    Format.EMPTY: ("There is nothing in it.", _ANY),
    Format.PICKLE: (_CODE, _SKLEARN),
    Format.COMPRESSED: (_CODE, _SKLEARN),
    Format.TORCH_ZIP: (_CODE, _TORCH),
    Format.TORCH_LEGACY: (_CODE, _TORCH),
    Format.KERAS_ZIP: (_CODE, _KERAS),
    Format.HDF5: (_CODE, _KERAS),
    Format.SAVED_MODEL: (_CODE, _TENSORFLOW),
    Format.TFLITE: ("Only ONNX is served.", _TENSORFLOW),
    Format.SAFETENSORS: ("Only ONNX is served.", _WEIGHTS),
    Format.GGUF: ("Only ONNX is served.", _ANY),
    Format.NUMPY: (_CODE, _WEIGHTS),
    Format.NUMPY_ZIP: (_CODE, _WEIGHTS),
    Format.ZIP: (_CODE, _ANY),
    Format.TAR: (_CODE, _ANY),
    Format.PROGRAM: (_CODE, _ANY),
    Format.UNKNOWN: ("Only ONNX is served, and this is not it.", _ANY),
}
_CODES = {Format.EMPTY: "models.empty", Format.UNKNOWN: "models.unknown-format"}


def refuse_unless_onnx(data: bytes, name: str) -> Refusal | None:
    """None for ONNX; for everything else the refusal with the way out.

    ``name`` is only what the sentence calls the file. Passing here is not yet acceptance: bytes
    that begin like ONNX by accident or by design are judged by ``onnx_reader.inspect``.
    """
    if len(data) > MODEL_BYTES:
        return Refusal(
            code="models.too-large",
            what=f"{name[:200]!r} has {len(data):,} bytes; the limit is {MODEL_BYTES:,}.",
            next="Give a smaller model, for example a quantised one.",
        )
    found = recognise(data)
    if found is Format.ONNX:
        return None
    why, way_out = _WAYS_OUT[found]
    return Refusal(
        code=_CODES.get(found, "models.format-not-allowed"),
        what=f"{name[:200]!r} is not an ONNX model; its content says: {found.value}.",
        why=why,
        next=way_out,
    )
