"""Puts the settings together: the caller over the environment over the file over the defaults."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from taskmesh.config.draft import Draft, Values
from taskmesh.config.keys import KEYS
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


def explain(
    overrides: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    directory: Path | None = None,
) -> list[Origin]:
    """Every setting, its value and where that comes from; parameters and errors as of ``load_settings``."""
    values = _draft(overrides, environ, directory).finish()
    return [Origin(name, shown(KEYS[name], value), origin) for name, (value, origin) in values.items()]


def _draft(overrides: Mapping[str, Any] | None, environ: Mapping[str, str] | None, directory: Path | None) -> Draft:
    environ = os.environ if environ is None else environ
    draft = Draft()
    draft.take(from_file(environ, directory or Path()))
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
