"""The child's job of running a recipe: its source, the rows and a seed in; a model's bytes out.

Everything here happens after the sandbox has closed. What the recipe does to this process (its
modules, its protocol, its exit) only spoils its own answer, which the parent checks as it checks any
model.
"""

from __future__ import annotations

import json
import random
import sys
import traceback
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from typing import Any

import numpy as np
import polars as pl

from gatewright.datasets.table import Column, Kind, Table
from gatewright.datasets.table_format import decode_table
from gatewright.kernel.errors import Refused
from gatewright.operations.child_protocol import pack, unpack

FILE = "recipe.py"
LIBRARIES = (
    "catboost", "keras", "lightgbm", "numpy", "onnx", "onnxmltools", "polars", "scikit-learn", "scipy",
    "skl2onnx", "torch", "xgboost",
)  # fmt: skip
"""Distributions whose versions are told, where the recipe loaded them."""
WHOLE = 2.0**53
"""Beyond it a float64 no longer holds every whole number, and the column stays one of floats."""
_MODULES = {"scikit-learn": "sklearn"}
_SAID = 1_500


def work(data: bytes) -> bytes:
    """Packed model bytes and JSON of the libraries used; raises :class:`Refused` where there is no model."""
    source, plan_json, rows = unpack(data)
    plan = json.loads(plan_json)
    random.seed(plan["seed"])
    np.random.seed(plan["seed"])  # noqa: NPY002 - libraries that take no seed read this one
    try:
        made = _trained(source, frame_of(decode_table(rows)), plan["seed"])
        content = made if isinstance(made, bytes) else getattr(made, "onnx", None)
    except MemoryError:
        raise
    except BaseException as error:  # noqa: BLE001 - an exit or an interrupt of the recipe's own is its fault too
        raise Refused(
            "recipes.raised",
            f"The recipe ended with {type(error).__name__}.",
            why=_said(error),
            next="Mend the recipe; it runs without network, without other processes, and may write only "
            "into its current folder.",
            place=_place(error),
        ) from None
    if not isinstance(content, bytes):
        raise Refused(
            "recipes.no-model",
            f"The recipe returned {type(made).__name__}, which is no model.",
            why="train(rows, seed) returns ONNX bytes, or what gatewright.convert returns.",
            next="End it with: return gatewright.convert(estimator, rows.drop(TARGET))",
        )
    if len(content) > plan["most"]:
        raise Refused(
            "recipes.model-too-large",
            f"The recipe returned {len(content):,} bytes; {plan['most']:,} is the most.",
            next="Train a smaller model.",
        )
    return pack([content, json.dumps(_libraries()).encode("utf-8")])


def _trained(source: bytes, rows: pl.DataFrame, seed: int) -> Any:
    module = ModuleType("recipe")
    module.__file__ = FILE
    sys.modules["recipe"] = module  # dataclasses and pickles of the recipe's own classes look here
    exec(compile(source, FILE, "exec"), module.__dict__)  # noqa: S102 - this is what the sandbox is for
    train: Callable[[pl.DataFrame, int], Any] | None = getattr(module, "train", None)
    if not callable(train):
        raise TypeError("the recipe has no function train(rows, seed)")
    return train(rows, seed)


def frame_of(table: Table) -> pl.DataFrame:
    """The rows as polars reads them from a file: whole numbers, numbers, texts; null where missing."""
    return pl.DataFrame([_series(column) for column in table.columns])


def _series(column: Column) -> pl.Series:
    if column.kind is Kind.TEXT:
        texts = [None if gap else text for text, gap in zip(column.values, column.missing, strict=True)]
        return pl.Series(column.name, texts, dtype=pl.String)
    values = column.values.astype(np.float64)
    numbers = pl.Series(column.name, values, dtype=pl.Float64).fill_nan(None)
    whole = column.kind is Kind.INTEGER and not (np.abs(values) > WHOLE).any()
    return numbers.cast(pl.Int64) if whole else numbers


def _said(error: BaseException) -> str:
    try:
        return str(error)[:_SAID]
    except Exception:  # noqa: BLE001 - the error's text is the recipe's own code
        return "Its error cannot be written as text."


def _place(error: BaseException) -> str:
    """The line of the recipe that the error came from."""
    if isinstance(error, SyntaxError) and error.lineno:
        return f"recipe line {error.lineno}"
    lines = [step.lineno for step in traceback.extract_tb(error.__traceback__) if step.filename == FILE]
    return f"recipe line {lines[-1]}" if lines else ""


def _libraries() -> dict[str, str]:
    found = {"python": ".".join(map(str, sys.version_info[:3]))}
    for name in LIBRARIES:
        if _MODULES.get(name, name) in sys.modules:
            try:
                found[name] = version(name)
            except PackageNotFoundError:
                continue
    return found
