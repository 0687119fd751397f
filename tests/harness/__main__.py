"""Prints the Debian packages of the servers that are neither named by a URL nor on this machine."""

from __future__ import annotations

import os
from collections.abc import Iterator

from tests.harness.rabbitmq import find_scripts
from tests.harness.redis import find_binary


def missing() -> Iterator[str]:
    if not os.environ.get("TASKMESH_TEST_BROKER_URL") and find_scripts() is None:
        yield "rabbitmq-server"
    if not os.environ.get("TASKMESH_TEST_STORE_URL") and find_binary() is None:
        yield "redis-server"


print("\n".join(missing()))
