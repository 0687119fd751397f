from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from taskmesh.observability.logs import configure, redact_url

LOG = logging.getLogger("taskmesh.test")
NASTY = "a\r\nforged\x1b[31m\x9b\u2028\u202eb\x00\ttab"


@pytest.fixture(autouse=True)
def _root_logger_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    # Out of reach of force=True, which closes what it removes.
    root.handlers = []
    yield
    root.handlers, root.level = handlers, level


def written(format: str, level: str = "info") -> io.StringIO:
    stream = io.StringIO()
    configure(level, format, stream)
    return stream


def test_a_json_line_has_the_run_and_the_node() -> None:
    stream = written("json")
    LOG.warning("lease %s", "lost", extra={"run": "r-1", "node": "charge", "unknown": 1})
    entry = json.loads(stream.getvalue())
    assert entry.pop("time").endswith("Z")
    assert isinstance(entry.pop("pid"), int)
    assert entry == {
        "level": "warning", "logger": "taskmesh.test", "message": "lease lost", "run": "r-1", "node": "charge"
    }  # fmt: skip


def test_a_text_line_has_the_run_and_the_node() -> None:
    stream = written("text")
    LOG.warning("lease lost", extra={"run": "r-1", "node": "charge"})
    assert stream.getvalue().endswith("Z warning taskmesh.test: lease lost run=r-1 node=charge\n")


@pytest.mark.parametrize("format", ["text", "json"])
def test_nothing_can_break_out_of_its_line(format: str) -> None:
    stream = written(format)
    LOG.info("got %s", NASTY, extra={"run": NASTY})
    line = stream.getvalue()
    assert line.endswith("\n")
    assert line[:-1].isprintable()
    assert "forged" in line


@pytest.mark.parametrize("format", ["text", "json"])
def test_a_traceback_stays_on_the_line(format: str) -> None:
    stream = written(format)
    try:
        raise ValueError("bad amqp://me:secret@rabbit")
    except ValueError:
        LOG.exception("failed")
    (line,) = stream.getvalue().splitlines()
    assert "ValueError: bad amqp://me:***@rabbit" in line
    assert "test_logs.py" in line


@pytest.mark.parametrize("format", ["text", "json"])
def test_no_password_is_written(format: str) -> None:
    stream = written(format)
    LOG.info("connecting to %s", "amqp://me:secret@rabbit/", extra={"worker": "redis://:secret@redis"})
    assert "secret" not in stream.getvalue()
    assert "amqp://me:***@rabbit/" in stream.getvalue()


def test_what_is_below_the_level_is_not_written() -> None:
    stream = written("text", "warning")
    LOG.info("no")
    LOG.warning("yes")
    assert stream.getvalue().count("\n") == 1


def test_a_second_configuration_takes_the_place_of_the_first() -> None:
    first, second = written("text"), written("json")
    LOG.info("once")
    assert first.getvalue() == ""
    assert second.getvalue().count("\n") == 1


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("amqp://me:secret@rabbit:5672/%2F", "amqp://me:***@rabbit:5672/%2F"),
        ("redis://:secret@redis", "redis://:***@redis"),
        ("amqp://me:sec@ret@rabbit", "amqp://me:***@rabbit"),
        ("amqp://me:sec/ret@rabbit", "amqp://me:***@rabbit"),
        ("redis+cluster://:secret@a:1,b:2", "redis+cluster://:***@a:1,b:2"),
        ("redis://host/0?password=secret&db=1", "redis://host/0?password=***&db=1"),
        ("unix:///run/redis.sock?db=0", "unix:///run/redis.sock?db=0"),
        ("http://host:8080/path", "http://host:8080/path"),
        ("no url at all", "no url at all"),
    ],
)
def test_urls_lose_their_passwords(url: str, shown: str) -> None:
    assert redact_url(url) == shown
    assert "secret" not in redact_url(f"see '{url}' and \"{url}\", {url}")
