"""The strict validator of CycloneDX 1.6, which this project did not write, where it is installed."""

from __future__ import annotations

import pytest


def complaint(document: bytes) -> str:
    """What the strict validator objects to, "" for nothing; skips the test where it is not installed."""
    found = pytest.importorskip(
        "cyclonedx.validation.json", reason="cyclonedx-python-lib[json-validation] is not installed"
    )
    pytest.importorskip("rfc3987_syntax", reason="the validator's formats are not installed")
    from cyclonedx.schema import SchemaVersion  # noqa: PLC0415 - only where it is installed

    error = found.JsonStrictValidator(SchemaVersion.V1_6).validate_str(document.decode())
    return "" if error is None else repr(error)[:2_000]
