"""Checkpoint + labelled data -> Report, through the serving Guard: we measure what we serve."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from bertguard.guard import Guard
from bertguard.segments import Channel
from bertguard.training.dataset import Example
from bertguard.training.metrics import Ranking, ranking
from bertguard.verdict import Verdict

# Texts in flight at once: enough to keep every worker busy, few enough to keep memory flat.
_CONCURRENCY = 64


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: all examples of a source in a channel.

    Shares are of the source's own rows; None where it has no row of that label.
    """

    channel: str
    source: str
    benign: int
    injections: int
    not_flagged: float | None
    not_blocked: float | None
    caught: float | None
    blocked: float | None


@dataclass(frozen=True, slots=True)
class Report:
    """What an evaluation found.

    `channels` maps a channel to ROC-AUC and recall at 1% and 0.1% false positives over all its
    rows. `at` are the (flag_at, block_at) that the rows were judged by. `disguises` are the rows of
    `robustness`, where it was asked for.
    """

    model_id: str
    at: dict[str, tuple[float, float]]
    rows: list[Row]
    channels: dict[str, Ranking]
    unscanned: int
    data: list[str] = field(default_factory=list)
    disguises: list[dict[str, object]] = field(default_factory=list)


def evaluate(
    guard: Guard,
    examples: Sequence[Example],
    *,
    flag_at: float | None = None,
    data: Sequence[str] = (),
    report: Callable[[int], None] | None = None,
) -> Report:
    """Score every example with the guard and compare with its label.

    Args:
        guard: as it would serve.
        examples: labelled texts.
        flag_at: judge "flagged" by this score in both channels, instead of the guard's own.
        data: names of the files, for the report.
        report: called with the number of texts done.
    """
    scores, unscanned = asyncio.run(score_all(guard, examples, report))
    at = {}
    for channel in ("prompt", "data"):
        thresholds = guard.thresholds_of(channel)
        at[channel] = (
            thresholds.flag_at if flag_at is None else flag_at,
            max(thresholds.block_at, flag_at or 0.0),
        )
    groups: dict[tuple[str, str], list[int]] = {}
    for place, example in enumerate(examples):
        groups.setdefault((example.channel, example.source), []).append(place)
    rows = [
        _row(key, [examples[place].label for place in places], [scores[p] for p in places], at)
        for key, places in sorted(groups.items())
    ]
    channels = {}
    for channel in ("prompt", "data"):
        places = [place for place, row in enumerate(examples) if row.channel == channel]
        if places:
            channels[channel] = ranking(
                [examples[place].label for place in places], [scores[place] for place in places]
            )
    return Report(guard.model_id, at, rows, channels, unscanned, list(data))


async def score_all(
    guard: Guard, examples: Sequence[Example], report: Callable[[int], None] | None = None
) -> tuple[list[float], int]:
    """The scores of the examples in order, and how many were not scanned whole."""
    scores = [0.0] * len(examples)
    unscanned = done = 0
    # Long texts first would leave the workers idle at the end; short first costs memory: as given.
    waiting = iter(range(len(examples)))

    async def worker() -> None:
        nonlocal unscanned, done
        for place in waiting:
            example = examples[place]
            verdict: Verdict = await guard.check(example.text, Channel(example.channel))
            scores[place] = verdict.score
            unscanned += bool(verdict.unscanned)
            done += 1
            if report is not None:
                report(done)

    async with asyncio.TaskGroup() as group:
        for _ in range(_CONCURRENCY):
            group.create_task(worker())
    return scores, unscanned


def _row(
    key: tuple[str, str],
    labels: Sequence[int],
    scores: Sequence[float],
    at: dict[str, tuple[float, float]],
) -> Row:
    channel, source = key
    flag_at, block_at = at[channel]
    benign = [score for score, label in zip(scores, labels, strict=True) if label == 0]
    hostile = [score for score, label in zip(scores, labels, strict=True) if label == 1]

    def share(group: list[float], threshold: float, *, reach: bool) -> float | None:
        if not group:
            return None
        return round(sum((score >= threshold) is reach for score in group) / len(group), 4)

    return Row(
        channel,
        source,
        len(benign),
        len(hostile),
        not_flagged=share(benign, flag_at, reach=False),
        not_blocked=share(benign, block_at, reach=False),
        caught=share(hostile, flag_at, reach=True),
        blocked=share(hostile, block_at, reach=True),
    )
