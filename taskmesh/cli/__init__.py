"""The ``taskmesh`` command. Exit codes: 0 all is well, 1 the run failed, 2 wrong usage or input, 130 interrupted."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

from taskmesh.errors import TaskmeshError

WRONG_USAGE = 2


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command; ends the process with its exit code.

    :param arguments: what stands after ``taskmesh``; None means those of this process.
    """
    from taskmesh.cli.app import build

    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a glyph shows a question mark instead of ending the command.
        getattr(stream, "reconfigure", lambda **_: None)(errors="replace")
    # Whoever stops the command, it takes its leave: it cancels its run and lets the embedded server end.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        build()(args=arguments, prog_name="taskmesh")
    except TaskmeshError as error:
        print(f"taskmesh: {error}", file=sys.stderr)
        sys.exit(WRONG_USAGE)
    except UnicodeEncodeError as error:
        from taskmesh.wire.codec import no_utf8

        # Bytes of the command line that are no UTF-8 reach whoever must first say them, as the store the name of a key.
        print(f"taskmesh: {no_utf8(error)}", file=sys.stderr)
        sys.exit(WRONG_USAGE)
    except OSError as error:
        print(f"taskmesh: {error.strerror or error}: {error.filename or 'the output'}", file=sys.stderr)
        sys.exit(WRONG_USAGE)
    sys.exit(0)
