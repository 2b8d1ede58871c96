"""Advisories are read strictly where it decides, tolerantly where it does not, and kept whole."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewright.checks.osv import (
    VERSIONS,
    Advisory,
    encode_kept,
    every,
    from_kept,
    naming,
    read_advisory,
    to_kept,
)
from gatewright.kernel.errors import BadInput, Tampered
from unit.checks.osv_written import MODIFIED, advisory, osv, pypi

DIGEST = "ab" * 32
FULL = osv(
    "PYSEC-2026-1",
    {
        "package": {"ecosystem": "PyPI", "name": "Scikit_Learn", "purl": "pkg:pypi/scikit-learn"},
        "ranges": [
            {
                "type": "GIT",
                "repo": "https://example.org/x",
                "events": [{"introduced": "0"}, {"fixed": "abc"}],
            },
            {"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "1.5"}, {"limit": "2"}]},
        ],
        "versions": ["1.0", "1.1"],
        "ecosystem_specific": {"anything": [1, {"at": "all"}]},
    },
    aliases=["CVE-2026-1"],
    summary='A "marker"\nof two lines\t',
    severity=[{"type": "CVSS_V3", "score": "CVSS:3.1/AV:N"}],
    database_specific={"severity": "HIGH"},
    schema_version="1.99.0",
    nobody_knows={"this": None},
)


def test_what_decides_is_read_and_what_is_unknown_is_passed_over() -> None:
    """Ids, names, ranges and versions are read; fields that this version does not know harm nothing."""
    found = read_advisory(FULL)
    assert ("PYSEC-2026-1", ("CVE-2026-1",), "HIGH CVSS:3.1/AV:N", False) == (
        found.id,
        found.aliases,
        found.severity,
        found.withdrawn,
    )
    (affected,) = found.affected
    assert ("pypi/scikit-learn",) == affected.packages == found.names
    assert ("1.0", "1.1") == affected.versions
    assert [("introduced", "0"), ("fixed", "1.5"), ("limit", "2")] == [
        (event.kind, event.version) for event in affected.ranges[1].events
    ]


def test_a_withdrawn_advisory_is_known_as_such() -> None:
    """The time of a withdrawal decides; a null is none."""
    assert read_advisory(osv(withdrawn=MODIFIED)).withdrawn
    assert not read_advisory(osv(withdrawn=None)).withdrawn


def test_a_model_is_named_by_its_digest() -> None:
    """The checksum of a package URL and ``sha256`` beside the range both name exact bytes."""
    by_url = {"ecosystem": "Models", "name": "loans", "purl": f"pkg:generic/loans@2?checksum=sha256:{DIGEST}"}
    named = advisory("M-1", {"package": by_url})
    assert ("Models/loans", "pkg:generic/loans", f"sha256:{DIGEST}") == named.names
    for part in ("ecosystem_specific", "database_specific"):
        assert (f"sha256:{DIGEST}",) == advisory("M-2", {part: {"sha256": DIGEST.upper()}}).names


def _with(place: tuple[Any, ...], value: Any) -> dict[str, Any]:
    document: Any = json.loads(json.dumps(FULL))
    inner = document
    for step in place[:-1]:
        inner = inner[step]
    inner[place[-1]] = value
    found: dict[str, Any] = document
    return found


PACKAGE = ("affected", 0, "package")
RANGE = ("affected", 0, "ranges", 1)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("id",), 7),
        (("id",), ""),
        (("id",), "two words"),
        (("id",), "x" * 129),
        (("id",), "lone \ud800"),
        (("modified",), None),
        (("modified",), "yesterday"),
        (("withdrawn",), True),
        (("withdrawn",), ""),
        (("affected",), {}),
        (("affected",), [7]),
        (("affected",), [{}] * 10_001),
        (PACKAGE, []),
        ((*PACKAGE, "name"), None),
        ((*PACKAGE, "name"), "\ud800"),
        ((*PACKAGE, "name"), "x" * 600),
        ((*PACKAGE, "ecosystem"), 1),
        ((*PACKAGE, "purl"), "numpy"),
        ((*PACKAGE, "purl"), "pkg:generic/x?checksum=sha256:short"),
        (("affected", 0, "ranges"), "all"),
        ((*RANGE, "type"), None),
        ((*RANGE, "events"), [{"introduced": 0}]),
        ((*RANGE, "events"), ["0"]),
        ((*RANGE, "events"), [{}]),
        ((*RANGE, "events"), [{"introduced": "9" * 200}]),
        (("affected", 0, "versions"), [1]),
        (("affected", 0, "versions"), [""]),
        (("affected", 0, "versions"), ["\ud800"]),
        (("affected", 0, "versions"), ["1"] * (VERSIONS + 1)),
        (("affected", 0, "ecosystem_specific"), {"sha256": 7}),
        (("affected", 0, "ecosystem_specific"), {"sha256": "ab"}),
        (("severity",), "HIGH"),
    ],
)  # fmt: skip
def test_what_decides_and_cannot_be_read_refuses_the_advisory(place: tuple[Any, ...], value: Any) -> None:
    """A wrong type, a missing field or too much of something is refused, never passed over."""
    with pytest.raises(BadInput):
        read_advisory(_with(place, value))


@pytest.mark.parametrize("value", [None, 1, "x", [], [FULL]])
def test_what_is_no_object_is_no_advisory(value: Any) -> None:
    """Only an object is one."""
    with pytest.raises(BadInput, match="object"):
        read_advisory(value)


def test_a_million_versions_are_refused() -> None:
    """A list of a million versions is counted, not taken in."""
    with pytest.raises(BadInput, match="1,000,000 entries"):
        advisory("T", pypi("x", versions=["1"] * 1_000_000))


texts = st.text(min_size=1, max_size=12).filter(lambda text: text.encode("utf-8", "replace").decode() == text)
documents = st.builds(
    lambda name, package, ecosystem, versions, events, summary, gone: osv(
        name,
        {
            "package": {"ecosystem": ecosystem, "name": package},
            "versions": versions,
            "ranges": [{"type": "ECOSYSTEM", "events": [{kind: version} for kind, version in events]}],
        },
        summary=summary,
        **({"withdrawn": MODIFIED} if gone else {}),
    ),
    st.from_regex(r"[!-~]{1,20}", fullmatch=True),
    texts,
    st.sampled_from(["PyPI", "pypi:x", "npm", "a b\tc\nd"]),
    st.lists(texts, max_size=3),
    st.lists(st.tuples(st.sampled_from(["introduced", "fixed", "new"]), texts), max_size=3),
    st.text(max_size=20),
    st.booleans(),
)


@given(documents)
def test_what_is_kept_is_what_was_read(document: dict[str, Any]) -> None:
    """An advisory is kept in one line, whatever its texts hold, and comes back the same."""
    found = read_advisory(document)
    line = to_kept(found)
    assert b"\n" not in line
    assert found == from_kept(line)


@given(st.lists(documents, max_size=5, unique_by=lambda each: each["id"]))
def test_all_kept_advisories_come_back_and_are_found_by_name(found: list[dict[str, Any]]) -> None:
    """Looking for all names finds every advisory that names something; looking for none finds none."""
    advisories = sorted(map(read_advisory, found), key=lambda each: each.id)
    kept = encode_kept(advisories)
    assert advisories == list(every(kept))
    assert tuple(advisories) == naming(kept, {name for each in advisories for name in each.names})
    assert () == naming(kept, {"pypi/something-else-altogether"})


@pytest.mark.parametrize(
    "kept", [b"", b"gatewright advisories 2\n", b"gatewright advisories 1", b"gatewright advisories 1\nx\n",
             b"gatewright advisories 1\nx\t{}\n", b"gatewright advisories 1\nx\t[]\n"]
)  # fmt: skip
def test_other_bytes_are_not_kept_advisories(kept: bytes) -> None:
    """What was not written by this form of it is broken evidence."""
    with pytest.raises(Tampered):
        list(every(kept))


def test_equal_advisories_give_equal_bytes() -> None:
    """The order in which advisories were read does not show."""
    one: list[Advisory] = [advisory("A-1", pypi("x")), advisory("B-1", pypi("y"))]
    assert encode_kept(one) == encode_kept(reversed(one))
