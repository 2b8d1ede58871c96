"""Adding a model version: recognised by content, inspected passively, tied to its data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gatewright.datasets.table import Table
from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import GatewrightError, Misuse, Refused
from gatewright.kernel.names import parse_name
from gatewright.ledger.records import Draft
from gatewright.models.facts import ModelFacts, encode_facts
from gatewright.models.fitting import fit_signature
from gatewright.models.formats import refuse_unless_onnx
from gatewright.models.signature import ModelSignature, Task
from gatewright.models.signature_format import encode_signature
from gatewright.operations import catalogue
from gatewright.operations.catalogue import DatasetVersion, ModelVersion, body_of
from gatewright.operations.data import next_version
from gatewright.operations.files import read_file
from gatewright.operations.home import Home
from gatewright.operations.isolation import inspect_model, load_table
from gatewright.operations.users import owner

MODEL_BYTES = 2 * 1024**3
NAME_SHOWN = 200
"""Most characters of a file name that a refusal keeps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """What the owner declares of a model's origin.

    ``trained_on`` is a dataset (its locked train split) or a file of rows; ``dataset`` names the
    dataset to test on where ``trained_on`` is a file or is not declared. ``recipe`` is the content
    of the file that trains it, run with ``seed``; ``origin`` what another system said of it.
    """

    trained_on: str = ""
    dataset: str = ""
    parity: Mapping[str, float] | None = None
    recipe: bytes | None = None
    seed: int = 0
    origin: Mapping[str, str] | None = None


def add(home: Home, path: Path, name: str, declared: Declared) -> ModelVersion:
    """Add a model version from a file; a refused file leaves only the record of its refusal."""
    parse_name(name, of="model")
    dataset, rows = _lineage(home, declared)
    return _add(home, (read_file(path, limit=MODEL_BYTES), path.name), name, declared, (dataset, rows))


def add_content(home: Home, content: bytes, name: str, declared: Declared) -> ModelVersion:
    """Add a model version whose bytes are at hand, as :func:`add` does."""
    parse_name(name, of="model")
    return _add(home, (content, f"{name}.onnx"), name, declared, _lineage(home, declared))


def _add(
    home: Home,
    file: tuple[bytes, str],
    name: str,
    declared: Declared,
    lineage: tuple[DatasetVersion, Path | DatasetVersion | None],
) -> ModelVersion:
    content, file_name = file
    dataset, rows = lineage
    try:
        facts = _inspected(content, file_name)
        signature = _fitted(facts, dataset)
    except Refused as refused:
        _record_refusal(home, file_name, refused, Digest.of(content))
        raise
    trained_on = _declared_rows(rows, dataset)
    digests = [home.blobs.put(part) for part in (content, encode_facts(facts), encode_signature(signature))]
    version = ModelVersion(
        name=name,
        version=next_version(home, "models", name),
        model=digests[0],
        bytes=len(content),
        facts=digests[1],
        signature=digests[2],
        dataset=dataset.ref,
        trained_on=trained_on
        if isinstance(trained_on, Digest) or trained_on is None
        else home.blobs.put(trained_on),
        parity=dict(declared.parity or {}),
        recipe=None if declared.recipe is None else home.blobs.put(declared.recipe),
        seed=declared.seed,
        origin=dict(declared.origin or {}),
    )
    draft = Draft(kind="model.added", actor=owner(home).principal, subject=version.ref, body=body_of(version))
    home.archive.append((draft,), home.now())
    return version


def _lineage(home: Home, declared: Declared) -> tuple[DatasetVersion, Path | DatasetVersion | None]:
    """The dataset to test on, and where the declared training rows are.

    A dataset of the home comes before a file of the same name.
    """
    on = declared.trained_on
    named = _known(home, on)
    if on and named is None and not Path(on).is_file():
        have = [key for key, _ in home.archive.scan("datasets")][-catalogue.NAMED :]
        raise Misuse(
            "operations.no-training-rows",
            f"{on!r} is neither a dataset of this home nor a file.",
            why=f"There is: {', '.join(have)}." if have else "",
            next="Name the dataset the model was trained on, or a file of its training rows with --data NAME.",
        )
    if named is None and not declared.dataset:
        raise Misuse(
            "operations.no-dataset-named",
            "A model is tested on a dataset, and none is named.",
            next="Name the dataset it was trained on with --trained-on NAME, or a file of training rows with "
            "--trained-on rows.csv --data NAME.",
        )
    rows = named or (Path(on) if on else None)
    return (_dataset(home, declared.dataset) if declared.dataset or named is None else named), rows


def _known(home: Home, text: str) -> DatasetVersion | None:
    """The dataset of the home that the text names, or None."""
    name, _, version = text.partition("@")
    latest = home.archive.get("datasets-latest", name) if name else None
    return None if latest is None else _dataset(home, text if version else str(latest["ref"]))


def _dataset(home: Home, text: str) -> DatasetVersion:
    return catalogue.resolve(home, "datasets", text, DatasetVersion)


def _declared_rows(rows: Path | DatasetVersion | None, dataset: DatasetVersion) -> Digest | bytes | None:
    """The digest of a locked split, the bytes of a readable file of rows, or None."""
    if rows is None or isinstance(rows, DatasetVersion):
        return None if rows is None else rows.train
    content = read_file(rows)
    table: Table = load_table(content, rows.name)
    for feature, _ in dataset.features:
        table.column(feature)
    return content


def _inspected(content: bytes, name: str) -> ModelFacts:
    refusal = refuse_unless_onnx(content, name)
    if refusal is not None:
        raise Refused.of(refusal)
    return inspect_model(content)


def _fitted(facts: ModelFacts, dataset: DatasetVersion) -> ModelSignature:
    fitted = fit_signature(
        facts, features=dataset.features, task=Task(dataset.target_kind), classes=dataset.classes
    )
    if isinstance(fitted, ModelSignature):
        return fitted
    raise Refused.of(fitted)


def _record_refusal(home: Home, what: str, error: GatewrightError, digest: Digest) -> None:
    said = f"{what[:NAME_SHOWN]}: {error.refusal.sentence()}"
    draft = Draft(
        kind="model.refused",
        actor=owner(home).principal,
        subject=digest.hex,
        body=body_of(catalogue.Refused(code=error.code, digest=digest)),
        commitments={"sentence": home.conceal(said.encode())},
    )
    home.archive.append((draft,), home.now())


def versions(home: Home) -> tuple[ModelVersion, ...]:
    """Every model version."""
    return tuple(catalogue.every(home, "models", ModelVersion))


def model(home: Home, text: str) -> ModelVersion:
    """The model version that ``NAME@VERSION`` or ``NAME`` (its newest) names."""
    return catalogue.resolve(home, "models", text, ModelVersion)
