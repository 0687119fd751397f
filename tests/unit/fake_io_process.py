"""Stands in for an I/O process: does what the name of its app says. Run with ``-m`` by the supervisor's tests."""

from __future__ import annotations

import argparse
import asyncio
import os
import pathlib
import signal
import socket
import sys
import time

from taskmesh.worker.supervision.link import Report, SettingsNote, SupervisorLink

LINGER_SECONDS = 1.5
"""What Python may need to exit on a machine that has much else to do."""


class FakeIoProcess:
    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.link = SupervisorLink(fd, self.drain, self.stop, self.take_over)
        self.exit_code: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.mode = self.file = ""
        self.told: list[SettingsNote] = []

    async def run(self) -> int:
        start = await self.link.started()
        self.mode, _, self.file = start.apps[0].partition(":")
        self.note_settings()
        if self.mode == "unfit":
            self.link.fatal("RabbitMQ refuses the user 'guest': check the credentials in broker.url")
            return 2
        if self.mode == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.mode == "log":
            note(self.file, f"{os.getpid()} {start.holder_id} {start.index} {start.executors}\n")
        url = start.settings["broker"]["url"]
        self.link.report(Report(ready=self.mode != "unready", missing=f"waits for {url}", metrics={"seen": 1}))
        return await self.exit_code

    def drain(self, seconds: float) -> None:
        if self.mode == "linger":
            with socket.socket(fileno=os.dup(self.fd)) as channel:
                channel.shutdown(socket.SHUT_RDWR)
            time.sleep(LINGER_SECONDS)
        if self.mode != "stubborn":
            self.exit_code.set_result(0)

    def take_over(self, settings: SettingsNote) -> None:
        self.told.append(settings)
        self.note_settings()

    def note_settings(self) -> None:
        while self.file and self.told:
            told = self.told.pop(0)
            note(
                f"{self.file}.settings",
                f"{os.getpid()} {told.settings['log']['level']} {told.is_refused} {told.pushed}\n",
            )

    def stop(self) -> None:
        if not self.exit_code.done():
            self.exit_code.set_result(5)


def note(file: str, line: str) -> None:
    # One write per line: all I/O processes of a worker share the file.
    with pathlib.Path(file).open("a") as log:
        log.write(line)


async def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--fd", type=int, required=True)
    return await FakeIoProcess(parser.parse_args().fd).run()


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
