"""What makes a node run or not, read from a flow file: its rule, its expression, and the cases of a switch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

from taskmesh.flows.document import Item
from taskmesh.flows.fields import CASE_KEYS
from taskmesh.model.flow import Flow, Node, Switch, case_of
from taskmesh.model.problems import Path
from taskmesh.model.triggers import PLAIN, Trigger, read_rule, rule_problem

Fields = Mapping[str, Item]


class Reading(Protocol):
    """Reads the plain parts of a document; gathers problems."""

    def found(self, path: Path, message: str, on_key: bool = False) -> None: ...

    def text(self, item: Item | None, path: Path) -> str: ...

    def fields(
        self, item: Item, path: Path, what: str, known: tuple[str, ...], unsupported: Mapping[str, str]
    ) -> dict[str, Item]: ...

    def task_node(self, fields: Fields, path: Path) -> Node: ...

    def inner_flow(self, item: Item, path: Path) -> Flow: ...


class ChoiceReading:
    """Reads what stands below one node; what is wrong is told and left out."""

    def __init__(self, path: Path, reading: Reading) -> None:
        self._path = path
        self._reading = reading

    def trigger(self, fields: Fields) -> Trigger:
        rule = self._reading.text(fields.get("rule"), (*self._path, "rule"))
        depends = self._reading.text(fields.get("depends"), (*self._path, "depends"))
        if rule and depends:
            self._reading.found((*self._path, "rule"), "'rule' and 'depends' say the same in two ways; keep one", True)
        if depends:
            return Trigger(depends=depends)
        trigger = read_rule(rule) if rule else PLAIN
        if trigger is None:
            self._reading.found((*self._path, "rule"), f"rule {rule_problem(rule)}")
        return trigger or PLAIN

    def switch(self, item: Item) -> Switch:
        path = (*self._path, "switch")
        if not isinstance(item.value, list) or not item.value:
            shown = "an empty one" if item.value == [] else item.shown
            self._reading.found(path, f"switch must be a list of cases, not {shown}")
            return Switch(())
        cases = []
        for number, child in enumerate(item.value):
            fields = self._reading.fields(child, (*path, number), "a case", CASE_KEYS, {})
            cases.append(self._case(fields, (*path, number)))
        return Switch(tuple(case_of(*each) for each in cases if each is not None))

    def _case(self, fields: Fields, path: Path) -> tuple[str, tuple[str, ...], str] | None:
        keys = {key for key in ("when", "then", "else") if key in fields}
        if keys not in ({"when", "then"}, {"else"}):
            if fields:
                self._reading.found(path, "a case has 'when' and 'then', or it is the last one and has 'else' alone")
            return None
        leads = "else" if "else" in keys else "then"
        when = self._reading.text(fields.get("when"), (*path, "when"))
        if leads == "then" and not when:
            return None
        names = tuple(self._names(fields[leads], (*path, leads)))
        return when, names, self._reading.text(fields.get("name"), (*path, "name"))

    def _names(self, item: Item, path: Path) -> Iterator[str]:
        if isinstance(item.value, str):
            yield item.value
        elif not isinstance(item.value, list) or not all(isinstance(each.value, str) for each in item.value):
            self._reading.found(path, f"{path[-1]} must be a node name, or a list of them, not {item.shown}")
        else:
            yield from (str(each.value) for each in item.value)
