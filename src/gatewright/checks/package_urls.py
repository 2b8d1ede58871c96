"""Package URLs: the names by which bills of materials and advisories call the same thing.

``pkg:pypi/scikit-learn@1.9.0`` is a Python distribution; ``pkg:generic/loans@2?checksum=sha256:<hex>``
is a model version with the digest of its bytes.

Source: package-url/purl-spec, "Rules for each purl component"; PEP 503 for the names of distributions.
"""

from __future__ import annotations

import re

from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import BadInput

PYPI = "pypi/"
MODEL = "pkg:generic/"

_PURL = re.compile(r"pkg:/*([A-Za-z][A-Za-z0-9.+-]*)/([^?#]+)(?:\?([^#]*))?(?:#.*)?")
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")
_ESCAPED = re.compile(rb"%([0-9A-Fa-f]{2})")
_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-_~:")


def normalised(name: str) -> str:
    """A Python distribution's name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def package_name(ecosystem: str, name: str) -> str:
    """A package's one name here: ``pypi/scikit-learn``; other ecosystems keep the case of theirs."""
    base = ecosystem.partition(":")[0]
    if base.lower() == "pypi":
        return _one_word(f"{PYPI}{normalised(name)}")
    return _one_word(f"{base}/{name}")


def model_name(name: str) -> str:
    """A model's one name here, which is its package URL without a version."""
    return f"{MODEL}{name}"


def distribution_url(name: str, version: str) -> str:
    """The package URL of an installed Python distribution; dots of its name stay, as the purl type asks."""
    return f"pkg:pypi/{_encoded(name.lower().replace('_', '-'))}@{_encoded(version)}"


def model_url(name: str, version: int, digest: Digest) -> str:
    """The package URL of a model version with these bytes."""
    return f"{MODEL}{_encoded(name)}@{version}?checksum=sha256:{digest.hex}"


def read_url(text: str) -> tuple[str, str, tuple[str, ...]]:
    """The name, the version ("" for none) and the SHA-256 checksums of a package URL.

    Raises BadInput for what is no package URL, and for a SHA-256 checksum that is none.
    """
    found = _PURL.fullmatch(text)
    if found is None:
        raise BadInput("checks.package-url", f"{text[:80]!r} is no package URL such as pkg:pypi/numpy.")
    kind, path, qualifiers = found.group(1).lower(), found.group(2), found.group(3) or ""
    # The version follows the "@" of the last segment; an "@" in a namespace is percent-encoded.
    head, _, last = path.strip("/").rpartition("/")
    last, _, version = last.partition("@")
    whole = _decoded("/".join(part for part in (head, last) if part))
    name = package_name("PyPI", whole) if kind == "pypi" else _one_word(f"pkg:{kind}/{whole}")
    return name, _decoded(version), _checksums(qualifiers)


def _checksums(qualifiers: str) -> tuple[str, ...]:
    named = (part.partition("=") for part in qualifiers.split("&"))
    listed = [
        each for key, _, value in named if key.lower() == "checksum" for each in _decoded(value).split(",")
    ]
    sums = [each.partition(":")[2] for each in listed if each.lower().startswith("sha256:")]
    for each in sums:
        if not _SHA256.fullmatch(each):
            raise BadInput("checks.package-url", "A SHA-256 checksum must have 64 hexadecimal characters.")
    return tuple(each.lower() for each in sums)


def _one_word(name: str) -> str:
    return re.sub(r"\s", "+", name)


def _decoded(text: str) -> str:
    raw = _ESCAPED.sub(lambda found: bytes.fromhex(found.group(1).decode()), text.encode("utf-8", "replace"))
    return raw.decode("utf-8", "replace")


def _encoded(text: str) -> str:
    return "".join(chr(each) if each in _PLAIN else f"%{each:02X}" for each in text.encode())
