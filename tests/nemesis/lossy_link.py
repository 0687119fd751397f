"""A network namespace of our own, and the one link that leads out of it, on which packets get lost."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

from tests.nemesis.not_here import NotHereError

TOOLS = {"ip": "iproute2", "nft": "nftables"}
"""What is needed, and Debian's package that has it."""


@dataclass(frozen=True, slots=True)
class LossyLink:
    """``enter`` runs a command in the namespace; ``near`` is our address on the link, ``far`` the one in there."""

    name: str
    near: str
    far: str

    @property
    def enter(self) -> tuple[str, ...]:
        return ("ip", "netns", "exec", self.name)


@contextlib.contextmanager
def lossy_link(percent: int) -> Iterator[LossyLink]:
    """So many of a hundred packets get lost, in each direction.

    :raises NotHereError: a tool is not installed, or this machine does not let us make namespaces or filters.
    """
    missing = [package for tool, package in TOOLS.items() if shutil.which(tool) is None]
    if missing:
        raise NotHereError(f"not installed: {', '.join(missing)} (Debian: apt install {' '.join(missing)})")
    number = os.getpid() % 16_384
    subnet = f"10.{200 + number // 64 // 64}.{number // 64 % 64}.{number % 64 * 4}".rpartition(".")
    link = LossyLink(f"taskmesh-{os.getpid()}", *(f"{subnet[0]}.{int(subnet[2]) + end}" for end in (1, 2)))
    try:
        _make(link, percent)
        yield link
    finally:
        # The link goes with the namespace.
        subprocess.run(["ip", "netns", "delete", link.name], check=False, capture_output=True)


def _make(link: LossyLink, percent: int) -> None:
    ours, theirs = f"tm{os.getpid()}a", f"tm{os.getpid()}b"
    drop = f"numgen random mod 100 < {percent} drop"
    _run("ip", "netns", "add", link.name)
    _run("ip", "link", "add", ours, "type", "veth", "peer", "name", theirs, "netns", link.name)
    _run("ip", "address", "add", f"{link.near}/30", "dev", ours)
    _run("ip", "link", "set", ours, "up")
    _run(*link.enter, "ip", "address", "add", f"{link.far}/30", "dev", theirs)
    _run(*link.enter, "ip", "link", "set", theirs, "up")
    _run(*link.enter, "ip", "link", "set", "lo", "up")
    _run(*link.enter, "nft", "add", "table", "inet", "loss")
    for hook, interface in (("input", "iifname"), ("output", "oifname")):
        _run(*link.enter, "nft", f"add chain inet loss {hook} {{ type filter hook {hook} priority 0; }}")
        _run(*link.enter, "nft", f"add rule inet loss {hook} {interface} {theirs} {drop}")


def _run(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NotHereError(f"no network namespace with a filter can be made here: {' '.join(words)}: {done.stderr}")
