"""What a witness writes, as verbs of the fault laboratory; and a served witness that dies before it answers."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from gatewright.assembly.witnesses import create_witness, open_witness, witness_place
from gatewright.http.witness import serve_witness
from gatewright.ledger.notes import SignatureType
from gatewright.ledger.witnessing import Declined
from gatewright.operations import witness
from unit.ledger.submitting_log import SubmittingLog

LOG = SubmittingLog(types=(SignatureType.ED25519,))
OLD, NEW = 3, 7
NAME = "audit.example/w1"
ANSWER = "answer"


def keys(log: SubmittingLog) -> tuple[str, ...]:
    """The verifier keys of a log in memory."""
    return tuple(key.text() for key in log.known.keys)


def prepare(folder: Path) -> None:
    """A witness that cosigned the old head."""
    create_witness(folder, NAME)
    opened = open_witness(folder)
    witness.trust(opened, keys(LOG))
    witness.add_checkpoint(opened, LOG.submission(0, OLD).encode())


def cosign(home: Path) -> None:
    """Cosign the new head, and only then put the answer beside the folder."""
    answer = home.parent / ANSWER
    answer.unlink(missing_ok=True)
    lines = witness.add_checkpoint(open_witness(home), LOG.submission(OLD, NEW).encode())
    if isinstance(lines, Declined):
        raise SystemExit(lines.why)
    answer.write_bytes(lines)


def trust_another(home: Path) -> None:
    """Know one more log."""
    witness.trust(open_witness(home), keys(replace(LOG, origin="log.example/two")))


def make(home: Path) -> None:
    """Make a witness in an empty folder."""
    create_witness(home / "w1", NAME)


def _dying(write: Callable[[Path, bytes], None]) -> Callable[[Path, bytes], None]:
    def write_and_die(path: Path, content: bytes) -> None:
        write(path, content)
        os.kill(os.getpid(), signal.SIGKILL)

    return write_and_die


def main() -> None:
    """Serve as ``gatewright witness serve FOLDER --port 0`` does, and die once a head is kept, before the answer."""
    with witness_place(Path(sys.argv[3]), host="127.0.0.1", port=0) as place:
        dying = replace(place, witness=replace(place.witness, write=_dying(place.witness.write)))
        serve_witness(dying, lambda url: print(f"The witness answers at {url}"))  # noqa: T201 - as the program does


if __name__ == "__main__":
    main()
