"""The one-file verifier computes what the product computes: trees, paths, canonical JSON, tensors."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from cryptography.exceptions import UnsupportedAlgorithm
from hypothesis import given
from hypothesis import strategies as st

from gatewright.kernel import canonical
from gatewright.kernel.errors import BadInput
from gatewright.ledger.tree import inclusion_path, root_of
from gatewright.models.tensors import encode_arrays
from gatewright.operations import evidence_verifier
from gatewright.operations.evidence_answers import encoded, verifier_source
from gatewright.operations.evidence_verifier import Broken, Log, load, path_root, tree_root, verifies

LEAVES = [sha256(bytes((number,))).digest() for number in range(70)]
_SCALARS = st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(allow_nan=False, allow_infinity=False) | st.text(st.characters(codec="utf-8"))  # fmt: skip
_JSON = st.recursive(
    _SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=5), inner, max_size=4)
    ),
    max_leaves=12,
)


def _completing(known: Sequence[int], low: int, high: int) -> Iterator[bytes]:
    """The roots of the subtrees without a known leaf, from left to right, as RFC 9162 parts a tree."""
    if not any(low <= each < high for each in known):
        yield root_of(LEAVES[low:high])
    elif high - low > 1:
        middle = low + (1 << ((high - low - 1).bit_length() - 1))
        yield from _completing(known, low, middle)
        yield from _completing(known, middle, high)


@given(size=st.integers(1, len(LEAVES)), data=st.data())
def test_known_leaves_and_the_hashes_of_the_rest_make_the_root(size: int, data: st.DataObject) -> None:
    """For every size and every choice of leaves the root is that of the tree, and a changed leaf gives another."""
    known = sorted(data.draw(st.sets(st.integers(0, size - 1), min_size=1)))

    def root(leaves: Sequence[bytes]) -> bytes:
        log = Log(size, b"")
        log.nodes = {(each, each + 1): leaves[each] for each in known}
        return tree_root(0, size, known, log, iter(list(_completing(known, 0, size))))

    assert root_of(LEAVES[:size]) == root(LEAVES)
    assert root_of(LEAVES[:size]) != root([sha256(each).digest() for each in LEAVES])


@given(size=st.integers(1, len(LEAVES)), data=st.data())
def test_a_path_leads_to_the_root_from_its_own_place_alone(size: int, data: st.DataObject) -> None:
    """Each path of the product leads to the root; from another place, or cut or lengthened, it does not."""
    index = data.draw(st.integers(0, size - 1))
    path, root = list(inclusion_path(LEAVES[:size], index)), root_of(LEAVES[:size])

    def leads(other: int, hashes: list[bytes], *, of: int = size) -> bool:
        try:
            return root == path_root(LEAVES[index], other, of, hashes)
        except Broken:
            return False

    assert [index] == [other for other in range(-1, size + 1) if leads(other, path)]
    assert not leads(index, [*path, root])
    assert not path or not leads(index, path[:-1])
    assert not path or not leads(index, [*path[:-1], path[-1] + path[-1]])


def test_two_hashes_in_one_prove_nothing() -> None:
    """A hash of 64 bytes, which is both children of the root, is none: any leaf would stand under it."""
    both = b"".join(root_of(LEAVES[at : at + 2]) for at in (0, 2))
    for path in ([both], [both[:16], both[16:]], [b""]):
        with pytest.raises(Broken):
            path_root(LEAVES[9], 1, 4, path)


@given(value=_JSON)
def test_canonical_json_is_read_as_the_product_reads_it(value: canonical.Json) -> None:
    """Every document that the product writes is taken, and what holds no fraction is read as the same value."""
    data = canonical.encode(value)
    found = load(data)
    long = re.search(rb"\d{16}", data)  # so large a fraction is spelled as a whole number that no float holds
    assert b"." in data or b"e" in data or long or canonical.decode(data) == found


@pytest.mark.parametrize(
    "data",
    [
        b'{"a":1,"a":1}', b'{"b":1,"a":1}', b'{"a": 1}', b"[1,]", b'["\\u0061"]', b"[NaN]", b"[Infinity]", b"[01]",
        b'{"a":1}\n', b"\xef\xbb\xbf[]", b'["\\ud800"]', b"[-0]", b"",
    ],
)  # fmt: skip
def test_other_spellings_are_refused_by_both(data: bytes) -> None:
    """Duplicate or unordered keys, spaces, escapes, numbers that are none: neither reads them."""
    with pytest.raises(BadInput):
        canonical.decode(data)
    with pytest.raises((Broken, ValueError)):
        load(data)


@given(
    values=st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=6),
    texts=st.lists(st.text(st.characters(codec="utf-8"), max_size=4), min_size=1, max_size=3),
)
def test_tensors_have_the_bytes_that_workers_commit_to(values: list[float], texts: list[str]) -> None:
    """Numbers and texts, flat or nested, are encoded as the product does it."""
    number, text = np.array([values], np.float32), np.array(texts, dtype=np.object_)
    told = [
        {"name": "x", "datatype": "FP32", "shape": [1, len(values)], "data": [values]},
        {"name": "label", "datatype": "BYTES", "shape": [len(texts)], "data": texts},
    ]
    assert encode_arrays([("x", number), ("label", text)]) == encoded(
        [(each, str(each["datatype"])) for each in told]
    )


def test_an_unknown_algorithm_is_told_and_never_passed_silently(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the library does not know ML-DSA, each signature is told as not verified; a short key that is none is refused."""

    def unknown(_: bytes) -> None:
        raise UnsupportedAlgorithm("ML-DSA")

    monkeypatch.setattr(evidence_verifier, "load_der_public_key", unknown)
    monkeypatch.setattr(evidence_verifier.now, "unverified", [])
    assert verifies(bytes(1_334), b"", b"")
    assert "ML-DSA" in evidence_verifier.now.unverified[0]
    with pytest.raises(Broken):
        verifies(bytes(91), b"", b"")


def test_the_page_has_the_digest_of_the_verifier() -> None:
    """The documentation tells the SHA-256 of the one file as it is written; after a change the number on the page is to be changed."""
    page = (Path(__file__).parents[3] / "docs" / "evidence-pack.md").read_text("utf-8")
    assert sha256(verifier_source().encode()).hexdigest() in page
