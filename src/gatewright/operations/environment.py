"""What is installed where this process runs: every Python distribution, as its own metadata says.

Source: the core metadata specification 2.4 (``License-Expression``, PEP 639), PEP 508 for what each
asks for.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib.metadata import Distribution as Found
from importlib.metadata import PackageMetadata, distributions

from packaging.requirements import InvalidRequirement, Requirement

from gatewright.checks.package_urls import normalised
from gatewright.datasets.datasheet import SPDX
from gatewright.releases.bom import Distribution

LICENCE_CHARACTERS = 200
_CLASSIFIER = "License :: "


@cache
def installed() -> tuple[Distribution, ...]:
    """Every distribution that an import would find, by name; read once, as imports are.

    Of two with one name the first on the path counts, as for ``import``. A folder of metadata that
    names nothing is what a broken removal left behind, and is passed over.
    """
    first: dict[str, Found] = {}
    for each in distributions():
        name = each.metadata["Name"]
        if name:
            first.setdefault(normalised(name), each)
    return tuple(_read(first[name], frozenset(first)) for name in sorted(first))


def _read(found: Found, names: frozenset[str]) -> Distribution:
    metadata = found.metadata
    licence, spdx = _licence(metadata)
    return Distribution(
        name=metadata["Name"],
        version=metadata["Version"] or "",
        licence=licence,
        spdx=spdx,
        requires=tuple(sorted(set(_requires(found, names)))),
    )


def _licence(metadata: PackageMetadata) -> tuple[str, bool]:
    """An SPDX expression and true, or a free text and false; nothing is translated by guessing."""
    expression, free = ((metadata.get_all(name) or [""])[0] for name in ("License-Expression", "License"))
    if expression:
        return expression, True
    if free and "\n" not in free.strip() and len(free) <= LICENCE_CHARACTERS and free != "UNKNOWN":
        return free.strip(), free.strip() in SPDX
    named = [each for each in metadata.get_all("Classifier") or () if each.startswith(_CLASSIFIER)]
    return "; ".join(each.rpartition(" :: ")[2] for each in named)[:LICENCE_CHARACTERS], False


def _requires(found: Found, names: frozenset[str]) -> Iterator[str]:
    """What it asks for here, extras included, as far as it is installed."""
    extras = ("", *(found.metadata.get_all("Provides-Extra") or ()))
    for text in found.requires or ():
        try:
            asked = Requirement(text)
        except InvalidRequirement:
            continue
        name = normalised(asked.name)
        if name in names and (
            asked.marker is None or any(asked.marker.evaluate({"extra": extra}) for extra in extras)
        ):
            yield name
