"""What is installed is told as its metadata say, and nothing is guessed."""

from __future__ import annotations

from importlib.metadata import PathDistribution, distributions, version
from pathlib import Path

import pytest
from packaging.version import Version

from gatewright.checks.package_urls import normalised
from gatewright.operations import environment
from gatewright.releases.bom import Distribution, closure


def _distribution(folder: Path, metadata: str) -> Distribution:
    place = folder / "thing-1.dist-info"
    place.mkdir()
    (place / "METADATA").write_text(f"Metadata-Version: 2.4\nName: thing\nVersion: 1\n{metadata}\n", "utf-8")
    return environment._read(PathDistribution(place), frozenset({"numpy", "scipy", "ruamel-yaml"}))


def test_every_distribution_is_there_once() -> None:
    """Each with a name that is its own and a version that is one."""
    found = environment.installed()
    names = [normalised(one.name) for one in found]
    assert (
        sorted({normalised(one.metadata["Name"]) for one in distributions() if one.metadata["Name"]}) == names
    )
    assert all(Version(one.version) for one in found)
    assert version("numpy") == next(one.version for one in found if one.name == "numpy")


def test_what_the_product_needs_is_found_through_what_needs_it() -> None:
    """Its own distributions are in its closure, directly and through others."""
    assert {"gatewright", "numpy", "onnxruntime", "cryptography", "cffi"} <= closure(
        environment.installed(), "gatewright"
    )


@pytest.mark.parametrize(
    ("metadata", "licence"),
    [
        ("License-Expression: MIT AND Apache-2.0\nLicense: other", ("MIT AND Apache-2.0", True)),
        ("License: BSD-3-Clause", ("BSD-3-Clause", True)),
        ("License: BSD 3-Clause", ("BSD 3-Clause", False)),
        (
            "License: UNKNOWN\nClassifier: License :: OSI Approved :: MIT License\nClassifier: Framework :: x",
            ("MIT License", False),
        ),
        (f"License: {'long ' * 100}", ("", False)),
        ("", ("", False)),
    ],
)
def test_a_licence_is_an_expression_or_free_words(
    tmp_path: Path, metadata: str, licence: tuple[str, bool]
) -> None:
    """Only what the standard calls an expression, or a known identifier, is told as one."""
    found = _distribution(tmp_path, metadata)
    assert licence == (found.licence, found.spdx)


def test_what_it_asks_for_here_is_told(tmp_path: Path) -> None:
    """Installed ones alone; extras count, other systems and requirements nobody can read do not."""
    asked = (
        "Requires-Dist: numpy>=1\nRequires-Dist: Ruamel.Yaml; extra == 'more'\nProvides-Extra: more\n"
        "Requires-Dist: scipy; sys_platform == 'nowhere'\nRequires-Dist: not there\nRequires-Dist: absent"
    )
    assert ("numpy", "ruamel-yaml") == _distribution(tmp_path, asked).requires
