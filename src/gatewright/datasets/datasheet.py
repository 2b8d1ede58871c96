"""What the owner states about a dataset, and what is not stated.

The questions follow "Datasheets for Datasets" (Gebru et al., Communications of the ACM 64(12),
2021), cut down to what a release decision needs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import Any

from gatewright.kernel import canonical
from gatewright.kernel.errors import BadInput

DATASHEET_FORMAT = 1
NOT_STATED = "not stated"

# Identifiers of the SPDX Licence List that data sets and their sources commonly carry.
_SPDX_TEXT = (
    "0BSD AFL-3.0 AGPL-3.0-only AGPL-3.0-or-later Apache-2.0 Artistic-2.0 BSD-2-Clause BSD-3-Clause "
    "BSL-1.0 C-UDA-1.0 CC-BY-1.0 CC-BY-2.0 CC-BY-2.5 CC-BY-3.0 CC-BY-3.0-US CC-BY-4.0 CC-BY-NC-2.0 "
    "CC-BY-NC-3.0 CC-BY-NC-4.0 CC-BY-NC-ND-3.0 CC-BY-NC-ND-4.0 CC-BY-NC-SA-2.0 CC-BY-NC-SA-3.0 "
    "CC-BY-NC-SA-4.0 CC-BY-ND-3.0 CC-BY-ND-4.0 CC-BY-SA-1.0 CC-BY-SA-2.0 CC-BY-SA-2.5 CC-BY-SA-3.0 "
    "CC-BY-SA-4.0 CC-PDDC CC-PDM-1.0 CC0-1.0 CDLA-Permissive-1.0 CDLA-Permissive-2.0 CDLA-Sharing-1.0 "
    "DL-DE-BY-2.0 DL-DE-ZERO-2.0 ECL-2.0 EPL-2.0 etalab-2.0 EUPL-1.1 EUPL-1.2 GFDL-1.3-only "
    "GFDL-1.3-or-later GPL-2.0-only GPL-2.0-or-later GPL-3.0-only GPL-3.0-or-later ISC LGPL-2.1-only "
    "LGPL-2.1-or-later LGPL-3.0-only LGPL-3.0-or-later MIT MIT-0 MPL-2.0 NIST-PD NIST-PD-fallback NLOD-1.0 "
    "NLOD-2.0 O-UDA-1.0 ODbL-1.0 ODC-By-1.0 OGC-1.0 OGL-Canada-2.0 OGL-UK-1.0 OGL-UK-2.0 OGL-UK-3.0 "
    "PDDL-1.0 Unlicense UPL-1.0 Zlib"
)
SPDX = frozenset(_SPDX_TEXT.split())
_OWN = re.compile(r"LicenseRef-[A-Za-z0-9.-]{1,100}")
TEXT_CHARACTERS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Datasheet:
    """The owner's statements. ``NOT_STATED`` (or no entry, for the lists) is an honest answer.

    ``licence`` is an SPDX identifier or ``LicenseRef-…``; ``sensitive_columns`` names columns that
    describe protected groups or are otherwise personal. Raises :class:`BadInput` for an unknown
    licence, with the nearest known one, and for empty or overlong texts.
    """

    title: str = NOT_STATED
    description: str = NOT_STATED
    origin: str = NOT_STATED
    licence: str = NOT_STATED
    allowed_uses: tuple[str, ...] = ()
    legal_basis: str = NOT_STATED
    sensitive_columns: tuple[str, ...] = ()
    retention: str = NOT_STATED

    def __post_init__(self) -> None:
        for field in fields(self):
            value: str | tuple[str, ...] = getattr(self, field.name)
            if type(value) is not type(field.default):
                raise BadInput(
                    "datasets.datasheet",
                    f"The datasheet's {field.name.replace('_', ' ')} has the wrong type.",
                )
            for text in (value,) if isinstance(value, str) else value:
                if not isinstance(text, str) or not 0 < len(text) <= TEXT_CHARACTERS:
                    raise BadInput(
                        "datasets.datasheet-text",
                        f"The datasheet's {field.name.replace('_', ' ')} must hold 1 to "
                        f"{TEXT_CHARACTERS:,} characters.",
                        next=f"Leave it out where it is {NOT_STATED}.",
                    )
        if self.licence != NOT_STATED:
            require_licence(self.licence)

    def unstated(self) -> tuple[str, ...]:
        """The names of the questions that have no answer, in order."""
        return tuple(
            field.name.replace("_", " ")
            for field in fields(self)
            if getattr(self, field.name) in (NOT_STATED, ())
        )


def require_licence(text: str) -> str:
    """Return a known SPDX identifier or ``LicenseRef-…``; raises BadInput with the nearest one."""
    if text in SPDX or _OWN.fullmatch(text):
        return text
    by_lower = {known.lower(): known for known in SPDX}
    near = get_close_matches(text.lower()[:100], by_lower, n=3, cutoff=0.4)
    raise BadInput(
        "datasets.licence",
        f"{text[:100]!r} is not a licence that this product knows by its SPDX identifier.",
        next=("Nearest: " + ", ".join(by_lower[match] for match in near) + ". " if near else "")
        + "Name a licence of your own as LicenseRef-<name>.",
    )


def encode_datasheet(datasheet: Datasheet) -> bytes:
    """Canonical JSON. Law: ``decode_datasheet(encode_datasheet(d)) == d``."""
    value: dict[str, Any] = {"v": DATASHEET_FORMAT}
    for field in fields(datasheet):
        held = getattr(datasheet, field.name)
        value[field.name] = list(held) if isinstance(held, tuple) else held
    return canonical.encode(value)


def decode_datasheet(data: bytes) -> Datasheet:
    """Read what :func:`encode_datasheet` wrote; raises :class:`BadInput` for anything else."""
    value = canonical.decode(data)
    names = {field.name for field in fields(Datasheet)}
    if not isinstance(value, dict) or set(value) != names | {"v"} or value["v"] != DATASHEET_FORMAT:
        raise BadInput("datasets.datasheet", "The bytes are not a version 1 datasheet.")
    return Datasheet(**{name: _answer(value[name]) for name in names})


def _answer(held: Any) -> Any:
    return tuple(held) if isinstance(held, list) else held
