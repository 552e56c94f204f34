"""An evaluation counts what the serving guard decides."""

from __future__ import annotations

import json
from pathlib import Path

from bertguard import Guard
from bertguard.training.dataset import Example
from bertguard.training.evaluation import evaluate
from bertguard.training.metrics import ranking
from bertguard.training.report import to_json, to_markdown, write
from support import ATTACK, BENIGN, KeywordScorer

ROWS = [
    Example(BENIGN, 0, "prompt", "talk"),
    Example(ATTACK, 1, "prompt", "talk"),
    # Labels that disagree with the scorer: a false alarm and a miss.
    Example(f"Quote: {ATTACK}", 0, "prompt", "talk"),
    Example("Buy now", 1, "data", "pages"),
    Example(f"{'word ' * 500}{ATTACK}", 1, "data", "pages"),
]


def test_every_row_counts_for_its_source_and_channel() -> None:
    """Shares are of the rows of a label; the end of a long text counts as its beginning."""
    with Guard(KeywordScorer()) as guard:
        report = evaluate(guard, ROWS)
    pages, talk = report.rows
    assert (pages.channel, pages.source, pages.injections, pages.caught) == (
        "data",
        "pages",
        2,
        0.5,
    )
    assert pages.not_flagged is None
    assert (talk.benign, talk.not_flagged, talk.not_blocked) == (2, 0.5, 0.5)
    assert (talk.caught, talk.blocked) == (1.0, 1.0)
    assert report.unscanned == 0
    assert report.channels["prompt"]["roc_auc"] == 0.75
    assert report.channels["data"]["roc_auc"] is None


def test_a_threshold_can_be_given() -> None:
    """`flag_at` replaces the guard's own in both channels."""
    with Guard(KeywordScorer()) as guard:
        report = evaluate(guard, ROWS, flag_at=0.995)
    assert {row.caught for row in report.rows} == {0.0}


def test_recall_at_a_rate_keeps_to_the_rate() -> None:
    """With 1 of 100 benign texts on top, recall at 1% sees past it and at 0.1% does not."""
    labels = [0] * 100 + [1] * 10
    scores = [0.95, *[0.1] * 99, *[0.9] * 10]
    found = ranking(labels, scores)
    assert found["recall_at_1%"] == 1.0
    assert found["recall_at_0.1%"] == 0.0
    assert (found["injections"], found["benign"]) == (10, 100)


def test_reports_hold_figures_and_no_text(tmp_path: Path) -> None:
    """JSON and Markdown carry every source, and nothing of any prompt."""
    with Guard(KeywordScorer()) as guard:
        report = evaluate(guard, ROWS, data=["rows.jsonl"])
    for text in (to_json(report), to_markdown(report)):
        assert "pages" in text
        assert ATTACK not in text
    assert json.loads(to_json(report))["model_id"] == "keyword"
    files = write(report, tmp_path / "out")
    assert [file.name for file in files] == ["report.json", "report.md"]
    assert all(file.read_text() for file in files)
