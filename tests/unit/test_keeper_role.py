"""What a process that keeps house does, by what it leads."""

from __future__ import annotations

import asyncio
from typing import Any
from unittest.mock import MagicMock

import pytest

from taskmesh.app import keeping
from taskmesh.clock import ManualClock
from taskmesh.config.settings import Settings
from taskmesh.keeper.keeper import PROBING_PARTITION
from taskmesh.observability.tally import Tally

SERVICES = ("EventRelay", "Timers", "PayloadSweep")
BEGINS, ENDS = ("start", "begin"), ("stop", "end")


class Services:
    """Which of the services of a role are at work, where each is replaced by one that only counts."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._made: dict[str, MagicMock] = {}
        for name in SERVICES:
            monkeypatch.setattr(keeping, name, self._maker(name))
        monkeypatch.setattr(keeping, "open_scheduler", self._maker("Scheduler"))

    def _maker(self, name: str) -> Any:
        def make(*_: Any) -> MagicMock:
            return self._made.setdefault(name, MagicMock())

        return make

    def at_work(self) -> set[str]:
        return {name for name, made in self._made.items() if self._last(made) in BEGINS}

    def _last(self, made: MagicMock) -> str:
        return str([each[0] for each in made.method_calls if each[0] in (*BEGINS, *ENDS)][-1])


class Leads:
    """Stands in for a pass, which finds out what the process leads."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.partitions: set[int] = set()
        self.turns: dict[int, int] = {}
        leads = self

        class Keeper:
            def __init__(self, parts: Any, *_: Any) -> None:
                self._leadership = parts.leadership

            async def run_pass(self) -> None:
                self._leadership.epochs.clear()
                self._leadership.epochs.update(dict.fromkeys(leads.partitions, 1))
                self._leadership.turns = leads.turns

        monkeypatch.setattr(keeping, "Keeper", Keeper)


def test_a_process_publishes_the_events_of_whatever_partitions_it_leads(monkeypatch: pytest.MonkeyPatch) -> None:
    services, leads = Services(monkeypatch), Leads(monkeypatch)
    foundation: Any = MagicMock(settings=Settings(), clock=ManualClock())
    unused: Any = MagicMock()
    other = PROBING_PARTITION + 3

    async def keep() -> None:
        role = keeping.KeeperRole(foundation, "me", unused, unused, Tally())
        for partitions, working in (
            ({other}, {"EventRelay", "Timers"}),
            ({other, PROBING_PARTITION}, {"EventRelay", "Timers", "PayloadSweep"}),
            (set[int](), set[str]()),
        ):
            leads.partitions = partitions
            await role.keep()
            assert services.at_work() == working

    asyncio.run(keep())


def test_a_process_looks_after_schedules_also_where_it_leads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    services, leads = Services(monkeypatch), Leads(monkeypatch)
    foundation: Any = MagicMock(settings=Settings(), clock=ManualClock())
    unused: Any = MagicMock()

    async def keep() -> None:
        role = keeping.KeeperRole(foundation, "me", unused, unused, Tally())
        leads.turns = {0: 1}
        await role.keep()
        assert services.at_work() == {"Scheduler"}
        leads.turns = {}
        await role.keep()
        assert services.at_work() == set()

    asyncio.run(keep())


def test_a_pass_that_is_cancelled_begins_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    services, leads = Services(monkeypatch), Leads(monkeypatch)
    foundation: Any = MagicMock(settings=Settings(), clock=ManualClock())
    unused: Any = MagicMock()

    async def run_pass(_: Any) -> None:
        raise asyncio.CancelledError

    async def keep() -> None:
        role = keeping.KeeperRole(foundation, "me", unused, unused, Tally())
        leads.partitions = {PROBING_PARTITION}
        await role.keep()
        role.leave()
        monkeypatch.setattr(keeping.Keeper, "run_pass", run_pass)
        with pytest.raises(asyncio.CancelledError):
            await role.keep()
        assert services.at_work() == set()

    asyncio.run(keep())
