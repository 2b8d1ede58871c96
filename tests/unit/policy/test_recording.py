import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewright.checks.suite import known_checks
from gatewright.kernel.errors import BadInput
from gatewright.operations.initialise import default_policy
from gatewright.policy.policy_file import read_policy
from gatewright.policy.recording import recording_allowed

DEFAULT = default_policy()
ALLOWED = DEFAULT.replace(b"asynchronous = false", b"asynchronous = true")


@pytest.mark.parametrize(("policy", "expected"), [(DEFAULT, False), (ALLOWED, True)])
def test_the_whole_reader_and_the_worker_read_the_same(policy: bytes, *, expected: bool) -> None:
    """The policy that judges and the question that a worker asks give one answer; the default is no."""
    assert expected is read_policy(policy, known=known_checks()).asynchronous
    assert expected is recording_allowed(policy)


def test_without_the_table_it_is_not_allowed() -> None:
    """A policy that says nothing of recording allows nothing after the answer."""
    silent = DEFAULT.replace(b"[recording]\nasynchronous = false\n", b"")
    assert silent != DEFAULT
    assert not read_policy(silent, known=known_checks()).asynchronous
    assert not recording_allowed(silent)


@pytest.mark.parametrize(
    "table",
    [
        "recording = true",
        "[recording]",
        "[recording]\nasynchronous = 1",
        '[recording]\nasynchronous = "true"',
        "[recording]\nasynchron = true",
        "[recording]\nasynchronous = true\nextra = 1",
        "[[recording]]\nasynchronous = true",
    ],
)
def test_a_slip_is_named_and_allows_nothing(table: str) -> None:
    """What is not understood is refused by the reader, and is a no to the worker."""
    head, _, tail = DEFAULT.decode().partition("[recording]\nasynchronous = false\n")
    spelt = f"{table}\n{head}{tail}" if "[" not in table else f"{head}{table}\n{tail}"
    with pytest.raises(BadInput) as caught:
        read_policy(spelt.encode(), known=known_checks())
    assert "[recording]" == caught.value.refusal.place
    assert not recording_allowed(spelt.encode())


@given(data=st.binary(max_size=200))
def test_bytes_that_are_no_policy_allow_nothing(data: bytes) -> None:
    """Doubt never passes."""
    assert not recording_allowed(data)


@pytest.mark.parametrize("data", [b"a = " + b"[" * 100_000, b"\xff" + ALLOWED, b"[recording"])
def test_hostile_bytes_allow_nothing(data: bytes) -> None:
    """Deep nesting, other encodings and half a table are a no, not another error."""
    assert not recording_allowed(data)
