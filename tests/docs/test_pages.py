"""The documentation says what the product does: its promises are held against the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gatewright.operations.projections import KINDS
from gatewright.releases.unproven import UNPROVEN

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def test_the_list_of_what_is_not_proven_is_the_decisions_list() -> None:
    """The demo prints exactly the sentences of decision 0001."""
    page = (DOCS / "decisions" / "0001-what-a-release-proves.md").read_text("utf-8")
    listed = page.partition("<!-- unproven: begin -->")[2].partition("<!-- unproven: end -->")[0]
    assert list(UNPROVEN) == re.findall(r"^\d+\. (.+)$", listed, re.MULTILINE)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_of_record_is_explained(kind: str) -> None:
    """Each kind of record has a row in the page on evidence."""
    assert f"| `{kind}` |" in (DOCS / "evidence.md").read_text("utf-8")


@pytest.mark.parametrize(
    "module", sorted(set(re.findall(r"`([a-z_]+/[a-z_]+\.py)`", (DOCS / "formats.md").read_text())))
)
def test_every_format_names_a_module_that_exists(module: str) -> None:
    """Each row of the page on formats points at a module of the package."""
    assert (ROOT / "src" / "gatewright" / module).is_file()
