"""The walk of one check: source -> segments -> views -> windows, piece by piece in a worker."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Protocol, Self

from bertguard.batching import Scored
from bertguard.errors import ConfigurationError
from bertguard.findings import Place
from bertguard.memory import Memory, SegmentScores
from bertguard.policy import Policy
from bertguard.scoring import Scorer, Window
from bertguard.segments import Channel, Role, Segment
from bertguard.views import views
from bertguard.wire.dialects import dialect_of
from bertguard.wire.reading import Reading
from bertguard.wire.request import read_request

# From this share on a text is one that the model hardly reads.
_UNKNOWN_SHARE = 1 / 3


class Settings(Protocol):
    """What a walk asks of its guard."""

    @property
    def policy(self) -> Policy: ...
    @property
    def scorer(self) -> Scorer: ...
    @property
    def max_windows(self) -> int: ...
    @property
    def memory(self) -> Memory: ...


class Body:
    """A request body that nobody has read yet; reading happens in a worker."""

    def __init__(
        self, body: bytes, path: str, headers: Sequence[tuple[str, str]], query: str
    ) -> None:
        self.body, self.path, self.headers, self.query = body, path, headers, query

    @classmethod
    def of(
        cls,
        body: bytes,
        path: str,
        headers: Mapping[str, str] | Sequence[tuple[str, str]],
        query: str,
    ) -> Self:
        """From headers in either form."""
        pairs = headers.items() if isinstance(headers, Mapping) else headers
        return cls(body, path, tuple(pairs), query)

    def read(self) -> Reading:
        """Every text in it."""
        return read_request(self.body, path=self.path, headers=self.headers, query=self.query)


class Walk:
    """One check on its way: what was read, and what could not be."""

    def __init__(
        self, guard: Settings, source: Reading | Body, trusted_roles: Collection[Role]
    ) -> None:
        self._guard = guard
        self._source = source
        self._trusted = frozenset(trusted_roles)
        # Until the body is read, its path is all that is known of the format of a refusal.
        self.dialect = dialect_of(source.path) if isinstance(source, Body) else source.dialect
        self.segments: list[Segment] = []
        self.total_chars = 0
        self.scanned_chars = 0
        self.unscanned: list[str] = []
        self.notes: list[str] = []
        self.scored: list[Scored[Place]] = []
        # Segments that need no model: their texts were scored before.
        self.known: dict[int, SegmentScores] = {}
        # What the others will be remembered under.
        self.keys: dict[int, bytes] = {}
        # How many windows those have that were read whole, in every reading.
        self.counts: dict[int, int] = {}
        # What the verdict says of single segments, by their number.
        self.noted: dict[int, list[str]] = {}

    @property
    def cost(self) -> int:
        """Characters that wait to be scored, about; `total_chars` says it once they are read."""
        if isinstance(self._source, Body):
            # Most of a large body is often a picture, and reading is quick.
            return len(self._source.body) // 4 + len(self._source.query)
        return sum(len(segment.text) for segment in self._source.segments)

    def windows(self) -> Iterator[tuple[Place, Window]]:
        """Every window of every view of every segment; runs in a worker, piece by piece."""
        reading = self._source.read() if isinstance(self._source, Body) else self._source
        self.dialect = reading.dialect
        self.notes += reading.notes
        policy = self._guard.policy
        self.segments, left_out = policy.scored(reading.segments, self._trusted)
        spared = {
            entry: role for entry, role in reading.trustable if policy.trusts(role, self._trusted)
        }
        left_out += [f"unscored_{role} at {e.partition(' at ')[2]}" for e, role in spared.items()]
        self.notes += dict.fromkeys(left_out)
        self.unscanned += [entry for entry in reading.unscanned if entry not in spared]
        self.total_chars = sum(len(segment.text) for segment in self.segments)
        left = self._guard.max_windows
        for number, segment in enumerate(self.segments):
            key = self._guard.memory.key(segment)
            known = self._guard.memory.recall(key)
            if known is not None:
                self.known[number] = known
                self.scanned_chars += len(segment.text)
                for name in known.notes:
                    self._note(name, number, segment)
                continue
            self.keys[number] = key
            found = views(segment.text)
            if found.truncated:
                self._note("views_bounded", number, segment)
            if found.unread:
                self.unscanned.append(f"too_many_views at {segment.pointer or '/'}")
            before = left
            for place, view in enumerate(found):
                unknown = tokens = 0
                for window in self._guard.scorer.windows(view.text, segment.channel.value):
                    if left == 0:
                        self.unscanned.append(f"too_many_windows at {segment.pointer or '/'}")
                        return
                    left -= 1
                    unknown += window.unknown
                    tokens += len(window.ids)
                    yield (number, view), window
                # Other views are for what hides in the text; this is about its language.
                if place == 0 and in_unknown_letters(view.text, unknown, tokens):
                    self._note("unknown_letters", number, segment)
            if not found.unread:
                self.counts[number] = before - left
            self.scanned_chars += len(segment.text)

    def _note(self, name: str, number: int, segment: Segment) -> None:
        self.noted.setdefault(number, []).append(name)
        self.notes.append(f"{name} at {segment.pointer or '/'}")


def in_unknown_letters(text: str, unknown: int, tokens: int) -> bool:
    """Whether a third of a text's tokens are unknown to the model, and letters at that.

    Emoji are unknown to most vocabularies, and no language.
    """
    if unknown < _UNKNOWN_SHARE * tokens or not unknown:
        return False
    return sum(letter.isalpha() and not letter.isascii() for letter in text) >= unknown


def one_text(text: str, channel: Channel | str) -> Reading:
    """A text that stands alone, in a channel of that name."""
    try:
        known = Channel(channel)
    except ValueError:
        raise ConfigurationError(
            f'channel={channel!r} is unknown; use "prompt" (somebody talks to the LLM) or "data" '
            "(a document or tool result that it only reads)"
        ) from None
    if not isinstance(text, str):
        raise ConfigurationError(
            f"the text to check is of type {type(text).__name__}; use a str (bytes are a body: "
            "check_body)"
        )
    role = Role.USER if known is Channel.PROMPT else Role.TOOL
    return Reading("text", (Segment(text, role, known),))
