"""Many callers at once, beside the best that bare sessions reach in any arrangement."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bertguard.bench.bare import Arrangement, BareModel, scorer_arrangements
from bertguard.bench.ceiling import int8_ceiling, operations_per_token
from bertguard.bench.http_driver import callers as http_callers
from bertguard.bench.http_driver import chat
from bertguard.bench.http_server import guarded_application
from bertguard.bench.texts import mixed_texts
from bertguard.guard import Guard
from bertguard.scoring import Scorer, Window

_TEXTS = 400
# Each is measured in so many slices, in turns with all the others: a noisy minute is shared.
_SLICES = 3

# Seconds -> real tokens and the seconds that they took.
Measure = Callable[[float], tuple[int, float]]


def measure_throughput(
    guard: Guard,
    file: Path | None,
    seconds: float,
    *,
    checkpoint: str | None = None,
    device: str = "auto",
    callers: int = 64,
) -> list[dict[str, object]]:
    """Tokens per second of the guard, in this process and over HTTP, and of bare sessions.

    The texts have the lengths of `texts.QUANTILES`; real tokens count, padding does not. `share`
    is that of the best bare arrangement, and `of_ceiling` that of what the processor multiplies in
    int8, where the guard runs in int8 and both are known.
    """
    texts = mixed_texts(_TEXTS)
    cut = [list(guard.scorer.windows(text, "prompt")) for text in texts]
    tokens = [sum(len(window.ids) for window in windows) for windows in cut]
    windows = [window for taken in cut for window in taken]
    cores = guard.scorer.parallelism
    bare: list[Arrangement] = (
        scorer_arrangements(guard.scorer, windows)
        if file is None
        else BareModel(file).arrangements(windows, cores)
    )
    measures: dict[str, Measure] = {f"bare, {one.name}": one.tokens_in for one in bare}
    measures[f"Guard.check, {callers} callers"] = _guard(guard, texts, callers)
    with _middleware(checkpoint, device, texts, tokens, callers) as over_http:
        measures[f"middleware over HTTP, {callers} callers"] = over_http
        done = dict.fromkeys(measures, 0)
        took = dict.fromkeys(measures, 0.0)
        for part in range(_SLICES + 1):
            for name, measure in measures.items():
                count, spent = measure(seconds / _SLICES if part else min(0.3, seconds))
                if part:  # the first only warms
                    done[name] += count
                    took[name] += spent
    per_second = {name: done[name] / took[name] for name in measures}
    best = max(rate for name, rate in per_second.items() if name.startswith("bare"))
    ceiling = None if file is None else int8_ceiling(cores, min(seconds, 3.0))
    work = None if file is None else operations_per_token(file.parent)
    rows: list[dict[str, object]] = []
    for name, rate in per_second.items():
        row: dict[str, object] = {"what": name, "tokens_per_s": rate, "share": rate / best}
        if ceiling is not None and work is not None:
            row["of_ceiling"] = rate * work / 1e9 / ceiling
        rows.append(row)
    if ceiling is not None and work is not None:
        rows.append(
            {
                "what": f"ceiling, int8 product, {ceiling:,.0f} GOP/s",
                "tokens_per_s": ceiling * 1e9 / work,
                "share": ceiling * 1e9 / work / best,
                "of_ceiling": 1.0,
            }
        )
    return rows


class _Counting:
    """Another scorer that counts the real tokens that have been through it."""

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer
        self._counts: list[int] = []
        self.model_id = scorer.model_id
        self.thresholds = scorer.thresholds
        self.parallelism = scorer.parallelism

    def windows(self, text: str, channel: str) -> Iterator[Window]:
        return self._scorer.windows(text, channel)

    def score(self, windows: Sequence[Window]) -> Sequence[float]:
        scores = self._scorer.score(windows)
        # A list, since an addition from two threads at once could get lost.
        self._counts.append(sum(len(window.ids) for window in windows))
        return scores

    @property
    def tokens(self) -> int:
        return sum(self._counts)


def _guard(guard: Guard, texts: Sequence[str], callers: int) -> Measure:
    """Counted at the model: texts that are under way at the end count as far as they have come."""
    counting = _Counting(guard.scorer)
    bound = getattr(guard.scorer, "max_batch_tokens", 1024)
    counted = Guard(counting, max_batch_tokens=bound, remembered_texts=0, timeout_seconds=3600.0)
    order = itertools.cycle(texts)

    async def caller() -> None:
        while True:
            await counted.check(next(order))

    async def run(seconds: float) -> tuple[int, float]:
        tasks = [asyncio.ensure_future(caller()) for _ in range(callers)]
        before, begun = counting.tokens, time.perf_counter()
        await asyncio.sleep(seconds)
        done, took = counting.tokens - before, time.perf_counter() - begun
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        return done, took

    return lambda seconds: asyncio.run(run(seconds))


@contextmanager
def _middleware(
    checkpoint: str | None,
    device: str,
    texts: Sequence[str],
    tokens: Sequence[int],
    callers: int,
) -> Iterator[Measure]:
    """The same texts as chats to a server, from callers in another process.

    Counted are whole answers, until the last caller has his: the end of a slice, where few are
    left, costs this row some of its share.
    """
    bodies = [chat(text) for text in texts]
    with (
        guarded_application(checkpoint, device) as (port, _),
        http_callers(port, bodies, count=callers) as driver,
    ):

        def measure(seconds: float) -> tuple[int, float]:
            answered = driver.ask(seconds=seconds)
            done = sum(n * size for n, size in zip(answered.counts, tokens, strict=True))
            return done, answered.seconds

        yield measure
