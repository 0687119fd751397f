"""Nodes of type http: one request, to a host that the settings allow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urljoin

from taskmesh.clock import Clock, SystemClock
from taskmesh.config.settings import PluginsSection
from taskmesh.errors import NodeFailedError
from taskmesh.model.values import Value
from taskmesh.plugins.builtin.body import body_of
from taskmesh.plugins.builtin.http_answer import Answer, output_of, refuse_status
from taskmesh.plugins.builtin.http_rules import HttpRules, InvalidUrlError, read_target
from taskmesh.plugins.builtin.http_schema import CONNECTION_HEADERS, HTTP_SCHEMA
from taskmesh.plugins.interface import INTERFACE_VERSION, NodeContext

if TYPE_CHECKING:
    import ssl

    from taskmesh.plugins.builtin.http_exchange import Exchange
    from taskmesh.plugins.builtin.http_network import Resolver

REDIRECTS = frozenset({301, 302, 303, 307, 308})
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_KEPT_ELSEWHERE = frozenset({"accept", "accept-language", "user-agent"})
"""What another origin that a redirect leads to may see of a node's headers; any other may hold a secret."""


class HttpNode:
    """Asks a host over HTTP/1.1; does not keep connections, cookies or anything else from one node to the next."""

    name = "http"
    interface = INTERFACE_VERSION
    schema = HTTP_SCHEMA

    def __init__(self, section: PluginsSection, clock: Clock | None = None, resolve: Resolver | None = None) -> None:
        self._section = section
        self._rules = HttpRules.of(section.http_hosts, section.http_networks)
        self._clock = clock or SystemClock()
        self._resolve = resolve

    def validate(self, config: dict[str, Any]) -> Iterator[str]:
        try:
            read_target(config["url"])
        except InvalidUrlError as error:
            yield str(error)
        if "json" in config and "body" in config:
            yield "json and body say the same in two ways; keep one"
        names = [name.lower() for name in config.get("headers", {})]
        if len(names) > len(set(names)):
            yield "headers names a header twice; upper and lower case are the same"
        for name in sorted(CONNECTION_HEADERS.intersection(names)):
            yield f"the header {name} is made from the rest; remove it"

    def execute(self, config: dict[str, Any], context: NodeContext) -> Value:
        """The last answer: ``{"status", "headers", "body", "url"}``.

        :raises NodeRefusedError: the settings do not allow the host, or an address of it.
        :raises NodeUnavailableError: no answer in time, or one that says that the service cannot just now.
        :raises NodeFailedError: another status than is expected, or an answer that is too large.
        """
        request = _Request(config, context.idempotency_key)
        exchange = self._exchange(config)
        answer = self._ask(exchange, request)
        for _ in range(config.get("follow_redirects", 0)):
            if answer.status not in REDIRECTS or not answer.location:
                break
            request.redirect(answer)
            answer = self._ask(exchange, request)
        refuse_status(answer, request.target, config.get("expect"), REDIRECTS)
        return output_of(answer, request.target)

    def _exchange(self, config: Mapping[str, Any]) -> Exchange:
        # Imported here: a worker that runs no such node does without it.
        from taskmesh.plugins.builtin.http_exchange import Exchange
        from taskmesh.plugins.builtin.http_network import Deadline, system_resolver

        section = self._section
        seconds = min(config.get("seconds", section.http_seconds), section.http_seconds)
        max_bytes = min(config.get("max_bytes", section.http_max_bytes), section.http_max_bytes)
        resolve = self._resolve or system_resolver
        return Exchange(self._rules, Deadline(self._clock, seconds), max_bytes, lambda: self._tls, resolve)

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        """Made once: to read all authorities takes longer than many a request."""
        from taskmesh.plugins.builtin.http_exchange import tls_context

        return tls_context(self._section.http_ca_file)

    def _ask(self, exchange: Exchange, request: _Request) -> Answer:
        self._rules.check_target(request.target)
        return exchange.ask(request.target, request.method, request.headers, request.body)


class _Request:
    """What is asked; changes with each redirect."""

    def __init__(self, config: Mapping[str, Any], idempotency_key: str) -> None:
        self.target = read_target(config["url"])
        self.method: str = config.get("method", "GET")
        self.headers = {name.lower(): value for name, value in config.get("headers", {}).items()}
        self.body = body_of(HttpNode.name, config)
        if "json" in config:
            self.headers.setdefault("content-type", "application/json")
        if self.method not in SAFE_METHODS:
            self.headers.setdefault("idempotency-key", quote(idempotency_key))

    def redirect(self, answer: Answer) -> None:
        """Go where an answer points.

        :raises NodeFailedError: that would tell another host, or the network, what was meant for this one.
        """
        before = self.target
        try:
            self.target = read_target(urljoin(f"{before.origin}{before.path}", answer.location))
        except ValueError as error:
            raise NodeFailedError(f"{before.origin} redirects to what is no URL: {error}") from None
        if before.scheme == "https" and self.target.scheme == "http":
            raise NodeFailedError(f"{before.origin} redirects to {self.target.origin}, which is not encrypted")
        if answer.status == 303 or (answer.status in (301, 302) and self.method == "POST"):
            self.method = "HEAD" if self.method == "HEAD" else "GET"
            self.body = None
            self.headers.pop("content-type", None)
        if before.origin != self.target.origin:
            if self.body is not None:
                raise NodeFailedError(
                    f"{before.origin} redirects to {self.target.origin}, which is not to get the body"
                )
            self.headers = {name: value for name, value in self.headers.items() if name in _KEPT_ELSEWHERE}
