"""Where a caller is, and who failed to name a key too often.

The address of a caller is that of its connection. Only where the connection comes from a proxy that
the owner named is ``X-Forwarded-For`` read, and of it the rightmost address that is not such a proxy:
what stands left of it the caller may have written. ``Forwarded`` and ``X-Real-IP`` are never read.

Failures are counted by address in a table of fixed size. A right key is answered whatever its
address has done: callers behind one proxy share an address, and none of them can lock out another.
What the limit is for: a storm of wrong keys has no more than a short answer, and stays visible as one.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import TypeAlias

from gatewright.kernel.errors import Misuse
from gatewright.serving.limits import FAILED_ADDRESSES, FAILED_KEYS, FAILED_TIME

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
_IP: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

UNKNOWN = "unknown"
FORWARDED_BYTES = 1_024
"""What is looked at of ``X-Forwarded-For``, from its right end."""
SITE_BITS = 64
"""An IPv6 caller has a network of this prefix to itself (RFC 6177), so failures are counted for it whole."""


def read_proxies(texts: Iterable[str]) -> tuple[Network, ...]:
    """The networks of trusted proxies; raises Misuse for a text that is no address and no network."""
    found = []
    for text in texts:
        try:
            found.append(ipaddress.ip_network(text))
        except ValueError:
            raise Misuse(
                "serving.proxy",
                f"{text[:80]!r} is not the address of a proxy.",
                next="Give an address such as 10.0.0.7, or a network such as 10.0.0.0/24, of proxies that you run.",
            ) from None
    return tuple(found)


def address_of(peer: str, forwarded: bytes, proxies: tuple[Network, ...]) -> str:
    """The caller's address, for a connection from ``peer`` whose last ``X-Forwarded-For`` is this.

    Where that names nobody beyond the trusted proxies, or something that is no address, the hop
    before it counts: it is the last one that is known.
    """
    if not proxies and ":" not in peer:
        return peer or UNKNOWN
    found = _parse(peer)
    if found is None:
        return UNKNOWN
    if proxies and forwarded:
        hops = forwarded[-FORWARDED_BYTES:].decode("ascii", "replace").split(",")
        while hops and _trusted(found, proxies):
            before = _parse(hops.pop().strip())
            if before is None:
                break
            found = before
    return str(found)


def _parse(text: str) -> _IP | None:
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return mapped or found


def _trusted(address: _IP, proxies: tuple[Network, ...]) -> bool:
    return any(address in network for network in proxies)


class Failures:
    """Failed authentications by address, in a table that never grows beyond ``FAILED_ADDRESSES``.

    After ``FAILED_KEYS`` of them within ``FAILED_TIME`` the address is in penalty until that time is
    over. ``clock`` gives seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._counts: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._counts)

    def add(self, address: str) -> int:
        """Count one failure; gives the seconds of penalty that are left, 0 where there is none."""
        now = self._clock()
        site = _site(address)
        since, count = self._counts.pop(site, (now, 0))
        if now - since >= FAILED_TIME.value:
            since, count = now, 0
        self._counts[site] = (since, count + 1)
        if len(self._counts) > FAILED_ADDRESSES.value:
            self._counts.popitem(last=False)
        if count < FAILED_KEYS.value:
            return 0
        return max(1, int(since + FAILED_TIME.value - now + 1))


def _site(address: str) -> str:
    if ":" not in address:
        return address
    return f"{int(ipaddress.IPv6Address(address)) >> 128 - SITE_BITS:x}::"
