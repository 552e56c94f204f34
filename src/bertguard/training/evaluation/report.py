"""Reports -> tables -> Markdown, JSON and a page."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

from bertguard.training.evaluation import Report, Row
from bertguard.training.markdown import table_line, writable
from bertguard.training.metrics import Interval


@dataclass(frozen=True, slots=True)
class Table:
    """A title, the heads of the columns and the cells, as they are shown."""

    title: str
    heads: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


def tables(reports: Sequence[Report]) -> list[Table]:
    """Everything the reports hold; several models stand side by side, a row each."""
    found = [_models(reports), _channels(reports), _rows("source", reports)]
    for name in ("category", "language", "length"):
        if any(name in report.slices for report in reports):
            found.append(_rows(name, reports))
    if published := _published(reports):
        found.append(published)
    found.append(_view_alarms(reports))
    if any(report.disguises for report in reports):
        found.append(_disguises(reports))
    return found


def to_json(reports: Sequence[Report]) -> str:
    """All figures as one JSON document; no text, and no score of a single text."""
    documents = []
    for report in reports:
        document = asdict(report)
        del document["scores"]
        documents.append(document)
    return writable(json.dumps({"models": documents}, indent=2, ensure_ascii=False)) + "\n"


def to_markdown(reports: Sequence[Report]) -> str:
    """The tables, each under its title."""
    lines = [line for table in tables(reports) for line in _markdown(table)]
    return writable("\n".join(lines)) + "\n"


def write(reports: Sequence[Report], directory: Path, page: str = "") -> Sequence[Path]:
    """`report.json`, `report.md` and, where there is a page, `report.html` in `directory`."""
    directory.mkdir(parents=True, exist_ok=True)
    texts = {"report.json": to_json(reports), "report.md": to_markdown(reports)}
    if page:
        texts["report.html"] = page
    for name, text in texts.items():
        (directory / name).write_text(writable(text), encoding="utf-8")
    return [directory / name for name in texts]


def write_errors(file: Path, errors: Iterable[Mapping[str, object]]) -> Path:
    """One JSON object a line; it holds texts, whatever characters they are of."""
    lines = (writable(json.dumps(error, ensure_ascii=False)) + "\n" for error in errors)
    file.write_text("".join(lines), encoding="utf-8")
    return file


def _markdown(table: Table) -> Iterator[str]:
    yield f"### {table.title}"
    yield ""
    yield table_line(table.heads)
    yield "|" + "---|" * len(table.heads)
    for row in table.rows:
        yield table_line(row)
    yield ""


def _models(reports: Sequence[Report]) -> Table:
    heads = (
        "model",
        "prompt flagged at",
        "blocked at",
        "data flagged at",
        "blocked at",
        "scores for a share of injections of",
        "unscanned",
    )
    rows = [
        (
            report.model_id,
            *(f"{at:.4f}" for channel in ("prompt", "data") for at in report.at[channel]),
            f"{report.prior:g}",
            str(report.unscanned),
        )
        for report in reports
    ]
    return Table("Models", heads, rows)


def _channels(reports: Sequence[Report]) -> Table:
    heads = (
        "model", "channel", "injections", "benign", "ROC-AUC", "recall at 1% FPR",
        "recall at 0.1% FPR", "mean of sources at 1% FPR", "calibration error",
    )  # fmt: skip
    rows = []
    for report in reports:
        for channel, figures in report.channels.items():
            ranking, intervals = figures.ranking, figures.intervals
            rows.append(
                (
                    report.model_id,
                    channel,
                    str(ranking["injections"]),
                    str(ranking["benign"]),
                    *(
                        _with_interval(ranking[name], intervals.get(name))
                        for name in ("roc_auc", "recall_at_1%", "recall_at_0.1%")
                    ),
                    _share(figures.macro_recall),
                    _share(figures.calibration_error),
                )
            )
    return Table("Channels, with 95% bootstrap intervals", heads, rows)


def _rows(name: str, reports: Sequence[Report]) -> Table:
    several = len(reports) > 1
    heads = (
        "channel", name, *(("model",) if several else ()), "benign", "not flagged", "not blocked",
        "injections", "flagged", "blocked", "recall at 1% FPR", "recall at 0.1% FPR",
    )  # fmt: skip
    found: dict[tuple[str, str], list[tuple[str, Row]]] = {}
    for report in reports:
        for row in report.rows if name == "source" else report.slices.get(name, ()):
            found.setdefault((row.channel, row.name), []).append((report.model_id, row))
    rows = [
        (
            *key,
            *((model,) if several else ()),
            str(row.benign or ""),
            *(_with_interval(getattr(row, n), row.intervals.get(n)) for n in _BENIGN_SHARES),
            str(row.injections or ""),
            *(_with_interval(getattr(row, n), row.intervals.get(n)) for n in _HOSTILE_SHARES),
        )
        for key, lines in found.items()
        for model, row in lines
    ]
    return Table(f"By {name}, with 95% intervals", heads, rows)


_BENIGN_SHARES = ("not_flagged", "not_blocked")
_HOSTILE_SHARES = ("caught", "blocked", "recall_at_1", "recall_at_01")


@dataclass(frozen=True, slots=True)
class _Known:
    """A published share of a set of so many texts, by model."""

    source: str
    texts: int
    share: str
    values: dict[str, float]


@cache
def _known() -> list[_Known]:
    text = files(__package__).joinpath("published.toml").read_text("utf-8")
    return [
        _Known(figure["source"], figure["texts"], figure["share"], figure["values"])
        for figure in tomllib.loads(text)["figure"]
    ]


def _published(reports: Sequence[Report]) -> Table | None:
    """Others' figures, where a row is the very set that they were measured on."""
    rows = []
    for figure in _known():
        own = [
            (report.model_id, row)
            for report in reports
            for row in report.rows
            if row.name == figure.source and row.benign + row.injections == figure.texts
        ]
        if not own:
            continue
        lines = [(model, _share(getattr(row, figure.share))) for model, row in own]
        lines += [(model, _share(value)) for model, value in figure.values.items()]
        title = {"not_flagged": "benign not flagged", "caught": "injections flagged"}[figure.share]
        rows += [(figure.source, title, *line) for line in lines]
    if not rows:
        return None
    heads = ("source", "share", "model", "value")
    return Table("Beside published figures, each at its own threshold", heads, rows)


def _view_alarms(reports: Sequence[Report]) -> Table:
    heads = (
        "channel", "model", "benign", "with a view", "flagged by a view alone",
        "blocked by a view alone", "views",
    )  # fmt: skip
    rows = [
        (
            row.channel,
            report.model_id,
            str(row.benign),
            str(row.with_views),
            str(row.flagged),
            str(row.blocked),
            ", ".join(f"{name} {count}" for name, count in sorted(row.kinds.items())),
        )
        for report in reports
        for row in report.view_alarms
    ]
    return Table("False alarms by a view alone: as written the text stays below", heads, rows)


def _disguises(reports: Sequence[Report]) -> Table:
    heads = ("writing", "model", "attacks", "still flagged", "benign", "flagged", "ROC-AUC")
    rows = [
        (
            str(row["writing"]),
            report.model_id,
            str(row["attacks"]),
            _share(row["caught"]),
            str(row["benign"]),
            _share(row["flagged"]),
            _share(row["roc_auc"]),
        )
        for report in reports
        for row in report.disguises
    ]
    title = "Written oddly: attacks that are flagged plain, benign prompts that pass plain"
    return Table(title, heads, rows)


def _with_interval(value: float | None, interval: Interval | None) -> str:
    if value is None:
        return ""
    return _share(value) + (f" ({interval[0]:.3f}-{interval[1]:.3f})" if interval else "")


def _share(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float | int) else ""
