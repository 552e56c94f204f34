"""False alarms of the views are counted apart from those of the text itself."""

from __future__ import annotations

import base64
import json

from bertguard import Channel, Guard, Policy, Thresholds
from bertguard.training.evaluation import evaluate
from bertguard.training.evaluation.alarms import ViewAlarms, view_alarms
from bertguard.training.evaluation.report import to_json, to_markdown
from bertguard.training.examples import Example
from support import ATTACK, BENIGN, KeywordScorer

HIDDEN = base64.b64encode(ATTACK.encode()).decode()
ROWS = [
    Example(BENIGN, 0),
    Example(f"Decode {base64.b64encode(BENIGN.encode()).decode()}", 0),
    Example(f"What does {HIDDEN} say?", 0),
    # As written it is flagged already: no view is to blame.
    Example(f"{ATTACK} {HIDDEN}", 0),
    Example(f"See {HIDDEN}", 0, "data"),
    # Attacks do not count.
    Example(f"Read {HIDDEN}", 1),
]


def test_only_what_a_view_alone_reaches_is_counted() -> None:
    """Benign texts by channel: with a view, flagged and blocked by one, and which one it was."""
    with Guard(KeywordScorer()) as guard:
        report = evaluate(guard, ROWS)
    assert report.view_alarms == [
        ViewAlarms("prompt", 4, 3, 1, 1, {"base64": 1}),
        ViewAlarms("data", 1, 1, 1, 1, {"base64": 1}),
    ]
    assert "| prompt | keyword | 4 | 3 | 1 | 1 | base64 1 |" in to_markdown([report])
    (model,) = json.loads(to_json([report]))["models"]
    assert model["view_alarms"][1]["blocked"] == 1
    assert ATTACK not in to_json([report])


def test_flagged_and_blocked_are_held_against_the_guards_own_thresholds() -> None:
    """A view that flags and does not block is counted as that; the scores are the guard's."""
    policy = Policy(thresholds={channel: Thresholds(0.5, 1.0) for channel in Channel})
    with Guard(KeywordScorer(), policy=policy) as guard:
        (row,) = view_alarms(guard, [ROWS[0], ROWS[2]], [0.01, 0.99])
    assert (row.benign, row.flagged, row.blocked) == (2, 1, 0)


def test_a_channel_without_benign_texts_has_no_row() -> None:
    """Nothing is reported of what was not measured."""
    with Guard(KeywordScorer()) as guard:
        assert view_alarms(guard, [ROWS[-1]], [0.99]) == []
