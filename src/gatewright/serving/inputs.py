"""What was sent for one input, checked against its specification: JSON text, values, or raw bytes in.

Types: a float tensor may be sent in any float type and an integer tensor in any integer type that
holds the values; integers may be sent for floats where none loses a digit. NaN in a float tensor is a
missing cell, ``null`` in JSON, and gets its one form; every other type has none. An infinity is no
value. Sizes are whole numbers of Python, which do not overflow.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from gatewright.kernel.errors import BadInput
from gatewright.models.signature import DataType, TensorSpec
from gatewright.models.tensors import FLOATS, array_of, bf16_bits, dtype_of, of_bf16_bits, settled
from gatewright.serving.admission import Turned
from gatewright.serving.frames import WireInput, plainly
from gatewright.serving.limits import DIMENSIONS, ELEMENTS, ROWS, TENSOR_NAME, TEXT

Array = NDArray[Any]
Family: TypeAlias = type[float] | type[int] | type[bool] | type[str]
Make: TypeAlias = "Callable[[list[Any], DataType, TensorSpec], Array]"

SHOWN_NAMES = 12
FEW = 256
"""Up to so many values a look at each costs less than calling NumPy to do it."""
_NESTED = re.compile(rb"\s*\[\s*\[")
_LARGEST = {kind: float(np.finfo(dtype_of(kind)).max) for kind in FLOATS - {DataType.BF16}}
_WHOLE_UP_TO = {DataType.FP16: 2**11, DataType.BF16: 2**8, DataType.FP32: 2**24, DataType.FP64: 2**53}
"""Every whole number up to this one is held exactly."""
_BY_NAME: dict[str, DataType] = {str(kind): kind for kind in DataType}
_FAMILY: dict[DataType, Family] = {
    **dict.fromkeys(DataType, int),
    **dict.fromkeys(FLOATS, float),
    DataType.BOOL: bool,
    DataType.BYTES: str,
}
_NULL = "got `null`"
"""What the decoder says of a null where it wants a value."""


@dataclass(slots=True)
class SentTensor:
    """A tensor as a caller sent it, in ``raw`` bytes or as ``values``; nothing of it is checked yet.

    ``raw`` is laid out as the protocol's binary tensor extension says, least byte first. ``values`` are
    flat, in row-major order, and of the Python type of ``datatype``: float (NaN: a missing cell), int,
    bool, and str or UTF-8 in bytes for BYTES.
    """

    name: str
    datatype: str
    shape: list[int]
    raw: bytes | memoryview | None = None
    values: list[Any] | None = None


def listed(names: Sequence[str]) -> str:
    """The first names of some, each cut to its limit."""
    shown = ", ".join(repr(name[: TENSOR_NAME.value]) for name in names[:SHOWN_NAMES])
    return shown if len(names) <= SHOWN_NAMES else f"{shown} and {len(names) - SHOWN_NAMES} more"


def _list_decoder(family: Family, depth: int) -> Callable[[bytes | msgspec.Raw], Any]:
    kind: Any = float | None if family is float else family
    for _ in range(depth):
        kind = list[kind]
    return msgspec.json.Decoder(kind).decode


_DEEP = {
    (family, depth): _list_decoder(family, depth)
    for family in (float, int, bool, str)
    for depth in range(1, DIMENSIONS.value + 1)
}


def _flatten(values: list[Any], shape: Sequence[int], name: str) -> list[Any]:
    """Row-major values of a nested list; that there are enough rows is the caller's count to see."""
    for size in shape[1:]:
        if any(len(part) != size for part in values):
            raise Turned(400, f"The data of {name!r} is not nested as its shape {list(shape)} says.")
        values = list(chain.from_iterable(values))
    return values


def _unfit(name: str, kind: str, why: str) -> Turned:
    if _NULL in why and kind not in FLOATS:
        return Turned(
            400,
            f"The input {name!r} was sent as {kind}, which has no missing cells: null stands in floats only.",
        )
    return Turned(400, f"The data of {name!r} does not fit {kind}: {why}.")


def _not_held(spec: TensorSpec) -> Turned:
    return Turned(400, f"The input {spec.name!r} has a value that {spec.datatype} cannot hold.")


def _not_counted(spec: TensorSpec, found: int, count: int) -> Turned:
    return Turned(400, f"The input {spec.name!r} has {found:,} values; its shape asks for {count:,}.")


def _all_within(values: list[Any], largest: float) -> bool:
    """Whether every value is a number that the type holds; a null is none."""
    try:
        return bool(-largest <= min(values) and max(values) <= largest)
    except (TypeError, ValueError):
        return False


def _known(array: Array, spec: TensorSpec) -> Array:
    """A float tensor without infinities, each NaN of it in its one form.

    The least and the largest of an array are NaN where any of it is. NumPy compares FP16 slowly: there
    the bits are looked at, whose exponent is full in NaN and infinity alone.
    """
    if array.dtype == np.float16 and (array.view(np.uint16) & 0x7FFF).max() < 0x7C00:
        return array
    low, high = array.min(), array.max()
    if -math.inf < low and high < math.inf:
        return array
    if np.isinf(array).any():
        raise _not_held(spec)
    return settled(array)


def _as_floats(values: Array | list[Any], spec: TensorSpec) -> Array:
    """Numbers in the specification's float type; raises Turned (400) for what it cannot hold."""
    with np.errstate(over="ignore"):
        array = np.asarray(values, dtype_of(spec.datatype))
        if spec.datatype is DataType.BF16:
            array = of_bf16_bits(bf16_bits(array))
    return _known(array, spec)


def _floats(values: list[Any], wire: DataType, spec: TensorSpec) -> Array:
    if wire not in FLOATS:
        return _floats_of_whole(_integers(values, wire, spec), spec)
    few = len(values) <= FEW and spec.datatype is not DataType.BF16
    if few and _all_within(values, _LARGEST[spec.datatype]):
        return np.array(values, dtype_of(spec.datatype))
    return _as_floats(values, spec)


def _floats_of_whole(whole: Array, spec: TensorSpec) -> Array:
    array, sure = _as_floats(whole, spec), _WHOLE_UP_TO[spec.datatype]
    if (int(whole.min()) < -sure or int(whole.max()) > sure) and array.tolist() != whole.tolist():
        raise _not_held(spec)
    return array


def _integers(values: list[Any], kind: DataType, spec: TensorSpec) -> Array:
    try:
        return np.array(values, dtype_of(kind))
    except OverflowError:
        raise Turned(400, f"The input {spec.name!r} has a value that {kind} cannot hold.") from None


def _whole(values: list[Any], wire: DataType, spec: TensorSpec) -> Array:
    array = _integers(values, wire, spec)
    return array if wire is spec.datatype else _integers(values, spec.datatype, spec)


def _truths(values: list[Any], wire: DataType, spec: TensorSpec) -> Array:
    del wire, spec
    return np.array(values, np.bool_)


def _texts(values: list[Any], wire: DataType, spec: TensorSpec) -> Array:
    del wire
    try:
        texts = [each.decode() if isinstance(each, bytes) else each for each in values]
    except UnicodeDecodeError:
        raise Turned(400, f"A text in {spec.name!r} is not UTF-8.") from None
    if any(len(text) * 4 > TEXT.value and len(text.encode()) > TEXT.value for text in texts):
        raise Turned(400, f"A text in {spec.name!r} is longer than {TEXT.value:,} bytes.")
    return np.array(texts, np.object_)


_MAKERS: dict[Family, Make] = {float: _floats, int: _whole, bool: _truths, str: _texts}


def _of_raw(array: Array, wire: DataType, spec: TensorSpec) -> Array:
    """An array of the type that was sent, in the specification's type."""
    family = _FAMILY[wire]
    if family is str:
        return _texts(array.ravel().tolist(), wire, spec)
    if family is float:
        return _known(array, spec) if wire is spec.datatype else _as_floats(array, spec)
    if _FAMILY[spec.datatype] is float:
        return _floats_of_whole(array, spec)
    if wire is not spec.datatype:
        held = np.iinfo(dtype_of(spec.datatype))
        if int(array.min()) < held.min or int(array.max()) > held.max:
            raise _not_held(spec)
        return array.astype(dtype_of(spec.datatype))
    return array


def _check_shape(shape: Sequence[int], spec: TensorSpec) -> int:
    """Number of elements, when the shape fits the signature."""
    if len(shape) > DIMENSIONS.value:
        raise Turned(400, f"The input {spec.name!r} has more than {DIMENSIONS.value} dimensions.")
    fits = len(shape) == len(spec.shape) and all(
        sent >= 1 and fixed in {-1, sent} for sent, fixed in zip(shape, spec.shape, strict=True)
    )
    if not fits:
        columns = f"; its columns are {listed(spec.columns)}" if spec.columns else ""
        raise Turned(
            400,
            f"The input {spec.name!r} has shape {list(shape)}; the model takes {list(spec.shape)}{columns}.",
        )
    if shape and shape[0] > ROWS.value:
        raise Turned(400, f"The input {spec.name!r} has {shape[0]:,} rows; the limit is {ROWS.value:,}.")
    count = math.prod(shape)
    if count > ELEMENTS.value:
        raise Turned(400, f"The input {spec.name!r} has {count:,} elements; the limit is {ELEMENTS.value:,}.")
    return count


@dataclass(frozen=True, slots=True)
class _Way:
    """How values of one sent type become the tensor: their type, the decoder of a flat list, the maker."""

    wire: DataType
    flat: Callable[[bytes | msgspec.Raw], Any]
    make: Make


class InputReader:
    """Reads one input of a signature; what is the same for every request is worked out once."""

    def __init__(self, spec: TensorSpec) -> None:
        self._spec = spec
        self._tail = list(spec.shape[1:])
        self._plain = spec.shape[:1] == (-1,) and -1 not in self._tail
        self._elements = math.prod(self._tail)
        family = _FAMILY[spec.datatype]
        self._ways = {
            name: _Way(kind, _DEEP[_FAMILY[kind], 1], _MAKERS[family])
            for name, kind in _BY_NAME.items()
            if _FAMILY[kind] is family or (_FAMILY[kind] is int and family is float)
        }

    def _way(self, datatype: str) -> _Way:
        """The way of the type that was sent, when the signature's type can take it."""
        way = self._ways.get(datatype)
        if way is not None:
            return way
        name = self._spec.name
        if datatype in _BY_NAME:
            raise Turned(
                400, f"The input {name!r} is {self._spec.datatype} and cannot be sent as {datatype}."
            )
        raise Turned(400, f"The input {name!r} has the unknown datatype {datatype[:40]!r}.")

    def _count(self, shape: list[int]) -> int:
        """Number of elements; the usual shape is recognised at once, any other one is gone through."""
        usual = self._plain and shape[1:] == self._tail and 1 <= shape[0] <= ROWS.value
        count = shape[0] * self._elements if usual else 0
        return count if 0 < count <= ELEMENTS.value else _check_shape(shape, self._spec)

    def read(self, wire: WireInput, raws: Mapping[str, memoryview] | None) -> Array:
        """The tensor of a REST request, in the signature's type; raises Turned (400).

        ``raws`` holds the binary data of its inputs, None where it came as JSON alone.
        """
        if wire.parameters is not None:
            if bytes(wire.parameters.shared_memory_region):
                raise Turned(400, "Shared memory is not offered here.")
            if wire.parameters.binary_data_size is not None:
                return self._read_binary(wire, raws)
        way = self._ways.get(wire.datatype) or self._way(wire.datatype)
        count = self._count(wire.shape)
        values = self._values(wire, way)
        if len(values) != count:
            raise _not_counted(self._spec, len(values), count)
        return way.make(values, way.wire, self._spec).reshape(wire.shape)

    def _read_binary(self, wire: WireInput, raws: Mapping[str, memoryview] | None) -> Array:
        name = self._spec.name
        if raws is None:
            raise Turned(
                400,
                f"The input {name!r} has a binary_data_size, and the request no "
                "Inference-Header-Content-Length, after which binary data would stand.",
            )
        if bytes(wire.data):
            raise Turned(400, f"The input {name!r} has both data and a binary_data_size.")
        return self.take(SentTensor(name, wire.datatype, wire.shape, raw=raws[name]))

    def _values(self, wire: WireInput, way: _Way) -> list[Any]:
        """The tensor's values, flat and in row-major order."""
        name, raw = self._spec.name, bytes(wire.data)
        try:
            if raw[:2] == b"[[" or _NESTED.match(raw):
                return _flatten(_DEEP[_FAMILY[way.wire], len(wire.shape)](raw), wire.shape, name)
            found: list[Any] = way.flat(raw)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            if not raw:
                raise Turned(400, f"The input {name!r} has no data.") from None
            raise _unfit(name, wire.datatype, plainly(error)) from None
        return found

    def take(self, sent: SentTensor) -> Array:
        """The tensor that was sent as raw bytes or as values, in the signature's type; raises Turned (400)."""
        way, spec = self._way(sent.datatype), self._spec
        count = self._count(sent.shape)
        if sent.raw is None:
            values = sent.values or []
            if len(values) != count:
                raise _not_counted(spec, len(values), count)
            return way.make(values, way.wire, spec).reshape(sent.shape)
        try:
            array = array_of(way.wire, tuple(sent.shape), sent.raw)
        except BadInput as error:
            raise Turned(
                400, f"The binary data of {spec.name!r} does not fit. {error.refusal.what}"
            ) from None
        array = _of_raw(array, way.wire, spec).reshape(sent.shape)
        return array if array.flags.aligned else array.copy()
