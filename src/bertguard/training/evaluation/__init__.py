"""Checkpoint + labelled data -> Report, through the serving Guard: we measure what we serve."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy

from bertguard.guard import Guard
from bertguard.segments import Channel
from bertguard.training.evaluation.alarms import ViewAlarms, view_alarms
from bertguard.training.examples import Example
from bertguard.training.metrics import (
    Interval,
    Ranking,
    calibration_error,
    ranking,
    ranking_intervals,
    share_interval,
    threshold_at,
)
from bertguard.verdict import Action, Verdict

__all__ = ["Report", "Row", "evaluate", "score_all", "worst_errors"]

# Texts in flight at once: enough to keep every worker busy, few enough to keep memory flat.
_CONCURRENCY = 64
_LENGTHS = ((200, "up to 200 characters"), (1000, "201 to 1,000"), (5000, "1,001 to 5,000"))
_LONGEST = "over 5,000"


@dataclass(frozen=True, slots=True)
class Row:
    """All examples of a channel that share a source, a category, a language or a length.

    Shares are of the row's own texts, None where it has none of that label. `recall_at_1` and
    `recall_at_01` are the shares of its injections above the score that 1% and 0.1% of all benign
    texts of the channel exceed. `intervals` holds the 95% interval of every share.
    """

    channel: str
    name: str
    benign: int
    injections: int
    not_flagged: float | None
    not_blocked: float | None
    caught: float | None
    blocked: float | None
    recall_at_1: float | None
    recall_at_01: float | None
    intervals: dict[str, Interval] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ChannelFigures:
    """How well a channel's scores rank: figures, their 95% intervals, the calibration error.

    `macro_recall` is the mean over sources of the recall at 1% of the pooled benign texts.
    """

    ranking: Ranking
    intervals: dict[str, Interval]
    calibration_error: float | None
    macro_recall: float | None


@dataclass(frozen=True, slots=True)
class Report:
    """What an evaluation found.

    `at` are the (flag_at, block_at) that the rows were judged by, per channel, and `prior` the
    share of injections that the scores are for. `rows` are by source; `slices` maps "category",
    "language" and "length" to rows, where the data tells them apart. `scores` are (label, score)
    per channel, for plots; they are not written to files. `disguises` are the rows of `robustness`,
    where it was asked for; `view_alarms` counts benign texts that only a view makes suspicious, per
    channel, of those that were scanned whole. `unscanned` counts the others; in all figures they
    have the score that `score_all` gives them.
    """

    model_id: str
    at: dict[str, tuple[float, float]]
    prior: float
    rows: list[Row]
    channels: dict[str, ChannelFigures]
    unscanned: int
    data: list[str] = field(default_factory=list)
    slices: dict[str, list[Row]] = field(default_factory=dict)
    disguises: list[dict[str, object]] = field(default_factory=list)
    view_alarms: list[ViewAlarms] = field(default_factory=list)
    scores: list[float] = field(default_factory=list, repr=False)


def evaluate(
    guard: Guard,
    examples: Sequence[Example],
    *,
    prior: float = 0.5,
    flag_at: float | None = None,
    data: Sequence[str] = (),
    report: Callable[[int], None] | None = None,
) -> Report:
    """Score every example with the guard and compare with its label.

    Args:
        guard: as it would serve.
        examples: labelled texts.
        prior: the share of injections that the guard's scores are for; its manifest says it.
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
    table = _Table(examples, scores, at)
    rows = table.rows(_source)
    slices = {}
    for name, key in (("category", _category), ("language", _language), ("length", _length)):
        found = table.rows(key)
        # A slice with one row says what the channel says.
        if len({row.name for row in found}) > 1:
            slices[name] = found
    channels = {channel: table.figures(channel, rows, prior) for channel in table.channels}
    return Report(
        guard.model_id,
        at,
        prior,
        rows,
        channels,
        len(unscanned),
        list(data),
        slices,
        # A text that could not be scored has no view to blame.
        view_alarms=view_alarms(
            guard,
            [row for place, row in enumerate(examples) if place not in unscanned],
            [score for place, score in enumerate(scores) if place not in unscanned],
        ),
        scores=scores,
    )


async def score_all(
    guard: Guard, examples: Sequence[Example], report: Callable[[int], None] | None = None
) -> tuple[list[float], set[int]]:
    """The scores of the examples in order, and the places of those not scanned whole.

    The latter count as the guard's policy treats them: blocked is a score of 1, flagged at least
    `flag_at`; where they are let through, what was found before the failure counts.
    """
    scores = [0.0] * len(examples)
    unscanned: set[int] = set()
    done = 0
    least = {
        channel: {
            Action.BLOCK: 1.0,
            Action.FLAG: guard.thresholds_of(channel).flag_at,
            Action.ALLOW: 0.0,
        }[guard.policy.unscanned_action]
        for channel in Channel
    }
    # Long texts first would leave the workers idle at the end; short first costs memory: as given.
    waiting = iter(range(len(examples)))

    async def worker() -> None:
        nonlocal done
        for place in waiting:
            example = examples[place]
            channel = Channel(example.channel)
            verdict: Verdict = await guard.check(example.text, channel)
            scores[place] = verdict.score
            if verdict.unscanned:
                scores[place] = max(verdict.score, least[channel])
                unscanned.add(place)
            done += 1
            if report is not None:
                report(done)

    async with asyncio.TaskGroup() as group:
        for _ in range(_CONCURRENCY):
            group.create_task(worker())
    return scores, unscanned


def worst_errors(
    examples: Sequence[Example], report: Report, *, most: int = 50
) -> Iterator[dict[str, object]]:
    """The false alarms with the highest scores and the misses with the lowest, with their texts."""
    for channel in report.channels:
        own = [
            (score, row)
            for score, row in zip(report.scores, examples, strict=True)
            if row.channel == channel
        ]
        flag_at = report.at[channel][0]
        alarms = sorted(
            (item for item in own if item[1].label == 0 and item[0] >= flag_at),
            key=lambda item: -item[0],
        )
        misses = sorted(
            (item for item in own if item[1].label == 1 and item[0] < flag_at),
            key=lambda item: item[0],
        )
        for error, items in (("false alarm", alarms), ("miss", misses)):
            for score, row in items[:most]:
                yield {
                    "error": error,
                    "channel": channel,
                    "source": row.source,
                    "score": round(score, 4),
                    "text": row.text,
                }


class _Table:
    """The scored examples, grouped as asked."""

    def __init__(
        self,
        examples: Sequence[Example],
        scores: Sequence[float],
        at: dict[str, tuple[float, float]],
    ) -> None:
        self._examples, self._scores, self._at = examples, scores, at
        self.channels = [
            channel
            for channel in ("prompt", "data")
            if any(example.channel == channel for example in examples)
        ]
        self._limits: dict[str, tuple[float, float] | None] = {}
        for channel in self.channels:
            benign = numpy.sort(self._of(channel, 0))
            self._limits[channel] = (
                (threshold_at(benign, 0.01), threshold_at(benign, 0.001)) if len(benign) else None
            )

    def _of(self, channel: str, label: int) -> list[float]:
        return [
            score
            for score, example in zip(self._scores, self._examples, strict=True)
            if example.channel == channel and example.label == label
        ]

    def rows(self, key: Callable[[Example], str]) -> list[Row]:
        """One row per channel and value of the key; texts without a value are left out."""
        groups: dict[tuple[str, str], list[int]] = {}
        for place, example in enumerate(self._examples):
            if name := key(example):
                groups.setdefault((example.channel, name), []).append(place)
        return [self._row(*group, places) for group, places in sorted(groups.items())]

    def figures(self, channel: str, rows: Sequence[Row], prior: float) -> ChannelFigures:
        benign, hostile = self._of(channel, 0), self._of(channel, 1)
        labels, scores = [0] * len(benign) + [1] * len(hostile), benign + hostile
        recalls = [
            row.recall_at_1
            for row in rows
            if row.channel == channel and row.recall_at_1 is not None
        ]
        return ChannelFigures(
            ranking(labels, scores),
            ranking_intervals(labels, scores),
            calibration_error(labels, scores, prior),
            round(sum(recalls) / len(recalls), 4) if recalls else None,
        )

    def _row(self, channel: str, name: str, places: Sequence[int]) -> Row:
        flag_at, block_at = self._at[channel]
        benign = [self._scores[at] for at in places if self._examples[at].label == 0]
        hostile = [self._scores[at] for at in places if self._examples[at].label == 1]
        limits = self._limits[channel]
        hits = {
            "not_flagged": (sum(score < flag_at for score in benign), benign),
            "not_blocked": (sum(score < block_at for score in benign), benign),
            "caught": (sum(score >= flag_at for score in hostile), hostile),
            "blocked": (sum(score >= block_at for score in hostile), hostile),
        }
        if limits is not None:
            hits["recall_at_1"] = (sum(score > limits[0] for score in hostile), hostile)
            hits["recall_at_01"] = (sum(score > limits[1] for score in hostile), hostile)
        shares = {
            share: round(count / len(group), 4) for share, (count, group) in hits.items() if group
        }
        intervals = {
            share: share_interval(count, len(group))
            for share, (count, group) in hits.items()
            if group
        }
        return Row(
            channel,
            name,
            len(benign),
            len(hostile),
            not_flagged=shares.get("not_flagged"),
            not_blocked=shares.get("not_blocked"),
            caught=shares.get("caught"),
            blocked=shares.get("blocked"),
            recall_at_1=shares.get("recall_at_1"),
            recall_at_01=shares.get("recall_at_01"),
            intervals=intervals,
        )


def _source(example: Example) -> str:
    return example.source


def _category(example: Example) -> str:
    return example.category


def _language(example: Example) -> str:
    return example.language


def _length(example: Example) -> str:
    return next((name for most, name in _LENGTHS if len(example.text) <= most), _LONGEST)
