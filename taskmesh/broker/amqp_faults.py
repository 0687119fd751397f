"""What RabbitMQ means when it refuses, as findings that say what to do; None where trying again is the answer."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any

from pika import exceptions
from pika.adapters.utils.connection_workflow import AMQPConnectionWorkflowFailed, AMQPConnectorException

from taskmesh.broker.amqp_url import AmqpUrl
from taskmesh.model.checkup.findings import Finding, Severity, refused
from taskmesh.model.checkup.rabbitmq_rules import judge_version

_ACCESS_REFUSED = 403
_PRECONDITION_FAILED = 406
_COMMAND_INVALID = 503

_NOT_TLS = "WRONG_VERSION_NUMBER"
"""What OpenSSL says of an answer that is no TLS at all."""


_LOST_QUEUE = "cluster_not_formed"
_LOST_QUEUE_ADVICE = "; if it goes on, RabbitMQ has lost track of that queue: restart its node"
"""A queue that is deleted while others declare it may leave a process behind that keeps its name (RabbitMQ 3.10)."""


def login_fault(error: BaseException, url: AmqpUrl) -> Finding | None:
    """Why a connection could not be opened, when trying again cannot help."""
    text = str(error)
    if isinstance(error, exceptions.ProbableAuthenticationError) and "ACCESS_REFUSED" in text:
        return refused(
            "rabbitmq.login",
            f"RabbitMQ at {url} refuses user {url.user!r}: wrong user name or password; correct broker.url",
        )
    if isinstance(error, exceptions.ProbableAccessDeniedError) and "NOT_ALLOWED" in text:
        return refused("rabbitmq.login", _vhost_fault(text, url))
    cause = _innermost(error)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return refused(
            "rabbitmq.login",
            f"the certificate of RabbitMQ at {url} cannot be trusted ({cause.verify_message}); "
            "name its authority in broker.url: ?cacertfile=FILE",
        )
    if isinstance(cause, ssl.SSLError) and cause.reason == _NOT_TLS:
        return refused(
            "rabbitmq.login",
            f"RabbitMQ does not speak TLS at {url}; correct the port in broker.url, or write amqp:// for a plain one",
        )
    return None


def topology_fault(error: BaseException, url: AmqpUrl, namespace: str) -> Finding | None:
    """Why an open connection or channel was closed, when trying again cannot help."""
    if not isinstance(error, exceptions.ConnectionClosed | exceptions.ChannelClosed):
        return None
    code, text = error.reply_code, error.reply_text
    if code == _COMMAND_INVALID and "exchange type" in text:
        return refused(
            "rabbitmq.plugin",
            f"RabbitMQ at {url}: the plugin rabbitmq_consistent_hash_exchange is not enabled; "
            "run: rabbitmq-plugins enable rabbitmq_consistent_hash_exchange",
        )
    if code == _ACCESS_REFUSED:
        return refused(
            "rabbitmq.permissions",
            f"RabbitMQ at {url} gives user {url.user!r} too few permissions ({text}); grant it configure, write and "
            f"read on '{namespace}\\..*', and write on 'amq.default'",
        )
    if code == _PRECONDITION_FAILED and ("inequivalent arg" in text or "invalid arg" in text):
        return refused(
            "rabbitmq.queues",
            f"RabbitMQ at {url} has a queue or exchange of namespace {namespace!r} that was made with other settings "
            f"({text}); use those settings, delete it, or take another namespace",
        )
    return None


def version_fault(server: Mapping[str, Any] | None, url: AmqpUrl) -> Finding | None:
    """Why a server is too old for us; servers that are not RabbitMQ are not judged."""
    found = judge_version(str(url), *product_and_version(server))
    return found if found.severity is Severity.REFUSED else None


def product_and_version(server: Mapping[str, Any] | None) -> tuple[str, str]:
    """What a server says of itself; empty texts where it says nothing."""
    return _text((server or {}).get("product")), _text((server or {}).get("version"))


def brief(error: BaseException) -> str:
    """An error in one line, for the log."""
    cause = _innermost(error)
    if isinstance(cause, exceptions.ConnectionClosed | exceptions.ChannelClosed):
        advice = _LOST_QUEUE_ADVICE if _LOST_QUEUE in cause.reply_text else ""
        return f"{cause.reply_code} {cause.reply_text}{advice}"
    return str(cause) or type(cause).__name__


def _vhost_fault(text: str, url: AmqpUrl) -> str:
    if "not found" in text:
        return (
            f"RabbitMQ at {url} has no virtual host {url.vhost!r}; correct broker.url or run: "
            f"rabbitmqctl add_vhost {url.vhost}"
        )
    return (
        f"RabbitMQ at {url} refuses user {url.user!r} on the virtual host {url.vhost!r}; run: "
        f"rabbitmqctl set_permissions -p {url.vhost} {url.user} '.*' '.*' '.*'"
    )


def _innermost(error: BaseException) -> BaseException:
    """The error of the socket under the wrappers that pika puts around it."""
    if isinstance(error, AMQPConnectionWorkflowFailed):
        return _innermost(error.exceptions[-1])
    if isinstance(error, AMQPConnectorException | exceptions.AMQPConnectionError):
        inner = next((arg for arg in error.args if isinstance(arg, BaseException)), None)
        inner = getattr(error, "exception", inner)
        return error if inner is None else _innermost(inner)
    return error


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value or "")
