"""Formats by content: only ONNX passes, and each refusal shows the way out."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import pickle
import tarfile
import zipfile
import zlib
from collections.abc import Callable

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewright.models.formats import Format, recognise, refuse_unless_onnx


def _zip(*names: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name in names:
            archive.writestr(name, b"x" * 10)
    return out.getvalue()


def _tar(*names: str) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name in names:
            archive.addfile(tarfile.TarInfo(name))
    return out.getvalue()


def _npy() -> bytes:
    out = io.BytesIO()
    np.save(out, np.ones(3))
    return out.getvalue()


FILES: dict[str, tuple[bytes, Format]] = {
    "empty": (b"", Format.EMPTY),
    **{f"pickle {p}": (pickle.dumps({"a": [1, (2.5, None)]}, protocol=p), Format.PICKLE) for p in range(6)},
    "pickled global 0": (pickle.dumps(zlib.compress, protocol=0), Format.PICKLE),
    "pickled instance": (b"(ios\nsystem\np0\n.", Format.PICKLE),
    "zlib": (zlib.compress(pickle.dumps([1])), Format.COMPRESSED),
    "zlib 1": (zlib.compress(pickle.dumps([1]), 1), Format.COMPRESSED),
    "zlib 9": (zlib.compress(pickle.dumps([1]), 9), Format.COMPRESSED),
    "gzip": (gzip.compress(pickle.dumps([1])), Format.COMPRESSED),
    "bz2": (bz2.compress(pickle.dumps([1])), Format.COMPRESSED),
    "xz": (lzma.compress(pickle.dumps([1])), Format.COMPRESSED),
    "lzma": (lzma.compress(pickle.dumps([1]), lzma.FORMAT_ALONE), Format.COMPRESSED),
    "lz4": (b"\x04\x22\x4d\x18rest", Format.COMPRESSED),
    "zstd": (b"\x28\xb5\x2f\xfdrest", Format.COMPRESSED),
    "torch": (_zip("m/data.pkl", "m/version"), Format.TORCH_ZIP),
    "torch legacy": (b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.rest", Format.TORCH_LEGACY),
    "torch tar": (_tar("sys_info", "pickle", "storages"), Format.TORCH_LEGACY),
    "keras": (_zip("metadata.json", "config.json", "model.weights.h5"), Format.KERAS_ZIP),
    "hdf5": (b"\x89HDF\r\n\x1a\nrest", Format.HDF5),
    "saved model": (b"\x08\x01\x12\x04abcd", Format.SAVED_MODEL),
    "tflite": (b"\x1c\x00\x00\x00TFL3rest", Format.TFLITE),
    "safetensors": ((2).to_bytes(8, "little") + b"{}", Format.SAFETENSORS),
    "gguf": (b"GGUF\x03\x00\x00\x00", Format.GGUF),
    "npy": (_npy(), Format.NUMPY),
    "npz": (_zip("weights.npy"), Format.NUMPY_ZIP),
    "zip": (_zip("readme.txt"), Format.ZIP),
    "zip after other bytes": (b"hello" + _zip("readme.txt"), Format.ZIP),
    "tar": (_tar("readme.txt"), Format.TAR),
    "elf": (b"\x7fELFrest", Format.PROGRAM),
    "script": (b"#!/bin/sh\n", Format.PROGRAM),
    "json": (b'{"a": 1}', Format.UNKNOWN),
    "prose": (b"Some words about a model.", Format.UNKNOWN),
}


@pytest.mark.parametrize("name", FILES)
def test_each_format_is_recognised_and_refused(name: str) -> None:
    """The content decides, never the name, and each refusal says what to do next."""
    data, expected = FILES[name]
    refusal = refuse_unless_onnx(data, "model.onnx")

    assert expected is recognise(data)
    assert refusal is not None
    assert refusal.next
    assert "model.onnx" in refusal.what


def test_the_way_out_fits_the_format() -> None:
    """Pickles are told of skl2onnx, PyTorch of its exporter, Keras of its own."""
    for name, word in (("pickle 4", "skl2onnx"), ("torch", "torch.onnx.export"), ("keras", "model.export")):
        refusal = refuse_unless_onnx(FILES[name][0], "m")
        assert refusal is not None
        assert word in refusal.next


def test_onnx_passes_under_any_name(build: Callable[..., onnx.ModelProto]) -> None:
    """A model is accepted for what it is."""
    assert Format.ONNX is recognise(build().SerializeToString())
    assert refuse_unless_onnx(build().SerializeToString(), "model.pkl") is None


def test_a_truncated_model_is_left_to_the_inspection(build: Callable[..., onnx.ModelProto]) -> None:
    """A graph that is cut off is still called ONNX, so that the refusal can say so."""
    assert Format.ONNX is recognise(build().SerializeToString()[:-40])


def test_a_file_beyond_the_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Size comes before content."""
    monkeypatch.setattr("gatewright.models.formats.MODEL_BYTES", 3)
    refusal = refuse_unless_onnx(b"1234", "m")

    assert refusal is not None
    assert "models.too-large" == refusal.code


@given(st.binary(max_size=600))
def test_any_bytes_have_a_format(data: bytes) -> None:
    """Recognition never raises."""
    assert recognise(data) in Format
