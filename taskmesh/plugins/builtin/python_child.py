"""The process of one python node: reads source and inputs, gives everything up, runs, writes the result.

Started by file, without taskmesh on its path; it needs nothing but the standard library. What the source may import is
imported here, since afterwards no file can be opened.
"""

import ctypes
import importlib.util
import io
import json
import linecache
import os
import resource
import signal
import sys
import traceback
from types import FunctionType
from typing import Any

MODULES = (
    "base64 bisect calendar cmath collections.abc copy csv dataclasses datetime decimal difflib enum fractions "
    "functools hashlib heapq hmac html itertools json math operator random re statistics string struct textwrap "
    "time typing unicodedata urllib.parse zlib"
)
"""What the source may import."""

NEEDED = "_strptime"
"""What those import only when they need it."""

FILTER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "seccomp.py")
PLACE = "<source>"
MAX_MESSAGE = 2000
_PR_SET_PDEATHSIG = 1


def main() -> None:
    request = json.loads(sys.stdin.buffer.read())
    for name in (*MODULES.split(), NEEDED):
        importlib.import_module(name)
    confine = _load(FILTER).confine
    _limit(request, request["parent"])
    confine()
    out, sys.stdout = sys.stdout.buffer, io.StringIO()
    try:
        answer = json.dumps({"result": _result(request)}, ensure_ascii=False, allow_nan=False).encode()
    except BaseException as error:
        answer = json.dumps({"error": _sentence(error)}).encode()
    out.write(answer)
    out.flush()
    # Not by way of the interpreter's end, which would run what the source has left there.
    os._exit(0)


def _load(file: str) -> Any:
    """A module by its file: its directory is on no path, as the names of others there are those of Python's own."""
    spec = importlib.util.spec_from_file_location("seccomp", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _limit(request: "dict[str, Any]", parent: int) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)
    for limit, value in (
        (resource.RLIMIT_AS, request["memory_bytes"]),
        (resource.RLIMIT_CPU, request["cpu_seconds"]),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
    ):
        _, most = resource.getrlimit(limit)
        kept = value if most == resource.RLIM_INFINITY else min(value, most)
        resource.setrlimit(limit, (kept, kept))


def _result(request: "dict[str, Any]") -> object:
    source = request["source"]
    # Errors show lines of the source, which lie in no file.
    linecache.cache[PLACE] = (len(source), None, source.splitlines(keepends=True), PLACE)
    names: dict[str, Any] = {"__name__": "__node__"}
    FunctionType(compile(source, PLACE, "exec"), names)()
    function = names.get(request["function"])
    if not callable(function):
        raise NameError(f"the source defines no function {request['function']!r}")
    return function(**request["inputs"])


def _sentence(error: BaseException) -> str:
    places = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == PLACE]
    where = f" (line {places[-1].lineno} of the source)" if places else ""
    return f"{type(error).__name__}: {str(error)[:MAX_MESSAGE]}{where}"


if __name__ == "__main__":
    main()
