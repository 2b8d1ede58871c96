"""What the parent and its isolated child say to each other: jobs, limits and frames. No pickle.

The child gets the job's name and its limits as arguments and one run of bytes on standard input. It
answers with two frames, each an 8-byte little-endian length and that many bytes: first what
protects it (written before it reads anything hostile), then the answer, whose first byte says
whether a result or a refusal follows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from typing import Any

from gatewright.kernel import canonical
from gatewright.kernel.errors import BadInput, GatewrightError, Misuse, Refused

LENGTH = 8
RESULT = b"\x00"
REFUSAL = b"\x01"

EXIT_CANNOT_START = 83  # a module of the job cannot be imported
EXIT_MEMORY = 84

_KINDS: dict[str, type[GatewrightError]] = {"bad-input": BadInput, "misuse": Misuse, "refused": Refused}
_REFUSAL_TEXT = 2_000


class Job(StrEnum):
    """The named pure jobs that a child can do; nothing else can be asked of it."""

    INSPECT_ONNX = "inspect-onnx"
    READ_CSV = "read-csv"
    READ_PARQUET = "read-parquet"
    PREDICT = "predict"
    TRAIN = "train"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a child may use.

    ``memory_bytes`` bounds its address space, ``seconds`` its wall-clock and its processor time,
    ``answer_bytes`` what the parent reads from it, ``tasks`` its processes and threads (0: none
    beside the first). A recipe computes on ``threads`` at once and may write ``scratch_bytes``.
    """

    memory_bytes: int
    seconds: int
    answer_bytes: int
    tasks: int = 0
    threads: int = 1
    scratch_bytes: int = 0

    def encode(self) -> str:
        """Text for an argument."""
        return canonical.encode(
            {
                "answer_bytes": self.answer_bytes,
                "memory_bytes": self.memory_bytes,
                "scratch_bytes": self.scratch_bytes,
                "seconds": self.seconds,
                "tasks": self.tasks,
                "threads": self.threads,
            }
        ).decode("ascii")

    @classmethod
    def decode(cls, text: str) -> Limits:
        """Read what :meth:`encode` wrote."""
        value: Any = canonical.decode(text.encode("ascii"))
        return cls(**value)


def frame(data: bytes) -> bytes:
    """One frame."""
    return len(data).to_bytes(LENGTH, "little") + data


def pack(parts: Sequence[bytes]) -> bytes:
    """Several byte strings as one. Law: ``unpack(pack(p)) == p``."""
    return b"".join(piece for part in parts for piece in (len(part).to_bytes(LENGTH, "little"), part))


def unpack(data: bytes) -> list[bytes]:
    """The parts of a packed run; raises :class:`BadInput` where it is cut off."""
    return [bytes(part) for part in _parts(memoryview(data))]


def views(data: memoryview, count: int) -> list[memoryview]:
    """The parts of a packed run, not copied; raises :class:`BadInput` unless there are ``count``."""
    parts = list(islice(_parts(data), count + 1))
    if len(parts) != count:
        raise BadInput("operations.child-frames", f"The frames are not {count}.")
    return parts


def _parts(data: memoryview) -> Iterator[memoryview]:
    at = 0
    while at < len(data):
        end = at + LENGTH + int.from_bytes(data[at : at + LENGTH], "little")
        if at + LENGTH > len(data) or end > len(data):
            raise BadInput("operations.child-frames", "The frames are cut off.")
        yield data[at + LENGTH : end]
        at = end


def encode_refusal(error: GatewrightError) -> bytes:
    """A refusal of the child, as the bytes after ``REFUSAL``."""
    kind = next((name for name, known in _KINDS.items() if isinstance(error, known)), "refused")
    held = error.refusal
    texts = {"code": held.code, "next": held.next, "place": held.place, "what": held.what, "why": held.why}
    clean = {
        name: text.encode("utf-8", "replace").decode("utf-8")[:_REFUSAL_TEXT] for name, text in texts.items()
    }
    return canonical.encode({"kind": kind, **clean})


def decode_refusal(data: bytes) -> GatewrightError:
    """The error that a refusal stands for; raises :class:`BadInput` for anything else."""
    value = canonical.decode(data)
    names = {"code", "kind", "next", "place", "what", "why"}
    if (
        not isinstance(value, dict)
        or set(value) != names
        or not all(isinstance(text, str) and len(text) <= _REFUSAL_TEXT for text in value.values())
        or value["kind"] not in _KINDS
    ):
        raise BadInput("operations.child-frames", "The child's refusal is malformed.")
    return _KINDS[value["kind"]](
        value["code"], value["what"], why=value["why"], next=value["next"], place=value["place"]
    )
