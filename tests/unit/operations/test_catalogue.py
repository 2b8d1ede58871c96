"""Entries: what is written is read back, and nothing else is taken for an entry."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewright.kernel import canonical
from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import Misuse, Tampered
from gatewright.operations import catalogue
from gatewright.operations.catalogue import (
    DatasetVersion,
    Endpoint,
    ModelVersion,
    body_of,
    every,
    find,
    read,
    resolve,
)
from gatewright.operations.home import Home

CLASSES = [
    kind
    for _, kind in inspect.getmembers(catalogue, inspect.isclass)
    if is_dataclass(kind) and kind.__module__ == catalogue.__name__
]
TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=8)
DIGEST = "ab" * 32


def values(kind: Any) -> st.SearchStrategy[Any]:
    """Anything of an annotated kind, as the entries of the catalogue use them."""
    if kind is Digest:
        return st.binary(min_size=32, max_size=32).map(Digest.from_raw)
    if kind is str:
        return TEXT
    if kind is bool:
        return st.booleans()
    if kind is int:
        return st.integers(0, 2**53 - 1)
    if kind is float:
        return st.floats(allow_nan=False, allow_infinity=False)
    if is_dataclass(kind):
        hints = get_type_hints(kind)
        return st.builds(kind, **{each.name: values(hints[each.name]) for each in fields(kind)})
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is UnionType:
        return st.none() | values(arguments[0])
    if origin is Mapping:
        return st.dictionaries(TEXT, values(arguments[1]), max_size=3)
    assert origin is tuple, f"the test knows no {kind}"
    if arguments[-1] is Ellipsis:
        return st.lists(values(arguments[0]), max_size=3).map(tuple)
    return st.tuples(*(values(argument) for argument in arguments))


def test_the_catalogue_is_known() -> None:
    """The law below covers every class that a record's body is made of."""
    assert {"DatasetVersion", "ModelVersion", "Release", "Endpoint", "Segment", "User"} <= {
        kind.__name__ for kind in CLASSES
    }


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_an_entry_is_read_back_from_its_record(kind: Any) -> None:
    """Written, encoded as a record's body, decoded and read, every entry is itself again."""

    @given(entry=values(kind))
    @settings(max_examples=30, deadline=None)
    def law(entry: Any) -> None:
        stored = canonical.decode(canonical.encode(body_of(entry)))
        assert isinstance(stored, dict)
        assert entry == read(kind, stored)
        assert entry == read(kind, {**stored, "seq": 3, "time": "2026-03-03T14:05:00Z", "later": [1]})

    law()


def _endpoint() -> dict[str, Any]:
    return {
        "endpoint": "loans", "state": "first", "root": DIGEST, "ref": "loans@1", "previous_root": None,
        "previous_ref": "", "decision": DIGEST, "plan_number": 1, "plan": DIGEST,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("root", "AB" * 32),
        ("root", "ab"),
        ("root", None),
        ("root", 7),
        ("plan_number", "1"),
        ("plan_number", True),
        ("plan_number", 1.0),
        ("plan_number", None),
        ("endpoint", 3),
        ("previous_root", ""),
        ("previous_ref", None),
    ],
)
def test_what_does_not_fit_is_broken_evidence(field: str, value: object) -> None:
    """A field of another kind, or an absent one, is not read as if it were right."""
    assert isinstance(read(Endpoint, _endpoint()), Endpoint)
    with pytest.raises(Tampered, match="Endpoint"):
        read(Endpoint, {**_endpoint(), field: value})
    with pytest.raises(Tampered, match="Endpoint"):
        read(Endpoint, {key: said for key, said in _endpoint().items() if key != field})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("classes", "no"),
        ("classes", {"no": "yes"}),
        ("features", [["age"]]),
        ("features", [["age", "number", "more"]]),
        ("features", ["ab"]),
        ("split", []),
        ("split", 7),
        ("split", "seed"),
    ],
)
def test_lists_are_lists_of_the_right_length(live: Home, field: str, value: object) -> None:
    """A text is no list of letters, and a pair has two parts."""
    document = live.archive.get("datasets", "loans@1")
    assert document is not None
    with pytest.raises(Tampered, match="DatasetVersion"):
        read(DatasetVersion, {**document, field: value})


def test_a_mapping_is_a_mapping(live: Home) -> None:
    """A list in the place of a mapping is broken evidence."""
    document = live.archive.get("models", "loans@1")
    assert document is not None
    with pytest.raises(Tampered):
        read(ModelVersion, {**document, "parity": [["a", 1.0]]})


def test_a_name_means_its_newest_version(live: Home) -> None:
    """``NAME`` is the newest version, ``NAME@VERSION`` exactly that one, anything else is wrong use."""
    assert 2 == resolve(live, "models", "loans", ModelVersion).version
    assert 1 == resolve(live, "models", "loans@1", ModelVersion).version
    for text in ("loans@3", "loan", "loans@", "@1", ""):
        with pytest.raises(Misuse, match="loans@1, loans@2"):
            resolve(live, "models", text, ModelVersion)


def test_nothing_added_yet_says_how(fresh: Home) -> None:
    """An empty home answers with the command that adds."""
    with pytest.raises(Misuse, match="gatewright model add"):
        resolve(fresh, "models", "loans", ModelVersion)
    with pytest.raises(Misuse, match="gatewright data add"):
        resolve(fresh, "datasets", "loans", DatasetVersion)
    assert find(fresh, "models", "loans@1", ModelVersion) is None


def test_every_entry_of_a_collection(live: Home) -> None:
    """All entries come by key, and a prefix narrows them."""
    assert ["loans@1", "loans@2"] == [entry.ref for entry in every(live, "models", ModelVersion)]
    assert ["loans@2"] == [entry.ref for entry in every(live, "models", ModelVersion, "loans@2")]
