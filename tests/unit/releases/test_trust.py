"""The trust root."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gatewright.kernel import canonical
from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import BadInput
from gatewright.ledger.notes import NoteKey, SignatureType
from gatewright.releases.trust import TRUST_BYTES, TrustRoot
from unit.releases.key_sets import KeySet
from unit.releases.workshop import LOG_KEY, RELEASE_KEY, STRANGER, TRUST


def test_round_trip() -> None:
    """A trust root reads back as itself."""
    assert TRUST == TrustRoot.decode(TRUST.encode())


def test_fingerprint_is_that_of_the_file() -> None:
    """The fingerprint is the digest of the bytes, so any tool can compute it."""
    assert Digest.of(TRUST.encode()) == TRUST.fingerprint()


def test_fingerprint_depends_on_every_key_and_the_origin() -> None:
    """Another origin or key gives another fingerprint."""
    one = replace(TRUST, release=STRANGER.public)
    two = replace(TRUST, origin="gatewright/other")
    assert 3 == len({TRUST.fingerprint(), one.fingerprint(), two.fingerprint()})


@pytest.mark.parametrize("place", ["release", "release_pq", "log"])
def test_each_place_wants_its_algorithm(place: str) -> None:
    """A key of another algorithm in any place is refused."""
    wrong = LOG_KEY.public if place != "log" else RELEASE_KEY.public
    changes: dict[str, Any] = {place: wrong}
    with pytest.raises(BadInput, match="key must be"):
        replace(TRUST, **changes)


@pytest.mark.parametrize(
    "fields", [{"format": 2}, {"origin": ""}, {"origin": "x" * 257}, {"keys": {}}, {"a": 1}]
)
def test_bad_fields_are_refused(fields: dict[str, object]) -> None:
    """Unknown formats, fields and empty origins are refused."""
    value = {**canonical.decode(TRUST.encode()), **fields}
    with pytest.raises(BadInput):
        TrustRoot.decode(canonical.encode(value))


def test_one_key_under_two_names_is_one_witness() -> None:
    """A quorum counts keys: whoever holds one cannot be two witnesses."""
    raw = LOG_KEY.public.raw()
    first, second = (
        NoteKey(name=name, type=SignatureType.ED25519_COSIGNATURE, raw=raw).text()
        for name in ("audit.example/a", "notary.example/b")
    )
    keys = KeySet().trust()
    assert (first,) == replace(keys, witnesses=(first,), quorum=1).witnesses
    with pytest.raises(BadInput) as caught:
        replace(keys, witnesses=(first, second), quorum=2)
    assert "witnesses" == caught.value.refusal.place


def test_too_large_trust_root_is_refused() -> None:
    """Size is looked at before anything is parsed."""
    with pytest.raises(BadInput, match="bytes"):
        TrustRoot.decode(b" " * (TRUST_BYTES + 1))


FORMAT_1 = (
    b'{"format":1,"keys":{"log":"MCowBQYDK2VwAyEAgT8JFsmeVm/SoLc1A/hejwx4lVBXSUcbzZrdB7jIRXY=","releas'
    b'e":"MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEIxePOxXXuhfh/dOvrF8ApOolHEfNJSzAqLbIJx3g/n2785qdYM+Eljlq'
    b'DOUmHc11XeTN9+Lfyd5mXaTSFpN8Fg==","release-pq":"MIIHsjALBglghkgBZQMEAxIDggehAIb6FjCwG6CvTREjP3Ut'
    b"7lG0ozamt8n7gVpARCJOoxGtHFvLSRw6niEDFgZrre9BR0l4dqFuQ1NaPRFZXyVv5NMoQR1MYTwb6rgJo09pf3JsdvRSHtoN"
    b"2ZdwImG4vF1VS45wjIUxFZVL9M4F+9W2wjaRPcMVDkm7QYm70f6wQBK2z3XH4AyytKiTsMVGQAzajOcEi3HV+IrfNudMc5iJ"
    b"BXbOesDSXtVHRNIjebCvZ7splt4RQL9pVyr/q6fme6Itga/kumGjaee9WmJUd4q5sfcUoYZT5UVVXhzt7rVhA7wXDo78ZIXM"
    b"2hPAdIVcSugbmXxrCdTLsN9vPbBIER33bJhAPJm6PttrMWkLZ6ThkfFj2bWucdW8DJINJuJif0y/79nUj90Z7E7UWR/5/Msu"
    b"KQNI8lNFS1wQINHjsd/PuuIRdeTRwarPGfmjVcG+BPWyymQBuM+WRKkqSo9PWJQKx14XNW+PGBY3eCXzH0NoYZ2welCaiAdA"
    b"JCmRIKXBp/EBM0AzS8JhoJ32II8cZ2Vj8tOQP0l1HJsZm+JDBKzVzBMuu2BBodu9sf+nmAdTNjHYp4cwCCelCo9OLgxACtzP"
    b"TuULeBwpr8pXYL7kzokK4yZ3nUtAyG10rIXCuIitX4ta2G52AwvWokEqIe9ZUBjRaNe+C/htQXyDIpP/1T+u34FX19+yFyfg"
    b"xeQVGW6N8GsK2W+X9APG6EKxGOFUCp9MNJW8T/8vpExshPRaqx/U2O6EEtZNr6aEQJWKuc4OI8Cp3yH2R2OgCZ8AvojF4DZb"
    b"NVqQxG9/EuBwwHQRU7WjZtWX7IzWXTY572X+6AnZr3f/uSYBFhPrnDsE1+tF1h5BykYHQgQcimbCbKCZJmN/5DMnqbg/Eh9T"
    b"uaY9RnzIojabkq1dTWMonlttjgWlSjVTmlL0KyIE4BSL69xDkkXHiH/nqEQFAsfc1bAxJkvW90aWpM6YLrJk/oWRsAz4WJAX"
    b"nHfkn0nhourDzoiIYJGpaDh3III2P8UhIYMy35FcZp7lH9Nw4z2NksZrWmXr6+YcFBmkJhK93ibusDrDX8jqcclsukdafT+Z"
    b"aJ6/d+9HpVsxNtaClAc1P9TRf3m9EO39llKzPOfWZD7LyHbKPz4Z1eJLMT66z+ANxwwCsgtQFqlnKvCVI8blOthr9ZbxpAxA"
    b"E1Fk4OSqaIZXpEmY3o0/wuYVHEe5kq5PY4EWsUTIObYBhk2QVS5UGo5lweyl+imvZSSmtG6vItOj3PWHF5vLSalh2bPVNpk2"
    b"z5hASNUHGC5zYi1rG+xR1FD3gxK3gkoZ1ii3h+OSrsP0KSTd8Lam6t18E5i8QUGuAGYwowq2sJOgbaGiYSTWJd2NL6IlSfmp"
    b"ySnN9ENPVt/mm/SGn+4XQ3gIN/6mJ1/fJljkD365UtfKwaEDvsdV/oNccXxRXyuk02Llq6wfZYUGM02riuHt9MKg+QPfGLDO"
    b"9kzB0oI9EWayWPwxJi8hyyVl6OxnxyAmEm4rDahHCLx4msOWv2bLuLvzbE+Z5Kd+bbBQMNShOhnUZzMmRHAm0RunUx+gqrl7"
    b"Npgk6312KM1X9hAA5oRYJ8/YHgdIbyz1Wf/5JmpshNgqqi5zX8UCAufGGcKE2NYOhIfQ2c0qmxAeBXipbtJQh0lzvEHagkMn"
    b"ZpSXGVQbSKJP0dvx5C2/78/EAucHE7LREtjnGgUOf6bBWSFhHsgXynkdy2k1qGgS+urxAFAY/iPYvqS5l/3BcWywzzB3aaaw"
    b"e0vomgxngKCOoCzQT42ZqBbKqeZavwOTBTHWAWLmojsCRoN97XaDRfo3YS9RQA9kHIbb+Nh5H55A2z+TUOoSPKN0dMLekHuK"
    b"PVxtAbO7Oz6mgaKp5fnrN7pgxEDEUtCNj65FjVHKmWPopxU+Ur2NnZ8DOk5pa0BTBx2pQu5OyAntIUg2gIs23KD8VnZ/cNAi"
    b"ngoiu5R1uXtJJzkKW3ZyRNv3jXVai+0nvWMa/A4MK3UR0ReOqmXqB0NGFwgnJGnWZUauxLg1oE7UzYqkyXBI72lJfYCmTSfW"
    b"dzW19Vq9fHXuvyhCPzo4YFgKlQ2eXGzyTUp4DEjQW8f53POdfAJi2lfu76zvdjqvXwEDjyBMekhjh/gKVlEwzc/uPNZNJGPf"
    b"pVU/Ug1qBpoAbIHDbdffA4+Fa92ZVbgAaqef30llNeNJLL4+jzIzoNnm48B5DkX4XU5t5KgIHzFsaDq3PdiHeAxjvHzg4vtU"
    b"aikw6906MPCa+zLzFR3XD4ijSOFugK6oaa8CFZIgYfsxl9dNFvtWIsu9oN3yBX6bzshoQ8jDXj719SOswZ1gpmlXrGtjDHEM"
    b"o1ILFrLXtttGuuR/SO5x5r9BaVcvYAgtl5wVjOpAw/BoO4c11d/a+TaKVbl4NAqDJSwWYGFROzz6Vd2lBnFEU0rxejndAYGq"
    b"Fg0l9E77u6WBsTEIdSH2AjS82dRtXuIfFU4TWMiuiNe/fUvW3BZBSqaGITlDtCsC/5h3pOD9xxkTME66Pt7HKuaMgbFUHTHc"
    b'aM/iq2dOoV6YXB/0jzUyFbtK/lcWm5lTGZ2SJp0VgwhHYitDxTsJuUDWTM/ORPqTkyTZF5V1gq1pC1BiMh9WF0Em"},"orig'
    b'in":"gatewright/test"}'
)
"""The file of a home from before there were root keys, as it was written then; frozen."""


def test_format_1_stays_readable() -> None:
    """A file of format 1 reads, keeps its fingerprint, and has its release keys sign the next version."""
    found = TrustRoot.decode(FORMAT_1)
    assert "fae26b61d8d75196b4ebb71e9e9074a4cfdc799d3f6770aaabf31677460e6183" == found.fingerprint().hex
    assert (1, 1, found.release_keys) == (found.format, found.version, found.root_keys)
    assert FORMAT_1 == found.encode()
