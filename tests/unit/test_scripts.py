"""A script carries what it uses of the preludes, and nothing else: Redis carries out all of it with each call."""

from __future__ import annotations

import re
from importlib import resources

import pytest

from taskmesh.store.scripts import PRELUDES, Scripts

SCRIPTS = Scripts()
LUA = resources.files("taskmesh.store") / "lua"
SHARED = [line for name in PRELUDES for line in (LUA / name).read_text().splitlines()]
SHARED_NAMES = [
    name
    for line in SHARED
    if (found := re.match(r"local (?:function )?([\w, ]+\w)", line))
    for name in found.group(1).split(", ")
]


def _defines(source: str, name: str) -> bool:
    return re.search(rf"^local (?:function )?(?:\w+, )*{name}\b", source, re.MULTILINE) is not None


def _uses(source: str, name: str) -> int:
    return len(re.findall(rf"\b{name}\b", re.sub(r"--.*", "", source)))


def test_the_preludes_consist_of_local_statements() -> None:
    assert [line for line in SHARED if re.match(r"\S", line) and not re.match(r"local |end$|--", line)] == []


def test_the_preludes_are_found() -> None:
    assert {"STATE", "CAUSE", "unpacked", "changes", "outdated", "remembered", "tell", "count_down_and_write"} <= set(
        SHARED_NAMES
    )


@pytest.mark.parametrize("script", SCRIPTS.names())
def test_a_script_has_every_shared_name_that_it_uses(script: str) -> None:
    source = SCRIPTS[script].source
    assert [name for name in SHARED_NAMES if _uses(source, name) and not _defines(source, name)] == []


@pytest.mark.parametrize("script", SCRIPTS.names())
def test_a_script_has_no_shared_function_that_it_does_not_use(script: str) -> None:
    source = SCRIPTS[script].source
    functions = re.findall(r"^local function (\w+)", source, re.MULTILINE)
    assert [name for name in functions if _uses(source, name) < 2] == []


def test_a_claim_does_not_carry_how_runs_end() -> None:
    assert "end_run_and_write" not in SCRIPTS["claim_node"].source
    assert "end_run_and_write" in SCRIPTS["settle_node"].source
