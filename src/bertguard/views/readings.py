"""The readings of one text: as written, and others only where the text shows a sign of them.

Each step rewrites the outcome of the step before, so that disguises on top of each other come off
one by one: a payload of invisible characters is laid out, look-alikes are folded, letters joined,
what is encoded decoded. A second round does the same with what the first one decoded. A view holds
the neighbourhoods of what its steps changed, so it costs in proportion to what is odd.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Self

from bertguard.views import (
    characters,
    encodings,
    entities,
    hidden,
    markup,
    misspelling,
    spelling,
    urls,
)
from bertguard.views.bases import MAX_SPAN_BYTES
from bertguard.views.language import Text
from bertguard.views.offsets import Change, Edit, Rewriting, Span, excerpt

AS_WRITTEN = "as_written"
# Bounds for one text: readings beyond the first, and decoded spans in each round of one.
MAX_VIEWS = 4
MAX_DECODED_SPANS = 16
# As many as the first round of decoding takes off.
_ESCAPE_LAYERS = 2
# Decoded pieces that stand as near as this are one span: words of one encoded sentence.
_SAME_SPAN = 100

_Step = Callable[[Text], Sequence[Edit]]
_SPELLING: tuple[_Step, ...] = (
    markup.untagged,
    characters.upright,
    characters.folded,
    spelling.despaced,
    spelling.deleeted,
    spelling.unprefixed,
    misspelling.corrected,
)


@dataclass(frozen=True, slots=True)
class View:
    """One reading of a text, with the way back to the original.

    `name` says what was done: `as_written`, or the kinds of its changes joined by "+"
    (`folded`, `despaced+deleeted`, `base64+hex`).
    """

    name: str
    text: str = field(repr=False)
    _layers: tuple[Rewriting, ...] = field(default=(), repr=False, compare=False)

    def span(self, start: int, end: int) -> Span:
        """The original characters that `start` to `end` of this reading stand for."""
        start = min(max(start, 0), len(self.text))
        end = min(max(end, start), len(self.text))
        for layer in self._layers:
            start, end = layer.back(start, end)
        return start, end


class Views(tuple[View, ...]):
    """The readings of a text; the first is the text itself, unless it is escaped as a whole.

    `truncated` is True where a bound left something undecoded: more than 16 spans, or 8 KB;
    `unread` where there were more than four readings beyond the first, of which four are here.
    """

    truncated: bool
    unread: bool

    def __new__(
        cls, found: Iterable[View], *, truncated: bool = False, unread: bool = False
    ) -> Self:
        self = super().__new__(cls, found)
        self.truncated, self.unread = truncated, unread
        return self


def views(text: str) -> Views:
    """Every reading of a text in which an attack may hide; at most four beyond the text itself.

    A text with right-to-left overrides is read in the order in which it is stored and in that in
    which it is shown; only disguises upon disguises in both make more than four. Takes time in
    proportion to the length of the text and never raises, whatever it holds.
    """
    found = [View(AS_WRITTEN, text)]
    trail = _Trail(text)
    _read(trail, found)
    shown = _Trail(text)
    # Apart: beside the other order in one window, either is only half of what the model sees.
    if shown.rewrite(characters.reversed_runs):
        _read(shown, found)
    said = urls.spelt(text, layers=_ESCAPE_LAYERS)
    if said is not None and any(view.text.strip() == said.strip() for view in found[1:]):
        # The escapes hold the same letters in odd clothes, and odd is what they would be scored as.
        del found[0]
    kept = found[: 1 + MAX_VIEWS]
    return Views(
        kept,
        truncated=trail.truncated or shown.truncated,
        unread=len(kept) < len(found),
    )


def _read(trail: _Trail, found: list[View]) -> None:
    """Every step, and the views they lead to."""
    trail.decode(hidden.payloads)
    trail.respell()
    trail.show(found)
    trail.rewrite(markup.laid_out)
    trail.show(found)
    if trail.decode(encodings.decoded):
        trail.show(found, narrow=True)
        trail.decode(hidden.payloads)
        trail.respell()
        trail.decode(_decoded_once)
        trail.show(found)


def _decoded_once(source: Text) -> list[Edit]:
    return encodings.decoded(source, depth=0)


class _Trail:
    """A text on its way through the steps."""

    def __init__(self, text: str) -> None:
        self._source = Text(text)
        self.truncated = False
        self._layers: tuple[Rewriting, ...] = ()
        self._changes: list[Change] = []

    def respell(self) -> None:
        """Characters and spelling, step by step."""
        if self.rewrite(entities.unescaped):
            self.decode(hidden.payloads)  # "&#xE0049;" is an invisible character
        for step in _SPELLING:
            self.rewrite(step)

    def decode(self, step: _Step) -> bool:
        """A step whose findings are bounded in number and size; True where it found any."""
        edits = step(self._source)
        kept = _bounded(edits)
        self.truncated |= len(kept) < len(edits) or any(edit.cut for edit in kept)
        return self._apply(kept)

    def rewrite(self, step: _Step) -> bool:
        """A step that changes a text in proportion to its length."""
        return self._apply(step(self._source))

    def _apply(self, edits: Sequence[Edit]) -> bool:
        if not edits:
            return False
        layer = Rewriting(self._source.string, edits)
        self._changes = [
            Change(*layer.forth(change.start, change.end), change.kind, change.context)
            for change in self._changes
        ] + layer.changes
        self._layers = (layer, *self._layers)
        self._source = Text(layer.text)
        return True

    def show(self, found: list[View], *, narrow: bool = False) -> None:
        """Add the view of what changed since the last one, where anything did.

        With `narrow` the steps to come see nothing but that view.
        """
        if not self._changes:
            return
        cut = excerpt(self._source.string, self._changes)
        name = "+".join(dict.fromkeys(change.kind for change in self._changes))
        self._changes = []
        if all(cut.text != view.text for view in found):
            found.append(View(name, cut.text, (cut, *self._layers)))
        if narrow:
            self._layers = (cut, *self._layers)
            self._source = Text(cut.text)


def _bounded(edits: Sequence[Edit]) -> list[Edit]:
    """The edits of the first sixteen spans, each of at most 8 KB decoded."""
    kept: list[Edit] = []
    spans = size = end = 0
    for whole in edits:
        edit = whole
        if len(whole.text) > MAX_SPAN_BYTES:
            edit = whole._replace(text=whole.text[:MAX_SPAN_BYTES], cut=True)
        size += len(edit.text)
        if spans == 0 or edit.start - end > _SAME_SPAN or size > MAX_SPAN_BYTES:
            spans, size = spans + 1, len(edit.text)
        if spans > MAX_DECODED_SPANS:
            break
        kept.append(edit)
        end = edit.end
    return kept
