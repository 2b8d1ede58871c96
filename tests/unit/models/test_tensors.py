"""The tensor encoding: unambiguous, recomputable, and believed only where it holds."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gatewright.kernel.errors import BadInput
from gatewright.models.signature import DataType
from gatewright.models.tensors import (
    TENSORS_MAGIC,
    array_of,
    bf16_bits,
    datatype_of,
    dtype_of,
    encode_arrays,
    encode_typed,
    of_bf16_bits,
    raw_of,
    read_tensors,
    settled,
    tensor_bytes,
    tensors_encoding,
)


def test_the_encoding_is_as_documented() -> None:
    """A client in any language gets these very bytes."""
    encoded = tensors_encoding([tensor_bytes("x", DataType.FP32, (1, 2), np.array([1, 2], "<f4").tobytes())])

    assert b"gatewright tensors v1\n\0\0" == TENSORS_MAGIC
    assert (
        TENSORS_MAGIC.hex()
        + (
            "01000000"  # one tensor
            "2b00000000000000"  # of 43 bytes
            "0100000078"  # name "x"
            "0446503332"  # data type "FP32"
            "0201000000000000000200000000000000"  # two dimensions: 1, 2
            "08000000000000000000803f00000040"  # 8 bytes: 1.0, 2.0
        )
        == encoded.hex()
    )


def test_texts_are_prefixed_by_their_length() -> None:
    """BYTES elements are laid out as the Open Inference Protocol does."""
    assert bytes.fromhex("02000000c3a400000000") == raw_of(np.array(["ä", b""], dtype=object))


_dtypes = st.sampled_from([dtype_of(kind) for kind in DataType if kind is not DataType.BYTES])


@given(_dtypes.flatmap(lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=3, max_side=4))))
def test_arrays_survive_their_bytes(values: np.ndarray[Any, Any]) -> None:
    """Law: every array comes back bit for bit, but for NaN, which has one form."""
    (tensor,) = read_tensors(encode_arrays([("t", values)]))
    again = array_of(tensor.datatype, tensor.shape, tensor.raw)

    assert datatype_of(values.dtype) is tensor.datatype
    assert (values.shape, raw_of(values)) == (again.shape, again.tobytes())
    assert np.array_equal(values, again, equal_nan=values.dtype.kind == "f")


@given(st.lists(st.binary(max_size=5), max_size=5))
def test_bytes_tensors_survive(items: list[bytes]) -> None:
    """Law: elements with any content and length come back."""
    values = np.empty(len(items), dtype=object)
    values[:] = items
    (tensor,) = read_tensors(encode_arrays([("t", values)]))

    assert items == array_of(tensor.datatype, tensor.shape, tensor.raw).tolist()


@given(hnp.arrays(np.uint32, st.integers(0, 8), elements=st.integers(0, 2**32 - 1)))
def test_bf16_is_rounded_as_the_reference_rounds_it(bits: np.ndarray[Any, np.dtype[np.uint32]]) -> None:
    """Every FP32 number becomes the nearest BF16 one, ties to even; every NaN the one form."""
    values = bits.view(np.float32)
    expected = np.where(np.isnan(values), 0x7FC0, values.astype(ml_dtypes.bfloat16).view(np.uint16))

    assert expected.tolist() == bf16_bits(values).tolist()


def test_every_bf16_number_survives_its_bytes() -> None:
    """Law: all 65,536 of them come back, but for NaN, which has one form; a tie goes to the even one."""
    bits = np.arange(2**16, dtype=np.uint16)
    values = of_bf16_bits(bits)
    (tensor,) = read_tensors(encode_typed([("t", DataType.BF16, values)]))

    assert np.array_equal(bits.view(ml_dtypes.bfloat16).astype(np.float32), values, equal_nan=True)
    assert np.where(np.isnan(values), 0x7FC0, bits).astype("<u2").tobytes() == tensor.raw
    again = array_of(tensor.datatype, tensor.shape, tensor.raw)
    assert settled(values).tobytes() == again.tobytes()
    ties = np.array([1 + 2**-8, 1 + 3 * 2**-8], np.float32)
    assert [1, 1 + 2**-6] == of_bf16_bits(bf16_bits(ties)).tolist()


def test_big_endian_arrays_are_laid_out_little() -> None:
    """The same numbers have the same bytes, whatever the machine holds them in."""
    assert raw_of(np.array([1, 2], "<i4")) == raw_of(np.array([1, 2], ">i4"))


@pytest.mark.parametrize(
    ("datatype", "shape", "raw"),
    [
        (DataType.FP32, (2,), b"\0" * 7),
        (DataType.FP32, (2**40, 2**40), b""),
        (DataType.BOOL, (1,), b"\x02"),
        (DataType.BYTES, (1,), b"\xff\xff\xff\xff"),
        (DataType.BYTES, (2,), b"\0\0\0\0"),
        (DataType.BYTES, (1,), b"\0\0"),
    ],
)
def test_data_that_does_not_fit_its_shape_is_refused(
    datatype: DataType, shape: tuple[int, ...], raw: bytes
) -> None:
    """No size that is declared is believed."""
    with pytest.raises(BadInput):
        array_of(datatype, shape, raw)


@given(st.integers(0, 200), st.binary(min_size=0, max_size=3))
def test_damaged_lists_are_refused_or_say_exactly_what_they_hold(cut: int, tail: bytes) -> None:
    """A list that is cut off or has a tail is refused; whatever is read encodes to the same bytes."""
    data = encode_arrays([("a", np.ones(3)), ("b", np.array(["x"], dtype=object))])
    damaged = data[: min(cut, len(data) - 1)] + tail
    try:
        found = read_tensors(damaged)
    except BadInput:
        assert damaged != data
        return
    parts = [tensor_bytes(item.name, item.datatype, item.shape, item.raw) for item in found]
    assert damaged == tensors_encoding(parts)
