"""The servers of a URL that names several."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit

from taskmesh.errors import ConfigError


def addresses(parts: SplitResult, default_port: int) -> list[tuple[str, int]]:
    """Host and port of each server between the login and the path, which are parted by commas.

    :raises ConfigError: a host is missing, or a port is no number.
    """
    found = []
    for text in parts.netloc.rpartition("@")[2].split(","):
        address = urlsplit(f"//{text.strip()}")
        if not address.hostname:
            raise ConfigError("store.url has an empty host; write host:port,host:port with one comma between two")
        try:
            found.append((address.hostname, address.port or default_port))
        except ValueError:
            raise ConfigError(
                f"store.url has, for the host {address.hostname!r}, a port that is not a number from 1 to 65535"
            ) from None
    return found
