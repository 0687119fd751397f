"""Nodes of type python with source that means no good."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import pytest

from taskmesh.config.settings import PluginsSection
from taskmesh.errors import NodeConfigError, NodeFailedError, NodeRefusedError, TaskCancelledError
from taskmesh.plugins.builtin.python_code import PythonNode
from tests.harness.node_context import OneNode

pytestmark = pytest.mark.skipif(bool(PythonNode.lacking()), reason=PythonNode.lacking() or "it can be confined")


def run(source: str, *, function: str = "main", section: dict[str, Any] | None = None, **inputs: Any) -> Any:
    node = PythonNode(PluginsSection(python=True, **{"python_seconds": 60.0, **(section or {})}))
    return node.execute({"source": textwrap.dedent(source), "function": function, "inputs": inputs}, OneNode())


def body(lines: str) -> str:
    """A function of these lines."""
    return "def main():\n" + textwrap.indent(textwrap.dedent(lines), "    ")


def test_a_function_gets_its_inputs_and_its_result_is_the_output() -> None:
    source = """
        import statistics, re
        LIMIT = 2

        def mean(numbers):
            return statistics.mean(numbers)

        def judge(numbers, name="x"):
            return {"high": mean(numbers) > LIMIT, "name": re.sub("[aeiou]", "", name), "none": None}
    """
    assert run(source, function="judge", numbers=[1, 2, 6], name="grüße") == {
        "high": True,
        "name": "grüß",
        "none": None,
    }


@pytest.mark.parametrize(
    "lines",
    [
        "return open('/etc/hostname').read()",
        "return open('/proc/self/environ').read()",
        "open('/tmp/taskmesh-was-here', 'w').write('x')",
        "import os; return os.listdir('/')",
        "import os; return os.stat('/etc/passwd').st_size",
        "import os; os.mkdir('/tmp/taskmesh-was-here')",
        "import os; os.unlink('/tmp/nothing')",
        "import os; os.rename('/tmp/a', '/tmp/b')",
        "import os; os.symlink('/tmp/a', '/tmp/taskmesh-was-here')",
        "import os; os.chmod('/tmp', 0o777)",
        "import os; os.fork()",
        "import os; os.execv('/bin/sh', ['sh'])",
        "import os; os.kill(os.getppid(), 9)",
        "import os; os.kill(-1, 9)",
        "import os; os.setuid(0)",
        "import os; os.pipe()",
        "import os; os.memfd_create('x')",
        "import os; os.posix_spawn('/bin/true', ['true'], {})",
        "import _thread; _thread.start_new_thread(print, ())",
        "import resource; resource.setrlimit(resource.RLIMIT_AS, (-1, -1))",
    ],
)
def test_there_are_no_files_no_processes_and_no_threads(lines: str) -> None:
    with pytest.raises(
        NodeFailedError, match=r"PermissionError|can't start new thread|not allowed|Operation not permitted"
    ):
        run(body(lines))
    assert not Path("/tmp/taskmesh-was-here").exists()


@pytest.mark.parametrize(
    "module", ["socket", "subprocess", "_socket", "asyncio", "http.client", "select", "mmap", "pip"]
)
def test_nothing_else_can_be_imported(module: str) -> None:
    with pytest.raises(NodeFailedError, match=r"ModuleNotFoundError|ImportError|PermissionError"):
        run(f"import {module}\ndef main(): pass")


def test_calls_of_the_system_by_way_of_c_are_refused_all_the_same() -> None:
    source = """
        import ctypes
        libc = ctypes.CDLL(None, use_errno=True)
        def main():
            tried = {
                "socket": libc.socket(2, 1, 0),
                "socketpair": libc.socketpair(1, 1, 0, (ctypes.c_int * 2)()),
                "open": libc.open(b"/etc/passwd", 0),
                "fork": libc.fork(),
                "ptrace": libc.ptrace(0, 0, 0, 0),
                "io_uring_setup": libc.syscall(425, 1, None),
                "openat2": libc.syscall(437, -100, b"/etc/passwd", None, 0),
                "unshare": libc.unshare(0x10000000),
                "prctl": libc.prctl(22, 2, None, 0, 0),
            }
            return [name for name, answer in tried.items() if answer != -1]
    """
    assert run(source) == []


def test_time_is_bounded_whether_it_computes_or_sleeps() -> None:
    for lines in ("while True: pass", "import time\ntime.sleep(1000)", "return 9**9**9"):
        with pytest.raises(NodeFailedError, match=r"longer than 1 s"):
            run(body(lines), section={"python_seconds": 1.0})


@pytest.mark.parametrize("lines", ["return len('x' * 10**9)", "a = [0]\nwhile True: a = a + a"])
def test_memory_is_bounded(lines: str) -> None:
    with pytest.raises(NodeFailedError, match="MemoryError"):
        run(body(lines))


def test_results_are_bounded() -> None:
    with pytest.raises(NodeFailedError, match="more than 1000 bytes"):
        run(body("return 'x' * 10000"), section={"python_output_bytes": 1000})
    with pytest.raises(NodeFailedError, match="more than 1000 bytes"):
        run(body("import os\nwhile True: os.write(1, b'flood')"), section={"python_output_bytes": 1000})


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("def main(): return 1 / 0", r"ZeroDivisionError: division by zero \(line 1 of the source\)"),
        ("def main(: pass", "SyntaxError"),
        ("x = 1", "the source defines no function 'main'"),
        ("main = 7", "the source defines no function 'main'"),
        ("def main(a): pass", "TypeError: .*missing 1 required"),
        ("def main(): return {1, 2}", "TypeError: Object of type set is not JSON serializable"),
        ("def main(): return float('nan')", "ValueError: Out of range float values"),
        ("def main(): return main()", "RecursionError"),
        ("import sys\ndef main(): sys.exit(3)", "SystemExit: 3"),
        ("import os\ndef main(): os._exit(0)", "without a result"),
        ("import ctypes\ndef main(): ctypes.string_at(0)", "without a result"),
        ("import os\ndef main():\n os.write(1, b'[1]')\n os._exit(0)", "something else than a result"),
        ("(" * 5000, "SyntaxError|MemoryError|RecursionError|without a result"),
        ("x = " + "-" * 60_000 + "1", "MemoryError|RecursionError|without a result|no function"),
    ],
)
def test_what_goes_wrong_is_said(source: str, said: str) -> None:
    with pytest.raises(NodeFailedError, match=said):
        run(source)


def test_what_it_prints_is_dropped_and_does_not_disturb_the_result() -> None:
    assert run(body("print('hello')\nreturn 1")) == 1


def test_nothing_of_the_workers_environment_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "s3cret")
    # LC_CTYPE comes from Python itself.
    assert set(run(body("import os\nreturn dict(os.environ)"))) <= {"LC_CTYPE"}


def test_nothing_runs_where_the_settings_do_not_say_so() -> None:
    with pytest.raises(NodeRefusedError, match="python of this worker is false"):
        PythonNode(PluginsSection()).execute({"source": "def main(): pass"}, OneNode())


def test_inputs_are_what_json_can_hold() -> None:
    with pytest.raises(NodeConfigError, match="inputs holds a value that JSON cannot hold"):
        run("def main(a): pass", a=b"bytes")


def test_a_node_that_should_end_ends_its_process() -> None:
    node = PythonNode(PluginsSection(python=True, python_seconds=600.0))
    with pytest.raises(TaskCancelledError):
        node.execute({"source": body("while True: pass")}, OneNode(TaskCancelledError("r-1", "ask")))
