"""Compiles and evaluates CEL. Who calls bounds the text first: the library has no limit of its own on work or depth."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cel import Program

MESSAGE_LENGTH = 300
_ADVICE = " CEL does not coerce between types"
"""With it begins what the library adds to a sentence: a page of advice, which would be cut in its middle."""

_COMMAND_LINE = "cel.cli"


class ExpressionError(Exception):
    """What is wrong with an expression, or went wrong with it, in one sentence.

    ``is_type``: it does something that values of these types can never do.
    """

    def __init__(self, message: str, is_type: bool = False) -> None:
        super().__init__(message)
        self.is_type = is_type


class Expression:
    """A compiled expression. Immutable; evaluating it has no side effects."""

    def __init__(self, text: str) -> None:
        """:raises ExpressionError: for text that is no CEL."""
        try:
            self._program: Program = _library().compile(text)
        except ValueError as error:
            raise ExpressionError(_syntax(str(error))) from None
        names = self._program.references()
        self.variables = tuple(names["variables"])
        self.functions = tuple(names["functions"])

    def evaluate(self, values: Mapping[str, Any]) -> Any:
        """The value of the expression, where ``values`` are its variables.

        :raises ExpressionError: it has none.
        """
        try:
            return self._program.execute(dict(values))
        except (KeyboardInterrupt, SystemExit):
            raise
        except KeyError as error:
            raise ExpressionError(f"there is no key {error.args[0]!r}") from None
        except BaseException as error:
            # A panic of the library is no Exception.
            raise ExpressionError(_one_line(str(error)), isinstance(error, TypeError)) from None


@cache
def _library() -> ModuleType:
    """The library, imported when the first expression comes.

    With it would come a command line and a toolkit for terminals: a third of a second, on the loop of whatever process
    meets a condition, for what nobody uses here. So something empty stands for that meanwhile.
    """
    empty = ModuleType(_COMMAND_LINE)
    stands_for_it = sys.modules.setdefault(_COMMAND_LINE, empty) is empty
    try:
        import cel
    finally:
        if stands_for_it:
            del sys.modules[_COMMAND_LINE]
    return cel


def _syntax(message: str) -> str:
    """The library's own words, without the text and the picture below them."""
    _, _, said = message.partition("ERROR: ")
    return _one_line((said or message).replace("<input>:", "", 1).split("\n")[0])


def _one_line(text: str) -> str:
    return " ".join(text.partition(_ADVICE)[0].split())[:MESSAGE_LENGTH]
