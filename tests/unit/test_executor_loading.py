from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from taskmesh.errors import UsageError
from taskmesh.worker.executors.loading import load_tasks

APP = """
from taskmesh.tasks.registry import Registry
from taskmesh.tasks.task import make_task

class Mesh:
    def __init__(self):
        self.registry = Registry()

    def task(self, function):
        self.registry.add(make_task(function, name="{prefix}" + function.__name__))
        return function

mesh = Mesh()

@mesh.task
def sync(): ...

@mesh.task
async def later(): ...
"""


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    known = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - known:
        del sys.modules[name]


def write(name: str, text: str = APP, prefix: str = "") -> None:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text.replace("{prefix}", prefix))


def sentence(*apps: str) -> str:
    with pytest.raises(UsageError) as raised:
        load_tasks(apps)
    said = str(raised.value)
    assert "\n" not in said
    return said


def test_the_mesh_of_a_module_is_found_by_itself_or_by_name() -> None:
    write("shop/orders.py")
    for app in ("shop.orders", "shop.orders:mesh", "shop.orders:mesh.registry"):
        tasks = load_tasks([app])
        assert {name: task.is_async for name, task in tasks.items()} == {"sync": False, "later": True}


def test_a_mesh_that_modules_share_counts_once() -> None:
    write("base.py")
    write("one.py", "from base import mesh")
    write("two.py", "from base import mesh\nfrom base import mesh as again")
    assert set(load_tasks(["one", "two", "base"])) == {"sync", "later"}


def test_apps_are_put_together_unless_they_claim_the_same_name() -> None:
    write("one.py", prefix="a.")
    write("two.py", prefix="b.")
    write("three.py", prefix="b.")
    assert set(load_tasks(["one", "two"])) == {"a.sync", "a.later", "b.sync", "b.later"}
    assert "register a task 'b." in sentence("two", "three")


def test_a_missing_module_is_named_with_the_place_that_was_searched(directory: Path) -> None:
    write("shop/orders.py")
    assert sentence("shop.orderz").startswith("module 'shop.orderz' (-A shop.orderz) does not exist; looked in ")
    assert str(directory) in sentence("nothing.orders")
    assert sentence("nothing.orders").startswith("module 'nothing' (-A nothing.orders) does not exist")


def test_a_module_that_an_app_lacks_is_not_taken_for_the_app() -> None:
    write("app.py", "import not_installed_here")
    assert sentence("app").startswith("module 'app' (-A app) imports 'not_installed_here', which is not installed for ")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero ("),
        ("def broken(:", "SyntaxError: invalid syntax"),
        ("raise SystemExit('no\\nconfiguration')", "SystemExit: no configuration ("),
    ],
)
def test_an_app_that_fails_to_import_says_why_and_where(text: str, said: str) -> None:
    write("app.py", f"\n{text}\n")
    answer = sentence("app")
    assert answer.startswith("module 'app' (-A app) cannot be imported: ")
    assert said in answer
    assert "app.py" in answer


def test_an_app_without_a_mesh_or_tasks_says_what_to_write() -> None:
    write("app.py", "x = 1")
    assert "has no Mesh at its top level" in sentence("app")
    assert sentence("app:mesh") == "'mesh' of module 'app' (-A app:mesh) does not exist; name the attribute of its Mesh"
    assert "'x' of module 'app' (-A app:x) is a int, not a Mesh" in sentence("app:x")
    write("empty.py", "from taskmesh.tasks.registry import Registry\nregistry = Registry()")
    assert "no task is registered in empty" in sentence("empty")
    assert "no app is named" in sentence()


def test_objects_that_refuse_to_be_looked_at_do_not_matter() -> None:
    shy = "class Shy:\n    def __getattr__(self, name):\n        raise RuntimeError(name)\nshy = Shy()\n"
    write("app.py", shy + APP)
    assert set(load_tasks(["app"])) == {"sync", "later"}
