"""Which addresses a sink may connect to: the guard against being sent to the machine's own surroundings.

The operator names the URL, so loopback and private networks are allowed. What no receiver has any business at is not:
link-local addresses, and with them the metadata services of clouds, and addresses that are no host's. It is asked for
each address that is about to be connected to, after names were resolved, so neither a spelling of an address nor a
name that leads there gets around it (F54).
"""

from __future__ import annotations

import errno
import ipaddress
import socket
from collections.abc import Sequence
from typing import Any, Final, TypeAlias

__all__ = ["ForbiddenAddress", "Guard", "Network", "networks_of", "reason_against"]

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
NETWORKS_MAX: Final = 32

_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052
_TEREDO: Final = ipaddress.IPv6Network("2001::/32")
# Metadata services that are not link-local: Alibaba, Azure's host, AWS and Google by IPv6. Oracle's is in 192.0.0.0/24.
_METADATA: Final = tuple(
    ipaddress.ip_address(text) for text in ("100.100.100.200", "168.63.129.16", "fd00:ec2::254", "fd20:ce::254")
)
# "This network" (RFC 1122), the protocol assignments (RFC 6890), and what is reserved with the broadcast address.
_NO_HOSTS: Final = tuple(ipaddress.IPv4Network(text) for text in ("0.0.0.0/8", "192.0.0.0/24", "240.0.0.0/4"))


class ForbiddenAddress(OSError):
    """An address that the guard refuses. The text is always the same, so that several of them are one."""

    def __init__(self) -> None:
        super().__init__(errno.EACCES, "an address that is not allowed")


class Guard:
    """Makes sockets for connections to allowed addresses; for aiohttp's `socket_factory`.

    Args:
        allowed: Networks that are allowed whatever is said above.
    """

    def __init__(self, allowed: Sequence[Network] = ()) -> None:
        self._allowed = tuple(allowed)

    def __call__(self, address_info: tuple[Any, ...]) -> socket.socket:
        """Make a socket.

        Raises:
            ForbiddenAddress: Nothing may be connected there.
        """
        family, kind, protocol, _, address = address_info
        if reason_against(str(address[0]), self._allowed):
            raise ForbiddenAddress
        return socket.socket(family=family, type=kind, proto=protocol)


def networks_of(texts: Sequence[str]) -> tuple[Network, ...]:
    """Networks as people write them, or single addresses.

    Raises:
        ValueError: One is neither, or there are too many.
    """
    if len(texts) > NETWORKS_MAX:
        raise ValueError(f"allow_addresses: at most {NETWORKS_MAX}, not {len(texts)}")
    found = []
    for text in texts:
        try:
            found.append(ipaddress.ip_network(text))
        except ValueError:
            raise ValueError(
                f'allow_addresses: {text[:60]!r} is no address or network; write it like "169.254.7.7" or "fe80::/10"'
            ) from None
    return tuple(found)


def reason_against(text: str, allowed: Sequence[Network] = ()) -> str:
    """Why an address must not be connected to; empty if it may.

    Args:
        text: As a socket takes it: digits, with a scope perhaps (`fe80::1%eth0`).
    """
    try:
        address: Address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return "not an address"
    inner = _inside(address)
    if any(one in network for network in allowed for one in (address, inner) if one.version == network.version):
        return ""
    return _reason(inner)


def _inside(address: Address) -> Address:
    """The IPv4 address that an IPv6 address stands for, as far as one does: that is where it leads."""
    if isinstance(address, ipaddress.IPv6Address):
        if address in _NAT64:
            return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
        return address.ipv4_mapped or address.sixtofour or address
    return address


def _reason(address: Address) -> str:
    if address.is_loopback:
        return ""
    if address in _METADATA:
        return "metadata service"
    for what, is_it in (
        ("link-local", address.is_link_local),
        ("multicast", address.is_multicast),
        ("unspecified", address.is_unspecified),
        ("reserved", address.is_reserved or address in _TEREDO or any(address in network for network in _NO_HOSTS)),
    ):
        if is_it:
            return what
    return ""
