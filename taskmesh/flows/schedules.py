"""Schedule files, YAML and JSON. A file is good as a whole or refused with everything that is wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

from taskmesh.errors import UsageError
from taskmesh.flows.document import Item
from taskmesh.flows.fields import SCHEDULE_FILE_KEYS, SCHEDULE_KEYS
from taskmesh.flows.files import read_document, read_text, refuse
from taskmesh.model.durations import DURATION_RULE, read_duration
from taskmesh.model.problems import Hints, Problem
from taskmesh.model.problems import Path as Place
from taskmesh.model.schedules.options import ScheduleOptions, schedule_of
from taskmesh.model.schedules.schedule import CatchUp, Overlap, Schedule

_SECONDS = {
    "every": "every_seconds",
    "catch_up_window": "catch_up_window_seconds",
    "jitter": "jitter_seconds",
    "deadline": "deadline_seconds",
}
_TEXTS = ("cron", "at", "zone")
_WORDS: Mapping[str, tuple[str, ...]] = {
    "overlap": tuple(str(each) for each in Overlap),
    "catch_up": tuple(str(each) for each in CatchUp),
}


class ScheduleDraft(NamedTuple):
    """A schedule of a file, and what its runs are of: a flow file, or ``module:name``."""

    schedule: Schedule
    flow: str


def load_schedule_file(path: str | Path) -> list[ScheduleDraft]:
    """The schedules of a file of at most 16 MiB; a flow file is looked for beside it.

    :raises FlowError: with every problem of the file as ``file:line:column: sentence``.
    :raises UsageError: when the file cannot be read.
    """
    drafts = load_schedules(read_text(path, "schedule"), str(path))
    return [draft._replace(flow=_beside(draft.flow, Path(path))) for draft in drafts]


def load_schedules(text: str, source: str) -> list[ScheduleDraft]:
    """Read schedules from text; ``source`` is its name in messages, and tells JSON from YAML.

    :raises FlowError: with every problem of the text as ``source:line:column: sentence``.
    """
    root, findings = read_document(text, source)
    reading = _Reading()
    drafts = list(reading.drafts(root))
    refuse(source, root, findings, reading.problems)
    return drafts


def _beside(flow: str, file: Path) -> str:
    path = file.parent / flow
    is_path = path.is_file() or (":" not in flow and path.suffix != "")
    return str(path) if is_path else flow


class _Reading:
    """Reads one document; gathers problems."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def drafts(self, root: Item) -> Iterator[ScheduleDraft]:
        fields = self._fields(root, (), "the file", SCHEDULE_FILE_KEYS)
        schedules = fields.get("schedules")
        if schedules is None:
            if isinstance(root.value, dict):
                self._found(("schedules",), "the key 'schedules' is missing")
        elif not isinstance(schedules.value, dict):
            self._found(("schedules",), f"schedules must be a mapping of ids to schedules, not {schedules.shown}")
        else:
            for schedule_id, item in schedules.value.items():
                yield from self._draft(schedule_id, item, ("schedules", schedule_id))

    def _draft(self, schedule_id: str, item: Item, path: Place) -> Iterator[ScheduleDraft]:
        known = len(self.problems)
        fields = self._fields(item, path, "a schedule", SCHEDULE_KEYS)
        if isinstance(item.value, dict) and "flow" not in fields:
            self._found((*path, "flow"), "the key 'flow' is missing")
        options = {name: value for key, child in fields.items() for name, value in self._option(key, child, path)}
        flow = options.pop("flow", "")
        if len(self.problems) > known:
            return
        try:
            schedule = schedule_of(schedule_id, cast("ScheduleOptions", options))
        except UsageError as error:
            self._found((*path, "at" if "at" in options else "zone"), str(error))
            return
        for name, sentence in schedule.findings():
            key = name.rstrip(":")
            place = path if key in ("", "id") else (*path, key)
            self._found(place, f"{name} {sentence}" if name else sentence, on_key=key == "id")
        yield ScheduleDraft(schedule, flow)

    def _option(self, key: str, item: Item, path: Place) -> Iterator[tuple[str, Any]]:
        place = (*path, key)
        if key in _SECONDS:
            seconds = read_duration(item.value)
            if seconds is None:
                self._found(place, f"{key} must be {DURATION_RULE}, not {item.shown}")
            yield _SECONDS[key], seconds
        elif key in _WORDS:
            self._check_word(key, item, place)
            yield key, item.value
        elif key in ("params", "tags"):
            yield key, self._mapping(key, item, place)
        else:
            yield key, self._text(key, item, place)

    def _check_word(self, key: str, item: Item, place: Place) -> None:
        words = _WORDS[key]
        if item.value not in words:
            hint = Hints(words).did_you_mean(item.text)
            self._found(place, f"{key} must be one of {', '.join(words)}, not {item.shown}{hint}")

    def _text(self, key: str, item: Item, place: Place) -> str:
        if isinstance(item.value, str) and item.value:
            return item.value
        # YAML knows moments, too.
        if key == "at" and item.text:
            return item.text
        self._found(place, f"{key} must be a text, not {item.shown}")
        return ""

    def _mapping(self, key: str, item: Item, place: Place) -> dict[str, Any]:
        if not isinstance(item.value, dict):
            self._found(place, f"{key} must be a mapping of names to values, not {item.shown}")
            return {}
        if key == "tags":
            for name, child in item.value.items():
                if not isinstance(child.value, str):
                    self._found((*place, name), f"a tag must be a text, not {child.shown}")
        return {name: child.plain() for name, child in item.value.items()}

    def _fields(self, item: Item, path: Place, what: str, known: tuple[str, ...]) -> dict[str, Item]:
        if not isinstance(item.value, dict):
            self._found(path, f"{what} must be a mapping with the keys {', '.join(known)}, not {item.shown}")
            return {}
        for key in item.value:
            if key not in known:
                hint = Hints(known).did_you_mean(key) or f"; known are {', '.join(known)}"
                self._found((*path, key), f"there is no key {key!r} here{hint}", on_key=True)
        return {key: child for key, child in item.value.items() if key in known}

    def _found(self, path: Place, message: str, on_key: bool = False) -> None:
        self.problems.append(Problem(path, message, on_key))
