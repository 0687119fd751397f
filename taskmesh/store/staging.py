"""The items of a run, kept in pages before the run is admitted: one script takes only so much."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

from taskmesh.store.link import Command
from taskmesh.store.store import Request, Store

ITEMS_PER_PAGE = 200
BYTES_PER_PAGE = 256 * 1024
"""What one script takes, unless one item alone has more bytes."""

PAGES_PER_EXCHANGE = 16

STAGED_MS = 3_600_000
"""How long items wait for their run to be admitted, which follows at once."""


def stage_items(store: Store, run_id: str, items: Sequence[bytes]) -> None:
    """Keep the items of a run that is to be admitted next; those that nobody admits expire."""
    pages = _pages(items)
    while batch := list(islice(pages, PAGES_PER_EXCHANGE)):
        store.ask(Request([_stage(store, run_id, *page) for page in batch], bool))


def _stage(store: Store, run_id: str, start: int, page: Sequence[bytes]) -> Command:
    return store.script("stage_items", [store.keys.run(run_id)], [start, STAGED_MS, *page])


def _pages(items: Sequence[bytes]) -> Iterator[tuple[int, Sequence[bytes]]]:
    """The items in pages that a script takes in no time, each with the number of those before it."""
    start, size = 0, 0
    for at, item in enumerate(items):
        if at > start and (at - start == ITEMS_PER_PAGE or size + len(item) > BYTES_PER_PAGE):
            yield start, items[start:at]
            start, size = at, 0
        size += len(item)
    yield start, items[start:]
