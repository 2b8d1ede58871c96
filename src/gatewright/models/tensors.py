r"""Tensors as bytes, the same in every language: what commitments are computed over.

Tensor encoding v1. All integers are unsigned and little-endian::

    u32  length of the name in bytes        name, UTF-8
    u8   length of the data type in bytes   data type, ASCII (Open Inference Protocol name: "FP32")
    u8   number of dimensions               each dimension as u64
    u64  length of the data in bytes        data: row-major, little-endian, one byte per BOOL;
                                            BYTES elements each as u32 length, then the bytes
                                            (as in the protocol's binary tensor extension)

A missing cell of a float tensor is NaN, and NaN has one form, the quiet one without sign and payload
(IEEE 754-2019, 6.2): ``7e00`` in FP16, ``7fc0`` in BF16, ``7fc00000`` in FP32, ``7ff8000000000000`` in FP64, least byte
first as all numbers here.

BF16 is the upper half of an FP32 number. NumPy has no such type: an array of BF16 is held as the FP32
numbers that it means, and takes two bytes each only here and on the wire.

A list of tensors is the 24 bytes ``gatewright tensors v1\n`` followed by two zero bytes, then a u32
count, then each tensor's encoding as u64 length and bytes, in the order of the signature. Every
part is prefixed by its length, so two different lists never share an encoding.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatewright.kernel.errors import BadInput
from gatewright.models.limits import DIMENSIONS, NAME_CHARACTERS, TENSORS
from gatewright.models.signature import DataType

TENSORS_MAGIC = b"gatewright tensors v1\n\0\0"

_DTYPES: dict[DataType, np.dtype[Any]] = {
    DataType.BOOL: np.dtype(np.bool_),
    DataType.UINT8: np.dtype("u1"),
    DataType.UINT16: np.dtype("<u2"),
    DataType.UINT32: np.dtype("<u4"),
    DataType.UINT64: np.dtype("<u8"),
    DataType.INT8: np.dtype("i1"),
    DataType.INT16: np.dtype("<i2"),
    DataType.INT32: np.dtype("<i4"),
    DataType.INT64: np.dtype("<i8"),
    DataType.FP16: np.dtype("<f2"),
    DataType.FP32: np.dtype("<f4"),
    DataType.FP64: np.dtype("<f8"),
    DataType.BYTES: np.dtype(np.object_),
}
_DATATYPES = {dtype: datatype for datatype, dtype in _DTYPES.items()}
_DTYPES[DataType.BF16] = np.dtype("<f4")
FLOATS = frozenset({DataType.FP16, DataType.BF16, DataType.FP32, DataType.FP64})
INTEGERS = frozenset(kind for kind in DataType if "INT" in kind)
_BF16_NAN = 0x7FC0


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """One named tensor; ``raw`` is its data as the encoding above lays it out."""

    name: str
    datatype: DataType
    shape: tuple[int, ...]
    raw: bytes


def dtype_of(datatype: DataType) -> np.dtype[Any]:
    """The NumPy type that holds a data type: objects of ``bytes`` for BYTES, FP32 for BF16."""
    return _DTYPES[datatype]


def datatype_of(dtype: np.dtype[Any]) -> DataType:
    """The data type of a NumPy type, never BF16; raises :class:`BadInput` where there is none."""
    found = _DATATYPES.get(dtype.newbyteorder("<") if dtype.byteorder == ">" else dtype)
    if found is None:
        raise BadInput("models.array-type", f"NumPy arrays of {dtype} cannot be tensors here.")
    return found


def bf16_bits(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """The BF16 numbers nearest to FP32 ones, ties to even (IEEE 754-2019, 4.3.1), as 16 bits each.

    Each NaN becomes the one form; what is beyond the largest BF16 number becomes an infinity.
    """
    bits = np.asarray(values, np.float32).view(np.uint32)
    nearest = (bits + (0x7FFF + ((bits >> 16) & 1))) >> 16
    return np.where(np.isnan(values), _BF16_NAN, nearest).astype(np.uint16)


def of_bf16_bits(bits: NDArray[np.uint16]) -> NDArray[np.float32]:
    """The FP32 numbers that BF16 numbers, given as 16 bits each, mean; exact."""
    return (np.asarray(bits, np.uint32) << 16).view(np.float32)


def settled(values: NDArray[Any]) -> NDArray[Any]:
    """The same values, each NaN in its one form; the same array where it has none."""
    if values.dtype.kind != "f" or not np.isnan(values).any():
        return values
    return np.where(np.isnan(values), values.dtype.type(np.nan), values)


def raw_of(values: NDArray[Any], datatype: DataType | None = None) -> bytes:
    """The data of an array as the tensor encoding lays it out: texts become UTF-8, each NaN the one form.

    ``datatype`` is needed for BF16 alone, which the array's own type does not tell.
    """
    if datatype is DataType.BF16:
        return bf16_bits(values).astype("<u2").tobytes()
    values = settled(values)
    if values.dtype != np.object_:
        return np.ascontiguousarray(values, dtype=dtype_of(datatype_of(values.dtype))).tobytes()
    parts: list[bytes] = []
    for item in values.ravel():
        element = item.encode("utf-8") if isinstance(item, str) else bytes(item)
        parts += (len(element).to_bytes(4, "little"), element)
    return b"".join(parts)


def array_of(datatype: DataType, shape: tuple[int, ...], raw: bytes | memoryview) -> NDArray[Any]:
    """The array that the data holds; raises :class:`BadInput` where data and shape do not agree."""
    count = 1
    for size in shape:
        count *= size
    if datatype is not DataType.BYTES:
        dtype = np.dtype("<u2") if datatype is DataType.BF16 else dtype_of(datatype)
        if len(raw) != count * dtype.itemsize:
            raise _wrong(f"A tensor of {datatype} and shape {list(shape)} cannot have {len(raw):,} bytes.")
        if datatype is DataType.BOOL and (np.frombuffer(raw, np.uint8) > 1).any():
            raise _wrong("A BOOL element is neither 0 nor 1.")
        values = np.frombuffer(raw, dtype).reshape(shape)
        return of_bf16_bits(values) if datatype is DataType.BF16 else values
    elements = _elements(raw)
    if len(elements) != count:
        raise _wrong(f"A tensor of BYTES and shape {list(shape)} cannot have {len(elements):,} elements.")
    texts = np.empty(count, dtype=np.object_)
    texts[:] = elements
    return texts.reshape(shape)


def _elements(raw: bytes | memoryview) -> list[bytes]:
    data = bytes(raw)
    found: list[bytes] = []
    at, end = 0, len(data)
    while at < end:
        begin = at + 4
        at = begin + int.from_bytes(data[at:begin], "little")
        if begin > end or at > end:
            raise _wrong("A BYTES element runs beyond the data.")
        found.append(data[begin:at])
    return found


def _wrong(what: str) -> BadInput:
    return BadInput("models.tensor-data", what)


def tensor_bytes(name: str, datatype: DataType, shape: Sequence[int], raw: bytes | memoryview) -> bytes:
    """The encoding of one tensor; see the head of this module.

    Raises :class:`BadInput` for a name, rank or size beyond the limits.
    """
    title = name.encode("utf-8")
    if len(name) > NAME_CHARACTERS or len(shape) > DIMENSIONS or any(size < 0 for size in shape):
        raise BadInput("models.tensor-shape", f"The tensor {name[:80]!r} has an impossible name or shape.")
    kind = datatype.value.encode("ascii")
    head = struct.pack("<I", len(title)) + title + struct.pack("<B", len(kind)) + kind
    sizes = struct.pack(f"<B{len(shape)}Q", len(shape), *shape)
    return b"".join((head, sizes, struct.pack("<Q", len(raw)), raw))


def tensors_encoding(tensors: Sequence[bytes]) -> bytes:
    """The encoding of a list of tensors, each given as :func:`tensor_bytes` wrote it, in order."""
    parts = [TENSORS_MAGIC, struct.pack("<I", len(tensors))]
    for tensor in tensors:
        parts += (struct.pack("<Q", len(tensor)), tensor)
    return b"".join(parts)


def encode_arrays(arrays: Sequence[tuple[str, NDArray[Any]]]) -> bytes:
    """The encoding of a list of named arrays, of the types that NumPy calls theirs."""
    return encode_typed([(name, datatype_of(values.dtype), values) for name, values in arrays])


def encode_typed(arrays: Sequence[tuple[str, DataType, NDArray[Any]]]) -> bytes:
    """The encoding of a list of named arrays, each with its data type."""
    return tensors_encoding(
        [tensor_bytes(name, kind, values.shape, raw_of(values, kind)) for name, kind, values in arrays]
    )


def read_tensors(data: bytes) -> tuple[Tensor, ...]:
    """The tensors of an encoded list; raises :class:`BadInput` for anything else.

    Law: reading and encoding again gives the same bytes. No declared size is believed.
    """
    reader = _Reader(memoryview(data))
    if reader.take(len(TENSORS_MAGIC)) != TENSORS_MAGIC:
        raise _wrong("The bytes are not an encoded list of tensors.")
    count = reader.number("<I")
    if count > TENSORS:
        raise _wrong(f"The list declares {count:,} tensors; the limit is {TENSORS:,}.")
    tensors = tuple(_tensor(_Reader(reader.take(reader.number("<Q")))) for _ in range(count))
    reader.require_end()
    return tensors


def _tensor(reader: _Reader) -> Tensor:
    try:
        name = bytes(reader.take(reader.number("<I"))).decode("utf-8")
        datatype = DataType(bytes(reader.take(reader.number("<B"))).decode("ascii"))
    except ValueError:
        raise _wrong("A tensor has an unreadable name or an unknown data type.") from None
    rank = reader.number("<B")
    if rank > DIMENSIONS:
        raise _wrong(f"A tensor has {rank} dimensions; the limit is {DIMENSIONS}.")
    shape = tuple(reader.number("<Q") for _ in range(rank))
    raw = bytes(reader.take(reader.number("<Q")))
    reader.require_end()
    return Tensor(name=name, datatype=datatype, shape=shape, raw=raw)


class _Reader:
    """Takes parts off a buffer, never beyond its end."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._at = 0

    def take(self, count: int) -> memoryview:
        end = self._at + count
        if end > len(self._data):
            raise _wrong("The encoded tensors are cut off.")
        part = self._data[self._at : end]
        self._at = end
        return part

    def number(self, form: str) -> int:
        return int(struct.unpack(form, self.take(struct.calcsize(form)))[0])

    def require_end(self) -> None:
        if self._at != len(self._data):
            raise _wrong("Bytes follow the encoded tensors.")
