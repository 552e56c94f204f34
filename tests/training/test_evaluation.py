"""An evaluation counts what the serving guard decides."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

from bertguard import Guard, Policy
from bertguard.errors import ScorerError
from bertguard.scoring import Window
from bertguard.training.evaluation import evaluate, worst_errors
from bertguard.training.evaluation.page import to_page
from bertguard.training.evaluation.report import to_json, to_markdown, write
from bertguard.training.examples import Example
from bertguard.training.metrics import (
    calibration_error,
    ranking,
    ranking_intervals,
    share_interval,
)
from bertguard.training.thresholds import fit_thresholds
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
    assert (pages.channel, pages.name, pages.injections, pages.caught) == (
        "data",
        "pages",
        2,
        0.5,
    )
    assert pages.not_flagged is None
    assert (talk.benign, talk.not_flagged, talk.not_blocked) == (2, 0.5, 0.5)
    assert (talk.caught, talk.blocked) == (1.0, 1.0)
    assert report.unscanned == 0
    assert report.channels["prompt"].ranking["roc_auc"] == 0.75
    assert report.channels["data"].ranking["roc_auc"] is None


class Broken(KeywordScorer):
    """Gives no number for what holds the word "odd"; its other windows are scored."""

    def windows(self, text: str, channel: str) -> Iterator[Window]:
        for window in super().windows(text, channel):
            odd = "odd" in text[window.start : window.end]
            yield replace(window, ids=(2,)) if odd else window

    def score(self, windows: Sequence[Window]) -> Sequence[float]:
        scores = super().score(windows)
        return [
            math.nan if window.ids[0] == 2 else score
            for window, score in zip(windows, scores, strict=True)
        ]


@pytest.mark.parametrize(
    ("policy", "score", "not_flagged", "not_blocked"),
    [("block", 1.0, 0.5, 0.5), ("flag", 0.5, 0.5, 1.0), ("allow", 0.0, 1.0, 1.0)],
)
def test_what_could_not_be_scored_counts_as_the_policy_treats_it(
    policy: Literal["block", "flag", "allow"], score: float, not_flagged: float, not_blocked: float
) -> None:
    """NaN is never taken for benign: it is unscanned, and that is blocked by default."""
    rows = [Example(BENIGN, 0, "prompt", "talk"), Example("an odd one", 0, "prompt", "talk")]
    # One window a batch: others in it would share its fate.
    with Guard(Broken(), policy=Policy(on_unscanned=policy), max_batch_tokens=1) as guard:
        report = evaluate(guard, rows)
    (row,) = report.rows
    assert (report.unscanned, report.scores) == (1, [0.01, score])
    assert (row.not_flagged, row.not_blocked) == (not_flagged, not_blocked)
    assert [alarms.benign for alarms in report.view_alarms] == [1]


def test_no_thresholds_are_fitted_where_texts_could_not_be_scored() -> None:
    """Counted as anything they would move the thresholds."""
    rows = [Example(f"{BENIGN} {n}", 0) for n in range(100)] + [Example("an odd one", 0)]
    with (
        Guard(Broken(), max_batch_tokens=1) as guard,
        pytest.raises(ScorerError, match="1 of 101 benign texts"),
    ):
        fit_thresholds(guard, rows, prior=0.5)


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
    page = to_page([report], ROWS)
    for text in (to_json([report]), to_markdown([report]), page):
        assert "pages" in text
        assert ATTACK not in text
    (model,) = json.loads(to_json([report]))["models"]
    assert model["model_id"] == "keyword"
    assert "scores" not in model
    files = write([report], tmp_path / "out", page)
    assert [file.name for file in files] == ["report.json", "report.md", "report.html"]
    assert all(file.read_text() for file in files)


def test_names_that_are_no_utf8_are_written_escaped(tmp_path: Path) -> None:
    """A lone surrogate in a source or category loses no report at its end."""
    rows = [Example(BENIGN, 0, "prompt", "caf\udce9"), Example(ATTACK, 1, "prompt", "b")]
    with Guard(KeywordScorer()) as guard:
        report = evaluate(guard, rows)
    for file in write([report], tmp_path, to_page([report], rows)):
        assert "caf\\udce9" in file.read_text(encoding="utf-8")
    assert json.loads(to_json([report]))["models"][0]["rows"][1]["name"] == "caf\udce9"


def test_a_bar_or_line_end_in_a_name_breaks_no_table() -> None:
    """A row of Markdown has as many cells as its table has heads."""
    with Guard(KeywordScorer()) as guard:
        report = evaluate(guard, [Example(BENIGN, 0, "prompt", "a|b\nc")])
    (line,) = (line for line in to_markdown([report]).splitlines() if "a\\|b c" in line)
    assert line.startswith("| prompt | a\\|b c | 1 |")


def test_slices_are_told_apart_where_the_data_tells() -> None:
    """By length always, by category and language where rows have them."""
    rows = [
        Example(ATTACK, 1, "prompt", "talk", category="override", language="en"),
        Example(f"{BENIGN} {'so ' * 200}", 0, "prompt", "talk", category="chat", language="de"),
    ]
    with Guard(KeywordScorer()) as guard:
        report = evaluate(guard, rows)
        assert set(evaluate(guard, ROWS).slices) == {"length"}
    assert {row.name: row.caught for row in report.slices["category"]} == {
        "override": 1.0,
        "chat": None,
    }
    assert [row.name for row in report.slices["language"]] == ["de", "en"]
    assert {row.name for row in report.slices["length"]} == {"201 to 1,000", "up to 200 characters"}


def test_recall_of_a_source_is_against_all_benign_texts_of_its_channel() -> None:
    """One benign text above everything leaves recall at 1% of few texts at 0."""
    rows = [Example(f"{BENIGN} {n}", 0, "prompt", "calm") for n in range(5)]
    rows += [Example(ATTACK, 1, "prompt", "attacks")]
    with Guard(KeywordScorer()) as guard:
        calm = evaluate(guard, rows)
        loud = evaluate(guard, [*rows, Example(f"Quote: {ATTACK}", 0, "prompt", "loud")])
    assert [row.recall_at_1 for row in calm.rows if row.injections] == [1.0]
    assert [row.recall_at_1 for row in loud.rows if row.injections] == [0.0]
    assert calm.channels["prompt"].macro_recall == 1.0


def test_checkpoints_stand_side_by_side() -> None:
    """Two models, one table; each row says whose it is, and both are in the page."""
    with Guard(KeywordScorer()) as guard:
        one = evaluate(guard, ROWS)
    other = replace(one, model_id="other")
    table = to_markdown([one, other])
    assert "| prompt | talk | keyword |" in table
    assert "| prompt | talk | other |" in table
    page = to_page([one, other], ROWS)
    assert page.count("<svg") == 1
    assert "src=" not in page
    assert 'href="http' not in page.replace("http://www.w3.org", "")


def test_the_worst_errors_are_those_farthest_off() -> None:
    """False alarms from the top, misses from the bottom, with their texts."""
    with Guard(KeywordScorer()) as guard:
        report = evaluate(guard, ROWS)
    errors = list(worst_errors(ROWS, report, most=1))
    assert [(error["error"], error["channel"]) for error in errors] == [
        ("false alarm", "prompt"),
        ("miss", "data"),
    ]
    assert errors[1]["text"] == "Buy now"


def test_published_figures_stand_only_beside_the_same_set() -> None:
    """Same name and same size; a part of it is another set."""
    rows = [Example(f"{BENIGN} {n}", 0, "prompt", "notinject_one") for n in range(113)]
    with Guard(KeywordScorer()) as guard:
        whole, part = evaluate(guard, rows), evaluate(guard, rows[:50])
    assert "PIGuard 184M" in to_markdown([whole])
    assert "PIGuard" not in to_markdown([part])


def test_intervals_hold_their_figures() -> None:
    """Few texts, wide intervals; a share of 1 still has one; without a label there is none."""
    labels = [0] * 60 + [1] * 30
    scores = [n / 100 for n in range(60)] + [0.4 + n / 100 for n in range(30)]
    found, intervals = ranking(labels, scores), ranking_intervals(labels, scores)
    for name in ("roc_auc", "recall_at_1%", "recall_at_0.1%"):
        low, high = intervals[name]
        assert low <= float(found[name] or 0.0) <= high
        assert low < high
    assert intervals == ranking_intervals(labels, scores)
    assert ranking_intervals([0, 0], [0.1, 0.2]) == {}
    assert share_interval(10, 10)[0] < 0.8
    assert share_interval(10, 10)[1] == 1.0


def test_calibration_error_is_the_gap_between_score_and_share() -> None:
    """Right scores have none; sure and wrong ones have nearly 1; the prior weighs the labels."""
    assert calibration_error([0] * 90 + [1] * 10, [0.0] * 90 + [1.0] * 10, 0.5) == 0.0
    assert calibration_error([0, 1], [1.0, 0.0], 0.5) == 1.0
    assert calibration_error([0, 0], [0.1, 0.1], 0.5) is None
    # One text in ten is an injection, whatever the mix of the file, and each score says so.
    assert calibration_error([0, 1, 1, 1], [0.1] * 4, 0.1) == 0.0
    assert calibration_error([0, 1, 1, 1], [0.1] * 4, 0.5) == 0.4
