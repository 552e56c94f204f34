"""How long an event loop stands still while the guard works: what everybody else there waits."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import Awaitable, Callable

from bertguard.bench.texts import mixed_texts, quantile, text_of
from bertguard.guard import Guard

# A ticker that is due every millisecond.
_TICK_SECONDS = 0.001
_BODY_CHARS = 1_000_000
# A body is given up after this long and sent again: reading it is what the loop may feel, and its
# windows alone would fill the time.
_BODY_SECONDS = 2.0

Action = Callable[[], Awaitable[object]]


def measure_loop(guard: Guard, seconds: float) -> list[dict[str, object]]:
    """Milliseconds by which a ticker on the loop comes late, at rest and under load.

    Lateness of the idle loop is the yardstick: the operating system's own. Under load there are 16
    callers with mixed lengths, then one caller with bodies of a megabyte, in one string and in
    10,000, through `check_body`, where reading, views and tokenization count as well.
    """
    return asyncio.run(_measure(guard, seconds))


async def _measure(guard: Guard, seconds: float) -> list[dict[str, object]]:
    texts = itertools.cycle(mixed_texts(400))
    words = text_of(_BODY_CHARS // 3)[:_BODY_CHARS]
    one = json.dumps({"messages": [{"role": "user", "content": words}]}).encode()
    size = _BODY_CHARS // 10_000
    strings = [words[first : first + size] for first in range(0, _BODY_CHARS, size)]
    many = json.dumps({"rows": strings}).encode()

    async def nothing() -> None:
        await asyncio.sleep(_TICK_SECONDS)

    async def mixed() -> None:
        await guard.check(next(texts))

    async def body(content: bytes) -> None:
        try:
            async with asyncio.timeout(_BODY_SECONDS):
                await guard.check_body(content, path="/v1/chat/completions")
        except TimeoutError:
            pass

    rows: list[dict[str, object]] = []
    for what, action, callers in (
        ("idle", nothing, 1),
        ("16 callers, mixed lengths", mixed, 16),
        ("a body of 1 MB, one string", lambda: body(one), 1),
        ("a body of 1 MB, 10,000 strings", lambda: body(many), 1),
    ):
        await action()
        late = await _late(action, callers, seconds)
        worst = quantile(late, 0.999)
        first = float(str(rows[0]["p999_ms"])) if rows else worst * 1e3
        rows.append(
            {
                "what": what,
                "ticks": len(late),
                "p50_ms": quantile(late, 0.5) * 1e3,
                "p999_ms": worst * 1e3,
                "longest_ms": max(late) * 1e3,
                "p999_ratio": worst * 1e3 / first,
            }
        )
    return rows


async def _late(action: Action, callers: int, seconds: float) -> list[float]:
    """How late each tick was, in seconds, while `callers` do the same again and again."""
    end = time.perf_counter() + seconds

    async def caller() -> None:
        while time.perf_counter() < end:
            await action()

    work = asyncio.gather(*(caller() for _ in range(callers)))
    late: list[float] = []
    while not work.done():
        due = time.perf_counter() + _TICK_SECONDS
        await asyncio.sleep(_TICK_SECONDS)
        late.append(max(0.0, time.perf_counter() - due))
    await work
    return late
