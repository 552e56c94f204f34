"""A user's own benign traffic -> thresholds: "one false alarm in a hundred" becomes theirs."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from bertguard.errors import ConfigurationError, DataError, ScorerError
from bertguard.guard import Guard
from bertguard.model.checkpoint import Manifest
from bertguard.training.calibration import (
    BLOCK_RATE,
    FLAG_RATE,
    LEAST_BENIGN,
    at_prior,
    bounded,
    cautious,
    thresholds_for,
)
from bertguard.training.evaluation import score_all
from bertguard.training.examples import Example
from bertguard.training.metrics import share_interval


@dataclass(frozen=True, slots=True)
class Fitted:
    """Thresholds of one channel, the rates they were to keep, and how sure they are.

    `flag_interval` and `block_interval` are 95% intervals of the false-positive rate that the
    thresholds have on traffic of this kind (Wilson 1927, https://doi.org/10.1080/01621459.1927.10502953).
    """

    flag_at: float
    block_at: float
    flag_rate: float
    block_rate: float
    benign: int
    flag_interval: tuple[float, float]
    block_interval: tuple[float, float]


def fit_thresholds(
    guard: Guard,
    examples: Sequence[Example],
    *,
    prior: float,
    flag_rate: float = FLAG_RATE,
    block_rate: float = BLOCK_RATE,
    report: Callable[[int], None] | None = None,
) -> dict[str, Fitted]:
    """Thresholds that at most those shares of the benign examples reach, per channel.

    No source of the examples goes far above the shares either; see `thresholds_for`. As in
    training, thresholds have bounds; see `bounded`. One that fewer than 1 / rate texts set is not
    below the guard's own; see `cautious`.

    Args:
        guard: as it serves: views, windows and quantisation count.
        examples: labelled texts; injections are left out.
        prior: that of the guard's scores.
        flag_rate: share of benign texts that may be flagged.
        block_rate: share that may be blocked.
        report: called with the number of texts done.

    Returns:
        The channels with enough benign texts.

    Raises:
        ConfigurationError: the shares cannot be kept by any thresholds of use.
        DataError: no channel has enough.
        ScorerError: a text could not be scored.
    """
    if not 0 < block_rate <= flag_rate < 0.5:
        raise ConfigurationError(
            f"flag_rate={flag_rate}, block_rate={block_rate}: expected 0 < block_rate <= flag_rate "
            "< 0.5, since what is blocked is also flagged, and most benign texts are not"
        )
    benign = [row for row in examples if row.label == 0]
    counts = Counter(row.channel for row in benign)
    if max(counts.values(), default=0) < LEAST_BENIGN:
        raise DataError(
            f"{len(benign)} benign texts, but no channel with {LEAST_BENIGN} of them; fewer say "
            "nothing about one false alarm in a hundred"
        )
    scores, unscanned = asyncio.run(score_all(guard, benign, report))
    if unscanned:
        raise ScorerError(
            f"{len(unscanned)} of {len(benign)} benign texts could not be scored, and thresholds "
            "fitted to the others would say nothing of them; guard scan says why"
        )
    found = {}
    for channel in ("prompt", "data"):
        own = [
            (score, row.source)
            for score, row in zip(scores, benign, strict=True)
            if row.channel == channel
        ]
        if len(own) < LEAST_BENIGN:
            continue
        before = guard.scorer.thresholds[channel]
        reached, sources = zip(*own, strict=True)
        fitted = thresholds_for(reached, sources, flag_rate=flag_rate, block_rate=block_rate)
        flag_at, block_at = (
            cautious(bounded(threshold, prior), old, benign=len(own), rate=rate)
            for threshold, old, rate in zip(fitted, before, (flag_rate, block_rate), strict=True)
        )
        block_at = max(flag_at, block_at)
        found[channel] = Fitted(
            flag_at,
            block_at,
            flag_rate,
            block_rate,
            len(own),
            share_interval(sum(score >= flag_at for score in reached), len(own)),
            share_interval(sum(score >= block_at for score in reached), len(own)),
        )
    return found


def with_thresholds(manifest: Manifest, fitted: dict[str, Fitted]) -> Manifest:
    """The manifest with the new thresholds, and what stands behind them."""
    calibration = dict(manifest.calibration)
    for channel, one in fitted.items():
        before = calibration.get(channel)
        calibration[channel] = {
            **(before if isinstance(before, dict) else {}),
            "benign_texts": one.benign,
            "flag_rate": one.flag_rate,
            "block_rate": one.block_rate,
            "thresholds_fitted": True,
            "flag_interval": one.flag_interval,
            "block_interval": one.block_interval,
        }
    new = {channel: (one.flag_at, one.block_at) for channel, one in fitted.items()}
    return replace(manifest, thresholds={**manifest.thresholds, **new}, calibration=calibration)


def with_prior(manifest: Manifest, prior: float) -> Manifest:
    """The manifest for other traffic: scores and thresholds move, no decision does."""
    thresholds = {
        # As they are: rounded they could fall on the other side of a score.
        channel: (
            at_prior(flag_at, manifest.prior, prior),
            at_prior(block_at, manifest.prior, prior),
        )
        for channel, (flag_at, block_at) in manifest.thresholds.items()
    }
    return replace(manifest, prior=prior, thresholds=thresholds)
