"""Whether an advisory stands for a version: OSV's evaluation, PEP 440's order, and doubt."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from gatewright.checks.osv import Event, Range
from gatewright.checks.osv_matching import Part, Standing, in_range, matches, stands
from unit.checks.osv_written import MODIFIED, advisory, pypi

AFFECTED, CLEAR, UNKNOWN = Standing.AFFECTED, Standing.CLEAR, Standing.UNKNOWN
DIGEST = "ab" * 32


def part(version: str, name: str = "pypi/x") -> Part:
    """An installed version of one package."""
    return Part(name=name, version=version)


def said(affected: dict[str, Any], version: str, **more: Any) -> Standing:
    """What an advisory with one affected entry says of a version of ``x``."""
    found = stands(advisory("T-1", affected, **more), part(version))
    return CLEAR if found is None else found.standing


FROM_ZERO, FIXED = {"introduced": "0"}, {"fixed": "1.5"}


@pytest.mark.parametrize(
    ("events", "version", "standing"),
    [
        ([FROM_ZERO], "0.0.1", AFFECTED),
        ([FROM_ZERO, FIXED], "1.4.9", AFFECTED),
        ([FROM_ZERO, FIXED], "1.5", CLEAR),
        ([FROM_ZERO, FIXED], "1.5.0", CLEAR),
        ([FROM_ZERO, FIXED], "1.5rc1", AFFECTED),  # before the fix, as PEP 440 orders it
        ([FROM_ZERO, FIXED], "1.5.post1", CLEAR),
        ([FROM_ZERO, FIXED], "1!0.1", CLEAR),  # a later epoch is later
        ([{"introduced": "1.0"}, FIXED], "0.9", CLEAR),
        ([{"introduced": "1.0"}, FIXED], "1.0", AFFECTED),
        ([{"introduced": "1.0"}, {"last_affected": "1.5"}], "1.5", AFFECTED),
        ([{"introduced": "1.0"}, {"last_affected": "1.5"}], "1.5.1", CLEAR),
        ([{"introduced": "1"}, {"last_affected": "1"}], "1.0", AFFECTED),
        ([{"introduced": "1"}, {"last_affected": "1"}], "1.1", CLEAR),
        ([{"introduced": "2"}, {"fixed": "2.4"}, FROM_ZERO, FIXED], "1.7", CLEAR),  # order of the file is none
        ([{"introduced": "2"}, {"fixed": "2.4"}, FROM_ZERO, FIXED], "2.1", AFFECTED),
        ([FROM_ZERO, {"limit": "1.0"}], "0.9", AFFECTED),
        ([FROM_ZERO, {"limit": "1.0"}], "1.0", CLEAR),
        ([FROM_ZERO, {"limit": "1.0"}, {"limit": "2.0"}], "1.5", AFFECTED),  # below one of them is enough
        ([FROM_ZERO, {"limit": "*"}], "99", AFFECTED),
        ([FROM_ZERO, {"limit": "0.5"}, {"limit": "*"}], "99", AFFECTED),
        ([FROM_ZERO, {"fixed": "2.13.0"}], "2.13.0+cpu", CLEAR),
        ([FROM_ZERO, {"last_affected": "2.13.0"}], "2.13.0+cpu", AFFECTED),  # a local build of what is affected
        ([FROM_ZERO, {"fixed": "2.13.0+fix1"}], "2.13.0+fix1", CLEAR),
        ([FROM_ZERO, {"fixed": "2.13.0+fix1"}], "2.13.0", AFFECTED),
        ([FROM_ZERO, {"fixed": "no version"}], "1.0", UNKNOWN),
        ([FROM_ZERO, FIXED], "no version", UNKNOWN),
        ([FIXED], "1.0", UNKNOWN),  # a range that nothing introduces says nothing
        ([FROM_ZERO, {"mended": "1.0"}], "2.0", UNKNOWN),  # an event of tomorrow's schema
    ],
)  # fmt: skip
def test_ranges_of_python_versions(events: list[dict[str, str]], version: str, standing: Standing) -> None:
    """The schema's walk over the events, by hand."""
    assert standing is said(pypi("x", *events), version)


@pytest.mark.parametrize(
    ("events", "version", "standing"),
    [
        ([FROM_ZERO, {"fixed": "1.0.0"}], "0.9.9", AFFECTED),
        ([FROM_ZERO, {"fixed": "1.0.0"}], "1.0.0-alpha.1", AFFECTED),
        ([FROM_ZERO, {"fixed": "1.0.0-alpha.2"}], "1.0.0-alpha.10", CLEAR),
        ([FROM_ZERO, {"fixed": "1.0.0-beta"}], "1.0.0-alpha.beta", AFFECTED),
        ([FROM_ZERO, {"fixed": "1.0.0-alpha.beta"}], "1.0.0-alpha.1", AFFECTED),  # numbers before words
        ([FROM_ZERO, {"fixed": "1.0.0"}], "1.0.0+build", CLEAR),
        ([{"introduced": "1.0.0-0"}, {"fixed": "1.10.0"}], "1.9.0", AFFECTED),
        ([FROM_ZERO, {"fixed": "1.0.0"}], "0.9", UNKNOWN),  # no semantic version
        ([FROM_ZERO, {"fixed": "1.0"}], "0.9.0", UNKNOWN),
        ([FROM_ZERO, {"fixed": "01.0.0"}], "0.9.0", UNKNOWN),
    ],
)  # fmt: skip
def test_ranges_of_semantic_versions(events: list[dict[str, str]], version: str, standing: Standing) -> None:
    """The order of SemVer 2.0.0, section 11, by its own examples."""
    assert standing is said(pypi("x", *events, kind="SEMVER"), version)


@pytest.mark.parametrize(
    ("affected", "version", "standing"),
    [
        (pypi("x", versions=["1.0", "1.1"]), "1.1", AFFECTED),
        (pypi("x", versions=["1.0"]), "1.0.0", AFFECTED),  # the same version, spelled otherwise
        (pypi("x", versions=["1.0"]), "1.0+cpu", AFFECTED),
        (pypi("x", versions=["1.0"]), "1.2", CLEAR),
        (pypi("x", versions=["0.9.3dev-r123", "1.0"]), "1.1", CLEAR),  # spelled before PEP 440
        (pypi("x", versions=["1.0"]), "not one", UNKNOWN),
        (pypi("x", versions=["not one"]), "not one", AFFECTED),
        (pypi("x", FROM_ZERO, FIXED, versions=["3.0"]), "3.0", AFFECTED),  # listed, or in the range
        (pypi("x", FROM_ZERO, FIXED, versions=["3.0"]), "2.0", CLEAR),
        (pypi("x"), "1.0", UNKNOWN),  # it names the package and says nothing of versions
        (pypi("x", FROM_ZERO, {"fixed": "abcdef"}, kind="GIT"), "1.0", UNKNOWN),
        (pypi("x", FROM_ZERO, {"fixed": "abcdef"}, kind="GIT", versions=["1.0"]), "1.0", AFFECTED),
        (pypi("x", FROM_ZERO, {"fixed": "abcdef"}, kind="GIT", versions=["1.0"]), "1.1", CLEAR),
        (pypi("x", FROM_ZERO, FIXED, kind="CALENDAR"), "1.0", UNKNOWN),  # a kind of tomorrow's schema
        (pypi("x", FROM_ZERO, FIXED, kind="CALENDAR", versions=["1.0"]), "1.0", AFFECTED),
        (pypi("x", FROM_ZERO, FIXED, kind="CALENDAR", versions=["1.0"]), "1.1", UNKNOWN),
        (pypi("y", FROM_ZERO), "1.0", CLEAR),
        (pypi("X", FROM_ZERO), "1.0", AFFECTED),  # PyPI names have no case
        ({"package": {"ecosystem": "npm", "name": "x"}, "versions": ["1.0"]}, "1.0", CLEAR),
    ],
)  # fmt: skip
def test_lists_of_versions_and_what_cannot_be_decided(
    affected: dict[str, Any], version: str, standing: Standing
) -> None:
    """A listed version is affected; what nobody can decide is unknown, never clear."""
    assert standing is said(affected, version)


def test_a_withdrawn_advisory_stands_for_nothing() -> None:
    """What its source took back matches no more."""
    assert AFFECTED is said(pypi("x", FROM_ZERO), "1.0")
    assert CLEAR is said(pypi("x", FROM_ZERO), "1.0", withdrawn=MODIFIED)


def test_a_fixed_version_is_told() -> None:
    """The versions that mend it are those of its ranges, commits left out."""
    ranges = [
        {"type": "GIT", "events": [FROM_ZERO, {"fixed": "abc"}]},
        {"type": "ECOSYSTEM", "events": [FROM_ZERO, {"fixed": "1.5"}, {"introduced": "2"}, {"fixed": "2.1"}]},
    ]
    found = stands(advisory("T-1", {**pypi("x"), "ranges": ranges}), part("1.0"))
    assert found is not None
    assert ("1.5", "2.1") == found.fixed


def test_a_model_matches_by_its_bytes_whatever_it_is_called() -> None:
    """The digest alone decides; other bytes of the same name and another version are clear."""
    named = advisory(
        "M-1", {"package": {"ecosystem": "Models", "name": "loans", "purl": "pkg:generic/loans"},
                "versions": ["2"], "ecosystem_specific": {"sha256": DIGEST}}
    )  # fmt: skip
    model = Part(name="pkg:generic/other", version="9", digest=DIGEST)
    same_name = Part(name="pkg:generic/loans", version="3", digest="cd" * 32)
    listed = Part(name="pkg:generic/loans", version="2", digest="cd" * 32)
    assert [("M-1", model), ("M-1", listed)] == [
        (each.advisory.id, each.part) for each in matches([named], [model, same_name, listed])
    ][::-1]
    assert stands(named, same_name) is None


def test_an_undecided_match_stands_after_the_others() -> None:
    """What is affected comes first."""
    git_only = advisory("A-1", pypi("x", FROM_ZERO, kind="GIT"))
    found = matches([git_only, advisory("B-1", pypi("x", FROM_ZERO))], [part("1.0")])
    assert [("B-1", AFFECTED), ("A-1", UNKNOWN)] == [(each.advisory.id, each.standing) for each in found]


versions = st.builds(
    lambda epoch, release, pre, post, dev: f"{epoch}{'.'.join(map(str, release))}{pre}{post}{dev}",
    st.sampled_from(["", "", "1!"]),
    st.lists(st.integers(0, 3), min_size=1, max_size=3),
    st.sampled_from(["", "", "a1", "rc2"]),
    st.sampled_from(["", "", ".post1"]),
    st.sampled_from(["", "", ".dev3"]),
)


@given(st.lists(versions, min_size=2, max_size=6, unique_by=Version), versions, st.randoms())
def test_any_range_agrees_with_the_order_of_versions(bounds: list[str], version: str, shuffle: Any) -> None:
    """Pairs of introduced and fixed are half-open intervals, in whatever order the file names them."""
    ordered = sorted(bounds, key=Version)
    pairs = list(zip(ordered[::2], ordered[1::2], strict=False))
    events = [
        Event(kind=kind, version=at)
        for pair in pairs
        for kind, at in zip(("introduced", "fixed"), pair, strict=True)
    ]
    assume("0" not in ordered)  # which OSV reads as the beginning of everything
    shuffle.shuffle(events)
    expected = any(Version(low) <= Version(version) < Version(high) for low, high in pairs)
    found = in_range(Range(type="ECOSYSTEM", events=tuple(events)), part(version))
    assert (AFFECTED if expected else CLEAR) is found


finals = st.lists(st.integers(0, 4), min_size=1, max_size=3).map(lambda parts: ".".join(map(str, parts)))


@given(finals, finals, finals, st.sampled_from(["", "+local.1"]))
def test_any_range_of_final_versions_agrees_with_specifiers(
    low: str, high: str, version: str, local: str
) -> None:
    """``introduced`` and ``fixed`` are ``>=`` and ``<``, ``last_affected`` is ``<=``, local builds included."""
    assume(Version(low) < Version(high) and low != "0")
    installed = part(version + local)
    for kind, sign in (("fixed", "<"), ("last_affected", "<=")):
        events = (Event(kind="introduced", version=low), Event(kind=kind, version=high))
        inside = SpecifierSet(f">={low},{sign}{high}").contains(installed.version, prereleases=True)
        assert (AFFECTED if inside else CLEAR) is in_range(Range(type="ECOSYSTEM", events=events), installed)


@given(
    versions, st.sampled_from(["introduced", "fixed", "last_affected", "limit", "other"]), st.text(max_size=8)
)
def test_no_event_makes_matching_fail(version: str, kind: str, text: str) -> None:
    """Whatever an event says, the answer is one of the three."""
    events = (Event(kind="introduced", version="0"), Event(kind=kind, version=text))
    for scheme in ("ECOSYSTEM", "SEMVER", "GIT", text):
        assert in_range(Range(type=scheme, events=events), part(version)) in set(Standing)
