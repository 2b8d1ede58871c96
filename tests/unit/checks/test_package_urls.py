"""Package URLs name one thing in one way, whoever wrote them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewright.checks.package_urls import distribution_url, model_name, model_url, package_name, read_url
from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import BadInput

DIGEST = Digest.of(b"model")


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("pkg:pypi/scikit-learn@1.9.0", ("pypi/scikit-learn", "1.9.0", ())),
        ("pkg:PyPI/Scikit_Learn@1.9.0", ("pypi/scikit-learn", "1.9.0", ())),
        ("pkg:pypi/torch@2.13.0%2Bcpu", ("pypi/torch", "2.13.0+cpu", ())),
        ("pkg:pypi/numpy", ("pypi/numpy", "", ())),
        ("pkg:npm/%40angular/animation@12.3.1", ("pkg:npm/@angular/animation", "12.3.1", ())),
        ("pkg:docker/a/b@1?arch=x#sub/path", ("pkg:docker/a/b", "1", ())),
        ("pkg://pypi/numpy@2", ("pypi/numpy", "2", ())),
        (f"pkg:generic/loans@2?checksum=sha1:00,sha256:{DIGEST.hex}", ("pkg:generic/loans", "2", (DIGEST.hex,))),
    ],
)  # fmt: skip
def test_a_url_names_package_version_and_checksums(url: str, found: tuple[str, str, tuple[str, ...]]) -> None:
    """The examples of the specification, and ours."""
    assert found == read_url(url)


@pytest.mark.parametrize(
    "url", ["", "numpy", "pkg:", "pkg:pypi", "pkg:pypi/", "pkg:generic/x?checksum=sha256:1"]
)
def test_what_is_no_url_is_refused(url: str) -> None:
    """A broken name is no name."""
    with pytest.raises(BadInput):
        read_url(url)


spellable = st.text(min_size=1).filter(
    lambda text: "/" not in text and text.encode("utf-8", "replace").decode() == text
)


@given(spellable, spellable)
def test_any_distribution_is_found_again(name: str, version: str) -> None:
    """What a bill writes of an installed distribution is what an advisory of that name is looked up by."""
    assert (package_name("PyPI", name), version, ()) == read_url(distribution_url(name, version))


def test_a_model_is_found_by_its_bytes() -> None:
    """A model version's URL carries the digest of its bytes."""
    assert (model_name("loans"), "3", (DIGEST.hex,)) == read_url(model_url("loans", 3, DIGEST))
