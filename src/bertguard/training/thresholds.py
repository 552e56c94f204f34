"""A user's own benign traffic -> thresholds: "one false alarm in a hundred" becomes theirs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from bertguard.errors import DataError
from bertguard.guard import Guard
from bertguard.model.checkpoint import Manifest
from bertguard.training.calibration import BLOCK_RATE, FLAG_RATE, LEAST_BENIGN
from bertguard.training.evaluation import score_all
from bertguard.training.examples import Example
from bertguard.training.metrics import share_interval


@dataclass(frozen=True, slots=True)
class Fitted:
    """Thresholds of one channel, and how sure they are.

    `flag_interval` and `block_interval` are 95% intervals of the false-positive rate that the
    thresholds have on traffic of this kind (Wilson 1927, https://doi.org/10.1080/01621459.1927.10502953).
    """

    flag_at: float
    block_at: float
    benign: int
    flag_interval: tuple[float, float]
    block_interval: tuple[float, float]


def fit_thresholds(
    guard: Guard,
    examples: Sequence[Example],
    *,
    flag_rate: float = FLAG_RATE,
    block_rate: float = BLOCK_RATE,
    report: Callable[[int], None] | None = None,
) -> dict[str, Fitted]:
    """Thresholds that at most those shares of the benign examples reach, per channel.

    Args:
        guard: as it serves: views, windows and quantisation count.
        examples: labelled texts; injections are left out.
        flag_rate: share of benign texts that may be flagged.
        block_rate: share that may be blocked.
        report: called with the number of texts done.

    Returns:
        The channels with enough benign texts.

    Raises:
        DataError: no channel has enough.
    """
    if not 0 < block_rate <= flag_rate < 1:
        raise DataError(
            f"flag_rate={flag_rate}, block_rate={block_rate}: expected 0 < block_rate <= flag_rate "
            "< 1, since what is blocked is also flagged"
        )
    benign = [row for row in examples if row.label == 0]
    scores, _ = asyncio.run(score_all(guard, benign, report))
    found = {}
    for channel in ("prompt", "data"):
        own = sorted(
            (score for score, row in zip(scores, benign, strict=True) if row.channel == channel),
            reverse=True,
        )
        if len(own) < LEAST_BENIGN:
            continue
        flag_at, flagged = _threshold(own, flag_rate)
        block_at, blocked = _threshold(own, block_rate)
        found[channel] = Fitted(
            flag_at,
            block_at,
            len(own),
            share_interval(flagged, len(own)),
            share_interval(blocked, len(own)),
        )
    if not found:
        raise DataError(
            f"{len(benign)} benign texts, but no channel with {LEAST_BENIGN} of them; fewer say "
            "nothing about one false alarm in a hundred"
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
            "thresholds_fitted": True,
            "flag_interval": one.flag_interval,
            "block_interval": one.block_interval,
        }
    new = {channel: (one.flag_at, one.block_at) for channel, one in fitted.items()}
    return replace(manifest, thresholds={**manifest.thresholds, **new}, calibration=calibration)


def _threshold(scores: Sequence[float], rate: float) -> tuple[float, int]:
    """The lowest threshold that at most `rate` of the scores reach, and how many reach it."""
    allowed = int(rate * len(scores))
    # Half way between the last score that may reach it and the first that may not.
    above = scores[allowed - 1] if allowed else 1.0
    threshold = round(min(max((above + scores[allowed]) / 2, 1e-6), 1.0), 6)
    return threshold, sum(score >= threshold for score in scores)
