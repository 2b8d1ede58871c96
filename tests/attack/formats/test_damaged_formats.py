"""Evidence that was damaged on purpose: refused by name or read as what it says; nothing crashes."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attack.formats.damaged import Tried, attempt, damaged, formats, try_formats, try_proofs

COUNT = 250
SEED = 20260303


@pytest.mark.parametrize("name", formats())
def test_valid_samples_are_read_and_written_again(name: str) -> None:
    """Before anything is damaged, every sample of the format has exactly its own spelling."""
    tried = Tried(faults=[])
    for sample in formats()[name].samples:
        attempt(name, sample, tried)
    assert (0, len(formats()[name].samples), []) == (tried.refused, tried.other, tried.faults)


@pytest.mark.parametrize("name", formats())
def test_damaged_ones_are_refused_or_are_other_values(name: str) -> None:
    """No other error than a refusal, and no value with two spellings."""
    found = try_formats(COUNT, SEED, [name])[name]
    assert [] == found.faults
    assert COUNT == found.refused + found.other
    assert found.refused > 0


@given(name=st.sampled_from(sorted(formats())), chance=st.randoms(use_true_random=False))
def test_damage_that_is_searched_for(name: str, chance: random.Random) -> None:
    """The same, with the damage chosen so that a fault would be found and made small."""
    tried = Tried(faults=[])
    samples = formats()[name].samples
    attempt(name, damaged(chance.choice(samples), samples, chance), tried)
    assert [] == tried.faults


def test_no_damaged_proof_verifies() -> None:
    """Inclusion and consistency proofs of another place, with other hashes, or longer or shorter, do not hold."""
    assert 0 == try_proofs(COUNT, SEED)
