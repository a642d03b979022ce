"""What can be said of an address without asking anybody: where a sentinel is, and whether a target is remote. Pure."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple
from urllib.parse import urlsplit

from engine.ports import Options
from engine.secrets import Secret

__all__ = ["Endpoint", "endpoint", "is_remote"]

_LOCAL_NAMES = frozenset({"localhost", "localhost.localdomain", "ip6-localhost"})


class Endpoint(NamedTuple):
    """An IP address and a port."""

    address: str
    port: int


def endpoint(text: str) -> Endpoint:
    """Read `tcp://192.0.2.1:443` or `tcp://[2001:db8::1]:53`.

    Raises:
        ValueError: It is something else, or an address at which nothing can be learnt about the network. The message
            has nothing of the text in it.
    """
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise ValueError("not an address with a port") from None
    if parts.scheme != "tcp" or not host or not port or parts.path or parts.query or parts.fragment or "@" in text:
        raise ValueError("not an address with a port")
    try:
        address = ip_address(host)
    except ValueError:
        raise ValueError("must be an IP address: what the name service says is part of what is tested") from None
    if _plain(address).is_loopback or address.is_unspecified or address.is_multicast:
        raise ValueError("says nothing about the network")
    return Endpoint(str(address), port)


def is_remote(options: Options) -> bool:
    """Whether a probe with these options asks something beyond this machine: a URL whose host is not loopback.

    A name other than `localhost` counts as remote, since it is not looked up here.
    """
    for name in options.__struct_fields__:
        if name.rpartition("_")[2] not in {"url", "urls"}:
            continue
        value = getattr(options, name)
        urls = value if isinstance(value, list) else [value]
        if any(_is_remote_url(url) for url in urls if isinstance(url, Secret | str)):
            return True
    return False


def _is_remote_url(url: Secret | str) -> bool:
    try:
        host = (urlsplit(url.reveal() if isinstance(url, Secret) else url).hostname or "").rstrip(".")
    except ValueError:
        return False
    if not host or host in _LOCAL_NAMES or host.endswith(".localhost"):
        return False
    try:
        address = _plain(ip_address(host))
        return not (address.is_loopback or address.is_unspecified)
    except ValueError:
        return True


def _plain(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """An IPv4 address that is written as one of IPv6, as itself."""
    return getattr(address, "ipv4_mapped", None) or address
