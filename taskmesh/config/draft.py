"""Settings in the making: values with their origins, and everything that is wrong with them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from taskmesh.config.keys import KEYS
from taskmesh.config.sources import Given
from taskmesh.config.values import InvalidValueError, parse, shown
from taskmesh.errors import ConfigError

DEFAULT = "default"
SERVERS = ("broker.url", "store.url")
TIMEOUTS_PER_LEASE = 3
MIN_CLAIM_CHECK_BYTES = 1024

Values = dict[str, tuple[Any, str]]
"""For each key its value and where that comes from."""


class Draft:
    """Takes sources, the weakest first."""

    def __init__(self) -> None:
        self._values: Values = {}
        self._broken: set[str] = set()
        self._problems: list[str] = []

    def take(self, source: Iterable[Given]) -> None:
        """Put a source's values over those of the sources before it."""
        for given in source:
            if given.problem:
                self._problems.append(given.problem)
            else:
                self._set(given)

    def servers(self) -> Mapping[str, str | None]:
        """What was said so far about the servers' URLs; None means embedded."""
        return {name: self._values[name][0] for name in SERVERS if name in self._values}

    def finish(self) -> Values:
        """Every key with its value.

        :raises ConfigError: something was wrong; one line for each problem.
        """
        values = {name: self._values.get(name, (key.default, DEFAULT)) for name, key in KEYS.items()}
        problems = [*self._problems, *self._contradictions(values)]
        if problems:
            raise ConfigError("\n".join(problems))
        return values

    def _set(self, given: Given) -> None:
        key = KEYS[given.key]
        try:
            self._values[given.key] = parse(key, given.value, is_text=given.is_text), given.origin
        except InvalidValueError as error:
            self._broken.add(given.key)
            self._problems.append(f"{given.key} = {shown(key, given.value)} ({given.origin}): {error}")

    def _contradictions(self, values: Values) -> Iterator[str]:
        # What depends on a value that is wrong itself would only confuse.
        for keys, contradiction in _RULES:
            if not self._broken.intersection(keys):
                yield from contradiction(values)


def _half_a_pair(values: Values) -> Iterator[str]:
    for given, missing in (SERVERS, SERVERS[::-1]):
        if values[given][0] is not None and values[missing][0] is None:
            yield (
                f"{given} is set ({values[given][1]}), but {missing} is not: "
                "give both to use servers, or neither to run embedded"
            )


def _weights(values: Values) -> Iterator[str]:
    weights, origin = values["broker.shard_weights"]
    shards = values["broker.shards"][0]
    if weights and len(weights) != shards:
        yield (
            f"broker.shard_weights ({origin}) has {len(weights)} weights, but broker.shards is {shards}: "
            "give one weight per shard, or none"
        )


def _lease(values: Values) -> Iterator[str]:
    lease, origin = values["worker.lease_seconds"]
    timeout = values["store.socket_timeout_seconds"][0]
    if lease < TIMEOUTS_PER_LEASE * timeout:
        yield (
            f"worker.lease_seconds = {lease:g} ({origin}) is less than {TIMEOUTS_PER_LEASE} times "
            f"store.socket_timeout_seconds = {timeout:g}, so one slow renewal could lose the lease: "
            f"make it at least {TIMEOUTS_PER_LEASE * timeout:g}"
        )


def _payload(values: Values) -> Iterator[str]:
    (threshold, origin), (url, _) = values["payload.claim_check_bytes"], values["payload.url"]
    if threshold and url is None and values["store.url"][0] is not None:
        yield f"payload.claim_check_bytes is set ({origin}), but payload.url does not say where large values go"
    if 0 < threshold < MIN_CLAIM_CHECK_BYTES:
        yield f"payload.claim_check_bytes = {threshold} ({origin}) must be 0, or at least {MIN_CLAIM_CHECK_BYTES}"
    if threshold > (most := values["limits.max_value_bytes"][0]):
        yield (
            f"payload.claim_check_bytes = {threshold} ({origin}) is more than limits.max_value_bytes = {most}, so what "
            "is between the two could be stored nowhere: make it smaller"
        )


def _payload_url(values: Values) -> Iterator[str]:
    url = values["payload.url"][0]
    parts = urlsplit(url or "")
    if parts.username is not None or parts.password is not None or parts.query:
        yield (
            "payload.url holds more than a place; keys, endpoint and region are taken from the environment of the "
            "processes: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL, AWS_REGION"
        )
    if parts.scheme == "file" and parts.netloc:
        yield "payload.url must name an absolute directory, as file:///var/lib/taskmesh"


_RULES = (
    (SERVERS, _half_a_pair),
    (("broker.shard_weights", "broker.shards"), _weights),
    (("worker.lease_seconds", "store.socket_timeout_seconds"), _lease),
    (("payload.claim_check_bytes", "payload.url", "limits.max_value_bytes", *SERVERS), _payload),
    (("payload.url",), _payload_url),
)
