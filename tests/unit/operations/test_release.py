"""Releasing: the root binds what was checked, and is found by its names."""

from __future__ import annotations

import pytest

from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import Misuse, Refused
from gatewright.operations import release, released
from gatewright.operations.check import check
from gatewright.operations.home import Home
from gatewright.operations.models import model
from gatewright.releases.bundle import root_of_resources


def test_the_root_follows_from_its_files(live: Home) -> None:
    """A release's root is the root of its resources, and they hold the checked model and the policy."""
    found = released.release(live, "loans@1")
    assert found.root == root_of_resources(found.resources)
    assert model(live, "loans@1").model == found.resources["model.onnx"]
    assert live.policy_path.read_bytes() == live.blobs.get(found.resources["policy.toml"])


def test_a_release_is_found_by_name_version_and_root(live: Home) -> None:
    """The name means its newest release; the beginning of a root must name one only."""
    first, second = (released.release(live, ref) for ref in ("loans@1", "loans@2"))
    assert second == released.release(live, "loans")
    for text in (first.root.hex, f"sha256:{first.root.hex}", first.root.hex[:8]):
        assert first == released.release(live, text)
    for text in (first.root.hex[:7], "loans@3", "", "sha256:", "0" * 64):
        with pytest.raises(Misuse, match="release create"):
            released.release(live, text)


def test_a_stricter_policy_refuses_and_records_it(live: Home) -> None:
    """The policy is asked again at release: what it denies now is refused, with the reason, in the ledger."""
    text = live.policy_path.read_text("utf-8")
    live.policy_path.write_text(text.replace("at_least = 0.55", "at_least = 0.999"), "utf-8")
    before = released.releases(live)
    with pytest.raises(Refused, match="balanced-accuracy"):
        release.create(live, "loans@1")
    assert before == released.releases(live)
    ((_, kept),) = live.archive.scan("refusals")
    assert "operations.verdict-denies" == kept["code"]


def test_only_what_was_checked_is_released(live: Home) -> None:
    """The release binds the newest report, which is reproducible from its seed."""
    one, two = check(live, "loans@1", seed=5), check(live, "loans@1", seed=5)
    timeless = [
        {found.check: found for found in checked.report.findings if found.check != "efficiency.latency"}
        for checked in (one, two)
    ]
    assert timeless[0] == timeless[1]
    made = release.create(live, "loans@1")
    assert two.entry.report == made.resources["report.json"]
    assert isinstance(made.root, Digest)
