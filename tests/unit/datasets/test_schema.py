"""Schemas: described, kept, compared."""

from __future__ import annotations

import pytest

from gatewright.datasets.csv_reader import read_csv
from gatewright.datasets.schema import decode_schema, differences, encode_schema, schema_of
from gatewright.kernel.errors import BadInput

DATA = b"age,job,note\n31,clerk,n1\n?,clerk,n2\n45,cook,n3\n28,,n4\n"


def test_a_schema_says_kinds_gaps_ranges_and_categories() -> None:
    """Numbers have a range, texts their categories, both their share of gaps."""
    age, job, _ = schema_of(read_csv(DATA, name="t.csv")).columns

    assert (28.0, 45.0, 0.25, 3) == (age.minimum, age.maximum, age.missing, age.distinct)
    assert (("clerk", "cook"), 0.25) == (job.categories, job.missing)


def test_many_texts_are_counted_and_not_listed() -> None:
    """Beyond the limit a schema holds no categories: they may be personal, and are many."""
    data = "t\n" + "".join(f"n{i}\n" for i in range(101))
    (column,) = schema_of(read_csv(data.encode(), name="t.csv")).columns

    assert ((), 101) == (column.categories, column.distinct)


def test_a_schema_survives_its_bytes() -> None:
    """Law: decode_schema(encode_schema(s)) == s, and other bytes are refused."""
    schema = schema_of(read_csv(DATA, name="t.csv"))

    assert schema == decode_schema(encode_schema(schema))
    with pytest.raises(BadInput):
        decode_schema(encode_schema(schema).replace(b'"integer"', b'"other"'))
    with pytest.raises(BadInput):
        decode_schema(encode_schema(schema).replace(b'"distinct":3', b'"distinct":"3"'))


def test_differences_are_sentences() -> None:
    """Missing, new, changed and reordered columns are each said."""
    ours = schema_of(read_csv(DATA, name="t.csv"))
    theirs = schema_of(read_csv(b"age,job,extra\nx,clerk,1\n", name="t.csv"))
    reordered = schema_of(read_csv(b"job,age,note\nclerk,31,n\n", name="t.csv"))

    assert (
        "The column 'note' is missing.",
        "The column 'extra' is new.",
        "The column 'age' was integer and is text.",
    ) == differences(ours, theirs)
    assert ("The columns stand in another order.",) == differences(ours, reordered)
    assert () == differences(ours, ours)
