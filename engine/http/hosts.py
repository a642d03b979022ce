"""By which names the listener may be called: the answer to DNS rebinding (fault F130). Pure.

A page of a stranger can have its own name point to this machine; the browser then asks us in that name. So a name
must be known beforehand. An IP address can't be made to point elsewhere: the one connected to is always good.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

__all__ = ["Hosts"]

_HEADER = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,254})(?::[0-9]{1,5})?")


class Hosts:
    """The names that are known.

    Args:
        names: Beside the address connected to and, from this machine, `localhost`.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names = frozenset(map(_plain, names))

    def allows(self, header: str, local: str) -> bool:
        """Whether a request may be answered.

        Args:
            header: The header Host, with or without a port.
            local: The IP address of this end of the connection.
        """
        match = _HEADER.fullmatch(header)
        if match is None:
            return False
        name, here = _plain(match["host"].strip("[]")), _plain(local)
        if name == here or name in self._names:
            return True
        return name == "localhost" and ipaddress.ip_address(here).is_loopback


def _plain(host: str) -> str:
    """One way of writing for each host; of an IPv4 address in IPv6 clothes, the IPv4 one."""
    text = host.partition("%")[0].lower().removesuffix(".")
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return text
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)
