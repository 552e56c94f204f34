"""A guarded application under uvicorn, in a process of its own.

    python -m bertguard.bench.http_server --checkpoint DIR --device cpu

It prints its port and serves until its standard input ends. It remembers no text, so that a text
that is sent again costs the same again. This module is also the parent's handle on the process.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send


@contextmanager
def guarded_application(checkpoint: str | None, device: str) -> Iterator[tuple[int, int]]:
    """A running server; port and process id."""
    command = [sys.executable, "-m", "bertguard.bench.http_server", "--device", device]
    if checkpoint is not None:
        command += ["--checkpoint", checkpoint]
    with subprocess.Popen(  # noqa: S603  # our own command
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            line = server.stdout.readline() if server.stdout else ""
            if not line.strip().isdigit():
                raise RuntimeError("the guarded application ended before it listened")
            yield int(line), server.pid
        finally:
            if server.stdin:
                server.stdin.close()
            try:
                server.wait(timeout=10)
            except subprocess.TimeoutExpired:
                server.kill()


def application(checkpoint: str | None, device: str) -> ASGIApp:
    """The middleware in front of an application that only says OK."""
    from bertguard.guard import Guard
    from bertguard.middleware import GuardMiddleware

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise NotImplementedError(scope["type"])
        await receive()
        headers = [(b"content-type", b"text/plain"), (b"content-length", b"2")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"ok"})

    guard = Guard.load(checkpoint, device=device, remembered_texts=0, timeout_seconds=3600.0)
    guard.check_sync("Is anybody there?")
    return GuardMiddleware(answer, guard)


def _serve() -> None:
    import argparse
    import asyncio
    import socket

    import uvicorn

    parser = argparse.ArgumentParser()
    parser.add_argument("--checkpoint")
    parser.add_argument("--device", default="auto")
    told = parser.parse_args()
    config = uvicorn.Config(
        application(told.checkpoint, told.device),
        log_level="error",
        access_log=False,
        lifespan="off",
        # Callers wait while others are measured.
        timeout_keep_alive=3600,
        ws="none",
    )
    server = uvicorn.Server(config)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        sys.stdout.write(f"{listener.getsockname()[1]}\n")
        sys.stdout.flush()

        async def serve() -> None:
            loop = asyncio.get_running_loop()

            def wait_for_parent() -> None:
                sys.stdin.read()
                server.should_exit = server.force_exit = True

            waiting = loop.run_in_executor(None, wait_for_parent)
            await server.serve(sockets=[listener])
            await waiting

        asyncio.run(serve())


if __name__ == "__main__":
    _serve()
