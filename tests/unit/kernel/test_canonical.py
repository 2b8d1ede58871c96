"""Canonical JSON: the published examples of RFC 8785, its laws, and what is refused."""

from __future__ import annotations

import json
import math
import struct
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewright.kernel.canonical import (
    MAX_DEPTH,
    MAX_SAFE_INTEGER,
    NotPlain,
    decode,
    decode_any,
    decode_plain,
    encode,
)
from gatewright.kernel.errors import BadInput

# RFC 8785, appendix B: IEEE 754 bits and the text that ECMAScript gives.
NUMBERS = [
    ("0000000000000000", "0"),
    ("8000000000000000", "0"),
    ("0000000000000001", "5e-324"),
    ("8000000000000001", "-5e-324"),
    ("7fefffffffffffff", "1.7976931348623157e+308"),
    ("ffefffffffffffff", "-1.7976931348623157e+308"),
    ("4340000000000000", "9007199254740992"),
    ("c340000000000000", "-9007199254740992"),
    ("4430000000000000", "295147905179352830000"),
    ("44b52d02c7e14af5", "9.999999999999997e+22"),
    ("44b52d02c7e14af6", "1e+23"),
    ("44b52d02c7e14af7", "1.0000000000000001e+23"),
    ("444b1ae4d6e2ef4e", "999999999999999700000"),
    ("444b1ae4d6e2ef4f", "999999999999999900000"),
    ("444b1ae4d6e2ef50", "1e+21"),
    ("3eb0c6f7a0b5ed8c", "9.999999999999997e-7"),
    ("3eb0c6f7a0b5ed8d", "0.000001"),
    ("41b3de4355555553", "333333333.3333332"),
    ("41b3de4355555554", "333333333.33333325"),
    ("41b3de4355555555", "333333333.3333333"),
    ("41b3de4355555556", "333333333.3333334"),
    ("41b3de4355555557", "333333333.33333343"),
    ("becbf647612f3696", "-0.0000033333333333333333"),
    ("43143ff3c1cb0959", "1424953923781206.2"),
]

texts = st.text(st.characters(exclude_categories=["Cs"]))
numbers = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-MAX_SAFE_INTEGER, MAX_SAFE_INTEGER)
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=15,
)


@pytest.mark.parametrize(("bits", "text"), NUMBERS)
def test_numbers_are_written_as_the_standard_says(bits: str, text: str) -> None:
    """Every number of RFC 8785 appendix B has the text printed there."""
    (value,) = struct.unpack(">d", bytes.fromhex(bits))
    assert text.encode() == encode(value)


@pytest.mark.parametrize("bits", ["7fffffffffffffff", "7ff0000000000000", "fff0000000000000"])
def test_what_is_no_number_is_refused(bits: str) -> None:
    """NaN and the infinities, which end the table of appendix B, are refused."""
    (value,) = struct.unpack(">d", bytes.fromhex(bits))
    with pytest.raises(BadInput):
        encode(value)


def test_keys_are_sorted_as_the_standard_says() -> None:
    """The example of RFC 8785 section 3.2.3 comes out in the order printed there."""
    example = {
        "\u20ac": "Euro Sign",
        "\r": "Carriage Return",
        "\ufb33": "Hebrew Letter Dalet With Dagesh",
        "1": "One",
        "\U0001f600": "Emoji: Grinning Face",
        "\u0080": "Control",
        "\u00f6": "Latin Small Letter O With Diaeresis",
    }
    assert [
        "Carriage Return",
        "One",
        "Control",
        "Latin Small Letter O With Diaeresis",
        "Euro Sign",
        "Emoji: Grinning Face",
        "Hebrew Letter Dalet With Dagesh",
    ] == list(json.loads(encode(example)).values())


def test_the_worked_example_of_the_standard() -> None:
    """The document of RFC 8785 section 3.2.2 becomes the bytes of section 3.2.4."""
    given_text = rb"""{
      "numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
      "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
      "literals": [null, true, false]
    }"""
    expected = (
        '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
        '"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
    )
    assert expected.encode() == encode(decode_any(given_text))


@given(values)
def test_what_was_written_is_read_back(value: Any) -> None:
    """Decoding what was encoded gives an equal value."""
    assert value == decode(encode(value))


@given(values)
def test_writing_is_stable(value: Any) -> None:
    """Encoding what was decoded gives the same bytes."""
    data = encode(value)
    assert data == encode(decode(data))


@given(st.dictionaries(texts, numbers, max_size=8), st.randoms())
def test_the_order_of_keys_never_matters(value: dict[str, float], random: Any) -> None:
    """Objects that differ in the order of their keys have the same bytes."""
    items = list(value.items())
    random.shuffle(items)
    assert encode(value) == encode(dict(items))


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_keep_their_value(value: float) -> None:
    """The text of every finite number reads as the same number."""
    assert value == float(encode(value))


@given(st.binary(max_size=40))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    """Whatever the bytes are, they are canonical JSON or BadInput."""
    try:
        value = decode(data)
    except BadInput:
        return
    assert data == encode(value)


@pytest.mark.parametrize(
    "data",
    [
        b'{"b":1,"a":2}',
        b'{"a": 1}',
        b"1.0",
        b"1e2",
        b"-0",
        b'"\\u0041"',
        b'"\\/"',
        b"[1,2]\n",
        b"\xef\xbb\xbf1",
        b"0.0000001",
    ],
)
def test_other_spellings_are_refused(data: bytes) -> None:
    """JSON that is not in canonical form is BadInput."""
    with pytest.raises(BadInput):
        decode(data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b'{"a":1,"a":1}',
        b"NaN",
        b"Infinity",
        b"-Infinity",
        b"[1,]",
        b"01",
        b"'a'",
        b"\xff",
        b'"\xed\xa0\x80"',
        b'"\n"',
        b"[" * 100_000,
        b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1),
        b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
    ],
)
def test_what_is_no_json_is_refused(data: bytes) -> None:
    """Duplicate keys, NaN, broken text and bottomless nesting are BadInput, whoever wrote them."""
    with pytest.raises(BadInput):
        decode_any(data)


@pytest.mark.parametrize("data", [b"1e999", b'"\\ud800"', b"1" * 5_000])
def test_what_cannot_be_written_again_is_refused(data: bytes) -> None:
    """Numbers beyond all floats and lone surrogates are BadInput."""
    with pytest.raises(BadInput):
        decode(data)


@pytest.mark.parametrize(
    "value",
    [
        math.nan,
        math.inf,
        MAX_SAFE_INTEGER + 1,
        -MAX_SAFE_INTEGER - 1,
        "\ud800",
        {1: 2},
        b"bytes",
        {1, 2},
        object(),
    ],
)
def test_what_json_cannot_hold_is_refused(value: Any) -> None:
    """Values without an exact place in JSON are BadInput, not rounded or converted."""
    with pytest.raises(BadInput):
        encode(value)


def test_brackets_inside_text_are_not_nesting() -> None:
    """A text full of brackets and quotes is read."""
    value = {"text": '["{' * 100, "more": "[" * 100}
    assert value == decode(encode(value))


def test_nesting_up_to_the_limit_is_read() -> None:
    """The deepest value that is written is read back."""
    value: Any = 1
    for _ in range(MAX_DEPTH):
        value = [value]
    assert value == decode(encode(value))
    with pytest.raises(BadInput):
        encode([value])


@given(st.integers(-MAX_SAFE_INTEGER, MAX_SAFE_INTEGER))
def test_integers_are_written_in_full(value: int) -> None:
    """An integer that interoperates is written digit by digit."""
    assert str(value).encode() == encode(value)


def _careful(data: bytes) -> str | None:
    """What is read without the quick way, as text; None where it is refused."""
    try:
        value = decode_any(data)
        return repr(value) if encode(value) == data else None
    except BadInput:
        return None


def _quick(data: bytes) -> str | None:
    try:
        return repr(decode(data))
    except BadInput:
        return None


_documents = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**54), 2**54) | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=8,
)


@given(value=_documents, sort=st.booleans(), ascii_only=st.booleans(), spaced=st.booleans())
def test_the_quick_way_takes_what_is_canonical(
    value: Any, sort: bool, ascii_only: bool, spaced: bool
) -> None:
    """Documents in every form that a writer of JSON may choose: read exactly where the one form is met."""
    separators = (", ", ": ") if spaced else (",", ":")
    text = json.dumps(value, sort_keys=sort, ensure_ascii=ascii_only, separators=separators)
    data = text.encode("utf-8", "surrogatepass")
    assert _careful(data) == _quick(data)


@pytest.mark.parametrize(
    "data",
    [
        b"1.0",
        b"-0",
        b"9007199254740992",
        b"1e2",
        b"NaN",
        b'"\\u0041"',
        b'{"b":1,"a":2}',
        b'{"a":1,"a":1}',
        b" 1",
        b"1 ",
        b"[1,]",
        b'"\xc3\xa9"',
        b"[" * 65 + b"]" * 65,
        b"1" * 5000,
        b"",
        b'"\x7f"',
        b'"/"',
    ],
)
def test_the_quick_way_is_never_wider(data: bytes) -> None:
    """What the quick way reads, the careful way reads alike; what it leaves aside is for the careful way."""
    assert _careful(data) == _quick(data)
    with suppress(NotPlain):
        assert _careful(data) == repr(decode_plain(data))
