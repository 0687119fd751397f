"""What is not Python has to be named in setup.cfg, or the installed package lacks it."""

from __future__ import annotations

from configparser import ConfigParser
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def _packaged() -> set[Path]:
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    return {
        file
        for package, patterns in setup["options.package_data"].items()
        for pattern in patterns.split()
        for file in ROOT.joinpath(*package.split(".")).glob(pattern)
    }


def test_that_all_files_which_are_no_python_are_installed() -> None:
    files = {path for path in (ROOT / "taskmesh").rglob("*") if path.is_file()}
    others = {path for path in files if path.suffix not in {".py", ".pyc"}}

    assert {path.name for path in others} >= {"py.typed", "settle_node.lua"}
    assert others <= _packaged()


def test_that_every_folder_with_code_is_a_package() -> None:
    folders = {path.parent for path in (ROOT / "taskmesh").rglob("*.py")}

    assert [folder for folder in folders if not (folder / "__init__.py").is_file()] == []
