"""``taskmesh dead``: list, show, replay and purge, as a person or a program types them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from taskmesh.store.keys import Keys
from taskmesh.store.letters import DeadLetter, Letters
from taskmesh.store.opening import open_link
from taskmesh.wire import pack
from taskmesh.wire.messages import NodeMessage, encode_message

ROOT = Path(__file__).parents[2]
MESSAGE = NodeMessage("lost-run", 0, 0, 1, "f" * 32, "lost-run")
NODE, VALUE, BYTES = "00000000000000aa", "00000000000000bb", "00000000000000cc"

Ask = Callable[..., str]


@pytest.fixture
def letters(redis_url: str, namespace: str) -> Iterator[Letters]:
    link = open_link(redis_url, 2.0, 5.0)
    letters = Letters(link, Keys(namespace, 16), 1000, 1_000_000)
    letters.keep(
        [
            (_letter(NODE, "unknown_run", "lost-run"), encode_message(MESSAGE)),
            (_letter(VALUE, "undecodable"), pack({"hello": "you"})),
            (_letter(BYTES, "undecodable"), b"\xc1\x1b[31mred"),
        ]
    )
    yield letters
    link.close()


def _letter(letter_id: str, reason: str, run_id: str | None = None) -> DeadLetter:
    return DeadLetter(
        id=letter_id,
        at=1_790_000_000.0 + int(letter_id, 16),
        reason=reason,
        detail="said \x1b[31mso",
        pool="default",
        queue="ns.default.1",
        routing_key="key",
        worker="host-1",
        run_id=run_id,
        node=None if run_id is None else 0,
        size=10,
    )


@pytest.fixture
def ask(rabbitmq_url: str, redis_url: str, namespace: str, letters: Letters, tmp_path: Path) -> Ask:
    environ = {
        "TASKMESH_BROKER_URL": rabbitmq_url,
        "TASKMESH_STORE_URL": redis_url,
        "TASKMESH_NAMESPACE": namespace,
        "PYTHONPATH": str(ROOT),
    }

    def run(*arguments: str, code: int = 0) -> str:
        command = [sys.executable, "-c", "from taskmesh.cli import main; main()", "dead", *arguments]
        done = subprocess.run(
            command,
            check=False,
            cwd=tmp_path,
            env=environ,
            capture_output=True,
            text=True,
            timeout=60,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout if code == 0 else done.stderr

    return run


def _json(text: str) -> Any:
    return json.loads(text)


def test_letters_are_listed_by_what_they_are(ask: Ask) -> None:
    assert [row["id"] for row in _json(ask("ls", "-o", "json"))] == [BYTES, VALUE, NODE]
    [row] = _json(ask("ls", "--reason", "unknown_run", "-o", "json"))
    assert (row["run_id"], row["node"], row["worker"], row["routing_key"]) == ("lost-run", 0, "host-1", "key")
    assert [row["id"] for row in _json(ask("ls", "--run", "lost-run", "-o", "json"))] == [NODE]
    assert [row["id"] for row in _json(ask("ls", "--limit", "1", "-o", "json"))] == [BYTES]
    assert ask("ls", "--pool", "io") == "no dead letters\n"
    assert "'often' is no age" in ask("ls", "--older-than", "often", code=2)
    text = ask("ls")
    assert "said \\x1b[31mso" in text
    assert "\x1b" not in text


def test_a_letter_is_shown_readable_or_in_hex(ask: Ask) -> None:
    assert '"run_id": "lost-run"' in ask("show", NODE)
    assert '"hello": "you"' in ask("show", VALUE)
    shown = ask("show", BYTES)
    assert "c1 1b 5b 33 31 6d 72 65 64" in shown
    assert "\x1b" not in shown
    document = _json(ask("show", NODE, "-o", "json"))
    assert document["message"]["flow_hash"] == "f" * 32
    assert document["body"]["$bytes"]
    assert "no dead letter has the id 'nothing'" in ask("show", "nothing", code=2)


def test_letters_are_replayed_and_gone(ask: Ask, letters: Letters, tmp_path: Path) -> None:
    assert "no field 'run'; did you mean 'run_id'" in ask("replay", NODE, "--set", "run=x", code=2)
    for deadline in ("NaN", "soon", "[" * 1_500):
        assert "of a wrong type" in ask("replay", NODE, "--set", f"deadline={deadline}", code=2)
    assert letters.get(NODE) is not None
    assert _json(ask("replay", NODE, "--set", "run_id=other", "--set", "token=3", "-o", "json")) == {"replayed": 1}
    assert letters.get(NODE) is None
    (tmp_path / "body").write_bytes(b"better")
    assert ask("replay", VALUE, "--body", "body", "--to-pool", "io") == "replayed 1\n"
    assert ask("replay", "--all", "--reason", "undecodable", "--rate", "1000") == "replayed 1\n"
    assert letters.totals().letters == 0


def test_nothing_is_purged_without_being_asked_for(ask: Ask, letters: Letters) -> None:
    assert "say --yes" in ask("purge", "--all", code=2)
    assert "name the ids of letters, or say --all" in ask("purge", "--yes", code=2)
    assert "not both" in ask("purge", NODE, "--all", "--yes", code=2)
    assert letters.totals().letters == 3
    assert _json(ask("purge", "--all", "--reason", "undecodable", "--yes", "-o", "json")) == {"purged": 2}
    assert ask("purge", NODE, "unknown", "-y") == "purged 1\n"
    assert letters.totals().letters == 0
