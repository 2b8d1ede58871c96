"""Canonical JSON, RFC 8785 (JCS): one value, one byte string.

Laws: ``decode(encode(v)) == v``; ``encode(decode(b)) == b`` for every ``b`` that ``decode`` takes;
key order of the input never matters.

Not here: floats that JSON cannot hold (NaN, infinities) and integers beyond ±(2**53 - 1) are
refused, as RFC 8785 section 3.2.2.3 asks of interoperable numbers; write such integers as text.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeAlias

from gatewright.kernel.errors import BadInput

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"
JsonObject: TypeAlias = "Mapping[str, Json]"

MAX_SAFE_INTEGER = 2**53 - 1
MAX_DEPTH = 64

_ESCAPES = json.encoder.encode_basestring  # leaves non-ASCII text as it is, as RFC 8785 3.2.2.2 asks


def _number(value: float) -> str:
    """ECMAScript ``Number::toString`` (RFC 8785 section 3.2.2.3)."""
    if not math.isfinite(value):
        raise BadInput("kernel.json-number", f"{value} has no place in JSON.")
    if value == 0:
        return "0"
    mantissa, _, exponent = repr(abs(value)).partition("e")
    whole, _, part = mantissa.partition(".")
    part = "" if part == "0" else part
    digits = (whole + part).lstrip("0")
    point = len(whole) + int(exponent or 0) - (len(whole + part) - len(digits))
    digits = digits.rstrip("0")
    count = len(digits)
    sign = "-" if value < 0 else ""
    if count <= point <= 21:
        return sign + digits + "0" * (point - count)
    if 0 < point <= 21:
        return f"{sign}{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    head = digits[0] + (f".{digits[1:]}" if count > 1 else "")
    return f"{sign}{head}e{'+' if point > 0 else '-'}{abs(point - 1)}"


def _scalar(value: str | float) -> str:
    if isinstance(value, str):
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            raise BadInput("kernel.json-text", "A text holds a lone surrogate.") from None
        return _ESCAPES(value)
    if isinstance(value, int):
        if abs(value) > MAX_SAFE_INTEGER:
            raise BadInput(
                "kernel.json-number",
                f"The integer {str(value)[:40]} is beyond 2**53 - 1.",
                next="Write it as text.",
            )
        return str(int(value))
    return _number(value)


def _by_code_units(key: object) -> bytes:
    """Keys sort by their UTF-16 code units (RFC 8785 section 3.2.3)."""
    if not isinstance(key, str):
        raise BadInput("kernel.json-key", f"{key!r} cannot be a JSON key.")
    return key.encode("utf-16-be", "surrogatepass")


def _write(value: Any, out: list[str], depth: int) -> None:
    if depth > MAX_DEPTH:
        raise BadInput("kernel.json-depth", f"JSON is nested deeper than {MAX_DEPTH} levels.")
    match value:
        case None | True | False:
            out.append({None: "null", True: "true", False: "false"}[value])
        case str() | int() | float():
            out.append(_scalar(value))
        case Mapping():
            before = "{"
            for key in sorted(value, key=_by_code_units):
                out += (before, _scalar(key), ":")
                _write(value[key], out, depth + 1)
                before = ","
            out.append("}" if value else "{}")
        case list() | tuple():
            before = "["
            for item in value:
                out.append(before)
                _write(item, out, depth + 1)
                before = ","
            out.append("]" if value else "[]")
        case _:
            raise BadInput("kernel.json-value", f"{type(value).__name__} has no place in JSON.")


def encode(value: Json) -> bytes:
    """Canonical bytes of a JSON value. Raises :class:`BadInput` for what JSON cannot hold."""
    out: list[str] = []
    _write(value, out, 0)
    return "".join(out).encode("utf-8")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise BadInput("kernel.json-duplicate-key", "A JSON object names the same key twice.")
    return found


def _no_constant(text: str) -> Any:
    raise BadInput("kernel.json-number", f"{text} has no place in JSON.")


def _integer(text: str) -> int | float:
    """Integers that RFC 8785 writes out of large floats come back as those floats."""
    value = int(text) if len(text) < 20 else float(text)
    return value if abs(value) <= MAX_SAFE_INTEGER else float(text)


def _depth(text: str) -> int:
    """Deepest nesting of brackets outside strings, counted before any parser recurses."""
    deepest = level = 0
    inside = escaped = False
    for letter in text:
        if inside:
            if escaped:
                escaped = False
            elif letter == "\\":
                escaped = True
            elif letter == '"':
                inside = False
        elif letter == '"':
            inside = True
        elif letter in "[{":
            level += 1
            deepest = max(deepest, level)
        elif letter in "]}":
            level -= 1
    return deepest


def decode_any(data: bytes) -> Any:
    """Read JSON strictly (no duplicate keys, no NaN, bounded depth), canonical or not."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise BadInput("kernel.json", "The bytes are not UTF-8 text.") from None
    if (text.count("[") + text.count("{")) > MAX_DEPTH and _depth(text) > MAX_DEPTH:
        raise BadInput("kernel.json-depth", f"JSON is nested deeper than {MAX_DEPTH} levels.")
    try:
        return json.loads(text, object_pairs_hook=_object, parse_constant=_no_constant, parse_int=_integer)
    except (ValueError, RecursionError) as error:
        raise BadInput("kernel.json", "The bytes are not JSON.", why=str(error)[:200]) from None


class NotPlain(Exception):
    """The quick way does not tell whether these bytes are canonical: :func:`decode` does."""


def _not_plain(text: str) -> Any:
    raise NotPlain(text)


def _plain_integer(text: str) -> int:
    value = int(text)
    return value if -MAX_SAFE_INTEGER <= value <= MAX_SAFE_INTEGER else _not_plain(text)


_PLAIN_READER = json.JSONDecoder(parse_float=_not_plain, parse_constant=_not_plain, parse_int=_plain_integer)
_PLAIN_WRITER = json.JSONEncoder(
    ensure_ascii=False, check_circular=False, sort_keys=True, separators=(",", ":")
)


def decode_plain(data: bytes) -> Any:
    """Read canonical JSON that is ASCII and holds no fraction, several times as fast as :func:`decode`.

    The standard library writes such values as RFC 8785 does: its keys sort alike, its numbers are whole
    and its texts are escaped by the same function. A key that is given twice is lost on reading, so
    that what is written is shorter. Raises :class:`NotPlain` for everything else, canonical or not.
    """
    if not data.isascii() or data.count(b"[") + data.count(b"{") > MAX_DEPTH:
        raise NotPlain
    text = data.decode("ascii")
    try:
        value = _PLAIN_READER.decode(text)
    except (ValueError, RecursionError):
        raise NotPlain from None
    if _PLAIN_WRITER.encode(value) != text:
        raise NotPlain
    return value


def decode(data: bytes) -> Any:
    """Read canonical JSON; bytes that are not in canonical form are refused."""
    with suppress(NotPlain):
        return decode_plain(data)
    value = decode_any(data)
    if encode(value) != data:
        raise BadInput("kernel.json-not-canonical", "The JSON is not in canonical form (RFC 8785).")
    return value
