"""What the guard and a model agree on: windows in, probabilities out. Standard library only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Window:
    """One piece of a text as the model takes it.

    `ids` are token ids with the model's special tokens around them, at most the checkpoint's
    window long. `channel` is the token type: 0 prompt, 1 data. `start` and `end` are character
    offsets of the piece in its text (end exclusive). `unknown` counts the tokens of it that stand
    for something that the model does not know: it has read that there is something, not what.
    """

    ids: Sequence[int]
    channel: int
    start: int
    end: int
    unknown: int = 0


class Scorer(Protocol):
    """A loaded checkpoint on a device.

    `windows` and `score` are called from worker threads, `score` from up to `parallelism`
    threads at once; neither may touch an event loop.
    """

    @property
    def model_id(self) -> str:
        """Names checkpoint and backend, e.g. `minilm-l6-guard@3f2a…/onnx-int8`."""
        ...

    @property
    def thresholds(self) -> Mapping[str, tuple[float, float]]:
        """Channel name -> (flag_at, block_at), from the checkpoint's manifest."""
        ...

    @property
    def parallelism(self) -> int:
        """How many threads may call `score` at the same time."""
        ...

    def windows(self, text: str, channel: str) -> Iterator[Window]:
        """Cut a text into overlapping windows that cover every token, lazily and in order."""
        ...

    def score(self, windows: Sequence[Window]) -> Sequence[float]:
        """P(injection) in [0, 1] for each window, in order."""
        ...
