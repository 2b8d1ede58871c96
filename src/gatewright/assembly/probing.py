"""Asking a worker on this machine how it is: what a container's probe runs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from http.client import HTTPException
from pathlib import Path

from gatewright.assembly.calling import Trust, connection_to
from gatewright.kernel.errors import BadInput, DependencyFailed
from gatewright.operations.files import read_file

LIVE = "/v2/health/live"
READY = "/v2/health/ready"
ANSWER_SECONDS = 5.0
KEY_BYTES = 256
GOOD = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """The path that was asked and the HTTP status of the answer."""

    path: str
    status: int


def ask(port: int, key_file: Path | None, trust: Trust | None = None) -> Said:
    """Ask for life, or with an API key for readiness; DependencyFailed unless the answer is 200.

    With ``trust`` over TLS; an empty name in it is ``localhost``.
    """
    path, headers = (LIVE, {}) if key_file is None else (READY, {"Authorization": f"Bearer {_key(key_file)}"})
    scheme, trust = (
        ("http", Trust()) if trust is None else ("https", replace(trust, name=trust.name or "localhost"))
    )
    connection = connection_to(f"{scheme}://127.0.0.1:{port}", trust, wait_s=ANSWER_SECONDS)
    try:
        connection.request("GET", path, headers=headers)
        status = connection.getresponse().status
    except (OSError, HTTPException) as error:
        raise DependencyFailed(
            "assembly.no-answer", f"Nothing answers on port {port}.", why=str(error) or type(error).__name__
        ) from None
    finally:
        connection.close()
    if status != GOOD:
        raise DependencyFailed("assembly.not-ready", f"{path} answers {status}.")
    return Said(path=path, status=status)


def _key(place: Path) -> str:
    try:
        return read_file(place, limit=KEY_BYTES).decode("ascii").strip()
    except UnicodeDecodeError:
        raise BadInput("assembly.probe-key", f"{place} does not hold an API key.") from None
