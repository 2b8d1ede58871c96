"""All findings of one run over one digest; reproducible from its inputs and its seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gatewright.checks.finding import Finding
from gatewright.kernel.digests import Digest

REPORT_FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The findings about ``model`` (digest of its exact bytes) on the named data digests.

    ``data`` maps ``train``, ``test`` and ``trained-on`` to the digests of the exact files read;
    ``software`` maps library names to the versions that computed the numbers.
    """

    model: Digest
    dataset: str
    data: Mapping[str, Digest]
    seed: int
    findings: tuple[Finding, ...]
    software: Mapping[str, str]
    format: int = REPORT_FORMAT

    def finding(self, check: str) -> Finding | None:
        """The finding of the named check, or None where it did not run."""
        return next((found for found in self.findings if found.check == check), None)
