"""Signatures as bytes: strict in both directions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewright.kernel.errors import BadInput
from gatewright.models.signature import DataType, ModelSignature, Task, TensorSpec
from gatewright.models.signature_format import decode_signature, encode_signature

_text = st.text(st.characters(codec="utf-8"), max_size=8)
_specs = st.lists(
    st.builds(
        TensorSpec, name=_text, datatype=st.sampled_from(DataType),
        shape=st.lists(st.integers(-1, 9), max_size=3).map(tuple), columns=st.lists(_text, max_size=3).map(tuple),
    ), max_size=3,
).map(tuple)  # fmt: skip
_signatures = st.builds(
    ModelSignature, task=st.sampled_from(Task), inputs=_specs, outputs=_specs, label_output=_text,
    scores_output=_text, classes=st.lists(_text, max_size=3).map(tuple),
)  # fmt: skip


@given(_signatures)
def test_a_signature_survives_its_bytes(signature: ModelSignature) -> None:
    """Law: decode_signature(encode_signature(s)) == s."""
    assert signature == decode_signature(encode_signature(signature))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"v":1', b'"v":2'),
        (b'"FP32"', b'"FP33"'),
        (b'"regression"', b'"guessing"'),
        (b"[-1]", b'["-1"]'),
        (b'"label_output":""', b'"label_output":0'),
        (b'"classes":[]', b'"classes":{}'),
        (b'"classes":[],', b""),
        (b'"v":1', b'"v":1,"w":1'),
    ],
)
def test_other_bytes_are_refused(old: bytes, new: bytes) -> None:
    """Unknown versions, words, types and fields are refused."""
    spec = TensorSpec(name="x", datatype=DataType.FP32, shape=(-1,))
    data = encode_signature(ModelSignature(task=Task.REGRESSION, inputs=(spec,), outputs=()))
    with pytest.raises(BadInput):
        decode_signature(data.replace(old, new))
