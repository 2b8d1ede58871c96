"""Files that can carry code are refused by content, and nothing in them ever runs.

The gadgets name callables that public advisories about pickle scanners list (Python's own modules
only). Each payload would create a marker file. Scenario numbers refer to the project's threat list.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import lzma
import pickle
import pickletools
import struct
import subprocess
import sys
import tarfile
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gatewright.datasets.csv_reader import read_csv
from gatewright.kernel.errors import BadInput, Refused
from gatewright.models.formats import Format, recognise
from gatewright.operations.isolation import inspect_model

# module, callable, and how the payload's text becomes its arguments
_Argument = Callable[[str, str], tuple[object, ...]]


def _shell(shell: str, _: str) -> tuple[object, ...]:
    return (shell,)


def _python(_: str, code: str) -> tuple[object, ...]:
    return (code,)


GADGETS: tuple[tuple[str, str, _Argument], ...] = (
    ("os", "system", _shell),
    ("posix", "system", _shell),
    ("os", "popen", _shell),
    ("os", "execl", lambda shell, _: ("/bin/sh", "sh", "-c", shell)),
    ("os", "spawnlp", lambda shell, _: (0, "sh", "sh", "-c", shell)),
    ("subprocess", "run", lambda shell, _: (["sh", "-c", shell],)),
    ("subprocess", "Popen", lambda shell, _: (["sh", "-c", shell],)),
    ("subprocess", "getoutput", _shell),
    ("builtins", "eval", _python),
    ("builtins", "exec", _python),
    ("builtins", "__import__", lambda *_: ("antigravity",)),
    ("builtins", "getattr", lambda *_: ("os", "system")),
    ("runpy", "run_path", lambda *_: ("/tmp/payload.py",)),  # noqa: S108 - a name in a payload
    ("runpy", "_run_code", lambda _, code: (code, {})),
    ("pydoc", "locate", lambda *_: ("os.system",)),
    ("pydoc", "pipepager", lambda shell, _: ("", shell)),
    ("operator", "methodcaller", lambda shell, _: ("system", shell)),
    ("operator", "attrgetter", lambda *_: ("system",)),
    ("functools", "partial", lambda *_: (print, "x")),
    ("cProfile", "run", _python),
    ("profile", "run", _python),
    ("bdb", "Bdb.run", _python),
    ("pdb", "run", _python),
    ("timeit", "timeit", _python),
    ("trace", "Trace.run", _python),
    ("doctest", "debug_script", _python),
    ("code", "InteractiveInterpreter.runcode", _python),
    ("pty", "spawn", lambda shell, _: (["sh", "-c", shell],)),
    ("ctypes", "CDLL", lambda *_: ("libc.so.6",)),
    ("importlib", "import_module", lambda *_: ("antigravity",)),
    ("shutil", "rmtree", lambda *_: ("/nonexistent",)),
    ("webbrowser", "open", lambda *_: ("http://127.0.0.1:9/",)),
    ("numpy.f2py.crackfortran", "getlincoef", lambda _, code: (code, {})),
    ("asyncio.unix_events", "_UnixSubprocessTransport._start", lambda shell, _: (shell,)),
    ("logging.config", "_resolve", lambda *_: ("os.system",)),
    ("distutils.file_util", "write_file", lambda *_: ("/tmp/x", ["x"])),  # noqa: S108 - a name in a payload
)


def _gadget(module: str, name: str, arguments: tuple[object, ...], protocol: int) -> bytes:
    """A pickle that calls ``module.name(*arguments)`` when it is loaded."""
    body = pickle.dumps(arguments, protocol=protocol)
    inner = body[2:-1] if protocol >= 2 else body[:-1]
    if protocol == 4:
        inner = body[11:-1] if body[2:3] == b"\x95" else inner  # without the frame
        words = b"".join(b"\x8c" + bytes([len(word)]) + word.encode() for word in (module, name))
        return b"\x80\x04" + words + b"\x93" + inner + b"R."
    start = b"\x80\x02" if protocol == 2 else b""
    return start + f"c{module}\n{name}\n".encode() + inner + b"R."


def _payload(marker: Path) -> tuple[str, str]:
    return f"touch {marker}", f"open({str(marker)!r}, 'w').close()"


def _archive(member: str, content: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(member, content)
    return out.getvalue()


def _tar(member: str, content: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        info = tarfile.TarInfo(member)
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def _disguises(data: bytes) -> dict[str, bytes]:
    """The same pickle in every wrapping that a loader would open."""
    return {
        "plain": data,
        "zlib": zlib.compress(data),
        "gzip": gzip.compress(data),
        "bz2": bz2.compress(data),
        "xz": lzma.compress(data),
        "torch": _archive("archive/data.pkl", data),
        "torch tar": _tar("pickle", data) + b"storages",
        "keras": _archive("config.json", data),
        "npz": _archive("weights.npy", b"\x93NUMPY\x01\x00v\x00{'descr': '|O'}" + data),
        "leading blanks": b"\n\n" + data,
    }


def _refused(data: bytes) -> str:
    with pytest.raises(Refused) as caught:
        inspect_model(data)
    assert caught.value.refusal.next
    return caught.value.code


@pytest.mark.parametrize(
    ("module", "name", "arguments"), GADGETS, ids=[f"{module}.{name}" for module, name, _ in GADGETS]
)
def test_every_gadget_is_refused_in_every_wrapping(
    module: str, name: str, arguments: _Argument, tmp_path: Path
) -> None:
    """AI-01, AI-02, AI-05: no callable needs a rule of its own, and no marker ever appears."""
    marker = tmp_path / "marker"
    for protocol in (0, 2, 4):
        data = _gadget(module, name, arguments(*_payload(marker)), protocol)
        assert data.endswith(b"R.")
        for wrapped in _disguises(data).values():
            assert _refused(wrapped) in ("models.format-not-allowed", "models.unknown-format")
            with contextlib.suppress(BadInput):  # as data, a text pickle is a column of odd words
                read_csv(wrapped, name="data.csv")
    assert not marker.exists()


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_the_gadgets_are_live(protocol: int, tmp_path: Path) -> None:
    """The control: unpickled by an interpreter of its own, the very same bytes do create the marker."""
    marker = tmp_path / "marker"
    data = _gadget("os", "system", _shell(*_payload(marker)), protocol)
    pickletools.dis(data, io.StringIO())
    load = "import pickle, sys; pickle.load(sys.stdin.buffer)"
    subprocess.run([sys.executable, "-c", load], input=data, check=True)

    assert marker.exists()


@pytest.mark.parametrize("protocol", range(6))
def test_pickles_of_every_protocol_are_named(protocol: int) -> None:
    """AI-03: what a file is called is never asked; what it is decides."""
    assert Format.PICKLE is recognise(pickle.dumps({"weights": [1.0, 2.0]}, protocol=protocol))


def _damaged_archives() -> dict[str, bytes]:
    whole = _archive("archive/data.pkl", b"\x80\x04." * 50)
    return {
        "truncated central directory": whole[:-10],
        "no end": whole[: whole.index(b"PK\x05\x06")],
        "two central directories": whole + whole[whole.index(b"PK\x01\x02") :],
        "bytes before the first header": b"\0" * 100 + whole,
        "flipped flag bits": whole[:6] + b"\xff\xff" + whole[8:],
        "wrong checksum": whole[:14] + b"\0\0\0\0" + whole[18:],
        "only an end": b"PK\x05\x06" + bytes(18),
        "names that leave the folder": _archive("../../canary", b"x"),
    }


@pytest.mark.parametrize("name", _damaged_archives())
def test_damaged_archives_are_refused_and_not_found_clean(name: str) -> None:
    """AI-04: an archive that cannot be read is refused, not reported without findings."""
    assert "models.format-not-allowed" == _refused(_damaged_archives()[name])


def test_an_hdf5_file_that_declares_the_world_is_refused_at_once() -> None:
    """AI-07: a header with 2**40 declared elements costs nothing, because it is never parsed."""
    data = b"\x89HDF\r\n\x1a\n" + struct.pack("<QQ", 2**40, 2**40) * 250
    tracemalloc.start()
    code, peak = _refused(data), tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert "models.format-not-allowed" == code
    assert peak < 8 * 1024 * 1024


SAFETENSORS = {
    "valid": (2).to_bytes(8, "little") + b"{}",
    "endless header": (2**63 - 1).to_bytes(8, "little") + b"{}",
    "invalid text": (4).to_bytes(8, "little") + b"{\xff\xfe}",
    "unknown type": (60).to_bytes(8, "little")
    + b'{"w":{"dtype":"X9","shape":[1],"data_offsets":[0,4]}}'.ljust(60) + bytes(4),
    "trailing bytes": (2).to_bytes(8, "little") + b"{}" + b"\x80\x04.",
}  # fmt: skip


@pytest.mark.parametrize("name", SAFETENSORS)
def test_safetensors_is_not_accepted(name: str) -> None:
    """AI-12: weights without a graph are refused, sound or not."""
    assert _refused(SAFETENSORS[name]) in ("models.format-not-allowed", "models.unknown-format")


def test_bombs_are_refused_without_being_opened() -> None:
    """AI-17: nothing is decompressed, so a bomb costs no memory and no time."""
    zeros = bytes(64 * 1024 * 1024)
    bombs = [gzip.compress(zeros), bz2.compress(zeros), zlib.compress(zeros), _archive("data.pkl", zeros)]
    nested = bombs[0]
    for _ in range(5):
        nested = _archive("inner.zip", nested)
    del zeros
    tracemalloc.start()
    codes = [_refused(bomb) for bomb in (*bombs, nested)]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert ["models.format-not-allowed"] * 5 == codes
    assert peak < 8 * 1024 * 1024


def test_numpy_files_with_objects_are_refused() -> None:
    """AI-21: arrays of objects are pickles in disguise; no array file is opened."""
    single, many = io.BytesIO(), io.BytesIO()
    np.save(single, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    np.savez(many, np.array([{"a": 1}], dtype=object), allow_pickle=True)

    assert "models.format-not-allowed" == _refused(single.getvalue())
    assert "models.format-not-allowed" == _refused(many.getvalue())


def test_size_is_judged_before_content(monkeypatch: pytest.MonkeyPatch) -> None:
    """AI-23: a file beyond the limit is refused before a byte of it is looked at."""
    monkeypatch.setattr("gatewright.models.formats.MODEL_BYTES", 1_000)
    monkeypatch.setattr("gatewright.models.formats.recognise", None)

    assert "models.too-large" == _refused(bytes(1_001))
