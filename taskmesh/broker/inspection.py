"""A check-up of the broker, whichever serves the URL."""

from __future__ import annotations

from collections.abc import Sequence

from taskmesh.broker.factory import is_rabbitmq
from taskmesh.broker.settings import BrokerSettings
from taskmesh.model.checkup.findings import Finding, Severity, well


def inspect_broker(settings: BrokerSettings, pools: Sequence[str], management_url: str | None) -> list[Finding]:
    """Everything there is to say of the broker, and of the queues of ``pools`` on it.

    :raises ConfigError: for a URL that cannot be right.
    """
    if is_rabbitmq(settings.url):
        from taskmesh.broker.amqp_inspection import inspect_rabbitmq

        return inspect_rabbitmq(settings, pools, management_url)
    return [_inspect_kombu(settings)]


def _inspect_kombu(settings: BrokerSettings) -> Finding:
    from taskmesh.broker.embedded_connection import connect

    try:
        connect(settings).close()
    except Exception as error:
        # Which classes a transport raises, only its connection knows, and there is none.
        return Finding(
            "broker.reachable",
            Severity.BROKEN,
            f"the broker does not answer ({error})",
            "check that its server runs, and broker.url",
        )
    return well("broker.reachable", "the broker inside the store's kind of server answers")
