"""What tasks of simulated flows reckon with: an output is ``{"value": n}``, that of a map a list of such."""

from __future__ import annotations


def number_in(value: object) -> int:
    """The number that stands in a value; of a list the sum, in which failed items count nothing."""
    if isinstance(value, list | tuple):
        return sum(number_in(each) for each in value)
    return int(value.get("value", 0)) if isinstance(value, dict) else 0


def output_of(arguments: object) -> int:
    """What every task gives back: one more than the sum of all that it was given."""
    return 1 + sum(number_in(each) for each in arguments.values()) if isinstance(arguments, dict) else 1
