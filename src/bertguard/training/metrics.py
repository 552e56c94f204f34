"""How well scores rank injections above benign texts, and how far they can be believed."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy
from sklearn.metrics import roc_auc_score, roc_curve

# injections, benign (counts), roc_auc, recall_at_1%, recall_at_0.1%
Ranking = dict[str, float | int | None]
Interval = tuple[float, float]

_RATES = ((0.01, "recall_at_1%"), (0.001, "recall_at_0.1%"))
_RESAMPLES = 400
_BINS = 15


def ranking(labels: Sequence[int], scores: Sequence[float]) -> Ranking:
    """ROC-AUC and recall at 1% and 0.1% false positives; None where a label is missing."""
    found: Ranking = {
        "injections": sum(labels),
        "benign": len(labels) - sum(labels),
        "roc_auc": None,
        "recall_at_1%": None,
        "recall_at_0.1%": None,
    }
    if not 0 < sum(labels) < len(labels):
        return found
    found["roc_auc"] = round(float(roc_auc_score(labels, scores)), 4)
    false_positives, recall, _ = roc_curve(labels, scores, drop_intermediate=False)
    for rate, name in _RATES:
        # The best recall among thresholds that keep to the rate: no interpolation.
        found[name] = round(float(recall[false_positives <= rate].max()), 4)
    return found


def ranking_intervals(
    labels: Sequence[int], scores: Sequence[float], *, seed: int = 0
) -> dict[str, Interval]:
    """95% intervals of `ranking`'s figures: percentile bootstrap, each label drawn by itself.

    Source: Efron 1979, https://doi.org/10.1214/aos/1176344552. Empty where a label is missing.
    """
    truth, values = numpy.asarray(labels), numpy.asarray(scores, dtype=numpy.float64)
    benign, hostile = values[truth == 0], values[truth == 1]
    if not len(benign) or not len(hostile):
        return {}
    generator = numpy.random.default_rng(seed)
    drawn: dict[str, list[float]] = {"roc_auc": [], **{name: [] for _, name in _RATES}}
    for _ in range(_RESAMPLES):
        others = numpy.sort(generator.choice(benign, len(benign)))
        own = generator.choice(hostile, len(hostile))
        # Mann-Whitney: the share of pairs in the right order, ties by half.
        below = numpy.searchsorted(others, own, "left") + numpy.searchsorted(others, own, "right")
        drawn["roc_auc"].append(float(below.mean()) / 2 / len(others))
        for rate, name in _RATES:
            drawn[name].append(float((own > threshold_at(others, rate)).mean()))
    return {
        name: (
            round(float(numpy.percentile(values, 2.5)), 4),
            round(float(numpy.percentile(values, 97.5)), 4),
        )
        for name, values in drawn.items()
    }


def threshold_at(benign: numpy.ndarray, rate: float) -> float:
    """The score that at most `rate` of the benign scores, ascending, exceed."""
    return float(benign[len(benign) - 1 - int(rate * len(benign))])


def share_interval(hits: int, count: int) -> Interval:
    """95% interval of a share; unlike a bootstrap it is not empty at 0 and 1.

    Source: Wilson 1927, https://doi.org/10.1080/01621459.1927.10502953.
    """
    z = 1.96
    share = hits / count
    middle = share + z * z / (2 * count)
    spread = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    scale = 1 + z * z / count
    return (
        round(max(0.0, (middle - spread) / scale), 6),
        round(min(1.0, (middle + spread) / scale), 6),
    )


def calibration_bins(
    labels: Sequence[int], scores: Sequence[float], prior: float
) -> list[tuple[float, float, float]]:
    """(mean score, share of injections, weight) of each of 15 equal bins of the score.

    Injections weigh `prior` together and benign texts the rest, since their mix in a benchmark is
    an accident, and `prior` is what the scores are for. Empty where a label is missing.
    """
    truth, values = numpy.asarray(labels, dtype=bool), numpy.asarray(scores)
    if truth.all() or not truth.any():
        return []
    weights = numpy.where(truth, prior / truth.sum(), (1 - prior) / (~truth).sum())
    places = numpy.minimum((values * _BINS).astype(int), _BINS - 1)
    return [
        (
            float(numpy.average(values[own], weights=weights[own])),
            float(numpy.average(truth[own], weights=weights[own])),
            float(weights[own].sum()),
        )
        for number in range(_BINS)
        if (own := places == number).any()
    ]


def calibration_error(labels: Sequence[int], scores: Sequence[float], prior: float) -> float | None:
    """Expected calibration error: how far scores are from shares; see `calibration_bins`.

    Source: Guo et al. 2017, https://arxiv.org/abs/1706.04599. None where a label is missing.
    """
    bins = calibration_bins(labels, scores, prior)
    if not bins:
        return None
    return round(sum(weight * abs(score - share) for score, share, weight in bins), 4)
