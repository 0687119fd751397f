"""An app's name either leads to its one mesh or gives a sentence that says why not."""

from __future__ import annotations

from pathlib import Path

import pytest

from taskmesh import Mesh, UsageError
from taskmesh.app.locate import find_mesh


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """A module with the text of the parameter, under a name of the test's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    name = f"app_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(request.param)
    return name


@pytest.mark.parametrize("app", ["from taskmesh import Mesh\nmesh = Mesh()\nsame = mesh\n"], indirect=True)
def test_the_one_mesh_of_a_module_is_found_under_any_of_its_names(app: str) -> None:
    mesh = find_mesh(app)

    assert isinstance(mesh, Mesh)
    assert find_mesh(f"{app}:same") is mesh


@pytest.mark.parametrize(
    ("app", "sentence"),
    [
        ("x = 1\n", "has no Mesh at its top level; write `mesh = Mesh\\(\\)` there"),
        ("from taskmesh import Mesh\na = Mesh()\nb = Mesh()\n", "has 2 meshes at its top level; name one"),
        ("def f(:\n", "cannot be imported: SyntaxError"),
        ("\nraise RuntimeError('boom')\n", "cannot be imported: RuntimeError: boom \\(.*app_.*py:2\\)"),
        ("from taskmesh import nope\n", "cannot be imported: ImportError"),
        ("import sys\nsys.exit(3)\n", "cannot be imported: SystemExit: 3"),
        ("import no_such_package\n", "imports 'no_such_package', which is not installed for"),
    ],
    indirect=["app"],
)
def test_what_is_wrong_with_a_module_is_one_sentence(app: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence) as caught:
        find_mesh(app)

    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("app", ["from taskmesh import Mesh\nmesh = Mesh()\nx = 1\n"], indirect=True)
@pytest.mark.parametrize("attribute", ["x", "y"])
def test_an_attribute_that_is_no_mesh_is_named(app: str, attribute: str) -> None:
    with pytest.raises(UsageError, match=f"'{attribute}' of module '{app}' is no Mesh"):
        find_mesh(f"{app}:{attribute}")


@pytest.mark.parametrize("name", ["", ":mesh", ".shop", "shop.py", "shop/tasks"])
def test_what_is_no_name_of_a_module_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=r"is no name of a module; write it with dots and without \.py"):
        find_mesh(name)


def test_a_module_that_does_not_exist_is_named() -> None:
    with pytest.raises(UsageError, match="module 'no_such_app' does not exist"):
        find_mesh("no_such_app.tasks")
