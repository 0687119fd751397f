"""Settings: what they are, and where their values come from. The only place that reads the environment."""

from __future__ import annotations

from taskmesh.config.loader import Origin, explain, load_settings, restore_settings, standing_above
from taskmesh.config.settings import (
    BrokerSection,
    ClientSection,
    EmbeddedSection,
    FlowsSection,
    LimitsSection,
    LogSection,
    PluginsSection,
    Settings,
    StoreSection,
    WorkerSection,
)

__all__ = [
    "BrokerSection",
    "ClientSection",
    "EmbeddedSection",
    "FlowsSection",
    "LimitsSection",
    "LogSection",
    "Origin",
    "PluginsSection",
    "Settings",
    "StoreSection",
    "WorkerSection",
    "explain",
    "load_settings",
    "restore_settings",
    "standing_above",
]
