"""Feeds: columns become exactly the tensors that the model takes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gatewright.kernel.errors import BadInput
from gatewright.models.feeds import feeds
from gatewright.models.signature import DataType, ModelSignature, Task, TensorSpec


def _signature(datatype: DataType, shape: tuple[int, ...], *columns: str) -> ModelSignature:
    spec = TensorSpec(name="x", datatype=datatype, shape=shape, columns=columns)
    return ModelSignature(task=Task.REGRESSION, inputs=(spec,), outputs=())


COLUMNS: dict[str, Any] = {
    "a": np.array([1.0, 2.0]),
    "thirds": np.array([1.0, 1 / 3]),
    "gap": np.array([np.nan, 0.5]),
    "t": np.array(["u", ""], dtype=object),
    "huge": np.array([1.0, 1e300]),
}


def test_a_matrix_stacks_columns_and_keeps_gaps() -> None:
    """A float matrix has a column per feature, NaN where missing."""
    found = feeds(_signature(DataType.FP32, (-1, 2), "a", "gap"), COLUMNS)["x"]

    assert (np.float32, (2, 2)) == (found.dtype, found.shape)
    assert [1.0, 2.0] == found[:, 0].tolist()
    assert np.isnan(found[0, 1])


def test_named_inputs_have_the_declared_rank() -> None:
    """Vectors, single columns, whole numbers, BF16 and texts keep type and rank."""
    assert (2,) == feeds(_signature(DataType.INT64, (-1,), "a"), COLUMNS)["x"].shape
    assert [["u"], [""]] == feeds(_signature(DataType.BYTES, (-1, 1), "t"), COLUMNS)["x"].tolist()
    assert [1, 0.333984375] == feeds(_signature(DataType.BF16, (-1,), "thirds"), COLUMNS)["x"].tolist()
    assert ["1", "2"] == feeds(_signature(DataType.BYTES, (-1,), "a"), COLUMNS)["x"].tolist()


@pytest.mark.parametrize(
    ("datatype", "column", "code", "place"),
    [
        (DataType.FP32, "absent", "models.no-column", ""),
        (DataType.FP32, "t", "models.feed-kind", "column 't'"),
        (DataType.INT64, "gap", "models.not-whole", "row 1, column 'gap'"),
        (DataType.INT8, "huge", "models.not-whole", "row 2, column 'huge'"),
        (DataType.FP32, "huge", "models.out-of-range", "row 2, column 'huge'"),
    ],
)
def test_columns_that_do_not_fit_are_refused(datatype: DataType, column: str, code: str, place: str) -> None:
    """Nothing is rounded, wrapped or turned into infinity on the way."""
    with pytest.raises(BadInput) as caught:
        feeds(_signature(datatype, (-1, 1), column), COLUMNS)

    assert (code, place) == (caught.value.code, caught.value.refusal.place)
