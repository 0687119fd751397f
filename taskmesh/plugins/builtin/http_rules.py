"""Whom a node of type http may ask: names that are allowed, and addresses behind them that are not refused."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import urlsplit

from taskmesh.errors import NodeRefusedError

Address: TypeAlias = "ipaddress.IPv4Address | ipaddress.IPv6Address"
Network: TypeAlias = "ipaddress.IPv4Network | ipaddress.IPv6Network"

DEFAULT_PORTS = {"http": 80, "https": 443}
MAX_URL = 8192

_VISIBLE = re.compile(r"[!-~]+")
_HOST_NAME = re.compile(r"(?=.{1,253}\.?\Z)[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*\.?")
_PATTERN = re.compile(r"(?P<host>\[[0-9a-f:.]+\]|[^:\[\]]+)(:(?P<port>[0-9]{1,5}))?")

_REFUSED = tuple(
    map(
        ipaddress.ip_network,
        (
            "168.63.129.16/32",  # metadata of Azure, in the midst of public addresses
            "192.0.0.0/24",  # special purposes, metadata of Oracle among them
            "192.88.99.0/24",  # relays of 6to4
            "::/8",  # IPv4 in IPv6
            "64:ff9b::/96",  # these, too, by way of a gateway
            "64:ff9b:1::/48",
            "2001::/32",
            "2002::/16",
            "fec0::/10",  # what was private once
        ),
    )
)
"""Beside what Python knows as not global: it has learnt some of it only in its later versions."""


class InvalidUrlError(ValueError):
    """A URL that a node cannot ask; the text says what is wrong with it, without repeating it."""


@dataclass(frozen=True, slots=True)
class Target:
    """A URL taken apart, once: what was checked is what is asked. ``host`` is in lower case; ``path`` has the query."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def origin(self) -> str:
        """The part that may be shown: whom it asks. A path or a query may hold a secret."""
        return f"{self.scheme}://{self.authority}"

    @property
    def authority(self) -> str:
        """What the Host header says."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"


def read_target(url: str) -> Target:
    """:raises InvalidUrlError: for anything but a plain http or https URL."""
    # Only what is visible in ASCII: urlsplit drops tabs and line feeds, and others take a backslash for a slash.
    if len(url) > MAX_URL or not _VISIBLE.fullmatch(url) or "\\" in url:
        raise InvalidUrlError(f"url must be at most {MAX_URL} visible ASCII characters without \\; escape the others")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise InvalidUrlError("url has a host or a port that cannot be") from None
    if parts.scheme not in DEFAULT_PORTS:
        raise InvalidUrlError("url must begin with http:// or https://")
    if "@" in parts.netloc:
        raise InvalidUrlError("url must hold no user and no password; give a header instead")
    host = _host(parts.hostname or "", "[" in parts.netloc)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(parts.scheme, host, DEFAULT_PORTS[parts.scheme] if port is None else port, path)


def _host(host: str, is_bracketed: bool) -> str:
    if is_bracketed:
        try:
            if "%" in host:
                raise ValueError("a zone is of one machine")
            return str(ipaddress.IPv6Address(host))
        except ValueError:
            raise InvalidUrlError("url has something in brackets that is no IPv6 address") from None
    if not _HOST_NAME.fullmatch(host):
        raise InvalidUrlError("url has no host that can be; write names in other letters as xn--...")
    return host.rstrip(".")


@dataclass(frozen=True, slots=True)
class HttpRules:
    """What the settings allow."""

    hosts: tuple[str, ...]
    networks: tuple[Network, ...]

    @classmethod
    def of(cls, hosts: Sequence[str], networks: Sequence[str]) -> HttpRules:
        return cls(tuple(hosts), tuple(map(ipaddress.ip_network, networks)))

    def check_target(self, target: Target) -> None:
        """:raises NodeRefusedError: the settings name no such host."""
        if not any(_fits(pattern.lower(), target) for pattern in self.hosts):
            raise NodeRefusedError(
                f"{target.origin} may not be asked: plugins.http_hosts of this worker does not name it"
            )

    def checked(self, host: str, address: str) -> str:
        """An address that a name has been resolved to, in the form in which nobody can read it in another way.

        :raises NodeRefusedError: it is not public, and no network of the settings has it.
        """
        found = ipaddress.ip_address(address.partition("%")[0])
        if any(found in network for network in self.networks):
            return str(found)
        if not _is_public(found):
            raise NodeRefusedError(
                f"{host} is at {found}, which is no public address, and plugins.http_networks does not have it"
            )
        return str(found)


def _fits(pattern: str, target: Target) -> bool:
    parts = _PATTERN.fullmatch(pattern)
    if parts is None:
        return False
    port = int(parts["port"]) if parts["port"] else DEFAULT_PORTS[target.scheme]
    host = parts["host"].strip("[]").rstrip(".")
    is_named = target.host.endswith(host[1:]) if host.startswith("*.") else target.host == host
    return is_named and target.port == port


def _is_public(address: Address) -> bool:
    is_odd = address.is_multicast or address.is_reserved or any(address in network for network in _REFUSED)
    return address.is_global and not is_odd
