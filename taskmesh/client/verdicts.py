"""What became of a wish for one run, and the words for it."""

from __future__ import annotations

from typing import NamedTuple

from taskmesh.errors import RunError, RunNotFoundError, RunStateError
from taskmesh.store.calls import Controlled, Who, Word

WHY_BYTES = 500
"""What a person says about a decision is kept with the run, so it must stay short."""


class Verdict(NamedTuple):
    """What became of a wish for one run: done, or not needed since the run had ended, or refused with an ``error``."""

    run_id: str
    done: bool
    error: RunError | None = None

    def accepted(self) -> bool:
        """Whether it was done.

        :raises RunError: it was refused.
        """
        if self.error is not None:
            raise self.error
        return self.done


def refused(run_id: str, why: str) -> Verdict:
    """``why`` goes on after the run's name."""
    return Verdict(run_id, False, RunStateError(run_id, why))


def verdict_of(run_id: str, answer: Controlled) -> Verdict:
    """What an answer of a script means."""
    if answer.word is Word.UNKNOWN:
        return Verdict(run_id, False, RunNotFoundError(run_id))
    if answer.word in _REFUSED:
        return refused(run_id, _REFUSED[answer.word])
    if answer.word is Word.PREPARING:
        return refused(run_id, half_done(run_id, answer.detail))
    return Verdict(run_id, answer.word is not Word.ENDED)


_REFUSED = {
    Word.BROKEN: "is damaged in the store",
    Word.ENDING: "is being ended early, so it cannot be paused",
    Word.NOTHING: "has nothing to undo: nothing says what would undo its nodes",
    Word.FLOW_MISSING: "has lost its flow in the store",
    Word.SOURCE_GONE: "cannot be prepared any further: the run that it was forked from is gone, or has run again "
    "meanwhile; terminate it and fork again",
}


def half_done(run_id: str, kind: str) -> str:
    """What to do about a run that is prepared for something and waits for the end of that."""
    return (
        f"is being prepared ({kind}), which was begun and not finished; `taskmesh resume {run_id}` finishes it, "
        f"`taskmesh terminate {run_id}` ends the run"
    )


def checked(who: Who) -> Who:
    """Short enough to be kept."""
    return Who(_cut(who.by), _cut(who.why))


def _cut(text: str) -> str:
    return text.encode(errors="replace")[:WHY_BYTES].decode(errors="ignore")
