"""A text to learn from, with the place of its payload where that is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from random import Random


@dataclass(frozen=True, slots=True)
class TrainingText:
    """One text of an epoch.

    `payload` is the character range of the injection in `text`, end exclusive, or None where the
    whole text is meant (or benign). Windows of a long text are labelled by it. `source` is empty
    for what was composed here.
    """

    text: str
    label: int
    channel: str
    payload: tuple[int, int] | None = None
    source: str = ""

    def rewritten(self, rewrite: Callable[[str], str]) -> TrainingText:
        """The same with every part passed through `rewrite`; the payload stays marked."""
        if self.payload is None:
            return replace(self, text=rewrite(self.text))
        start, end = self.payload
        before, inside, after = (
            rewrite(self.text[:start]),
            rewrite(self.text[start:end]),
            rewrite(self.text[end:]),
        )
        return replace(
            self,
            text=before + inside + after,
            payload=(len(before), len(before) + len(inside)),
        )


def excerpt(rng: Random, text: str, *, most: int) -> str:
    """A piece of at most `most` characters that begins and ends at a line or sentence."""
    if len(text) <= most:
        return text.strip()
    length = rng.randint(most // 3, most)
    start = _boundary(text, rng.randrange(0, len(text) - length))
    end = _boundary(text, start + length)
    # No boundary in reach: a hard cut, as a search index or a token limit would make it.
    piece = text[start : end if start < end <= start + most else start + length]
    return piece.strip() or text[:length].strip()


def sentence(rng: Random, text: str) -> str:
    """One sentence or line of a document, 20 to 300 characters long where there is one."""
    for _ in range(4):
        start = _boundary(text, rng.randrange(0, max(1, len(text) - 80)))
        end = _boundary(text, min(len(text), start + rng.randint(20, 200)))
        piece = " ".join(text[start:end].split())
        if 20 <= len(piece) <= 300:
            return piece
    return " ".join(text[:200].split())


def boundaries(text: str) -> list[int]:
    """Offsets at which something can be put in: both ends, and after every line and sentence."""
    inner = [
        place + 1
        for place, (here, after) in enumerate(pairwise(text))
        if here == "\n" or (here in ".!?。！？" and after in " \n")
    ]
    return [0, *inner, len(text)]


def _boundary(text: str, place: int) -> int:
    """The end of the line or sentence that `place` stands in, within 200 characters."""
    if place <= 0:
        return 0
    for near in range(place, min(len(text) - 1, place + 200)):
        if text[near] == "\n" or (text[near] in ".!?。！？" and text[near + 1] in " \n"):
            return near + 1
    return place
