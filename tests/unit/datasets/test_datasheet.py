"""Datasheets: what is stated, what is not, and licences by their SPDX identifier."""

from __future__ import annotations

import pytest

from gatewright.datasets.datasheet import Datasheet, decode_datasheet, encode_datasheet
from gatewright.kernel.errors import BadInput


def test_what_is_not_stated_is_listed() -> None:
    """Every question without an answer is named."""
    sheet = Datasheet(title="Wisconsin breast cancer", licence="CC-BY-4.0", sensitive_columns=("age",))

    assert ("description", "origin", "allowed uses", "legal basis", "retention") == sheet.unstated()


def test_an_unknown_licence_is_refused_with_the_nearest() -> None:
    """A misspelt identifier is answered with known ones; a name of one's own is accepted."""
    with pytest.raises(BadInput) as caught:
        Datasheet(licence="cc-by-4")

    assert "datasets.licence" == caught.value.code
    assert "CC-BY-4.0" in caught.value.refusal.next
    assert "LicenseRef-Hospital.7" == Datasheet(licence="LicenseRef-Hospital.7").licence


def test_a_datasheet_survives_its_bytes() -> None:
    """Law: decode_datasheet(encode_datasheet(d)) == d, and other bytes are refused."""
    sheet = Datasheet(title="t", allowed_uses=("research", "teaching"), retention="2 years")

    assert sheet == decode_datasheet(encode_datasheet(sheet))
    for old, new in ((b'"v":1', b'"v":2'), (b'"t"', b"7"), (b'["research","teaching"]', b'"research"')):
        with pytest.raises(BadInput):
            decode_datasheet(encode_datasheet(sheet).replace(old, new))


@pytest.mark.parametrize("text", ["", "x" * 10_001])
def test_empty_and_endless_texts_are_refused(text: str) -> None:
    """An answer holds something, and not a book."""
    with pytest.raises(BadInput):
        Datasheet(origin=text)
