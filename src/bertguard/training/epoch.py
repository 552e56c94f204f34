"""Texts of an epoch -> labelled windows -> batches bounded by tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from bertguard.model.tokenization import WindowTokenizer
from bertguard.scoring import Window
from bertguard.training.augment import TrainingText
from bertguard.training.dataset import token_budget_batches

# A window that sees less of a payload than this is neither an example of it nor free of it.
_SEEN_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class LabelledWindow:
    """A window as the model takes it, and what it is."""

    window: Window
    label: int


def labelled_windows(
    texts: Sequence[TrainingText], tokenizer: WindowTokenizer, *, most: int, rng: Random
) -> list[LabelledWindow]:
    """The windows of the texts, at most `most` of each.

    Windows are cut as in serving. Where the place of a payload is known, a window is labelled by
    whether the payload lies in it; one that sees only a small part of it is left out.
    """
    found = []
    cut = tokenizer.windows_of([(text.text, text.channel) for text in texts])
    for text, own in zip(texts, cut, strict=True):
        windows = [
            LabelledWindow(window, label)
            for window in own
            if (label := _label(text, window)) is not None
        ]
        if len(windows) > most:
            # One with the payload is always kept: it is what the text was composed for.
            rng.shuffle(windows)
            windows.sort(key=lambda window: -window.label)
            hostile = [window for window in windows if window.label == 1]
            benign = [window for window in windows if window.label == 0]
            windows = (hostile[:1] + benign + hostile[1:])[:most]
        found += windows
    return found


def _label(text: TrainingText, window: Window) -> int | None:
    if text.label == 0 or text.payload is None:
        return text.label
    start, end = text.payload
    seen = min(end, window.end) - max(start, window.start)
    if seen <= 0:
        return 0
    # A payload longer than a window fills windows whole.
    needed = min(end - start, window.end - window.start) * _SEEN_SHARE
    return 1 if seen >= needed else None


def epoch_batches(
    windows: Sequence[LabelledWindow], *, max_tokens: int, seed: int
) -> list[list[LabelledWindow]]:
    """The windows in shuffled batches whose `longest x count` is at most `max_tokens`."""
    lengths = [len(item.window.ids) for item in windows]
    places = token_budget_batches(lengths, max_tokens=max_tokens, seed=seed)
    return [[windows[place] for place in batch] for batch in places]
