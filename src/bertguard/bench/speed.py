"""How fast a verdict is: beside the bare model, with many callers at once, and on long texts."""

from __future__ import annotations

import asyncio
import itertools
import random
import threading
import time
from collections.abc import Sequence
from statistics import median

from bertguard.guard import Guard
from bertguard.scoring import Scorer, Window

# Everyday words, most of them one token each.
_WORDS = (
    "the river runs past an old mill where children play in summer and farmers sell bread fruit "
    "honey at the market every week people come from the town to buy talk and drink tea under a "
    "large green tree near our small house on the hill"
).split()
TOKENS = (16, 64, 128, 250, 500)
CHARS = (1_000, 10_000, 100_000, 1_000_000)


def text_of(tokens: int, seed: int = 0) -> str:
    """A text of about so many tokens, no two seeds alike."""
    rng = random.Random(seed)  # noqa: S311  # words, not secrets
    return " ".join(rng.choice(_WORDS) for _ in range(max(1, tokens - 2)))


def measure_latency(guard: Guard, rounds: int) -> list[dict[str, float]]:
    """`Guard.check`, one caller, beside the bare model on the very same windows.

    Milliseconds, medians of `rounds` taken in turns; `ratio` is check / bare.
    """

    async def measure() -> list[dict[str, float]]:
        rows = []
        for tokens in TOKENS:
            bare, whole = [], []
            text = text_of(tokens)
            windows = list(guard.scorer.windows(text, "prompt"))
            for _ in range(3):  # warm
                guard.scorer.score(windows)
                await guard.check(text)
            for _ in range(rounds):
                begun = time.perf_counter()
                guard.scorer.score(windows)
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


def measure_throughput(guard: Guard, seconds: float, callers: int = 64) -> dict[str, float]:
    """Many callers with texts of mixed lengths, beside threads that do nothing but the model.

    Tokens per second; `share` is guard / bare.
    """
    rng = random.Random(0)  # noqa: S311  # lengths, not secrets
    texts = [text_of(min(700, max(8, int(rng.lognormvariate(4, 1)))), seed) for seed in range(400)]
    windows = [list(guard.scorer.windows(text, "prompt")) for text in texts]
    tokens = [sum(len(window.ids) for window in ws) for ws in windows]
    bare = _bare(guard.scorer, windows, seconds)

    async def measure() -> float:
        done = 0
        order = itertools.cycle(range(len(texts)))
        end = time.perf_counter() + seconds

        async def caller() -> None:
            nonlocal done
            while time.perf_counter() < end:
                place = next(order)
                await guard.check(texts[place])
                done += tokens[place]

        begun = time.perf_counter()
        await asyncio.gather(*(caller() for _ in range(callers)))
        return done / (time.perf_counter() - begun)

    guarded = asyncio.run(measure())
    return {"callers": callers, "bare": bare, "guard": guarded, "share": guarded / bare}


def _bare(scorer: Scorer, windows: Sequence[Sequence[Window]], seconds: float) -> float:
    """Tokens per second of as many threads as the guard uses, with nothing around the model."""
    done = [0] * scorer.parallelism
    end = time.perf_counter() + seconds
    order = itertools.cycle(range(len(windows)))

    def work(number: int) -> None:
        while time.perf_counter() < end:
            taken = windows[next(order)]
            scorer.score(taken)
            done[number] += sum(len(window.ids) for window in taken)

    begun = time.perf_counter()
    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(done))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(done) / (time.perf_counter() - begun)


def measure_growth(guard: Guard, longest: int) -> list[dict[str, float]]:
    """Cost per character of texts from 1,000 characters on; `ratio` is against the shortest."""
    rows: list[dict[str, float]] = []
    for chars in (size for size in CHARS if size <= longest):
        repeats = max(1, min(20, 20_000 // chars))
        texts = [text_of(chars // 4, seed)[:chars] for seed in range(repeats)]
        guard.check_sync(texts[0][:500])
        begun = time.perf_counter()
        for text in texts:
            guard.check_sync(text)
        per_char = (time.perf_counter() - begun) / sum(map(len, texts))
        first = rows[0]["us_per_char"] if rows else per_char * 1e6
        rows.append(
            {"chars": chars, "us_per_char": per_char * 1e6, "ratio": per_char * 1e6 / first}
        )
    return rows
