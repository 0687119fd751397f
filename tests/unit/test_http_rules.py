"""Which hosts and which addresses a node of type http may reach."""

from __future__ import annotations

import pytest

from taskmesh.errors import NodeRefusedError
from taskmesh.plugins.builtin.http_rules import HttpRules, InvalidUrlError, read_target


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.8.8.8",
        "0.0.0.0",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "168.63.129.16",
        "192.0.0.192",
        "192.88.99.1",
        "100.64.0.1",
        "100.100.100.200",
        "198.18.0.1",
        "192.0.2.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::ffff:127.0.0.1",
        "::ffff:8.8.8.8",
        "::127.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b:1::7f00:1",
        "2002:7f00:1::",
        "2001:0:4136:e378:8000:63bf:3fff:fdd2",
        "fe80::1",
        "fe80::1%lo",
        "fec0::1",
        "fc00::1",
        "fd00:ec2::254",
        "ff02::1",
        "2001:db8::1",
    ],
)
def test_an_address_that_is_not_public_is_refused(address: str) -> None:
    with pytest.raises(NodeRefusedError, match="no public address"):
        HttpRules.of(["example.com"], []).checked("example.com", address)


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "2606:4700::1111"])
def test_a_public_address_is_taken(address: str) -> None:
    assert HttpRules.of(["example.com"], []).checked("example.com", address) == address


def test_a_private_network_is_open_only_as_far_as_the_settings_say() -> None:
    rules = HttpRules.of(["example.com"], ["10.1.0.0/16", "::1/128"])

    assert rules.checked("example.com", "10.1.2.3") == "10.1.2.3"
    assert rules.checked("example.com", "::1") == "::1"
    for address in ("10.2.0.1", "127.0.0.1", "::ffff:10.1.2.3"):
        with pytest.raises(NodeRefusedError):
            rules.checked("example.com", address)


@pytest.mark.parametrize(
    ("pattern", "url"),
    [
        ("api.example.com", "https://api.example.com/x"),
        ("api.example.com", "http://API.example.com./x"),
        ("API.Example.com", "http://api.example.com"),
        ("*.example.com", "https://a.b.example.com"),
        ("api.example.com:8443", "https://api.example.com:8443/"),
        ("[2606:4700::1111]:8080", "http://[2606:4700:0::1111]:8080/"),
        ("192.0.2.7", "http://192.0.2.7/"),
    ],
)
def test_a_host_that_the_settings_name_may_be_asked(pattern: str, url: str) -> None:
    HttpRules.of([pattern], []).check_target(read_target(url))


@pytest.mark.parametrize(
    ("pattern", "url"),
    [
        ("example.com", "https://api.example.com/"),
        ("example.com", "https://example.com.evil.org/"),
        ("example.com", "https://evilexample.com/"),
        ("*.example.com", "https://example.com/"),
        ("*.example.com", "https://evilexample.com/"),
        ("example.com", "https://example.com:8443/"),
        ("example.com", "http://example.com:22/"),
        ("example.com:8443", "https://example.com/"),
        ("127.0.0.1", "http://2130706433/"),
        ("127.0.0.1", "http://0x7f.1/"),
        ("127.0.0.1", "http://0177.0.0.1/"),
        ("127.0.0.1", "http://127.1/"),
        ("*", "https://example.com/"),
    ],
)
def test_any_other_host_is_refused(pattern: str, url: str) -> None:
    with pytest.raises(NodeRefusedError, match=r"plugins.http_hosts"):
        HttpRules.of([pattern], []).check_target(read_target(url))


def test_with_nothing_allowed_nothing_may_be_asked() -> None:
    with pytest.raises(NodeRefusedError, match=r"plugins.http_hosts of this worker does not name it"):
        HttpRules.of([], []).check_target(read_target("https://example.com/"))


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.com/",
        "file:///etc/passwd",
        "gopher://example.com/",
        "//example.com/",
        "example.com",
        "http://",
        "http:///path",
        "http://user:password@example.com/",
        "http://allowed.com@evil.com/",
        "http://allowed.com\\@evil.com/",
        "http://exa\tmple.com/",
        "http://example.com/\r\nHost: evil.com",
        "http://example.com/ HTTP/1.1",
        "http://example.com/\u00e9",
        "http://ex\u00e4mple.com/",
        "http://\uff11\uff12\uff17.0.0.1/",
        "http://example.com:99999/",
        "http://example.com:x/",
        "http://[::1/",
        "http://[fe80::1%25lo]/",
        "http://[1.2.3.4]/",
        "http://[v1.x]/",
        "http://exa%6dple.com/",
        "http://exam ple.com/",
        "http://" + "a" * 300 + ".com/",
        "http://-.com/",
        "http://a..b/",
        "http://example.com/" + "a" * 9000,
    ],
)
def test_what_is_no_plain_url_is_not_read(url: str) -> None:
    with pytest.raises(InvalidUrlError) as caught:
        read_target(url)
    assert "password" not in str(caught.value).replace("no password", "")


def test_a_url_is_taken_apart_once() -> None:
    target = read_target("HTTPS://Example.COM:443/a?b=c#d")

    assert (target.scheme, target.host, target.port, target.path) == ("https", "example.com", 443, "/a?b=c")
    assert target.origin == "https://example.com"
    assert read_target("http://[::1]:80?x").path == "/?x"
    assert read_target("http://[::1]:81").authority == "[::1]:81"
