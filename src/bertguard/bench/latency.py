"""One caller: `Guard.check` from end to end, beside the bare model on the very same windows."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from statistics import median

from bertguard.bench.bare import one_by_one
from bertguard.bench.texts import text_of
from bertguard.guard import Guard

TOKENS = (16, 64, 128, 250, 500)


def measure_latency(guard: Guard, file: Path | None, rounds: int) -> list[dict[str, float]]:
    """Milliseconds, medians of `rounds` taken in turns; `ratio` is check / bare.

    Args:
        guard: it must remember nothing, since the same text is asked again and again.
        file: the ONNX model of the guard's scorer, opened once more for the bare run; None where
            the scorer has no such file, and its `score` is the yardstick.
        rounds: how often each is run.
    """

    async def measure() -> list[dict[str, float]]:
        rows = []
        for tokens in TOKENS:
            bare, whole = [], []
            text = text_of(tokens)
            windows = list(guard.scorer.windows(text, "prompt"))
            run = one_by_one(guard.scorer, windows, file)
            for _ in range(3):  # warm
                run()
                await guard.check(text)
            for _ in range(rounds):
                begun = time.perf_counter()
                run()
                between = time.perf_counter()
                await guard.check(text)
                bare.append(between - begun)
                whole.append(time.perf_counter() - between)
            rows.append(
                {
                    "tokens": sum(len(window.ids) for window in windows),
                    "bare_ms": median(bare) * 1e3,
                    "check_ms": median(whole) * 1e3,
                    "ratio": median(whole) / median(bare),
                }
            )
        return rows

    return asyncio.run(measure())
