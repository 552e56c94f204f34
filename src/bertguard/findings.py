"""Scores of windows -> the places in the original texts that reached a threshold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bertguard.batching import Scored
from bertguard.policy import Thresholds
from bertguard.segments import Channel, Segment
from bertguard.verdict import Action, Finding
from bertguard.views import View

MAX_FINDINGS = 32
"""A verdict names at most this many places; more say nothing new and only make logs long."""

Place = tuple[int, View]
"""What a window belongs to: the segment's number and the view that it was cut from."""


def findings_of(
    scored: Sequence[Scored[Place]],
    segments: Sequence[Segment],
    thresholds: Mapping[Channel, Thresholds],
) -> list[Finding]:
    """Places at or over a threshold: overlapping windows merged, the worst place first."""
    hits: dict[int, list[tuple[int, int, float, str]]] = {}
    for item in scored:
        number, view = item.key
        if item.score >= thresholds[segments[number].channel].flag_at:
            start, end = view.span(item.start, item.end)
            hits.setdefault(number, []).append((start, end, item.score, view.name))
    findings = []
    for number, spans in hits.items():
        segment = segments[number]
        bounds = thresholds[segment.channel]
        for start, end, score, view_name in _merged(spans):
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


def _merged(spans: list[tuple[int, int, float, str]]) -> list[tuple[int, int, float, str]]:
    """Overlapping spans of one segment joined; each keeps its best score and that score's view."""
    merged: list[tuple[int, int, float, str]] = []
    for start, end, score, view in sorted(spans):
        if merged and start < merged[-1][1]:
            first, last, best, best_view = merged[-1]
            if score > best:
                best, best_view = score, view
            merged[-1] = (first, max(last, end), best, best_view)
        else:
            merged.append((start, end, score, view))
    return merged
