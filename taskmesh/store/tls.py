"""TLS to Redis: what a URL may say about it, and why it cannot begin."""

from __future__ import annotations

import ssl
from collections.abc import Collection, Iterator, Mapping
from typing import Any
from urllib.parse import SplitResult, parse_qsl

from taskmesh.errors import ConfigError

TLS_KEYS = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
"""The certificate authority, the client's own certificate and key: files. A certificate is always verified."""

_NOT_TLS = frozenset({"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"})
"""What OpenSSL says of an answer that is no TLS at all."""


def tls_options(parts: SplitResult, others: Collection[str] = ()) -> dict[str, Any]:
    """What the query of a URL says about TLS, as redis-py calls it; ``others`` are further keys that it may have.

    :raises ConfigError: an unknown key, TLS for a scheme without it, or a file that cannot be used.
    """
    given = dict(parse_qsl(parts.query))
    known = (*others, *TLS_KEYS)
    if unknown := sorted(given.keys() - set(known)):
        raise ConfigError(f"store.url has the unknown key {unknown[0]!r}; known are {', '.join(known)}")
    options = {key: value for key, value in given.items() if key in TLS_KEYS}
    if options and not parts.scheme.startswith("rediss"):
        raise ConfigError(f"store.url sets {min(options)!r}, which needs TLS; write rediss instead of redis")
    if options:
        _try(options)
    return options


def _try(options: Mapping[str, str]) -> None:
    try:
        context = ssl.create_default_context(cafile=options.get("ssl_ca_certs"))
        if "ssl_certfile" in options:
            context.load_cert_chain(options["ssl_certfile"], options.get("ssl_keyfile"))
    except OSError as error:
        raise ConfigError(f"store.url names a certificate that cannot be used: {error}") from None


def tls_fault(error: BaseException) -> str | None:
    """Where trying again cannot help, a sentence that says what to do."""
    for cause in _chain(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return (
                f"the certificate of Redis cannot be trusted ({cause.verify_message}); "
                "name its authority in store.url: ?ssl_ca_certs=FILE"
            )
        if isinstance(cause, ssl.SSLError) and cause.reason in _NOT_TLS:
            return (
                "Redis does not speak TLS on the port of store.url; correct the port, or write redis:// for a plain one"
            )
    return None


def handshake_is_late(error: BaseException) -> bool:
    """Whether the server has taken the connection and did not answer TLS: a plain port of Redis does that."""
    return any(isinstance(cause, TimeoutError) and "handshake" in str(cause) for cause in _chain(error))


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error, and what it was raised for: redis-py puts its own around those of the socket."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
