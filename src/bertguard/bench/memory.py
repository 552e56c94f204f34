"""What a serving process holds: resident memory from its start on, request by request."""

from __future__ import annotations

import json
import subprocess
import sys
from urllib.parse import urlsplit

from bertguard.bench.http_driver import NUMBER, callers
from bertguard.bench.start import address_of
from bertguard.bench.texts import mixed_texts

_CALLERS = 16
_BODIES = 2_000
# After these the caches of everything that has any are warm.
_WARM = 500
# The longest text: two windows and a bit. Nobody waits a day for 200,000 requests.
_CHARS = 2_000


def measure_memory(
    requests: int, checkpoint: str | None = None, device: str = "auto"
) -> list[dict[str, object]]:
    """Megabytes (10^6 bytes) of `guard serve` when it listens, when it is warm, and at the end.

    Requests go to `/v1/check` over 16 connections, with lengths as in `texts.QUANTILES` up to 2,000
    characters, and no text comes twice: what is remembered of them counts. The bare interpreter is
    the yardstick of the first rows, the warm server that of the last ones.
    """
    rows: list[dict[str, object]] = []
    bare = _bare_interpreter()
    command = [sys.executable, "-m", "bertguard", "serve", "--port", "0", "--device", device]
    if checkpoint is not None:
        command += ["--checkpoint", checkpoint]
    bodies = [json.dumps({"text": f"{NUMBER} {text[:_CHARS]}"}) for text in mixed_texts(_BODIES)]
    with subprocess.Popen(  # noqa: S603  # our own command
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as server:
        try:
            port = urlsplit(address_of(server)).port or 0
            with callers(port, bodies, count=_CALLERS, path="/v1/check") as driver:
                rows = [
                    _row("a bare interpreter", 0, bare, bare),
                    _row("guard serve listens", 0, resident_mb(server.pid), bare),
                ]
                warm_up = min(_WARM, requests)
                driver.ask(requests=warm_up)
                warm = resident_mb(server.pid)
                rows.append(_row("warm", warm_up, warm, bare))
                done = warm_up
                for part in (1, 2, 3, 4):
                    more = requests * part // 4 - done
                    if more > 0:
                        driver.ask(requests=more)
                        done += more
                        rows.append(_row("serving", done, resident_mb(server.pid), warm))
        finally:
            server.terminate()
            try:
                server.wait(timeout=15)
            except subprocess.TimeoutExpired:
                server.kill()
    return rows


def resident_mb(pid: int) -> float:
    """Resident memory of a process in megabytes, as the operating system counts it."""
    shown = subprocess.run(  # noqa: S603  # a number that is ours
        ["ps", "-o", "rss=", "-p", str(pid)],  # noqa: S607  # wherever it is
        capture_output=True,
        text=True,
        check=True,
    )
    return int(shown.stdout) * 1024 / 1e6


def _bare_interpreter() -> float:
    command = [sys.executable, "-c", "print(flush=True); input()"]
    with subprocess.Popen(  # noqa: S603  # our own code
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        if process.stdout is not None:
            process.stdout.readline()
        size = resident_mb(process.pid)
        process.communicate("\n")
    return size


def _row(what: str, requests: int, size: float, yardstick: float) -> dict[str, object]:
    return {"what": what, "requests": requests, "rss_mb": size, "ratio": size / yardstick}
