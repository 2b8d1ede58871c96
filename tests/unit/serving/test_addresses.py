from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewright.kernel.errors import Misuse
from gatewright.serving.addresses import Failures, address_of, read_proxies
from gatewright.serving.limits import FAILED_ADDRESSES, FAILED_KEYS, FAILED_TIME

PROXIES = read_proxies(["10.0.0.0/24", "2001:db8::1"])


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        """The time."""
        return self.now


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("203.0.113.9", b"198.51.100.1", "203.0.113.9"),
        ("10.0.0.5", b"", "10.0.0.5"),
        ("10.0.0.5", b"198.51.100.1", "198.51.100.1"),
        ("10.0.0.5", b"6.6.6.6, 198.51.100.1", "198.51.100.1"),
        ("10.0.0.5", b"6.6.6.6, 198.51.100.1, 10.0.0.8", "198.51.100.1"),
        ("10.0.0.5", b"10.0.0.7,10.0.0.8", "10.0.0.7"),
        ("10.0.0.5", b"198.51.100.1, nonsense", "10.0.0.5"),
        ("10.0.0.5", b"\xff\xfe", "10.0.0.5"),
        ("::ffff:10.0.0.5", b"198.51.100.1", "198.51.100.1"),
        ("2001:db8::1", b"2001:db8:1::7", "2001:db8:1::7"),
        ("", b"198.51.100.1", "unknown"),
    ],
)
def test_only_a_proxy_of_the_owner_speaks_for_others(peer: str, forwarded: bytes, address: str) -> None:
    """The rightmost address that is no trusted proxy counts; what stands left of it does not."""
    assert address == address_of(peer, forwarded, PROXIES)


@given(st.binary(max_size=3_000))
def test_no_header_moves_a_caller_that_comes_by_itself(forwarded: bytes) -> None:
    """Without a trusted proxy the header is not even read."""
    assert "203.0.113.9" == address_of("203.0.113.9", forwarded, PROXIES)


@given(st.binary(max_size=3_000))
def test_any_header_of_a_proxy_gives_an_address(forwarded: bytes) -> None:
    """Whatever a proxy passes on, what comes out is an address."""
    ipaddress.ip_address(address_of("10.0.0.5", forwarded, PROXIES))


@pytest.mark.parametrize("text", ["", "proxy.example", "10.0.0.1/24", "10.0.0.0/33", "*"])
def test_a_proxy_is_named_by_address(text: str) -> None:
    """A name, or a network with bits of a host, is refused."""
    with pytest.raises(Misuse) as caught:
        read_proxies([text])
    assert "serving.proxy" == caught.value.code


def test_failures_beyond_the_limit_have_a_penalty_that_ends() -> None:
    """The first wrong keys have none, the next ones wait for the rest of the time, and then it begins anew."""
    clock = Clock()
    failures = Failures(clock)

    assert [0] * FAILED_KEYS.value == [failures.add("203.0.113.9") for _ in range(FAILED_KEYS.value)]
    assert FAILED_TIME.value + 1 == failures.add("203.0.113.9")
    assert 0 == failures.add("203.0.113.10")
    clock.now += FAILED_TIME.value
    assert 0 == failures.add("203.0.113.9")


def test_the_addresses_of_one_network_count_as_one() -> None:
    """An IPv6 caller gains nothing by using the addresses of its own network in turn."""
    failures = Failures(Clock())
    found = [failures.add(f"2001:db8:7:7::{place:x}") for place in range(1, FAILED_KEYS.value + 2)]

    assert (1, True) == (len(failures), found[-1] > 0)


def test_the_table_of_failures_does_not_grow() -> None:
    """However many addresses fail, those that failed last are remembered and the others let go."""
    failures = Failures(Clock())
    for number in range(FAILED_ADDRESSES.value + 500):
        failures.add(str(ipaddress.IPv4Address(number)))

    assert FAILED_ADDRESSES.value == len(failures)
