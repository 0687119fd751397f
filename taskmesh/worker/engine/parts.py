"""What the engine of an I/O process works with."""

from __future__ import annotations

from dataclasses import dataclass

from taskmesh.broker.protocol import Consumer
from taskmesh.clock import Clock
from taskmesh.dispatch.dispatcher import Dispatcher
from taskmesh.dispatch.plans import Plans
from taskmesh.dispatch.waking import AlarmClock
from taskmesh.observability.tally import Tally
from taskmesh.payload.large_values import NOWHERE, LargeValues
from taskmesh.store.reader import Reader
from taskmesh.store.store import Store
from taskmesh.worker.letters.burying import DeadLetters


@dataclass(frozen=True, slots=True)
class Parts:
    """The adapters of an I/O process, and its counters."""

    store: Store
    reader: Reader
    plans: Plans
    dispatcher: Dispatcher
    alarm: AlarmClock
    consumer: Consumer
    dead_letters: DeadLetters
    tally: Tally
    clock: Clock
    max_value_bytes: int = 1_048_576
    large: LargeValues = NOWHERE
