"""Every call in every situation, made to the scripts and to the reference model, which must stay alike."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from itertools import count

from taskmesh.store.link import Link
from tests.model.case import START, Call, Case, Situation
from tests.model.every_call import SCRIPT_OF, every_call
from tests.model.lab import Lab
from tests.model.situations import SITUATIONS


class Tour:
    """``words`` counts the answers of each script; ``statuses`` are those that a run had after a call."""

    def __init__(self, link: Link, namespace: str) -> None:
        self._link = link
        self._namespaces = (f"{namespace}-{number}" for number in count())
        self.words: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.statuses: set[str] = set()

    def make_calls_of(self, *scripts: str, situations: Mapping[str, Situation] = SITUATIONS) -> None:
        """Make every call of these scripts in every one of the situations.

        :raises AssertionError: the scripts and the model differ; a note says where.
        """
        for name, situation in situations.items():
            try:
                self._visit(scripts, situation)
            except AssertionError as error:
                error.add_note(f"in the situation: {name}")
                raise

    def _visit(self, scripts: Collection[str], situation: Situation) -> None:
        """A call that changes something is repeated, as its answer may have been lost; then all begins anew."""
        case = self._begin(situation)
        for call in [each for each in every_call(case) if SCRIPT_OF[each.name] in scripts]:
            before = case.state()
            self._make(case, call)
            if case.state() != before:
                self._make(case, call)
                case = self._begin(situation)

    def _make(self, case: Case, call: Call) -> None:
        try:
            self.words[SCRIPT_OF[call.name]][case.do(call)] += 1
        except AssertionError as error:
            error.add_note(f"after the call: {call}")
            raise
        self.statuses.add(case.model.status)

    def _begin(self, situation: Situation) -> Case:
        return Case(Lab(self._link, next(self._namespaces), START), situation)
