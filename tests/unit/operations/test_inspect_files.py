"""What a commit hook refuses: model files that can run code; and what it leaves alone."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import pickle
import zipfile
import zlib
from pathlib import Path

import joblib
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from gatewright.kernel.errors import Misuse
from gatewright.operations.inspect_files import Standing, inspect_file
from scenario.world import classifier


def _saved(compress: int | tuple[str, int] = 0) -> bytes:
    written = io.BytesIO()
    joblib.dump(LogisticRegression(), written, compress=compress)
    return written.getvalue()


def _zip(**members: bytes) -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "/").replace("_dot_", "."), content)
    return written.getvalue()


def _array(values: np.ndarray) -> bytes:  # type: ignore[type-arg]
    written = io.BytesIO()
    np.save(written, values, allow_pickle=True)
    return written.getvalue()


OLD = pickle.dumps(LogisticRegression(), protocol=0)
CARRY_CODE = {
    "pickle": pickle.dumps(LogisticRegression()),
    "pickle, protocol 0": OLD,
    "pickle, protocol 0, longer than what is looked at": pickle.dumps(
        [LogisticRegression(), "x" * 100_000], protocol=0
    ),
    "pickle that breaks after its call": b"cos\nsystem\n(S'true'\ntR!broken.",
    "joblib": _saved(),
    "joblib, zlib": _saved(3),
    "joblib, gzip": _saved(("gzip", 3)),
    "joblib, bz2": _saved(("bz2", 3)),
    "joblib, xz": _saved(("xz", 3)),
    "joblib, lzma": _saved(("lzma", 3)),
    "pickle in gzip": gzip.compress(OLD),
    "PyTorch archive": _zip(archive__data_dot_pkl=b"\x80\x02."),
    "Keras archive": _zip(config_dot_json=b"{}", model_dot_weights_dot_h5=b""),
    "Keras in HDF5": b"\x89HDF\r\n\x1a\n" + b"\0" * 100 + b"keras_version" + b"\0" * 100,
    "objects in NumPy": _array(np.array([{}], dtype=object)),
}
HARMLESS = {
    "text that resembles a pickle": b"conda\nnumpy\npandas.",
    "prose that resembles a pickle": b"Summary of it\nplease read.",
    "text in gzip": gzip.compress(b"conda\nnumpy\npandas."),
    "text in bz2": bz2.compress(b"income,repaid\n"),
    "text in xz": lzma.compress(b"income,repaid\n"),
    "text in zlib": zlib.compress(b"income,repaid\n"),
    "cut off gzip": gzip.compress(b"income,repaid\n")[:12],
    "numbers in NumPy": _array(np.arange(3)),
    "measurements in HDF5": b"\x89HDF\r\n\x1a\n" + b"\0" * 100 + b"temperature",
    "ZIP of texts": _zip(readme_dot_txt=b"hello"),
    "PNG": b"\x89PNG\r\n\x1a\n" + b"\0" * 50,
    "CSV": b"income,repaid\n1,yes\n",
    "empty": b"",
}


@pytest.mark.parametrize("title", CARRY_CODE)
def test_files_that_can_run_code_are_refused(title: str, tmp_path: Path) -> None:
    """Each kind of file that runs code when it is opened is refused by its content, with a way out."""
    file = tmp_path / "innocent.txt"
    file.write_bytes(CARRY_CODE[title])
    found = inspect_file(file)
    assert Standing.REFUSED is found.standing
    assert found.refusal is not None
    assert "models.format-not-allowed" == found.refusal.code


@pytest.mark.parametrize("title", HARMLESS)
def test_other_files_are_left_alone(title: str, tmp_path: Path) -> None:
    """Data, pictures and texts pass, whatever they are called."""
    file = tmp_path / "model.pkl"
    file.write_bytes(HARMLESS[title])
    found = inspect_file(file)
    assert (Standing.OTHER, None) == (found.standing, found.refusal)


def test_an_onnx_model_is_read(tmp_path: Path) -> None:
    """An ONNX model passes with its facts, and one that is cut off is refused as ``model add`` would."""
    file = tmp_path / "model.onnx"
    file.write_bytes(classifier())
    found = inspect_file(file)
    assert Standing.MODEL is found.standing
    assert found.facts is not None
    assert ["x"] == [each.name for each in found.facts.inputs]
    file.write_bytes(classifier()[:-20])
    assert Standing.REFUSED is inspect_file(file).standing


def test_a_file_that_is_not_there_is_wrong_use(tmp_path: Path) -> None:
    """A missing file is named."""
    with pytest.raises(Misuse) as refused:
        inspect_file(tmp_path / "none.onnx")
    assert "operations.no-file" == refused.value.code
