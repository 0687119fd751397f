"""What people do to a run as a whole, as part of the reference model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.model.answers import ALL_RETRYING, Answer

if TYPE_CHECKING:
    from tests.model.reference import RunModel


class Steering:
    """``paused`` is the kind of the pause. ``left`` are the nodes that a terminated run still has in the outbox."""

    paused = ""
    left: set[int] | None = None

    @property
    def terminated(self) -> bool:
        return self.left is not None

    @property
    def is_held(self: RunModel) -> bool:
        """Whether no ready node can be claimed."""
        return self.terminated or bool(self.paused and not self.halt)

    def pause(self: RunModel) -> Answer:
        if self.status != "running":
            return Answer("ended", text=self.status)
        if self.halt:
            return Answer("ending")
        self.paused = self.paused or "user"
        return Answer("paused") if self.paused == "user" else Answer("preparing", text=self.paused)

    def resume(self: RunModel, kind: str = "user") -> Answer:
        if self.status != "running":
            return Answer("ended", text=self.status)
        if not self.paused:
            return Answer("running")
        if self.paused != kind:
            return Answer("preparing", text=self.paused)
        self.paused = ""
        return Answer("resumed")

    def terminate(self: RunModel) -> Answer:
        if self.terminated:
            return Answer("terminated")
        if self.status != "running":
            return Answer("ended", text=self.status)
        self.left, self.paused = set(self.outbox), ""
        return Answer("terminated")

    def halt_with(self: RunModel, status: str) -> Answer:
        if self.status != "running":
            return Answer("ended", text=self.status)
        if self.paused not in ("", "user"):
            return Answer("preparing", text=self.paused)
        was, self.paused = self.paused, ""
        self.halt_now(status)
        return Answer("halted", text="paused" if was else "")

    def halt_now(self: RunModel, status: str) -> None:
        if not self.halt:
            self.halt = status
            if self.retried:
                self.timers[ALL_RETRYING] = self.now
