"""How well scores rank injections above benign texts."""

from __future__ import annotations

from collections.abc import Sequence

from sklearn.metrics import roc_auc_score, roc_curve

# injections, benign (counts), roc_auc, recall_at_1%, recall_at_0.1%
Ranking = dict[str, float | int | None]


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
    for rate, name in ((0.01, "recall_at_1%"), (0.001, "recall_at_0.1%")):
        # The best recall among thresholds that keep to the rate: no interpolation.
        found[name] = round(float(recall[false_positives <= rate].max()), 4)
    return found
