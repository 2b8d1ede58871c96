"""The cryptographic bill of a real home: all its keys, by id, and none of their bytes."""

from __future__ import annotations

import base64
from typing import Any

from gatewright.kernel import canonical
from gatewright.operations.cbom import crypto_bom, write_crypto_bom
from gatewright.operations.home import Home
from gatewright.operations.users import owner
from unit.releases.strict_validator import complaint


def _keys(content: bytes) -> dict[str, dict[str, Any]]:
    return {
        found["id"]: found
        for each in canonical.decode(content)["components"]
        if (found := each["cryptoProperties"].get("relatedCryptoMaterialProperties"))
    }


def test_every_key_of_a_home_is_named(live: Home) -> None:
    """Root, release and log pairs, the worker, people, and the key of stored contents."""
    content = write_crypto_bom(live, live.root / "cbom.cdx.json")
    assert content == (live.root / "cbom.cdx.json").read_bytes()
    assert "" == complaint(content)
    keys = _keys(content)
    trust = live.trust
    pairs = (trust.release, trust.release_pq, trust.log, trust.log_pq, trust.root, trust.root_pq)
    expected = {key.id for key in pairs if key is not None} | {
        live.keys.worker.public.id,
        owner(live).key,
        "data",
    }
    assert expected == set(keys)
    assert {"active"} == {each["state"] for each in keys.values()}
    assert "crypto:algorithm:ml-dsa-65" == keys[trust.release_pq.id]["algorithmRef"]


def test_no_key_is_in_the_bill(live: Home) -> None:
    """Neither private bytes nor public ones: ids, states and times are all."""
    content = crypto_bom(live)
    for place in sorted((live.folder / "keys").rglob("*")):
        if place.is_file():
            lines = [
                line for line in place.read_bytes().splitlines() if len(line) > 20 and b"-----" not in line
            ]
            assert [] == [line for line in lines if line in content]
    assert live.trust.release.text().encode() not in content
    assert base64.b64encode(live.trust.log.raw()) not in content
