"""What texts scored before: a chat that is resent with every turn costs only its new text.

Held in memory and bounded. A text is kept as a keyed hash under a key that lives as long as the
process, never as itself (RFC 7693, BLAKE2).
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections import OrderedDict
from typing import NamedTuple
from weakref import WeakSet

from bertguard.segments import Segment


class Hit(NamedTuple):
    """A window at or over `flag_at`: characters of the original text, score, name of the view."""

    start: int
    end: int
    score: float
    view: str


class SegmentScores(NamedTuple):
    """What is remembered of one text: its highest score, its hits, what a verdict says of it."""

    top: float
    hits: tuple[Hit, ...]
    notes: tuple[str, ...] = ()


class Tally:
    """What the memories of a guard and of its twins counted; what they remember stays apart."""

    def __init__(self) -> None:
        self.hits = 0
        self.misses = 0
        self._memories: WeakSet[Memory] = WeakSet()
        self._lock = threading.Lock()

    def add(self, memory: Memory) -> None:
        """Count this one's texts as well, for as long as it lives."""
        with self._lock:
            self._memories.add(memory)

    def count(self, *, hit: bool) -> None:
        """One text that was asked for."""
        with self._lock:
            if hit:
                self.hits += 1
            else:
                self.misses += 1

    @property
    def texts(self) -> int:
        """How many texts all of them remember right now."""
        with self._lock:
            memories = list(self._memories)
        return sum(map(len, memories))


class Memory:
    """The scores of the texts seen last, for one scorer and one policy.

    Args:
        entries: how many texts are remembered, a few hundred bytes each; 0 remembers none.
        tally: where to count, together with other memories; None counts alone.
    """

    def __init__(self, entries: int, tally: Tally | None = None) -> None:
        self.entries = entries
        self.tally = tally or Tally()
        self.tally.add(self)
        self._secret = os.urandom(32)
        self._scores: OrderedDict[bytes, SegmentScores] = OrderedDict()
        self._lock = threading.Lock()

    def key(self, segment: Segment) -> bytes:
        """What a text is remembered under, whoever says it and wherever it stands.

        It costs about a millisecond for each megabyte, so it is made in a worker, once.
        """
        if not self.entries:
            return b""
        text = segment.text.encode("utf-8", "surrogatepass")
        person = segment.channel.value.encode()
        return hashlib.blake2b(text, digest_size=16, key=self._secret, person=person).digest()

    def recall(self, key: bytes) -> SegmentScores | None:
        """The scores of the text with this key, if it was seen lately."""
        if not self.entries:
            return None
        with self._lock:
            found = self._scores.get(key)
            if found is not None:
                self._scores.move_to_end(key)
        self.tally.count(hit=found is not None)
        return found

    def keep(self, key: bytes, scores: SegmentScores) -> None:
        """Remember a text that was scored whole; the one not seen for longest is forgotten."""
        if not self.entries:
            return
        with self._lock:
            self._scores[key] = scores
            self._scores.move_to_end(key)
            while len(self._scores) > self.entries:
                self._scores.popitem(last=False)

    def __len__(self) -> int:
        return len(self._scores)
