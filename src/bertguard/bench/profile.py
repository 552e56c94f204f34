"""Where the time of one request goes, in percent."""

from __future__ import annotations

import asyncio
import time
from statistics import median

from bertguard.bench.texts import text_of
from bertguard.bench.timed import TimedScorer
from bertguard.guard import Guard
from bertguard.scoring import Scorer
from bertguard.views import views

SHORT_TOKENS = 16
LONG_CHARS = 20_000


def measure_profile(scorer: Scorer, rounds: int) -> list[dict[str, object]]:
    """Shares of `Guard.check` from end to end, for a short text and a long one.

    Views, tokenization and model are clocked one by one; the rest is queue, threads, event loop
    and policy. One worker, so that the parts add up. `check_ms` is the whole.
    """
    rows: list[dict[str, object]] = []
    texts = {
        f"{SHORT_TOKENS} tokens": text_of(SHORT_TOKENS),
        f"{LONG_CHARS:,} characters": text_of(LONG_CHARS)[:LONG_CHARS],
    }
    timed = TimedScorer(scorer)
    with Guard(timed, remembered_texts=0, timeout_seconds=3600.0) as guard:
        for name, text in texts.items():
            times = asyncio.run(_times(guard, timed, text, rounds if len(text) < 1000 else 3))
            whole, seen, cut, scored = (median(column) for column in zip(*times, strict=True))
            rows.append(
                {
                    "text": name,
                    "check_ms": whole * 1e3,
                    "views_%": seen / whole * 100,
                    "tokenization_%": cut / whole * 100,
                    "model_%": scored / whole * 100,
                    "queue_and_policy_%": (whole - seen - cut - scored) / whole * 100,
                }
            )
    return rows


async def _times(
    guard: Guard, timed: TimedScorer, text: str, rounds: int
) -> list[tuple[float, float, float, float]]:
    """Seconds of check, views, tokenization and model, one row per round."""
    found = []
    for number in range(rounds + 2):
        begun = time.perf_counter()
        views(text)
        between = time.perf_counter()
        timed.clear()
        await guard.check(text)
        whole = time.perf_counter() - between
        if number > 1:  # the first ones warm
            found.append((whole, between - begun, timed.windows_seconds, timed.score_seconds))
    return found
