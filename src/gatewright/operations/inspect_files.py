"""What model files are, before anybody keeps them: recognised by content, nothing opened that can run.

For a commit hook as for a person: an ONNX model is read as ``model add`` would read it, a file that
can carry code is refused, and what is neither is left alone.

Not seen: a pickle inside an LZ4 or Zstandard frame, an encrypted archive, or a compressed NumPy archive.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import pickletools
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from gatewright.kernel.errors import Refusal, Refused
from gatewright.models.facts import ModelFacts
from gatewright.models.formats import Format, recognise, refuse_unless_onnx
from gatewright.operations.files import read_file
from gatewright.operations.isolation import inspect_model
from gatewright.operations.models import MODEL_BYTES

PEEKED = 64 * 1024
"""Most bytes of a compressed or pickled content that are looked at."""

_CARRIES_CODE = frozenset(
    {Format.TORCH_ZIP, Format.TORCH_LEGACY, Format.KERAS_ZIP, Format.SAVED_MODEL, Format.PICKLE}
)
_KERAS_IN_HDF5 = (b"keras_version", b"model_config")
_OBJECTS_IN_NUMPY = (b"'descr': '|O'", b"'descr': 'O'")
_CALLS = frozenset({"BUILD", "INST", "NEWOBJ", "NEWOBJ_EX", "OBJ", "REDUCE"})
"""Pickle opcodes that make the reader run something (pickletools, Python 3)."""
_OPENERS: tuple[Callable[[io.BytesIO], io.BufferedIOBase], ...] = (
    lambda data: gzip.GzipFile(fileobj=data),
    bz2.BZ2File,
    lzma.LZMAFile,
)


class Standing(StrEnum):
    """What becomes of a file."""

    MODEL = "model"
    REFUSED = "refused"
    OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspected:
    """One file: what its content says it is, and why it is refused, if it is."""

    file: str
    format: Format
    standing: Standing
    facts: ModelFacts | None = None
    refusal: Refusal | None = None


def inspect_file(path: Path) -> Inspected:
    """Look at one file. Raises Misuse for none, and BadInput beyond ``MODEL_BYTES``."""
    data = read_file(path, limit=MODEL_BYTES)
    found = recognise(data)
    if found is Format.ONNX:
        try:
            return Inspected(file=str(path), format=found, standing=Standing.MODEL, facts=inspect_model(data))
        except Refused as refused:
            return Inspected(file=str(path), format=found, standing=Standing.REFUSED, refusal=refused.refusal)
    carries = carries_code(data, found)
    named = Format.UNKNOWN if found is Format.PICKLE and not carries else found  # a text that resembles one
    return Inspected(
        file=str(path),
        format=named,
        standing=Standing.REFUSED if carries else Standing.OTHER,
        refusal=refuse_unless_onnx(data, path.name) if carries else None,
    )


def carries_code(data: bytes, found: Format) -> bool:
    """Whether a file of that format would run code of its own when it is opened as a model."""
    match found:
        case Format.PICKLE:
            return _is_pickle(data)
        case Format.COMPRESSED:
            inner = _first_bytes(data)
            return recognise(inner) in _CARRIES_CODE and _is_pickle(inner)
        case Format.HDF5:
            return any(mark in data for mark in _KERAS_IN_HDF5)
        case Format.NUMPY:
            return any(mark in data[:PEEKED] for mark in _OBJECTS_IN_NUMPY)
        case _:
            return found in _CARRIES_CODE


def _is_pickle(data: bytes) -> bool:
    """Protocols 2 and later say so; of a text, the opcodes are walked, which runs none of them."""
    if data[:1] == b"\x80":
        return True
    called = False
    try:
        for opcode, _, _ in pickletools.genops(data[:PEEKED]):
            called = called or opcode.name in _CALLS
    except ValueError:  # no pickle, or one longer than what is looked at
        return called
    return True


def _first_bytes(data: bytes) -> bytes:
    """The beginning of a compressed content, or nothing where it cannot be read."""
    for opener in _OPENERS:
        try:
            return opener(io.BytesIO(data)).read(PEEKED)
        except (OSError, EOFError, lzma.LZMAError, zlib.error):
            continue
    try:
        return zlib.decompressobj().decompress(data, PEEKED)
    except zlib.error:
        return b""
