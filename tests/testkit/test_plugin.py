"""The plugin in projects of users: the documented example, names of one's own, and runs that do not use it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "testing.md"

HEAVY = ("redis", "yaml", "kombu", "taskmesh.app", "taskmesh.testing.mesh")


def run_pytest(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-W", "error", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False, timeout=100)


def test_the_example_of_the_documentation(tmp_path: Path) -> None:
    blocks = re.findall(r"`([\w.]+)`[^\n]*:\n\n```\w+\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert [name for name, _ in blocks] == ["shop.py", "test_shop.py", "pytest.ini"]
    for name, text in blocks:
        (tmp_path / name).write_text(text)
    done = run_pytest(tmp_path)

    assert done.returncode == 0, done.stdout
    assert "5 passed" in done.stdout


def test_who_does_not_use_it_does_not_notice_it(tmp_path: Path) -> None:
    (tmp_path / "test_other.py").write_text(f"""
import sys

import pytest


@pytest.fixture
def mesh():
    return "mine"


def test_it(mesh):
    assert mesh == "mine"
    assert [name for name in {HEAVY} if name in sys.modules] == []
""")
    done = run_pytest(tmp_path)

    assert done.returncode == 0, done.stdout


def test_an_app_that_cannot_be_found(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\ntaskmesh_app = missing\n")
    (tmp_path / "test_it.py").write_text("def test_it(mesh): ...\n")
    done = run_pytest(tmp_path)

    assert done.returncode == 1
    assert "module 'missing' does not exist" in done.stdout


def test_two_apps_and_a_failure_that_shows_the_run(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / f"{name}.py").write_text(
            f"from taskmesh import Mesh\nmesh = Mesh()\n@mesh.task\ndef {name}():\n    return '{name}'\n"
        )
    (tmp_path / "pytest.ini").write_text("[pytest]\ntaskmesh_app = one two:mesh\n")
    (tmp_path / "test_it.py").write_text("""
from one import one
from taskmesh.testing import assert_states
from two import two


def test_both(mesh):
    run = one.send()
    assert [run.result(), two.send().result()] == ["one", "two"]
    assert_states(run, task="failed")
""")
    done = run_pytest(tmp_path)

    assert "AssertionError: task is succeeded, not failed" in done.stdout
    assert "of one:one: succeeded" in done.stdout
    # The frames of the kit itself are hidden.
    assert "taskmesh/testing" not in done.stdout


def test_without_the_plugin_there_are_no_fixtures(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text("def test_it(mesh): ...\n")
    done = run_pytest(tmp_path, "-p", "no:taskmesh")

    assert "fixture 'mesh' not found" in done.stdout
