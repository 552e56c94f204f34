"""Scores of windows -> the places in the original texts that reached a threshold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from bertguard.batching import Scored
from bertguard.memory import Hit, SegmentScores
from bertguard.policy import Thresholds
from bertguard.segments import Channel, Segment
from bertguard.verdict import Action, Finding
from bertguard.views import View

MAX_FINDINGS = 32
"""A verdict names at most this many places; more say nothing new and only make logs long."""

Place = tuple[int, View]
"""What a window belongs to: the segment's number and the view that it was cut from."""


def scores_by_segment(
    scored: Sequence[Scored[Place]],
    segments: Sequence[Segment],
    thresholds: Mapping[Channel, Thresholds],
) -> dict[int, SegmentScores]:
    """The scored windows by the number of their segment, places in the original text."""
    tops: dict[int, float] = {}
    hits: dict[int, list[Hit]] = {}
    for item in scored:
        number, view = item.key
        tops[number] = max(item.score, tops.get(number, 0.0))
        if item.score >= thresholds[segments[number].channel].flag_at:
            start, end = view.span(item.start, item.end)
            hits.setdefault(number, []).append(Hit(start, end, item.score, view.name))
    return {
        number: SegmentScores(top, tuple(_merged(hits.get(number, ()))))
        for number, top in tops.items()
    }


def findings_of(
    scores: Mapping[int, SegmentScores],
    segments: Sequence[Segment],
    thresholds: Mapping[Channel, Thresholds],
) -> list[Finding]:
    """Places at or over a threshold, the worst first."""
    findings = []
    for number, known in scores.items():
        segment = segments[number]
        bounds = thresholds[segment.channel]
        for start, end, score, view_name in known.hits:
            action = bounds.action(score)
            findings.append(
                Finding(
                    action=action,
                    score=score,
                    threshold=bounds.block_at if action is Action.BLOCK else bounds.flag_at,
                    channel=segment.channel,
                    role=segment.role,
                    pointer=segment.pointer,
                    start=start,
                    end=end,
                    view=view_name,
                )
            )
    findings.sort(key=lambda f: (-f.action.severity, -f.score, f.pointer, f.start))
    return findings


def _merged(spans: Iterable[Hit]) -> list[Hit]:
    """Overlapping spans of one segment joined; each keeps its best score and that score's view."""
    merged: list[Hit] = []
    for start, end, score, view in sorted(spans):
        if merged and start < merged[-1].end:
            last = merged[-1]
            best = last if last.score >= score else Hit(start, end, score, view)
            merged[-1] = Hit(last.start, max(last.end, end), best.score, best.view)
        else:
            merged.append(Hit(start, end, score, view))
    return merged
