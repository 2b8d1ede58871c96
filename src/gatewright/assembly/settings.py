"""Settings: parsed once, frozen. A home is found upwards from the current folder, as git does."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from gatewright.kernel.errors import BadInput, DependencyFailed, Misuse, Tampered

if TYPE_CHECKING:
    from gatewright.releases.trust import TrustRoot

HOME_FORMAT = 1
SETTINGS_FILE = "gatewright.toml"
HOME_FOLDER = ".gatewright"
TRUST_FILE = "trust.json"
LEDGER_FILE = "ledger.db"
LOCK_FILE = "lock"
PASSPHRASE_BYTES = 1024

WITNESSES = "witnesses"

_KEYS = {"format", "origin"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Where a home is, the origin by which its evidence names it, and the addresses of its witnesses by name."""

    root: Path
    origin: str
    witnesses: Mapping[str, str] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """The folder that holds everything kept."""
        return self.root / HOME_FOLDER

    @classmethod
    def read(cls, root: Path) -> Settings:
        """Read ``gatewright.toml`` under ``root``; a newer format is refused."""
        place = root / SETTINGS_FILE
        try:
            values = tomllib.loads(place.read_text("utf-8"))
        except FileNotFoundError:
            raise Misuse(
                "assembly.no-settings",
                f"{root} holds a home but no {SETTINGS_FILE}.",
                next=f"Put {SETTINGS_FILE} back from your version control.",
            ) from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise BadInput(
                "assembly.settings", f"{SETTINGS_FILE} cannot be read.", why=str(error), place=str(place)
            ) from None
        except OSError as error:
            raise DependencyFailed(
                "assembly.settings-unreadable", f"{place} cannot be read.", why=str(error)
            ) from None
        if isinstance(values.get("format"), int) and values["format"] > HOME_FORMAT:
            raise Misuse(
                "assembly.newer-home",
                f"This home has format {values['format']}; this version of gatewright reads up to {HOME_FORMAT}.",
                next="Upgrade gatewright; nothing was changed.",
            )
        unknown = sorted(set(values) - _KEYS - {WITNESSES})
        if (
            unknown
            or set(values) - {WITNESSES} != _KEYS
            or type(values["format"]) is not int
            or values["format"] != HOME_FORMAT
        ):
            what = f"does not know {unknown[0]!r}" if unknown else "needs format and origin"
            raise BadInput("assembly.settings", f"{SETTINGS_FILE} {what}.", place=str(place))
        if not isinstance(values["origin"], str) or not values["origin"]:
            raise BadInput("assembly.settings", "origin must be text.", place=str(place))
        witnesses = values.get(WITNESSES, {})
        if not isinstance(witnesses, dict) or not all(isinstance(each, str) for each in witnesses.values()):
            raise BadInput(
                "assembly.settings", "[witnesses] must hold lines such as name = address.", place=str(place)
            )
        return cls(root=root, origin=values["origin"], witnesses=witnesses)

    def text(self) -> str:
        """The file that :meth:`read` reads."""
        return (
            "# A gatewright home. Everything kept is in .gatewright/ beside this file.\n"
            f'format = {HOME_FORMAT}\norigin = "{self.origin}"\n'
        )


def with_witnesses(text: str, witnesses: Mapping[str, str]) -> str:
    """The text of a settings file with these witnesses and all else as it was, comments included."""
    kept, inside = [], False
    for line in text.splitlines():
        if line.lstrip().startswith("["):
            inside = line.split("#")[0].strip() == f"[{WITNESSES}]"
        if not inside:
            kept.append(line)
    lines = [
        f"{json.dumps(name, ensure_ascii=False)} = {json.dumps(url, ensure_ascii=False)}"
        for name, url in sorted(witnesses.items())
    ]
    table = [f"\n[{WITNESSES}]", *lines] if lines else []
    return "\n".join(["\n".join(kept).rstrip(), *table, ""])


def find_root(start: Path, environment: Mapping[str, str]) -> Path:
    """The folder of the nearest home at or above ``start``; ``GATEWRIGHT_HOME`` overrides."""
    named = environment.get("GATEWRIGHT_HOME")
    places = [Path(named)] if named else [start, *start.parents]
    for place in places:
        if (place / HOME_FOLDER).is_dir():
            return place.resolve()
    raise Misuse(
        "assembly.no-home",
        f"There is no gatewright home {'at ' + named if named else 'here or above ' + str(start)}.",
        next="Make one with: gatewright init",
    )


def passphrase(environment: Mapping[str, str]) -> bytes | None:
    """The passphrase that opens the keys, from a file or a variable, or None."""
    file = environment.get("GATEWRIGHT_PASSPHRASE_FILE")
    text = environment.get("GATEWRIGHT_PASSPHRASE")
    if file:
        try:
            with Path(file).open("rb") as source:
                content = source.read(PASSPHRASE_BYTES + 1).rstrip(b"\r\n")
        except OSError as error:
            raise Misuse(
                "assembly.passphrase", f"The passphrase file {file} cannot be read.", why=str(error)
            ) from None
    elif text is not None:
        content = os.fsencode(text)
    else:
        return None
    if not content or len(content) > PASSPHRASE_BYTES:
        raise Misuse(
            "assembly.passphrase",
            "The passphrase is empty or too long.",
            next=f"Give 1 to {PASSPHRASE_BYTES} bytes.",
        )
    return content


def read_trust(folder: Path) -> TrustRoot:
    """The public keys of a home; Tampered when they are gone, for nothing else can stand in for them."""
    from gatewright.releases.fields import held  # noqa: PLC0415 - who only looks needs no cryptography
    from gatewright.releases.trust import TrustRoot  # noqa: PLC0415 - the same

    place = folder / TRUST_FILE
    try:
        return held(TRUST_FILE, TrustRoot.decode, place.read_bytes())
    except FileNotFoundError:
        raise Tampered(
            "assembly.trust-gone",
            f"The file of public keys, {TRUST_FILE}, of this home is gone.",
            next="Restore it from a backup or from whoever you gave it to.",
            place=str(place),
        ) from None
    except OSError as error:
        raise DependencyFailed(
            "assembly.trust", f"{place} cannot be read.", why=str(error.strerror)
        ) from None
