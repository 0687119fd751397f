"""Finds the source checkout, for commands that need what is not part of the installed package."""

from __future__ import annotations

from pathlib import Path

import taskmesh
from taskmesh.errors import UsageError


def require_checkout(what: str, *files: str) -> Path:
    """The root of the checkout that holds ``files``: this directory, or where the package is imported from.

    :raises UsageError: there is none; ``what`` begins the sentence that says so.
    """
    # A checkout that is tried before it is complete has no __init__ to be found by.
    for root in (Path.cwd(), Path(taskmesh.__path__[0]).parent):
        if all((root / file).is_file() for file in files):
            return root
    raise UsageError(
        f"{what} needs {' and '.join(files)} of the source, which the installed package does not hold; "
        "run it in a checkout of taskmesh"
    )
