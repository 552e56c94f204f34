"""Report -> JSON and Markdown."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from bertguard.training.evaluation import Report, Row


def to_json(report: Report) -> str:
    """The whole report as one JSON document."""
    return json.dumps(asdict(report), indent=2, ensure_ascii=False) + "\n"


def to_markdown(report: Report) -> str:
    """Two tables: ranking per channel, and every source at the thresholds."""
    lines = [
        f"Model `{report.model_id}`. Flagged at "
        + ", ".join(f"{channel} {pair[0]:.4f}" for channel, pair in report.at.items())
        + "; blocked at "
        + ", ".join(f"{channel} {pair[1]:.4f}" for channel, pair in report.at.items())
        + f". Not scanned whole: {report.unscanned}.",
        "",
        "| channel | injections | benign | ROC-AUC | recall at 1% FPR | recall at 0.1% FPR |",
        "|---|---|---|---|---|---|",
    ]
    for channel, ranking in report.channels.items():
        cells = [_share(ranking[name]) for name in ("roc_auc", "recall_at_1%", "recall_at_0.1%")]
        lines.append(
            f"| {channel} | {ranking['injections']} | {ranking['benign']} | {' | '.join(cells)} |"
        )
    lines += [
        "",
        "| channel | source | benign | not flagged | not blocked "
        "| injections | flagged | blocked |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [_line(row) for row in report.rows]
    if report.disguises:
        first = report.disguises[0]
        lines += [
            "",
            f"Written oddly: {first['attacks']} attacks that are flagged plain, {first['benign']} "
            "benign prompts that pass plain.",
            "",
            "| writing | attacks still flagged | benign flagged |",
            "|---|---|---|",
        ]
        lines += [
            f"| {row['writing']} | {_cell(row['caught'])} | {_cell(row['flagged'])} |"
            for row in report.disguises
        ]
    return "\n".join(lines) + "\n"


def write(report: Report, directory: Path) -> Sequence[Path]:
    """`report.json` and `report.md` in `directory`."""
    directory.mkdir(parents=True, exist_ok=True)
    files = (directory / "report.json", directory / "report.md")
    for file, text in zip(files, (to_json(report), to_markdown(report)), strict=True):
        file.write_text(text, encoding="utf-8")
    return files


def _line(row: Row) -> str:
    benign = [str(row.benign or ""), _share(row.not_flagged), _share(row.not_blocked)]
    hostile = [str(row.injections or ""), _share(row.caught), _share(row.blocked)]
    return f"| {row.channel} | {row.source} | " + " | ".join([*benign, *hostile]) + " |"


def _cell(value: object) -> str:
    return _share(value if isinstance(value, float) else None)


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
