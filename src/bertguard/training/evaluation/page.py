"""Reports -> one HTML page that needs nothing beside it: tables, and curves as inline SVG."""

from __future__ import annotations

import html
import io
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl

# Before pyplot is first imported: no display is needed, nor looked for.
mpl.use("svg")

from matplotlib import pyplot
from matplotlib.axes import Axes
from sklearn.metrics import precision_recall_curve, roc_curve

from bertguard.training.evaluation import Report
from bertguard.training.evaluation.report import tables
from bertguard.training.examples import Example
from bertguard.training.metrics import calibration_bins

_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 76rem; padding: 0 1rem; }
table { border-collapse: collapse; display: block; overflow-x: auto; margin-bottom: 2rem; }
th, td { border-bottom: 1px solid #8884; padding: .2rem .7rem; text-align: left; }
td { white-space: nowrap; font-variant-numeric: tabular-nums; }
figure { background: #fff; margin: 0 0 2rem; overflow-x: auto; }
"""


def to_page(reports: Sequence[Report], examples: Sequence[Example]) -> str:
    """The page; `examples` are those the reports were made from, for the labels of the curves."""
    parts = ["<h1>guard evaluate</h1>"]
    for channel in ("prompt", "data"):
        labels = [row.label for row in examples if row.channel == channel]
        if 0 < sum(labels) < len(labels):
            parts += [f"<h2>Channel {channel}</h2>", _figure(channel, labels, reports, examples)]
    for table in tables(reports):
        heads = "".join(f"<th>{html.escape(head)}</th>" for head in table.heads)
        rows = "".join(
            f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>\n"
            for row in table.rows
        )
        parts.append(
            f"<h2>{html.escape(table.title)}</h2>\n<table><thead><tr>{heads}</tr></thead>\n"
            f"<tbody>\n{rows}</tbody></table>"
        )
    body = "\n".join(parts)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width">\n<title>guard evaluate</title>\n'
        f"<style>{_STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _figure(
    channel: str, labels: Sequence[int], reports: Sequence[Report], examples: Sequence[Example]
) -> str:
    figure, grid = pyplot.subplots(2, 3, figsize=(13, 7.6))
    roc, precision, histogram, calibration, thresholds, key = grid.flat
    for number, report in enumerate(reports):
        scores = [
            score
            for score, row in zip(report.scores, examples, strict=True)
            if row.channel == channel
        ]
        style: dict[str, Any] = {"color": f"C{number}", "label": report.model_id}
        _curves((roc, precision, thresholds), labels, scores, style)
        for label, hatch in ((0, None), (1, "//")):
            own = [score for score, truth in zip(scores, labels, strict=True) if truth == label]
            histogram.hist(
                own,
                bins=40,
                range=(0, 1),
                density=True,
                histtype="step",
                hatch=hatch,
                color=style["color"],
            )
        bins = calibration_bins(labels, scores, report.prior)
        calibration.plot(
            [score for score, _, _ in bins], [share for _, share, _ in bins], "o-", **style
        )
        for at in report.at[channel]:
            thresholds.axvline(at, color=style["color"], linestyle=":", linewidth=0.8)
    calibration.plot([0, 1], [0, 1], color="0.7", linewidth=0.8)
    for axes, title, x, y in (
        (roc, "ROC", "false positives (logarithmic)", "recall"),
        (precision, "Precision and recall", "recall", "precision"),
        (histogram, "Scores: plain benign, hatched injections", "score", "density"),
        (calibration, "Calibration, at each model's prior", "mean score", "share of injections"),
        (thresholds, "Thresholds: solid recall, dashed false positives", "threshold", "share"),
    ):
        axes.set(title=title, xlabel=x, ylabel=y)
        axes.grid(visible=True, alpha=0.3)
    roc.set_xscale("log")
    histogram.set_yscale("log")
    thresholds.set_yscale("symlog", linthresh=0.001)
    key.axis("off")
    key.legend(*roc.get_legend_handles_labels(), loc="center", frameon=False)
    figure.tight_layout()
    drawn = io.StringIO()
    figure.savefig(drawn, format="svg")
    pyplot.close(figure)
    svg = drawn.getvalue()
    return f"<figure>{svg[svg.index('<svg') :]}</figure>"


def _curves(
    axes: tuple[Axes, Axes, Axes],
    labels: Sequence[int],
    scores: Sequence[float],
    style: dict[str, Any],
) -> None:
    roc, precision, thresholds = axes
    wrong, recall, at = roc_curve(labels, scores)
    # No false positive is no place on a logarithmic axis.
    least = 0.5 / (len(labels) - sum(labels))
    roc.step([max(rate, least) for rate in wrong], recall, where="post", **style)
    exact, found, _ = precision_recall_curve(labels, scores)
    precision.step(found, exact, where="post", **style)
    thresholds.plot(at[1:], recall[1:], color=style["color"])
    thresholds.plot(at[1:], wrong[1:], color=style["color"], linestyle="--")
