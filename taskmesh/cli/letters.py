"""Commands about dead letters: the messages that no worker could use."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from taskmesh.cli.options import Format, Limit, Output, parsed
from taskmesh.errors import UsageError
from taskmesh.model.durations import as_float, read_duration

if TYPE_CHECKING:
    from rich.table import Table

    from taskmesh.client.dead_letters import DeadLetterBox, OpenedLetter
    from taskmesh.store.letters import DeadLetter, DeadLetterFilter

SHOWN_BYTES = 2048

Ids = Annotated[list[str], typer.Argument(metavar="ID...", help="Ids, as `taskmesh dead ls` prints them.")]
SomeIds = Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="Ids, as `taskmesh dead ls` prints them.")]
Pool = Annotated[str | None, typer.Option("--pool", metavar="NAME", help="Only letters of this pool.")]
Reason = Annotated[
    str | None, typer.Option("--reason", metavar="WORD", help="Only letters with this reason, as undecodable.")
]
OfRun = Annotated[str | None, typer.Option("--run", metavar="RUN", help="Only messages of this run.")]
OlderThan = Annotated[
    str | None, typer.Option("--older-than", metavar="AGE", help="Only older ones: 90s, 30m, 12h, 7d.")
]
NewerThan = Annotated[str | None, typer.Option("--newer-than", metavar="AGE", help="Only newer ones.")]
Everything = Annotated[bool, typer.Option("--all", help="All letters that the other options leave.")]


def ls(
    pool: Pool = None,
    reason: Reason = None,
    run: OfRun = None,
    older_than: OlderThan = None,
    newer_than: NewerThan = None,
    limit: Limit = 50,
    output: Output = Format.TEXT,
) -> None:
    """List the messages that no worker could use, the newest first."""
    from taskmesh.cli.output import console, print_json
    from taskmesh.cli.targets import opened

    wanted = _filter(pool, reason, run, older_than, newer_than)
    with opened() as mesh:
        letters = mesh.dead_letters.find(wanted, limit)
    if output is Format.JSON:
        print_json([_document(each) for each in letters])
    else:
        console().print(_table(letters) if letters else "no dead letters")


def show(
    letter: Annotated[str, typer.Argument(metavar="ID", help="Id, as `taskmesh dead ls` prints it.")],
    output: Output = Format.TEXT,
) -> None:
    """Show one dead letter: where it comes from, why it is one, and what its bytes say."""
    from taskmesh.cli.output import print_json
    from taskmesh.cli.targets import opened

    with opened() as mesh:
        found = mesh.dead_letters.get(letter)
    if output is Format.JSON:
        print_json({**_document(found.letter), "message": _message(found), "body": found.body})
    else:
        _print_letter(found)


def replay(
    ids: SomeIds = None,
    all_letters: Everything = False,
    pool: Pool = None,
    reason: Reason = None,
    run: OfRun = None,
    older_than: OlderThan = None,
    newer_than: NewerThan = None,
    rate: Annotated[float, typer.Option("--rate", min=0.1, max=100_000, help="At most so many in a second.")] = 100.0,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FIELD=VALUE", help="Change a field of its message. Of one letter only."),
    ] = None,
    body: Annotated[
        Path | None, typer.Option("--body", metavar="FILE", help="Publish these bytes instead. Of one letter only.")
    ] = None,
    to_pool: Annotated[
        str | None, typer.Option("--to-pool", metavar="NAME", help="Publish to this pool instead. With ids only.")
    ] = None,
    output: Output = Format.TEXT,
) -> None:
    """Publish letters again, by ids or with --all, and forget each once the broker has it."""
    from taskmesh.cli.targets import opened

    wanted = _filter(pool, reason, run, older_than, newer_than)
    _refuse_both(ids, all_letters, wanted)
    if (changes or body) and len(ids or ()) != 1:
        raise UsageError("--set and --body change one letter; name its id, and no other")
    if to_pool and not ids:
        raise UsageError("--to-pool needs the ids of the letters")
    with opened() as mesh:
        if ids:
            _replay_each(mesh.dead_letters, ids, changes or (), body, to_pool)
            _tell_replayed(len(ids), output)
        else:
            _tell_replayed(_replay_all(mesh.dead_letters, wanted, rate), output)


def purge(
    ids: SomeIds = None,
    all_letters: Everything = False,
    pool: Pool = None,
    reason: Reason = None,
    run: OfRun = None,
    older_than: OlderThan = None,
    newer_than: NewerThan = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    output: Output = Format.TEXT,
) -> None:
    """Forget letters for good, by ids or with --all; asks first."""
    from taskmesh.cli.output import print_json
    from taskmesh.cli.targets import opened

    wanted = _filter(pool, reason, run, older_than, newer_than)
    _refuse_both(ids, all_letters, wanted)
    with opened() as mesh:
        box = mesh.dead_letters
        _confirm(len(ids) if ids else box.count(wanted), yes)
        purged = box.discard(ids) if ids else box.purge(wanted)
    if output is Format.JSON:
        print_json({"purged": purged})
    else:
        print(f"purged {purged}")


def _filter(
    pool: str | None, reason: str | None, run: str | None, older_than: str | None, newer_than: str | None
) -> DeadLetterFilter:
    from taskmesh.store.letters import DeadLetterFilter

    older, newer = _seconds(older_than, "--older-than"), _seconds(newer_than, "--newer-than")
    return DeadLetterFilter(pool, reason, run, older, newer)


def _seconds(age: str | None, option: str) -> float | None:
    if age is None:
        return None
    seconds = read_duration(age)
    if seconds is None:
        raise UsageError(f"{option} {age!r} is no age; write a number and s, m, h or d, as in 12h")
    return seconds


def _refuse_both(ids: Sequence[str] | None, all_letters: bool, wanted: DeadLetterFilter) -> None:
    from taskmesh.store.letters import DeadLetterFilter

    if ids and (all_letters or wanted != DeadLetterFilter()):
        raise UsageError("name ids, or say --all (with --pool, --reason, --run, --older-than, --newer-than); not both")
    if not ids and not all_letters:
        raise UsageError("name the ids of letters, or say --all")


def _confirm(count: int, yes: bool) -> None:
    if yes or not count:
        return
    if not sys.stdin.isatty():
        raise UsageError(f"this would purge {count} dead letters for good; say --yes")
    if not typer.confirm(f"Purge {count} dead letters for good?", err=True):
        raise UsageError("nothing was purged")


def _replay_each(
    box: DeadLetterBox, ids: Sequence[str], changes: Sequence[str], body: Path | None, pool: str | None
) -> None:
    from taskmesh.cli.targets import pairs_of

    fields = {name: _value(text, name) for name, text in pairs_of(changes, "--set").items()}
    data = None if body is None else body.read_bytes()
    for letter_id in ids:
        box.replay(letter_id, changes=fields, body=data, pool=pool)


def _value(text: str, name: str) -> Any:
    """Numbers are numbers where the message has numbers; all else is text."""
    if name not in ("node", "attempt", "token", "deadline"):
        return text
    try:
        value = parsed(text)
    except (ValueError, RecursionError):
        return text
    return as_float(value) if name == "deadline" and isinstance(value, int) else value


def _replay_all(box: DeadLetterBox, wanted: DeadLetterFilter, rate: float) -> int:
    replayed, total = 0, box.count(wanted)
    for replayed in box.replay_all(wanted, rate):
        if sys.stderr.isatty():
            print(f"\rreplayed {replayed} of {total}", end="", file=sys.stderr, flush=True)
    if sys.stderr.isatty() and replayed:
        print(file=sys.stderr)
    return replayed


def _tell_replayed(count: int, output: Format) -> None:
    from taskmesh.cli.output import print_json

    if output is Format.JSON:
        print_json({"replayed": count})
    else:
        print(f"replayed {count}")


def _document(letter: DeadLetter) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(letter)


def _message(found: OpenedLetter) -> Any:
    """What the bytes say: a message of ours, or else any msgpack value; None where they are neither."""
    from dataclasses import asdict

    from taskmesh.errors import WireError
    from taskmesh.wire import unpack
    from taskmesh.wire.messages import NodeMessage

    if isinstance(found.message, NodeMessage):
        return found.message._asdict()
    if found.message is not None:
        return asdict(found.message)
    try:
        return unpack(found.body)
    except WireError:
        return None


def _table(letters: Sequence[DeadLetter]) -> Table:
    from taskmesh.cli.output import cell, clock_text, plain_table, visible

    table = plain_table("id", "at", "pool", "reason", "run", "bytes", "detail")
    for each in letters:
        texts = (each.id, clock_text(each.at), each.pool, each.reason, each.run_id or "", str(each.size), each.detail)
        table.add_row(*(cell(visible(text)) for text in texts))
    return table


def _print_letter(found: OpenedLetter) -> None:
    from taskmesh.cli.output import clock_text, json_text, visible

    letter = found.letter
    facts = {
        "dead letter": letter.id,
        "given up": f"{clock_text(letter.at)} by {letter.worker or 'the broker'}",
        "reason": f"{letter.reason}: {letter.detail}",
        "pool": letter.pool,
        "queue": letter.queue,
        "routing key": letter.routing_key,
        "run": letter.run_id or "",
        "node": "" if letter.node is None else str(letter.node),
        "bytes": f"{letter.size}, of which {len(found.body)} are kept" if letter.is_cut else str(letter.size),
    }
    for name, text in facts.items():
        if text:
            print(f"{name:12} {visible(text)}")
    message = _message(found)
    print(json_text(message) if message is not None else _hex_dump(found.body))


def _hex_dump(body: bytes) -> str:
    shown = body[:SHOWN_BYTES]
    lines = [
        f"{start:06x}  {shown[start : start + 16].hex(' '):47}  {_printable(shown[start : start + 16])}"
        for start in range(0, len(shown), 16)
    ]
    rest = len(body) - len(shown)
    return "\n".join([*lines, f"... and {rest} bytes more; -o json has all"] if rest else lines)


def _printable(part: bytes) -> str:
    return "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)
