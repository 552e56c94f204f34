"""A scorer with a clock: how much of a check is tokenization, and how much the model."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence

from bertguard.scoring import Scorer, Window


class TimedScorer:
    """Another scorer, one call at a time, with its seconds counted.

    Args:
        scorer: does the work.
    """

    # Two at a time would be two clocks.
    parallelism = 1

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer
        self.clear()

    def clear(self) -> None:
        """Start counting anew."""
        self.windows_seconds = 0.0
        self.score_seconds = 0.0

    @property
    def model_id(self) -> str:
        """The other scorer's."""
        return self._scorer.model_id

    @property
    def thresholds(self) -> Mapping[str, tuple[float, float]]:
        """The other scorer's."""
        return self._scorer.thresholds

    def windows(self, text: str, channel: str) -> Iterator[Window]:
        """The other scorer's, the time between two of them left out."""
        begun = time.perf_counter()
        for window in self._scorer.windows(text, channel):
            self.windows_seconds += time.perf_counter() - begun
            yield window
            begun = time.perf_counter()
        self.windows_seconds += time.perf_counter() - begun

    def score(self, windows: Sequence[Window]) -> Sequence[float]:
        """The other scorer's."""
        begun = time.perf_counter()
        scores = self._scorer.score(windows)
        self.score_seconds += time.perf_counter() - begun
        return scores
