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
            if len(found) == 1:
                continue
            with_views += 1
            if bounds.action(score) is Action.ALLOW:
                continue
            tops = {view.name: _top(guard, view.text, channel) for view in found}
            plain = bounds.action(tops[found[0].name]).severity
            whole = bounds.action(max(tops.values())).severity
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
