"""Validation margins -> a temperature and two thresholds per channel."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from bertguard.training.examples import CORPUS
from bertguard.training.metrics import Interval, share_interval
from bertguard.training.validation import Scored

FLAG_RATE = 0.01
BLOCK_RATE = 0.001
# One text in ten: more than most traffic holds, and far from the half that a model learns from.
PRIOR = 0.1
# Fewer benign texts than this say nothing about one false alarm in a hundred.
LEAST_BENIGN = 100
# Fewer texts of either label say nothing of how sure a model may be: of twenty that it tells apart
# every score should be 0 or 1, and of twenty that it does not one half.
_LEAST_OF_LABEL = 100
# Within these a temperature is looked for.
_COLDEST, _HOTTEST = 0.2, 10.0
# How many times the rate any one source of benign texts may reach.
_SOURCE_SLACK = 2.0
_HIGHEST = 0.9999


@dataclass(frozen=True, slots=True)
class Calibration:
    """What was fitted for one channel, and on how much.

    `temperature` is the one that was there before unless `temperature_fitted`; `flag_at` and
    `block_at` are None where there were too few benign texts to set them;
    `flag_interval` and `block_interval` are the 95% intervals of the false-positive rates there.
    """

    temperature: float
    flag_at: float | None
    block_at: float | None
    benign: int
    injections: int
    flag_interval: Interval | None = None
    block_interval: Interval | None = None
    temperature_fitted: bool = False

    @property
    def at_bound(self) -> bool:
        """Whether a better temperature lies beyond those that are looked at."""
        return self.temperature_fitted and not (
            _COLDEST * 1.001 < self.temperature < _HOTTEST / 1.001
        )

    def to_dict(self) -> dict[str, object]:
        """For the manifest."""
        return {
            "temperature": round(self.temperature, 4),
            "temperature_fitted": self.temperature_fitted,
            "temperature_at_bound": self.at_bound,
            "benign_texts": self.benign,
            "injections": self.injections,
            "flag_rate": FLAG_RATE,
            "block_rate": BLOCK_RATE,
            "thresholds_fitted": self.flag_at is not None,
            "flag_interval": self.flag_interval,
            "block_interval": self.block_interval,
        }


def calibrate(
    scored: Sequence[Scored], before: Mapping[str, float] | None = None, *, prior: float = PRIOR
) -> dict[str, Calibration]:
    """One calibration per channel, from the margins of left-out texts, for scores of that prior.

    With fewer than a hundred texts of either label the temperature stays as it was `before` (1.0
    where nothing is said), and thresholds, which mean a pair with it, are fitted at that.
    """
    found = {}
    for channel in ("prompt", "data"):
        texts = [text for text in scored if text.channel == channel]
        innocent = [text for text in texts if text.label == 0]
        hostile = [text.margin for text in texts if text.label == 1]
        enough = min(len(innocent), len(hostile)) >= _LEAST_OF_LABEL
        temperature = (
            fit_temperature([text.margin for text in innocent], hostile)
            if enough
            else (before or {}).get(channel, 1.0)
        )
        # What was written to look like an attack says nothing of the rate on ordinary traffic.
        ordinary = [text for text in innocent if text.source != CORPUS]
        if len(ordinary) >= LEAST_BENIGN:
            innocent = ordinary
        benign = [text.margin for text in innocent]
        found[channel] = one = Calibration(
            temperature, None, None, len(benign), len(hostile), temperature_fitted=enough
        )
        if len(benign) >= LEAST_BENIGN:
            flag_at, block_at = (
                bounded(threshold, prior)
                for threshold in thresholds_for(
                    [_score(margin, temperature, prior) for margin in benign],
                    [text.source for text in innocent],
                    flag_rate=FLAG_RATE,
                    block_rate=BLOCK_RATE,
                )
            )
            found[channel] = replace(
                one,
                flag_at=flag_at,
                block_at=block_at,
                flag_interval=_rate(benign, flag_at, temperature, prior),
                block_interval=_rate(benign, block_at, temperature, prior),
            )
    return found


def bounded(threshold: float, prior: float) -> float:
    """The nearest threshold that a guard may have, whatever the texts say.

    A text that is no likelier to be an injection than any other, which is a score of `prior`,
    raises no flag.
    """
    return round(min(max(threshold, prior), at_prior(_HIGHEST, 0.5, prior)), 6)


def at_prior(score: float, before: float, prior: float) -> float:
    """What a score for traffic with a share of `before` injections is for one with `prior`.

    Source: Saerens et al. 2002, https://doi.org/10.1162/089976602753284446, equation 2.4.
    """
    hostile = score * prior / before
    return hostile / (hostile + (1 - score) * (1 - prior) / (1 - before))


def cautious(fitted: float, before: float, *, benign: int, rate: float) -> float:
    """The fitted threshold; one that too few texts set (fewer than 1 / rate) only ever rises.

    The highest of 120 scores says nothing of one false alarm in a thousand: 120 easy texts had
    put blocking where one ordinary prompt in ten is flagged.
    """
    return fitted if benign * rate >= 1 else max(fitted, before)


def thresholds_for(
    scores: Sequence[float], sources: Sequence[str], *, flag_rate: float, block_rate: float
) -> tuple[float, float]:
    """(flag_at, block_at): the lowest thresholds that keep their rate over benign texts.

    The rate holds for all texts together, and no source with enough texts to tell (1 / rate) goes
    above twice the rate: a mean over sources would let nearly every alarm fall on one kind of
    text, and a user has mostly one kind. Of a smaller source two odd texts would set the
    threshold of all: with sixty interviews it stood where one document of 2,830 reached it.

    Args:
        scores: of benign texts, 0 to 1.
        sources: where each text is from.
        flag_rate: share that may reach flag_at.
        block_rate: share that may reach block_at.
    """
    by_source: dict[str, list[float]] = defaultdict(list)
    for score, source in zip(scores, sources, strict=True):
        by_source[source].append(score)
    flag_at, block_at = (
        _just_above(
            max(
                _first_beyond(scores, rate),
                *(
                    _first_beyond(own, rate * _SOURCE_SLACK)
                    for own in by_source.values()
                    if len(own) * rate >= 1
                ),
                0.0,
            ),
            scores,
        )
        for rate in (flag_rate, block_rate)
    )
    return flag_at, max(flag_at, block_at)


def fit_temperature(benign: Sequence[float], hostile: Sequence[float]) -> float:
    """The temperature that minimises cross-entropy, both labels weighing the same; 1 without both.

    Source: Guo et al. 2017, https://arxiv.org/abs/1706.04599, section 4.2.
    """
    if not benign or not hostile:
        return 1.0
    # Convex in 1/T, so a golden-section search over log T finds the one minimum.
    low, high = math.log(_COLDEST), math.log(_HOTTEST)
    ratio = (math.sqrt(5) - 1) / 2
    for _ in range(60):
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        if _loss(benign, hostile, math.exp(left)) < _loss(benign, hostile, math.exp(right)):
            high = right
        else:
            low = left
    return math.exp((low + high) / 2)


def _loss(benign: Sequence[float], hostile: Sequence[float], temperature: float) -> float:
    return sum(_softplus(margin / temperature) for margin in benign) / len(benign) + sum(
        _softplus(-margin / temperature) for margin in hostile
    ) / len(hostile)


def _softplus(value: float) -> float:
    return max(value, 0.0) + math.log1p(math.exp(-abs(value)))


def _rate(benign: Sequence[float], threshold: float, temperature: float, prior: float) -> Interval:
    hits = sum(_score(margin, temperature, prior) >= threshold for margin in benign)
    return share_interval(hits, len(benign))


def _score(margin: float, temperature: float, prior: float) -> float:
    logit = margin / temperature + math.log(prior / (1 - prior))
    return 1 / (1 + math.exp(-max(-50.0, min(50.0, logit))))


def _first_beyond(scores: Sequence[float], rate: float) -> float:
    """The highest score that may not be reached, so that at most `rate` of the texts do."""
    return sorted(scores, reverse=True)[int(rate * len(scores))]


def _just_above(bound: float, scores: Sequence[float]) -> float:
    """Half way from `bound` to the next higher score: equal scores fall on one side."""
    return (bound + min((score for score in scores if score > bound), default=1.0)) / 2
