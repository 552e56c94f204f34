"""Edits of a text, and the way back from the edited text to the original."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from typing import NamedTuple

Span = tuple[int, int]

# Text kept on each side of a change: about fifty tokens, enough to read a sentence whole.
CONTEXT = 200
# What stands this near to a certain disguise is read in the same way.
NEAR = 150
# A cut is moved by up to this many characters to fall between words.
_WORD = 24


def is_near(places: Sequence[int], position: int) -> bool:
    """True where one of the sorted `places` is close to `position`."""
    after = bisect_left(places, position - NEAR)
    return after < len(places) and places[after] <= position + NEAR


class Edit(NamedTuple):
    """`text` takes the place of the characters from `start` to `end`; `kind` says why.

    `cut` is True where a bound on size left out some of what the characters decode into, `aligned`
    where a text of the same length stands character for character for the old one.
    """

    start: int
    end: int
    text: str
    kind: str
    context: int = CONTEXT
    cut: bool = False
    aligned: bool = True


class Change(NamedTuple):
    """Where an edit stands in the edited text."""

    start: int
    end: int
    kind: str
    context: int


class Rewriting:
    """A text made from another one by edits, with offsets both ways.

    Stretches between edits and edits that keep the length are mapped character by character;
    every character of any other edit stands for all the characters that the edit replaced.
    """

    __slots__ = ("_exact", "_new", "_new_length", "_old", "_old_end", "changes", "text")

    def __init__(self, text: str, edits: Iterable[Edit]) -> None:
        parts: list[str] = []
        self.changes: list[Change] = []
        self._new: list[int] = []
        self._old: list[int] = []
        self._old_end: list[int] = []
        self._exact: list[bool] = []
        position = length = 0
        for edit in edits:
            if edit.start < position:
                continue  # two edits of one place: the first one counts
            if edit.start > position:
                self._piece(length, position, edit.start, exact=True)
                parts.append(text[position : edit.start])
                length += edit.start - position
            self.changes.append(Change(length, length + len(edit.text), edit.kind, edit.context))
            if edit.text:
                exact = edit.aligned and len(edit.text) == edit.end - edit.start
                self._piece(length, edit.start, edit.end, exact=exact)
                parts.append(edit.text)
                length += len(edit.text)
            position = edit.end
        if position < len(text):
            self._piece(length, position, len(text), exact=True)
            parts.append(text[position:])
            length += len(text) - position
        self._new_length = length
        self.text = "".join(parts)

    def _piece(self, new: int, old: int, old_end: int, *, exact: bool) -> None:
        self._new.append(new)
        self._old.append(old)
        self._old_end.append(old_end)
        self._exact.append(exact)

    def back(self, start: int, end: int) -> Span:
        """The characters of the text before the edits that `start` to `end` came from."""
        if not self._new:
            return 0, 0
        first = max(bisect_right(self._new, start) - 1, 0)
        if end <= start:
            place = self._back(first, start)[0]
            return place, place
        last = max(bisect_left(self._new, end) - 1, 0)
        return self._back(first, start)[0], self._back(last, end - 1)[1]

    def _back(self, piece: int, position: int) -> Span:
        """The characters of the old text that the character at `position` stands for."""
        old, old_end = self._old[piece], self._old_end[piece]
        if not self._exact[piece]:
            return old, old_end
        at = min(old + position - self._new[piece], old_end)
        return at, min(at + 1, old_end)

    def forth(self, start: int, end: int) -> Span:
        """Where the characters from `start` to `end` of the text before the edits are now."""
        return self._forth(start, low=True), self._forth(end, low=False)

    def _forth(self, position: int, *, low: bool) -> int:
        piece = bisect_right(self._old, position) - 1
        if piece < 0:
            return 0
        after = self._new[piece + 1] if piece + 1 < len(self._new) else self._new_length
        if self._exact[piece]:
            return min(self._new[piece] + position - self._old[piece], after)
        if low and position < self._old_end[piece]:
            return self._new[piece]
        return self._new[piece] if position == self._old[piece] else after


def excerpt(text: str, changes: Sequence[Change]) -> Rewriting:
    """The neighbourhoods of the changes, a line each; what nothing changed is left out."""
    windows: list[list[int]] = []
    for change in sorted(changes):
        low, high = change.start, change.end
        if change.context:
            low = _word_edge(text, low - change.context, backwards=True)
            high = _word_edge(text, high + change.context, backwards=False)
        if windows and low <= windows[-1][1]:
            windows[-1][1] = max(windows[-1][1], high)
        else:
            windows.append([low, high])
    gaps = []
    position = 0
    for low, high in [*windows, [len(text), len(text)]]:
        if low > position:
            inner = position > 0 and low < len(text)
            gaps.append(Edit(position, low, "\n" if inner else "", ""))
        position = high
    return Rewriting(text, gaps)


def _word_edge(text: str, position: int, *, backwards: bool) -> int:
    if position <= 0 or position >= len(text):
        return min(max(position, 0), len(text))
    if backwards:
        return text.rfind(" ", max(position - _WORD, 0), position) + 1 or position
    found = text.find(" ", position, position + _WORD)
    return position if found < 0 else found
