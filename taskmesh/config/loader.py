"""Puts the settings together: the caller over the environment over what was pushed over the file over the defaults."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from taskmesh.config.draft import Draft, Values
from taskmesh.config.keys import KEYS
from taskmesh.config.pushed import NOTHING_PUSHED, Pushed, from_pushed
from taskmesh.config.settings import Settings
from taskmesh.config.sources import from_environ, from_fallbacks, from_file, from_overrides
from taskmesh.config.values import shown


@dataclass(frozen=True, slots=True)
class Origin:
    """One setting as ``taskmesh config show`` prints it. Secrets in ``value_shown`` are masked."""

    key: str
    value_shown: str
    origin: str


def load_settings(
    overrides: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    directory: Path | None = None,
) -> Settings:
    """The settings of this program.

    :param overrides: values that stand above all others, nested or by dotted key; None values are ignored.
    :param environ: the environment; the process's own when None.
    :param directory: where the configuration file is looked for; the current one when None.
    :raises ConfigError: something is wrong; its text has one line for each problem.
    """
    return _build(_draft(overrides, environ, directory).finish())


def restore_settings(mapping: Mapping[str, Any]) -> Settings:
    """The settings that ``Settings.to_mapping`` described, in another process: no file, no environment.

    :raises ConfigError: the mapping does not come from there.
    """
    draft = Draft()
    draft.take(from_overrides(mapping))
    return _build(draft.finish())


def with_pushed(settings: Settings, pushed: Pushed, above: Collection[str]) -> Settings:
    """Settings of a worker with what was pushed over them, but for the keys ``above``, which stand above that.

    :raises ConfigError: something that was pushed is wrong here; its text has one line for each problem.
    """
    draft = Draft()
    draft.take(from_overrides(settings.to_mapping()))
    draft.take(given for given in from_pushed(pushed) if given.key not in above)
    return _build(draft.finish())


def standing_above(overrides: Mapping[str, Any], environ: Mapping[str, str] | None = None) -> frozenset[str]:
    """The keys that the caller or the environment gives, and no push changes; parameters as of ``load_settings``."""
    sources = (*from_environ(os.environ if environ is None else environ), *from_overrides(overrides))
    return frozenset(given.key for given in sources)


def explain(
    overrides: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    directory: Path | None = None,
    pushed: Pushed = NOTHING_PUSHED,
) -> list[Origin]:
    """Every setting that a worker would have, its value and where that comes from.

    ``pushed`` is what holds for all workers; the other parameters and errors are those of ``load_settings``.
    """
    values = _draft(overrides, environ, directory, pushed).finish()
    return [Origin(name, shown(KEYS[name], value), origin) for name, (value, origin) in values.items()]


def _draft(
    overrides: Mapping[str, Any] | None,
    environ: Mapping[str, str] | None,
    directory: Path | None,
    pushed: Pushed = NOTHING_PUSHED,
) -> Draft:
    environ = os.environ if environ is None else environ
    draft = Draft()
    draft.take(from_file(environ, directory or Path()))
    draft.take(from_pushed(pushed))
    draft.take(from_environ(environ))
    draft.take(from_overrides(overrides or {}))
    draft.take(from_fallbacks(environ, draft.servers()))
    return draft


def _build(values: Values) -> Settings:
    sections: dict[str, dict[str, Any]] = {}
    for name, (value, _) in values.items():
        section, _, key = name.rpartition(".")
        sections.setdefault(section, {})[key] = value
    own = sections.pop("")
    made = {name: type(getattr(Settings(), name))(**keys) for name, keys in sections.items()}
    return Settings(**own, **made)
