"""The ratios of a run as one picture, a panel for each part that has any."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from bertguard.bench.parts import Result
from bertguard.errors import ConfigurationError, MissingExtraError


class Panel(NamedTuple):
    """What is drawn of a part: one bar per row, `value` long and named by `names`."""

    title: str
    names: tuple[str, ...]
    value: str


_PANELS = {
    "latency": Panel("Guard.check / bare model", ("tokens",), "ratio"),
    "peers": Panel("peer / Guard.check, times", ("peer", "tokens"), "times"),
    "throughput": Panel("tokens per second / best bare arrangement", ("what",), "share"),
    "load": Panel("p99 / yardstick", ("what",), "p99_ratio"),
    "loop": Panel("lateness of the event loop, p99.9 in ms", ("what",), "p999_ms"),
    "growth": Panel("cost of a token / at 1,000 characters", ("chars",), "ratio"),
    "chat": Panel("a turn of a resent chat / what was new in it", ("turns",), "ratio"),
    "memory": Panel("resident memory of guard serve, MB", ("what", "requests"), "rss_mb"),
    "profile": Panel("share of the model in a check, percent", ("text",), "model_%"),
    "device": Panel("texts per second / CPU default", ("what",), "ratio"),
}


def plot(results: Mapping[str, Result], file: Path) -> None:
    """Write a picture; the ending of the name says of which kind (`.png`, `.svg`, `.pdf`).

    Raises:
        ConfigurationError: no part that ran has anything to draw.
        MissingExtraError: matplotlib is not installed.
    """
    if find_spec("matplotlib") is None:
        raise MissingExtraError("guard bench --plot", "bench")
    from matplotlib.figure import Figure

    drawn = {name: panel for name, panel in _PANELS.items() if isinstance(results.get(name), list)}
    if not drawn:
        raise ConfigurationError(f"nothing to draw; measure one of {', '.join(_PANELS)}")
    bars = {name: _bars(results[name], panel) for name, panel in drawn.items()}
    heights = [len(bar) + 2.0 for bar in bars.values()]
    figure = Figure(figsize=(9, 0.25 * sum(heights)), layout="constrained")
    axes = figure.subplots(len(drawn), 1, squeeze=False, height_ratios=heights)
    for axis, (name, panel) in zip(axes[:, 0], drawn.items(), strict=True):
        names = [bar[0] for bar in bars[name]]
        values = [bar[1] for bar in bars[name]]
        container = axis.barh(range(len(values)), values, color="#4c72b0")
        axis.bar_label(container, fmt="%.3g", padding=3, fontsize=7)
        axis.set_yticks(range(len(names)), names, fontsize=7)
        axis.invert_yaxis()
        axis.set_title(f"{name}: {panel.title}", fontsize=8, loc="left")
        axis.tick_params(axis="x", labelsize=7)
        axis.margins(x=0.12)
    figure.savefig(file, dpi=150)


def _bars(rows: Result, panel: Panel) -> list[tuple[str, float]]:
    return [
        (", ".join(str(row[name]) for name in panel.names), float(value))
        for row in (rows if isinstance(rows, list) else [])
        if isinstance(value := row.get(panel.value), int | float)
    ]
