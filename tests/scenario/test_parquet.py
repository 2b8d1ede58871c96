"""Data kept as Parquet lead the same life as CSV."""

from __future__ import annotations

import numpy as np
import polars as pl

from scenario.conftest import NewHome
from scenario.world import FEATURES, classifier, loans


def _frame(rows: int, seed: int) -> pl.DataFrame:
    values, answers = loans(rows, seed)
    return pl.DataFrame(
        {name: values[:, place] for place, name in enumerate(FEATURES)} | {"repaid": answers.tolist()}
    )


def test_parquet_goes_all_the_way(new_home: NewHome) -> None:
    """Files of training and test rows in Parquet are registered, checked against and released from."""
    home = new_home("opened")
    for name, (rows, seed) in {"train": (300, 1), "test": (400, 2)}.items():
        _frame(rows, seed).write_parquet(home.root / f"{name}.parquet")
    added = home.do(
        "data", "add", "loans", "--train", "train.parquet", "--test", "test.parquet", "--target", "repaid"
    )
    assert (300, 400, ["no", "yes"]) == (added["train_rows"], added["test_rows"], added["classes"])
    (home.root / "m.onnx").write_bytes(classifier())
    home.do("model", "add", "m.onnx", "--name", "loans", "--trained-on", "train.parquet", "--data", "loans")
    assert "loans@1" == home.do("ship", "loans")["ref"]


def test_a_parquet_file_is_split_like_its_csv(new_home: NewHome) -> None:
    """The same rows with the same seed are split alike, whichever format they came in."""
    home = new_home("opened")
    frame = _frame(200, 5)
    frame.write_parquet(home.root / "all.parquet")
    frame.write_csv(home.root / "all.csv")
    split = ("--target", "repaid", "--seed", "11")
    one = home.do("data", "split", "all.parquet", "--name", "one", *split)
    two = home.do("data", "split", "all.csv", "--name", "two", *split)
    assert (one["train"], one["test"]) == (two["train"], two["test"])


def test_other_number_types_are_read(new_home: NewHome) -> None:
    """Smaller number types mean the same numbers."""
    home = new_home("opened")
    numbers = np.arange(40)
    columns = {"x": numbers.astype(np.float32), "z": numbers.astype(np.int16), "y": ["a", "b"] * 20}
    pl.DataFrame(columns).write_parquet(home.root / "a.parquet")
    added = home.do("data", "add", "small", "--train", "a.parquet", "--test", "a.parquet", "--target", "y")
    assert (40, ["a", "b"]) == (added["train_rows"], added["classes"])
    assert ["x", "z"] == [name for name, _ in added["features"]]
