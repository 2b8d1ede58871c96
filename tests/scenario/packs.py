"""Packs to tamper with: a zip file as its files, put together again as an attacker without keys would."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path

from gatewright.kernel import canonical

Files = dict[str, bytes]


def unpacked(pack: Path) -> Files:
    """The files of a pack, by name."""
    with zipfile.ZipFile(pack) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def listed(files: Mapping[str, bytes]) -> Files:
    """The same files, with a manifest that lists them as they are now."""
    manifest = canonical.decode(files["manifest.json"])
    others = {name: data for name, data in files.items() if name != "manifest.json"}
    manifest["files"] = {
        name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        for name, data in others.items()
    }
    return {**others, "manifest.json": canonical.encode(manifest)}


def packed(files: Mapping[str, bytes], place: Path) -> Path:
    """A zip file of these files, as plain as the product writes it."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as opened:
        for name in sorted(files):
            opened.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), files[name], zipfile.ZIP_DEFLATED)
    place.write_bytes(out.getvalue())
    return place


def document(data: bytes) -> dict[str, object]:
    """A JSON object."""
    found: dict[str, object] = json.loads(data)
    return found
