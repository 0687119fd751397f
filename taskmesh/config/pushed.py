"""Live settings that were pushed to all workers: above the file of each, below what is meant for one of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from taskmesh.config.draft import DEFAULT, Draft
from taskmesh.config.live import LIVE
from taskmesh.config.sources import Given, from_overrides
from taskmesh.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Pushed:
    """What holds: the number of a revision, 0 where none was ever pushed, and its values by dotted key."""

    number: int = 0
    values: Mapping[str, Any] = field(default_factory=dict)


NOTHING_PUSHED = Pushed()


def from_pushed(pushed: Pushed) -> Iterator[Given]:
    """What was pushed, as a source of settings; a setting that is not live here is a problem."""
    return _live(from_overrides(pushed.values, f"pushed, revision {pushed.number}"))


def live_values(*sources: Iterable[Given]) -> dict[str, Any]:
    """What sources, the weakest first, say of live settings, by dotted key; ready to be pushed.

    :raises ConfigError: a value is wrong, a setting is unknown or not live, one line for each; or nothing is said.
    """
    draft = Draft()
    for source in sources:
        draft.take(_live(source))
    values = {name: value for name, (value, origin) in draft.finish().items() if origin != DEFAULT}
    if not values:
        raise ConfigError(
            "there is no setting to push; `taskmesh config unset` has all workers go by their own settings again"
        )
    return values


def _live(source: Iterable[Given]) -> Iterator[Given]:
    for given in source:
        if given.problem or given.key in LIVE:
            yield given
        else:
            why = "takes a restart of each worker, so it cannot be pushed; leave it out"
            yield Given(given.key, problem=f"{given.key} ({given.origin}): {why}")
