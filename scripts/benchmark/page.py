"""docs/benchmarks.md, written from a report."""

from __future__ import annotations

from pathlib import Path

from scripts.benchmark.children import PROJECT
from scripts.benchmark.peers import NODE_PACKAGES, PYTHON_PACKAGES
from scripts.benchmark.report import Report
from scripts.benchmark.tables import tables_of

PAGE = PROJECT / "docs" / "benchmarks.md"

HEAD = """# Benchmarks

This page is written by `./scripts/bench`; do not edit it by hand.

Figures are medians of repeats on one machine, which runs the servers, the workers and the client at the same time.
Compare what stands in one table; do not compare with figures of other machines.
"""

METHOD = """## What is measured

- **Raw limit**: pika alone, in as many I/O processes, publishes messages of 180 bytes with confirms through one
  consistent-hash exchange into 8 quorum queues, and consumes and acks them. Each is counted when it is acked. It is
  measured anew in every repeat, so that a noisy machine slows both sides of a ratio.
- **Rates** (`single`, `flows_of_9`, `fan_in`, `map`, `chains_at_once`, `montage`): the queue fills while the worker is
  frozen (SIGSTOP), then the clock runs from its thaw until the last node has ended. They count nodes.
- **Maps**: `./scripts/bench --maps` drains a map of 100,000 no-op items and a fan-in of as many nodes in turn, and
  prints how many times as long the map takes: the median of the rounds' ratios, 1.3 at most by the aim.
- **submit_many**: the clock runs while the queue fills.
- **Latencies** (`chain`, `round_trip`): the client does one after the other and awaits each result.
- Each workload is warmed up. A figure counts only when every run of it ended with a result.
- Timers, schedules and features are measured apart: `--timers`, `--schedules`, `--killed` (schedules while keepers are
  killed) and `--features`; [architecture](architecture.md) and [guarantees](guarantees.md) have those figures.
- Peers run on the same servers with the same kind of driver. A number in parentheses is a smaller size than ours,
  chosen so that a slow system ends in reasonable time.
"""


def write_page(report: Report, target: Path = PAGE) -> None:
    """Write the whole page."""
    parts = [HEAD, *(table.to_markdown() for table in tables_of(report)), METHOD, _setup(report), _repeat(report)]
    target.write_text("\n".join(parts))


def _setup(report: Report) -> str:
    lines = [f"- **{what}**: {fact}" for what, fact in report.facts.items()]
    lines += [f"- **{system}**: {settings}" for system, settings in report.settings.items()]
    lines += [f"- **{peer}** was skipped: {reason}" for peer, reason in report.skipped.items()]
    if report.peers:
        lines.append(f"- **Versions of peers**: {', '.join([*PYTHON_PACKAGES, *NODE_PACKAGES])}")
    return "## Set-up\n\n" + "\n".join(lines) + "\n"


def _repeat(report: Report) -> str:
    return f"""## How to repeat it

```
{report.command}
```

It needs `rabbitmq-server` and `redis-server` (or `valkey-server`) on the machine, starts both on private ports without
root and stops them after. `--help` lists the options; `-o json` prints all figures as JSON.
"""
