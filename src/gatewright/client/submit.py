"""One call from a fitted model and its frames to a model version that can be checked, shipped and asked.

    model = gw.submit(pipeline, name="adult", train=train, test=test, target="income", sensitive=["sex"])
    model.check()
    model.ship()

The model is converted and compared first; nothing is recorded of one whose ONNX form answers
otherwise. Then the rows are registered, unless they are already, and the version is added as trained
on them. Cut short in between, what is recorded stands, and the same call goes on from there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnx import load_model_from_string

from gatewright.assembly.homes import open_home
from gatewright.client.conversion import Converted, convert
from gatewright.client.dataset import SHOWN, Frames, register, task_named
from gatewright.client.display import say
from gatewright.client.model import Model
from gatewright.client.networks import by_target
from gatewright.client.opening import Place, root_of
from gatewright.client.parity import Parity
from gatewright.datasets.datasheet import Datasheet
from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import BadInput, Misuse
from gatewright.kernel.names import parse_name
from gatewright.operations import catalogue, models
from gatewright.operations.catalogue import ModelVersion
from gatewright.operations.data import Description
from gatewright.operations.files import read_file
from gatewright.operations.home import Home
from gatewright.operations.models import MODEL_BYTES, Declared

RECIPE_BYTES = 1024**2


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """The file that trains a model, ``train(rows, seed)`` in it, as it was when it was read."""

    name: str
    content: bytes


def recipe(path: str | Path) -> Recipe:
    """The recipe in a file; its content is recorded with the version, and nothing is run now."""
    return Recipe(name=Path(path).name, content=read_file(Path(path), limit=RECIPE_BYTES))


def submit(
    model: Any,
    *,
    name: str,
    train: Any,
    test: Any,
    target: str,
    sensitive: Sequence[str] = (),
    slices: Sequence[str] = (),
    drop: Sequence[str] = (),
    task: str = "",
    outputs: str = "",
    classes: Sequence[Any] = (),
    datasheet: Datasheet | None = None,
    recipe: Recipe | None = None,
    seed: int = 0,
    home: Place = None,
) -> Model:
    """Convert a fitted model, prove the conversion, register its rows, and add it as a version of ``name``.

    ``model`` is a fitted estimator, network or booster, or ONNX: a file or its bytes. ``train`` and ``test``
    are the frames (pandas or polars) that it was and was not fitted on, with the same columns, ``target``
    among them; ``drop`` names columns that are no features, of which nothing is kept; the model may have
    been fitted on frames that hold them where nothing of it reads them. ``sensitive`` names
    columns that describe protected groups, ``slices`` further columns to look into. ``task`` overrides what
    follows from the target. Of a network, ``outputs`` says what it gives (``logits``, ``probabilities`` or
    ``value``) where that is not evident, and ``classes`` names its classes in order. ``datasheet`` says where the rows come from. ``recipe`` is the file that trains
    the model, run with ``seed``. ``home`` is a folder, by default the home at or above the current one.

    Frames and bytes that are the newest version already are not recorded again.

    Raises Misuse without a home; BadInput for a model or frames that cannot be taken; Refused where the ONNX
    form answers otherwise than the model (``client.parity``), or is no plain ONNX model.
    """
    root = root_of(home)
    parse_name(name, of="model")
    about = Description(
        target=target,
        target_kind=task_named(task),
        sensitive=_several(sensitive, "sensitive"),
        slices=_several(slices, "slices"),
        dropped=_several(drop, "drop"),
        datasheet=datasheet or Datasheet(),
    )
    given = Frames.of(train, test, about)
    onnx, parity, origin = _onnx(model, given, outputs, classes)
    say("registering the rows and the model")
    with open_home(root) as opened:
        data, new_data = register(opened, name, given)
        declared = Declared(
            trained_on=data.ref,
            parity=_numbers(parity),
            recipe=None if recipe is None else recipe.content,
            seed=seed,
            origin=origin,
        )
        version = _newest(opened, name, onnx, declared) or models.add_content(opened, onnx, name, declared)
    say("")
    return Model(root, version, data, parity, new_data=new_data)


def _several(names: Sequence[str], option: str) -> tuple[str, ...]:
    if isinstance(names, str):
        raise Misuse(
            "client.one-name",
            f"{option} is the text {names!r}, where a list of column names is asked for.",
            next=f"Give a list: {option}=[{names!r}].",
        )
    return tuple(names)


def _onnx(
    model: Any, given: Frames, outputs: str, classes: Sequence[Any]
) -> tuple[bytes, Parity | None, Mapping[str, str]]:
    """The model as ONNX bytes, how it was compared, and what it came from; what is ONNX is taken as it is."""
    if isinstance(model, str | Path):
        return read_file(Path(model), limit=MODEL_BYTES), None, {}
    if isinstance(model, bytes):
        return model, None, {}
    say("converting the model to ONNX and comparing both on the test rows")
    outputs, classes = by_target(given.target, given.about.target_kind, outputs, classes)
    found = _converted(model, given, outputs, classes)
    origin = {"library": found.library, "exporter": found.exporter}
    return found.onnx, found.parity, {name: text for name, text in origin.items() if text}


def _converted(model: Any, given: Frames, outputs: str, classes: Sequence[Any]) -> Converted:
    """The conversion; a column that is dropped may have been there in fitting where nothing reads it."""
    try:
        return convert(model, given.for_comparison(), outputs=outputs, classes=classes)
    except BadInput as error:
        if error.code != "client.columns-absent" or not given.about.dropped:
            raise
    found = convert(model, given.for_comparison(dropped=True), outputs=outputs, classes=classes)
    inputs = {each.name for each in load_model_from_string(found.onnx).graph.input}
    read = sorted(inputs - set(given.features))
    if read:
        raise BadInput(
            "client.dropped-column",
            f"The model reads {', '.join(map(repr, read[:SHOWN]))}, and drop= leaves out "
            f"{', '.join(map(repr, given.about.dropped[:SHOWN]))}.",
            why="Of a column that is dropped nothing is kept, so the model could not be judged.",
            next="Take what the model reads out of drop=, or fit it without.",
        )
    return found


def _numbers(parity: Parity | None) -> Mapping[str, float] | None:
    if parity is None:
        return None
    return {
        "rows": float(parity.rows),
        "labels_differ": float(parity.labels_differ),
        "p99": parity.p99,
        "largest": parity.largest,
    }


def _newest(home: Home, name: str, onnx: bytes, declared: Declared) -> ModelVersion | None:
    """The newest version of the name, where it is this very model with this very lineage."""
    latest = home.archive.get("models-latest", name)
    held = None if latest is None else catalogue.find(home, "models", str(latest["ref"]), ModelVersion)
    recipe = None if declared.recipe is None else Digest.of(declared.recipe)
    same = held is not None and (
        (held.model, held.dataset, held.recipe, held.seed)
        == (Digest.of(onnx), declared.trained_on, recipe, declared.seed)
        and held.trained_on is not None
    )
    return held if same else None
