"""Asking the live endpoint: rows in, class names with receipts out. Nothing is answered unrecorded."""

from __future__ import annotations

import json
import math
import ssl
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatewright.assembly.calling import Trust, connection_to
from gatewright.assembly.verifying import verify_path
from gatewright.client.display import Grid, Mark, Sheet, Shown
from gatewright.kernel.errors import DependencyFailed, Refused
from gatewright.models.feeds import feeds
from gatewright.models.outputs import labels, scores
from gatewright.models.signature import DataType, ModelSignature, Task, TensorSpec
from gatewright.models.tensors import dtype_of

ROWS = 1_000
"""Most rows of one request; a receipt is about one request."""
CELLS = 200_000
"""Most cells of one request."""
ASK_S = 60.0
SHOWN = 10
"""Rows that a notebook shows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """One request and its answer, as they were sent: JSON, Open Inference Protocol v2."""

    request: bytes
    answer: bytes

    @property
    def receipt(self) -> str:
        """The receipt that the answer carries."""
        return str(json.loads(self.answer)["parameters"]["receipt"])


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Answers(Shown):
    """What a model answered on some rows. ``ref`` is its name and version, of several all in order.

    ``labels`` of shape (rows,) are class names, or values for regression; ``probabilities`` of shape
    (rows, classes) belong to ``classes`` in order, None where the model gives none. ``exchanges`` are the
    requests with their answers; each has a receipt.
    """

    ref: str
    labels: NDArray[Any]
    classes: tuple[str, ...]
    probabilities: NDArray[np.float64] | None
    exchanges: tuple[Exchange, ...]
    root: Path

    @property
    def receipts(self) -> tuple[str, ...]:
        """A receipt for each request."""
        return tuple(exchange.receipt for exchange in self.exchanges)

    def verify(self) -> Verified:
        """Verify every receipt against this home's public keys, its request and its answer.

        Raises Tampered where one does not hold. Elsewhere, with the public keys only: ``gatewright verify``.
        """
        with tempfile.TemporaryDirectory(prefix="gatewright-verify-") as folder:
            answer, request = Path(folder) / "answer.json", Path(folder) / "request.json"
            sentences = []
            for exchange in self.exchanges:
                answer.write_bytes(exchange.answer)
                request.write_bytes(exchange.request)
                sentences.append(verify_path(answer, self.root / ".gatewright", request=request).sentence)
        return Verified(sentences=tuple(sentences))

    def sheet(self) -> Sheet:
        """The first rows, and what stands behind them."""
        wanted = range(min(len(self.labels), SHOWN))
        columns = [] if self.probabilities is None else list(self.classes)
        shown = self._shown(SHOWN)
        rows = [(str(row), shown[row], *self._chances(row)) for row in wanted]
        more = f"{len(self.labels) - SHOWN:,} more rows." if len(self.labels) > SHOWN else ""
        count = len(self.exchanges)
        return Sheet(
            title=f"{self.ref} answered {len(self.labels):,} rows",
            grids=(
                Grid(
                    caption="Answers" if not columns else "Answers and probabilities",
                    headings=("row", "answer", *columns),
                    rows=tuple(rows),
                    right=("row", *columns, *(() if self.classes else ("answer",))),
                ),
            ),
            notes=((more,) if more else ())
            + (f"{count:,} {'receipt' if count == 1 else 'receipts'}: .receipts, verified by .verify()",),
        )

    def _shown(self, most: int) -> list[str]:
        """The first answers: class names, or numbers with the same decimals, six digits of the largest."""
        if self.classes:
            return [str(label) for label in self.labels[:most]]
        largest = float(np.abs(self.labels[:most]).max())
        decimals = min(max(5 - math.floor(math.log10(largest)), 0), 8) if largest else 0
        return [f"{label:.{decimals}f}" for label in self.labels[:most]]

    def _chances(self, row: int) -> tuple[str, ...]:
        return () if self.probabilities is None else tuple(f"{each:.4f}" for each in self.probabilities[row])


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Verified(Shown):
    """What was verified, a sentence for each receipt."""

    sentences: tuple[str, ...]

    def sheet(self) -> Sheet:
        """The sentences."""
        more = len(self.sentences) - SHOWN
        return Sheet(
            title="Receipts verified offline",
            lead=tuple((Mark(word="verified"), each) for each in self.sentences[:SHOWN]),
            notes=(f"{more:,} more receipts hold.",) if more > 0 else (),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where and as whom to ask: the server's address and how it is known, the endpoint's name, its API key.

    ``version`` is the one that must answer (empty: the endpoint chooses), ``subject`` whom the rows are
    about (None: nobody is named), ``refs`` the name and version of each release that may answer, by version.
    """

    url: str
    name: str
    api_key: str
    refs: Mapping[str, str]
    version: str = ""
    subject: str | None = None
    trust: Trust = field(default_factory=Trust)

    @property
    def path(self) -> str:
        """What is asked of the server."""
        version = f"/versions/{self.version}" if self.version else ""
        return f"/v2/models/{self.name}{version}/infer"


def ask(
    endpoint: Endpoint, signature: ModelSignature, columns: Mapping[str, NDArray[Any]], root: Path
) -> Answers:
    """Ask the endpoint about all rows, so many at a time, and make class names of what it answers.

    Raises Refused (``client.not-answered``) with the endpoint's own words, or where another version answers
    than may; DependencyFailed (``client.no-answer``) where the connection breaks, and
    ``client.unknown-server`` or ``client.unknown-caller`` where one side does not take the other's certificate.
    """
    inputs = feeds(signature, columns)
    exchanges: list[Exchange] = []
    outputs: list[dict[str, NDArray[Any]]] = []
    refs: list[str] = []
    connection = connection_to(endpoint.url, endpoint.trust, wait_s=ASK_S)
    try:
        for request in _requests(signature, inputs, endpoint.subject):
            exchange = Exchange(request=request, answer=_sent(connection, endpoint, request))
            ref, answered = _read(exchange, endpoint, signature)
            refs.append(ref)
            outputs.append(answered)
            exchanges.append(exchange)
    finally:
        connection.close()
    joined = {spec.name: np.concatenate([each[spec.name] for each in outputs]) for spec in signature.outputs}
    return Answers(
        ref=", ".join(dict.fromkeys(refs)),
        labels=labels(signature, joined),
        classes=() if signature.task is Task.REGRESSION else signature.classes,
        probabilities=scores(signature, joined),
        exchanges=tuple(exchanges),
        root=root,
    )


def _requests(
    signature: ModelSignature, inputs: Mapping[str, NDArray[Any]], subject: str | None
) -> Iterator[bytes]:
    about = {} if subject is None else {"parameters": {"subject": subject}}
    rows = len(next(iter(inputs.values())))
    wide = sum(values[0].size for values in inputs.values())
    step = max(1, min(ROWS, CELLS // max(wide, 1)))
    for start in range(0, rows, step):
        tensors = [_tensor(spec, inputs[spec.name][start : start + step]) for spec in signature.inputs]
        yield json.dumps({**about, "inputs": tensors}, ensure_ascii=False).encode()


def _tensor(spec: TensorSpec, values: NDArray[Any]) -> dict[str, Any]:
    flat = values.reshape(-1)
    if values.dtype.kind == "f":  # the shortest text that means the same number; a missing one is null
        data = [None if each != each else float(str(each)) for each in flat]  # noqa: PLR0124 - NaN
    else:
        data = flat.tolist()
    return {
        "name": spec.name,
        "datatype": spec.datatype.value,
        "shape": list(values.shape),
        "data": data,
    }


def _sent(connection: HTTPConnection, endpoint: Endpoint, request: bytes) -> bytes:
    headers = {"Authorization": f"Bearer {endpoint.api_key}", "Content-Type": "application/json"}
    try:
        connection.request("POST", endpoint.path, request, headers)
        answer = connection.getresponse()
        body = answer.read()
    except ssl.SSLError as error:
        raise _unknown(error, endpoint.url) from None
    except (OSError, HTTPException) as error:
        raise DependencyFailed(
            "client.no-answer",
            f"The endpoint {endpoint.name} did not answer.",
            why=f"{type(error).__name__}: {error}",
            next="See what the server says, and ask again.",
            place=endpoint.url,
        ) from None
    if answer.status != 200:
        raise Refused(
            "client.not-answered",
            f"The endpoint {endpoint.name} refused the request ({answer.status}).",
            why=_said(body),
            place=endpoint.url,
        )
    return body


def _unknown(error: ssl.SSLError, url: str) -> DependencyFailed:
    """A server is there, and one side does not take the other's certificate."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return DependencyFailed(
            "client.unknown-server",
            "The server's certificate is not one that is trusted here.",
            why=error.verify_message,
            next="Name the server as its certificate does, and the authority above it: "
            '.predict(rows, url="https://NAME:PORT", ca="authority.pem")',
            place=url,
        )
    return DependencyFailed(
        "client.unknown-caller",
        "The server broke off TLS: it may demand a certificate of its callers.",
        why=str(error),
        next='Show one: .predict(rows, client_cert=("certificate.pem", "key.pem"))',
        place=url,
    )


def _said(body: bytes) -> str:
    try:
        return str(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        return ""


def _read(
    exchange: Exchange, endpoint: Endpoint, signature: ModelSignature
) -> tuple[str, dict[str, NDArray[Any]]]:
    """Which release answered, and its outputs."""
    body = json.loads(exchange.answer)
    ref = endpoint.refs.get(str(body["model_version"]))
    if ref is None:
        raise Refused(
            "client.other-version",
            f"Version {body['model_version']} answered, and {' or '.join(endpoint.refs.values())} was asked.",
            next="The traffic may have changed meanwhile: ask again.",
            place=endpoint.url,
        )
    tensors = {tensor["name"]: tensor for tensor in body["outputs"]}
    return ref, {
        spec.name: np.array(
            tensors[spec.name]["data"],
            object if spec.datatype is DataType.BYTES else dtype_of(spec.datatype),
        ).reshape(tensors[spec.name]["shape"])
        for spec in signature.outputs
    }
