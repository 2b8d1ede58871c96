"""Saved answers and requests: their tensors, compared with what a receipt committed to.

What is committed to is the tensor encoding of :mod:`gatewright.models.tensors`: outputs as they
were answered, in that order; inputs in the order and the types of the release's signature. A number
is compared as its tensor type holds it: ``0.1`` and ``0.10000000149`` are the same FP32.

What is saved is the body of the message: JSON, and after it the binary data of the tensors that the JSON
gives a ``binary_data_size``, as the Open Inference Protocol's binary tensor extension lays it out. The
header that says where the JSON ends is not needed: it ends where its object does. Callers' libraries
often give the JSON alone: the receipt in it is verified, and that the outputs were not seen is said.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, permutations, product
from math import prod
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gatewright.kernel.errors import BadInput
from gatewright.models.limits import DIMENSIONS, TENSORS
from gatewright.models.signature import DataType, ModelSignature
from gatewright.models.tensors import array_of, bf16_bits, dtype_of, encode_typed, of_bf16_bits

RECEIPT_MARK = "gwr1."
EVERY_READING = 2
"""With up to so many inputs every order and type is tried when the signature is not known."""

Document: TypeAlias = dict[str, Any]
Matches: TypeAlias = Callable[[bytes], bool]

FLOATS = (DataType.FP16, DataType.BF16, DataType.FP32, DataType.FP64)
INTEGERS = tuple(kind for kind in DataType if "INT" in kind)


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """A receipt's token, and the answer that carried it, or None where the token came alone.

    An output of the answer that came as binary data has its bytes as ``data``. With ``head_only`` the
    file held the JSON of a binary answer without that data: such outputs have none.
    """

    token: str
    answer: Document | None = None
    head_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedTensor:
    """A tensor of a saved message: its values, flat and in row-major order, or its binary data."""

    name: str
    datatype: DataType
    shape: tuple[int, ...]
    values: list[Any] | bytes


def saved_in(content: bytes) -> Saved:
    """What a file holds: the token alone, bare or as a JSON string, or the answer that carried it."""
    text = _unquoted(content.decode("utf-8", "replace").strip())
    if text.startswith(RECEIPT_MARK):
        return Saved(token=text)
    try:
        answer, head_only = _message(content, "outputs")
        token = answer["parameters"]["receipt"] if "parameters" in answer else answer["receipt"]
    except (BadInput, KeyError, TypeError):
        token = None
    if not isinstance(token, str):
        raise BadInput(
            "operations.no-receipt",
            "There is no receipt in the file.",
            next="Save the text of parameters.receipt, or the whole answer.",
        )
    return Saved(token=token, answer=answer, head_only=head_only)


def _unquoted(text: str) -> str:
    """What a JSON string says; any other text as it is."""
    try:
        found = json.loads(text) if text.startswith('"') else text
    except ValueError:
        return text
    return found.strip() if isinstance(found, str) else text


def request_in(content: bytes) -> tuple[SavedTensor, ...]:
    """The inputs of a request; raises BadInput for anything else."""
    request, head_only = _message(content, "inputs")
    if head_only:
        raise BadInput(
            "operations.binary-data-missing",
            "The inputs were sent as binary data, which is not in the file.",
            next="Save the whole body as it was sent: the JSON, and the binary data after it.",
        )
    return _tensors(request.get("inputs"), "inputs")


def _message(content: bytes, of: str) -> tuple[Document, bool]:
    """The JSON object of a message, with the binary data after it as the ``data`` of the tensors ``of``.

    And whether that data is missing altogether: the JSON alone was saved.
    """
    text = content.decode("latin-1")  # a letter for each byte, so that places in both are the same
    begin = len(text) - len(text.lstrip(" \t\r\n"))
    try:
        end = json.JSONDecoder().raw_decode(text, begin)[1]
    except (ValueError, RecursionError) as error:
        raise _unreadable(f"It is not JSON: {str(error)[:200]}") from None
    document, rest = _document(content[begin:end]), content[end:]
    found = document.get(of)
    tensors = found if isinstance(found, list) else []
    sizes = [_binary_size(each) for each in tensors]
    at = len(rest) - sum(size or 0 for size in sizes)
    if at < 0 and not rest.strip(b" \t\r\n"):
        return document, True
    if at < 0 or rest[:at].strip(b" \t\r\n"):
        raise _unreadable("What follows the JSON is not the binary data that it declares.")
    for tensor, size in zip(tensors, sizes, strict=True):
        if size is not None:
            tensor["data"] = rest[at : at + size]
            at += size
    return document, False


def _binary_size(tensor: object) -> int | None:
    given = tensor.get("parameters") if isinstance(tensor, dict) else None
    size = given.get("binary_data_size") if isinstance(given, dict) else None
    if size is None:
        return None
    if not _is_size(size) or (isinstance(tensor, dict) and "data" in tensor):
        raise _unreadable("A tensor has an impossible size of its binary data, or other data beside it.")
    return int(size)


def _document(content: bytes) -> Document:
    """A JSON object, big integers whole; a key given twice would be two answers in one file."""
    try:
        found = json.loads(content.decode("utf-8"), object_pairs_hook=_object, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise _unreadable(f"It is not JSON: {str(error)[:200]}") from None
    if not isinstance(found, dict):
        raise _unreadable("It is not a JSON object.")
    return found


def _object(pairs: list[tuple[str, Any]]) -> Document:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _unreadable("A JSON object names the same key twice.")
    return found


def _no_constant(text: str) -> Any:
    raise _unreadable(f"{text} has no place in JSON.")


def _unreadable(why: str) -> BadInput:
    return BadInput(
        "operations.saved-tensors",
        "The tensors in the file cannot be read.",
        why=why,
        next="Give the JSON exactly as it was sent or answered.",
    )


def outputs_encoding(answer: Document) -> bytes:
    """What a worker that gave this answer committed to; raises BadInput where it cannot have."""
    found = _tensors(answer.get("outputs"), "outputs")
    return encode_typed([(each.name, each.datatype, _array(each, each.datatype)) for each in found])


def _tensors(value: object, of: str) -> tuple[SavedTensor, ...]:
    if not isinstance(value, list) or len(value) > TENSORS:
        raise _unreadable(f"It has no list of {of}.")
    found = tuple(_tensor(each) for each in value)
    if len({each.name for each in found}) != len(found):
        raise _unreadable("It names a tensor twice.")
    return found


def _tensor(value: object) -> SavedTensor:
    try:
        name, kind, shape, data = (value[part] for part in ("name", "datatype", "shape", "data"))  # type: ignore[index]
        datatype = DataType(kind)
    except (KeyError, TypeError, ValueError):
        raise _unreadable("A tensor lacks its name, a known datatype, its shape or its data.") from None
    sizes = isinstance(shape, list) and len(shape) <= DIMENSIONS and all(_is_size(size) for size in shape)
    if not isinstance(name, str) or not sizes or not isinstance(data, list | bytes):
        raise _unreadable("A tensor has an impossible name, shape or data.")
    values = data if isinstance(data, bytes) else _flat(name, shape, data)
    return SavedTensor(name=name, datatype=datatype, shape=tuple(shape), values=values)


def _is_size(size: object) -> bool:
    return type(size) is int and size >= 0


def _flat(name: str, shape: Sequence[int], data: list[Any]) -> list[Any]:
    """Row-major values of flat data, or of data nested exactly as the shape says."""
    if any(isinstance(each, list) for each in data):
        for size in shape[1:]:
            if not all(isinstance(part, list) and len(part) == size for part in data):
                raise _unreadable(f"The data of {name} is not nested as its shape {list(shape)} says.")
            data = list(chain.from_iterable(data))
    if len(data) != prod(shape):
        raise _unreadable(f"The data of {name} has {len(data):,} values; its shape asks for {prod(shape):,}.")
    return data


def _array(tensor: SavedTensor, kind: DataType, *, gaps: bool = False) -> NDArray[Any]:
    """The tensor as its receiver held it in the type ``kind``; BadInput for values that do not fit.

    Integers become floats only where none loses a digit, as the server does it. With ``gaps`` a null
    among floats is a missing cell, NaN, as it is in a request; a JSON answer has none.
    """
    sent = tensor.datatype
    if isinstance(tensor.values, bytes):
        whole = array_of(sent, tensor.shape, tensor.values)
    else:
        whole = _listed(tensor, sent if sent in INTEGERS else kind, gaps=gaps)
    array = whole if sent is kind else _cast(whole, kind)
    if sent in INTEGERS and kind is not sent and array.tolist() != whole.tolist():
        raise _unreadable(f"A value of {tensor.name} does not fit {kind}.")
    return array.reshape(tensor.shape)


def _listed(tensor: SavedTensor, held: DataType, *, gaps: bool) -> NDArray[Any]:
    """The values of JSON data, in the type ``held``."""
    sent, values = tensor.datatype, tensor.values
    if not all(_fits(each, sent) or (gaps and each is None and sent in FLOATS) for each in values):
        raise _unreadable(f"The data of {tensor.name} is not of the datatype {sent}.")
    if sent in INTEGERS:
        values = [int(each) for each in values]
    try:
        with np.errstate(over="ignore"):
            array = np.array(values, dtype_of(held))
    except (OverflowError, ValueError):
        raise _unreadable(f"A value of {tensor.name} does not fit {held}.") from None
    return _cast(array, held) if held is DataType.BF16 else array


def _cast(array: NDArray[Any], kind: DataType) -> NDArray[Any]:
    with np.errstate(over="ignore", invalid="ignore"):
        found = array.astype(dtype_of(kind))
    return of_bf16_bits(bf16_bits(found)) if kind is DataType.BF16 else found


def _fits(value: object, kind: DataType) -> bool:
    if kind is DataType.BYTES:
        return isinstance(value, str)
    if kind is DataType.BOOL:
        return isinstance(value, bool)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return kind in FLOATS or isinstance(value, int) or value.is_integer()


def inputs_are(
    tensors: Sequence[SavedTensor], signature: ModelSignature | None, matches: Matches
) -> bool | None:
    """Whether the receipt committed to these inputs; None where that needs the signature.

    Order and types of the commitment are the signature's. Where it is not known, all that a server
    could have made of one or two tensors is tried, and the likeliest readings of more.
    """
    for reading in _readings(tensors, signature):
        try:
            encoding = encode_typed(
                [(each.name, kind, _array(each, kind, gaps=True)) for each, kind in reading]
            )
        except BadInput:
            continue
        if matches(encoding):
            return True
    return None if signature is None and len(tensors) > EVERY_READING else False


def _readings(
    tensors: Sequence[SavedTensor], signature: ModelSignature | None
) -> Iterator[Sequence[tuple[SavedTensor, DataType]]]:
    if signature is not None:
        sent = {each.name: each for each in tensors}
        if set(sent) == {spec.name for spec in signature.inputs}:
            yield [(sent[spec.name], spec.datatype) for spec in signature.inputs]
    elif len(tensors) <= EVERY_READING:
        for order in permutations(tensors):
            for kinds in product(*(_kinds(each.datatype) for each in order)):
                yield list(zip(order, kinds, strict=True))
    else:
        yield [(each, each.datatype) for each in tensors]
        for number in FLOATS:
            yield [(each, number if number in _kinds(each.datatype) else each.datatype) for each in tensors]


def _kinds(sent: DataType) -> tuple[DataType, ...]:
    """The types that a signature can have where this one was sent and taken."""
    if sent in FLOATS:
        return FLOATS
    return (*INTEGERS, *FLOATS) if sent in INTEGERS else (sent,)
