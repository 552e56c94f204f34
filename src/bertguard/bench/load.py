"""Callers who do not wait for each other, and a long document under way.

Requests come at random (Poisson) moments at a share of what the guard can do, whatever the answers
take: a closed loop of callers would slow down with the guard and hide its worst moments.

Source: Schroeder, Wierman and Harchol-Balter, "Open versus closed: a cautionary tale", NSDI 2006.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import Sequence
from statistics import median

from bertguard.bench.texts import mixed_texts, quantile, text_of
from bertguard.guard import Guard

# Of what was measured as capacity just before.
LOAD = 0.7
_SHORT_TOKENS = 64
_DOCUMENT_CHARS = 100_000
# Requests per capacity beside the document: enough to see a p99, too few to queue by themselves.
_LOW_LOAD = 0.1


def measure_load(guard: Guard, seconds: float) -> list[dict[str, object]]:
    """Milliseconds from the moment a request was due to its verdict.

    Two streams of requests at 70% of their capacity, of one length and of mixed lengths, each
    beside the idle guard; then short prompts at a low rate without and with documents of 100,000
    characters in flight, one after another. `p99_by_median` is p99 / the yardstick's median,
    `p99_ratio` p99 / the yardstick's p99; the yardstick is the row above, idle or alone.
    """
    return asyncio.run(_measure(guard, seconds))


async def _measure(guard: Guard, seconds: float) -> list[dict[str, object]]:
    short = [text_of(_SHORT_TOKENS, seed) for seed in range(200)]
    rows: list[dict[str, object]] = []
    capacity = 1.0
    for name, texts in (("mixed lengths", mixed_texts(400)), (f"{_SHORT_TOKENS} tokens", short)):
        await _closed(guard, texts, min(0.3, seconds), callers=2)  # warm
        idle = await _idle(guard, texts, seconds / 4)
        capacity = await _closed(guard, texts, seconds / 2, callers=64)
        waited = await _open(guard, texts, rate=LOAD * capacity, seconds=seconds)
        rows += [
            _row(f"{name}, idle", idle, idle),
            _row(f"{name}, {LOAD:.0%} of {capacity:.0f}/s", waited, idle),
        ]
    # What is left in `capacity` is that of the short prompts.
    rate = _LOW_LOAD * capacity
    alone = await _open(guard, short, rate=rate, seconds=seconds)
    document = asyncio.ensure_future(_documents(guard))
    try:
        beside = await _open(guard, short, rate=rate, seconds=seconds)
    finally:
        document.cancel()
        await asyncio.wait({document})
    rows += [
        _row(f"{_SHORT_TOKENS} tokens, {rate:.0f}/s", alone, alone),
        _row("the same beside a document", beside, alone),
    ]
    return rows


def _row(what: str, waited: Sequence[float], yardstick: Sequence[float]) -> dict[str, object]:
    p99 = quantile(waited, 0.99)
    return {
        "what": what,
        "requests": len(waited),
        "p50_ms": median(waited) * 1e3,
        "p99_ms": p99 * 1e3,
        "p99_by_median": p99 / median(yardstick),
        "p99_ratio": p99 / quantile(yardstick, 0.99),
    }


async def _idle(guard: Guard, texts: Sequence[str], seconds: float) -> list[float]:
    """One request after another."""
    waited = []
    end = time.perf_counter() + seconds
    for text in itertools.cycle(texts):
        begun = time.perf_counter()
        await guard.check(text)
        waited.append(time.perf_counter() - begun)
        if time.perf_counter() > end:
            break
    return waited


async def _closed(guard: Guard, texts: Sequence[str], seconds: float, *, callers: int) -> float:
    """Requests per second of callers who wait for their answers: the capacity."""
    order = itertools.cycle(texts)
    done = 0
    begun = time.perf_counter()
    end = begun + seconds

    async def caller() -> None:
        nonlocal done
        while time.perf_counter() < end:
            await guard.check(next(order))
            done += 1

    await asyncio.gather(*(caller() for _ in range(callers)))
    return done / (time.perf_counter() - begun)


async def _open(guard: Guard, texts: Sequence[str], *, rate: float, seconds: float) -> list[float]:
    """Requests at random moments, `rate` a second on average; none waits for another."""
    rng = random.Random(7)  # noqa: S311  # arrivals, not secrets
    waited: list[float] = []
    order = itertools.cycle(texts)

    async def ask(text: str, due: float) -> None:
        await guard.check(text)
        waited.append(time.perf_counter() - due)

    due = begun = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        while True:
            due += rng.expovariate(rate)
            if due > begun + seconds and waited:
                break
            if due > begun + seconds + 60:
                raise RuntimeError("no verdict within a minute")
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            group.create_task(ask(next(order), due))
    return waited


async def _documents(guard: Guard) -> None:
    for seed in itertools.count():
        await guard.check(text_of(_DOCUMENT_CHARS // 4, seed)[:_DOCUMENT_CHARS], "data")
