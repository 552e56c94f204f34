"""Those who call: keep-alive connections from a process of its own.

    python -m bertguard.bench.http_driver

Reads lines of JSON from standard input and answers each with one. The first line says where to and
what (`{"port": …, "path": …, "bodies": […], "callers": 64}`), every other one how long or how
often (`{"seconds": 5}`, `{"requests": 1000}`). `########` in a body is another number every time.
It is as thin as it can be: it takes its share of the very cores that the server has.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

NUMBER = "#" * 8
"""Stands in a body for a number of eight digits."""

NUMBER_BYTES = NUMBER.encode()


@dataclass(frozen=True, slots=True)
class Answered:
    """What was answered: how often each body was, in how many seconds, and how often not by 200."""

    counts: tuple[int, ...]
    seconds: float
    other: int


class Driver:
    """The parent's end of the two pipes."""

    def __init__(self, into: IO[str], out: IO[str]) -> None:
        self._into, self._out = into, out

    def ask(self, **what: object) -> Answered:
        """Give one order and wait until it is done."""
        self._into.write(json.dumps(what) + "\n")
        self._into.flush()
        line = self._out.readline()
        if not line:
            raise RuntimeError("the calling process ended; its error stands above")
        answer = json.loads(line)
        return Answered(tuple(answer["counts"]), answer["seconds"], answer["other"])


@contextmanager
def callers(
    port: int, bodies: Sequence[str], *, count: int, path: str = "/v1/chat/completions"
) -> Iterator[Driver]:
    """A process with `count` connections to a port, each sending one body after another."""
    with subprocess.Popen(  # our own command
        [sys.executable, "-m", "bertguard.bench.http_driver"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("the calling process has no pipes")
        driver = Driver(process.stdin, process.stdout)
        try:
            driver.ask(port=port, path=path, bodies=list(bodies), callers=count)
            yield driver
        finally:
            process.stdin.close()
            process.wait(timeout=30)


def chat(text: str) -> str:
    """The body of a chat of one turn."""
    return json.dumps({"model": "none", "messages": [{"role": "user", "content": text}]})


def _drive() -> None:
    import asyncio
    import itertools
    import time

    told = json.loads(sys.stdin.readline())
    head = (
        f"POST {told['path']} HTTP/1.1\r\nhost: localhost\r\n"
        "content-type: application/json\r\ncontent-length: "
    )
    requests = [f"{head}{len(body.encode())}\r\n\r\n{body}".encode() for body in told["bodies"]]
    order = itertools.cycle(range(len(requests)))
    sent = itertools.count()
    numbers = itertools.count()
    counts: list[int] = []
    other = 0

    async def caller(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter, end: float, most: float
    ) -> None:
        nonlocal other
        while time.perf_counter() < end and next(sent) < most:
            place = next(order)
            request = requests[place]
            if NUMBER_BYTES in request:
                request = request.replace(NUMBER_BYTES, b"%08d" % next(numbers))
            writer.write(request)
            answer = await reader.readuntil(b"\r\n\r\n")
            length = answer.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
            await reader.readexactly(int(length or b"0"))
            counts[place] += 1
            other += not answer.startswith(b"HTTP/1.1 200")

    async def drive() -> None:
        nonlocal counts, other, sent
        streams = [
            await asyncio.open_connection("127.0.0.1", told["port"], limit=2**20)
            for _ in range(told["callers"])
        ]
        while line := await asyncio.to_thread(sys.stdin.readline):
            order_given = json.loads(line)
            counts, other, sent = [0] * len(requests), 0, itertools.count()
            begun = time.perf_counter()
            end = begun + order_given.get("seconds", float("inf"))
            most = order_given.get("requests", float("inf"))
            await asyncio.gather(*(caller(r, w, end, most) for r, w in streams))
            _say(counts, time.perf_counter() - begun, other)
        for _, writer in streams:
            writer.close()

    counts, other = [0] * len(requests), 0
    _say(counts, 0.0, 0)
    asyncio.run(drive())


def _say(counts: list[int], seconds: float, other: int) -> None:
    sys.stdout.write(json.dumps({"counts": counts, "seconds": seconds, "other": other}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    _drive()
