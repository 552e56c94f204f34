"""False alarms of the views: innocent texts that only another reading of them makes suspicious."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from bertguard.errors import ScorerError
from bertguard.guard import Guard
from bertguard.segments import Channel
from bertguard.training.examples import Example
from bertguard.verdict import Action
from bertguard.views import views
from bertguard.views.readings import AS_WRITTEN


@dataclass(frozen=True, slots=True)
class ViewAlarms:
    """The benign texts of a channel, and what the views beyond the first do to them.

    `with_views` have a view beyond the text as written. `flagged` and `blocked` reach that
    threshold by a view alone: as written they stay below it. `kinds` counts those by the name of
    the view that scores highest.
    """

    channel: str
    benign: int
    with_views: int
    flagged: int
    blocked: int
    kinds: dict[str, int] = field(default_factory=dict)


def view_alarms(
    guard: Guard, examples: Sequence[Example], scores: Sequence[float]
) -> list[ViewAlarms]:
    """Count them; `scores` are the guard's own of all examples, so few texts are scored again.

    Raises:
        ScorerError: the model gives a reading no score.
    """
    rows = []
    for channel in Channel:
        benign = [
            (row.text, score)
            for row, score in zip(examples, scores, strict=True)
            if row.channel == channel and row.label == 0
        ]
        if not benign:
            continue
        with_views = flagged = blocked = 0
        kinds: Counter[str] = Counter()
        bounds = guard.thresholds_of(channel)
        for text, score in benign:
            found = views(text)
            # A text that is escaped as a whole is not read as written.
            readings = {AS_WRITTEN: text} | {view.name: view.text for view in found}
            if len(readings) == 1:
                continue
            with_views += 1
            if bounds.action(score) is Action.ALLOW:
                continue
            tops = {name: _top(guard, reading, channel) for name, reading in readings.items()}
            plain = bounds.action(tops[AS_WRITTEN]).severity
            whole = bounds.action(max(tops[view.name] for view in found)).severity
            if whole > plain:
                flagged += plain < Action.FLAG.severity
                blocked += whole == Action.BLOCK.severity
                kinds[max(tops, key=lambda name: tops[name])] += 1
        rows.append(
            ViewAlarms(channel.value, len(benign), with_views, flagged, blocked, dict(kinds))
        )
    return rows


def _top(guard: Guard, text: str, channel: Channel) -> float:
    """The highest score of one reading."""
    scorer = guard.scorer
    scores = [scorer.score([window])[0] for window in scorer.windows(text, channel.value)]
    if not all(map(math.isfinite, scores)):
        # NaN is below every threshold, and `max` may pass over it.
        raise ScorerError("the model returned something that is not a probability")
    return max(scores, default=0.0)
