"""What can be kept of a flow, and the sentences that refuse what cannot be done with one."""

from __future__ import annotations

from taskmesh.dispatch.plan import Plan
from taskmesh.dispatch.registered import archived
from taskmesh.errors import FlowVersionError, TooLargeError, UsageError
from taskmesh.model.flow import Flow
from taskmesh.model.flow_versions import MAX_BODY_BYTES, MAX_MESSAGE_BYTES, NAME_RULE, is_registrable
from taskmesh.model.validation import complete
from taskmesh.store.flow_versions import Answer, FlowBody


def prepared(flow: Flow) -> FlowBody:
    """A flow as it is kept.

    :raises FlowError: it breaks rules. :raises UsageError: it cannot have this name. :raises TooLargeError: over 8 MiB.
    """
    plan = Plan.of(complete(flow))
    if not is_registrable(flow.name):
        raise UsageError(f"a flow with the name {flow.name!r} cannot be registered; its name must be {NAME_RULE}")
    if len(plan.body) > MAX_BODY_BYTES:
        raise TooLargeError(
            f"flow {flow.name!r} has {len(plan.body)} bytes; at most {MAX_BODY_BYTES} can be registered"
        )
    return FlowBody(plan.hash, plan.body, flow.version, len(flow.nodes))


def short_enough(text: str) -> str:
    """A message as it is kept, without what is no text.

    :raises UsageError: it is too long.
    """
    kept = text.encode(errors="replace")
    if len(kept) > MAX_MESSAGE_BYTES:
        raise UsageError(f"the message has {len(kept)} bytes; at most {MAX_MESSAGE_BYTES} are kept, so say it shorter")
    return kept.decode()


def refuse(name: str, number: int, expected: int | None, answer: Answer) -> None:
    """:raises FlowVersionError: the store refused to activate a version."""
    if answer.word == "archived":
        raise archived(name, number)
    if answer.word == "moved":
        raise moved(name, expected, answer.number)
    if answer.word == "unknown":
        raise FlowVersionError(name, f"flow {name!r} has no version {number}")


def moved(name: str, expected: int | None, active: int) -> FlowVersionError:
    """What is said when another version is active than was expected."""
    found = f"{name}@{active} is active" if active else f"no version of flow {name!r} is active"
    wanted = f"{name}@{expected} was expected" if expected else "none was expected"
    return FlowVersionError(name, f"{found}, but {wanted}: somebody else has changed it; nothing was done")
