"""What a store URL may say, and what is told of one that cannot be."""

from __future__ import annotations

import ssl

import pytest
import redis

from taskmesh.errors import ConfigError, StoreRefusedError, StoreUnavailableError
from taskmesh.redaction import redact_url
from taskmesh.store.link import translated
from taskmesh.store.opening import open_link
from taskmesh.store.sentinel import open_sentinel


def test_a_sentinel_url_is_taken_apart() -> None:
    url = "rediss+sentinel://me:p%40ss@one:1,two,[::1]:3/orders/2?sentinel_username=us&sentinel_password=pw"
    pool = open_sentinel(url, {"socket_timeout": 1.5}).connection_pool
    wanted = {"db": 2, "username": "me", "password": "p@ss", "socket_timeout": 1.5}
    assert wanted.items() <= pool.connection_kwargs.items()
    sentinels = pool.sentinel_manager.sentinels
    places = [each.connection_pool.connection_kwargs for each in sentinels]
    assert [(place["host"], place["port"]) for place in places] == [("one", 1), ("two", 26379), ("::1", 3)]
    assert {(place["username"], place["password"], place["socket_timeout"]) for place in places} == {("us", "pw", 1.5)}
    assert pool.service_name == "orders"
    shown = redact_url(url)
    assert shown == "rediss+sentinel://me:***@one:1,two,[::1]:3/orders/2?sentinel_username=us&sentinel_password=***"


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("redis+sentinel://one:1,two:2", "names no service; write redis+sentinel://host:26379"),
        ("redis+sentinel://one:1/orders/first", "the database 'first' after its service; it must be a number"),
        ("redis+sentinel://one:1,,two:2/orders", "an empty host"),
        ("redis+sentinel://one:port/orders", "for the host 'one', a port that is not a number"),
        ("redis+sentinel://one:1/orders?password=x", "the unknown key 'password'; known are sentinel_username"),
        ("redis+cluster://one:port", "for the host 'one', a port that is not a number"),
        ("rediss://one:1?ssl_ca_cert=x", "the unknown key 'ssl_ca_cert'; known are db, ssl_ca_certs"),
        ("redis://one:1?ssl_ca_certs=x", "sets 'ssl_ca_certs', which needs TLS; write rediss instead of redis"),
        ("rediss://one:1?ssl_ca_certs=/none.pem", "a certificate that cannot be used"),
        ("rediss+cluster://one:1?ssl_ca_certs=/none.pem", "a certificate that cannot be used"),
        ("rediss+sentinel://one:1/orders?ssl_certfile=/none.pem", "a certificate that cannot be used"),
        ("sentinel://one:1/orders", "the scheme 'sentinel'; known are redis, rediss, unix, redis+sentinel"),
    ],
)
def test_a_url_that_cannot_be_is_refused(url: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as refused:
        open_link(url, 1.0, 1.0)
    assert sentence in str(refused.value)


def _untrusted() -> ssl.SSLError:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_message = "certificate has expired"
    return error


def _not_tls() -> ssl.SSLError:
    error = ssl.SSLError(1, "wrong version number")
    error.reason = "WRONG_VERSION_NUMBER"
    return error


def _fail_as_redis_py(cause: Exception) -> None:
    try:
        raise cause
    except OSError:
        # Its own sentence says little.
        raise redis.ConnectionError("Error connecting") from None


@pytest.mark.parametrize(
    ("cause", "kind", "sentence"),
    [
        (_untrusted(), StoreRefusedError, "cannot be trusted (certificate has expired); name its authority"),
        (_not_tls(), StoreRefusedError, "does not speak TLS on the port of store.url"),
        (TimeoutError("_ssl.c:989: The handshake operation timed out"), StoreUnavailableError, "begin TLS in time"),
        (ConnectionRefusedError("refused"), StoreUnavailableError, "check that it runs, and store.url"),
    ],
)
def test_why_tls_cannot_begin_is_said(cause: Exception, kind: type[Exception], sentence: str) -> None:
    with pytest.raises(StoreUnavailableError) as told, translated():
        _fail_as_redis_py(cause)
    assert type(told.value) is kind
    assert sentence in str(told.value)
