"""OSV documents for tests: an object with what the schema asks for, and a package of PyPI."""

from __future__ import annotations

from typing import Any

from gatewright.checks.osv import Advisory, read_advisory

MODIFIED = "2026-01-02T03:04:05Z"


def osv(name: str = "TEST-1", *affected: dict[str, Any], **more: Any) -> dict[str, Any]:
    """One OSV object."""
    return {"id": name, "modified": MODIFIED, "affected": list(affected), **more}


def pypi(package: str, *events: dict[str, str], kind: str = "ECOSYSTEM", **more: Any) -> dict[str, Any]:
    """An affected entry about a PyPI package, with one range where there are events."""
    ranges = [{"type": kind, "events": list(events)}] if events else []
    return {"package": {"ecosystem": "PyPI", "name": package}, "ranges": ranges, **more}


def advisory(name: str = "TEST-1", *affected: dict[str, Any], **more: Any) -> Advisory:
    """One advisory, read."""
    return read_advisory(osv(name, *affected, **more))
