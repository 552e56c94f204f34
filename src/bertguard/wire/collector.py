"""Collector: what has been read of one request so far, and what is left to the sweep."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from bertguard.segments import Channel, Role, Segment
from bertguard.wire.json_text import unescaped
from bertguard.wire.vocabulary import QUOTABLE_WORDS, is_quotable, is_short

# A place in a document, cheap to make and turned into a JSON pointer only where something stands:
# the place of the holder and the key in it; the root is the pointer's prefix.
Link = str | tuple["Link", str | int]

JOINED_TURNS = 4
"""At least this many of the last user turns are scored joined, whatever stands between them."""

JOINED_CHARS = 20_000
"""Longest text joined over several turns, counted from its newest end."""

# Short turns are cheap to join further back: about one window.
_CHEAP_CHARS = 1_000

# What joining adds is what stands across a seam; the rest of a long piece is scored at its own
# place. 800 characters are about 200 tokens, on each side of a seam of a 256-token window.
_SEAM_CHARS = 800

# A word cut in two at a seam needs only its neighbourhood.
_GLUED_SEAM_CHARS = 200

_TRUSTABLE = frozenset(
    {Role.SYSTEM, Role.DEVELOPER, Role.ASSISTANT, Role.DEFINITION, Role.EMBEDDING}
)


class Voice(NamedTuple):
    """Who says something, and how the model will meet it."""

    role: Role
    channel: Channel


SYSTEM = Voice(Role.SYSTEM, Channel.PROMPT)
DEVELOPER = Voice(Role.DEVELOPER, Channel.PROMPT)
USER = Voice(Role.USER, Channel.PROMPT)
ASSISTANT = Voice(Role.ASSISTANT, Channel.PROMPT)
TOOL_DATA = Voice(Role.TOOL, Channel.DATA)
DEFINITION = Voice(Role.DEFINITION, Channel.PROMPT)
EMBEDDING = Voice(Role.EMBEDDING, Channel.DATA)
USER_DATA = Voice(Role.USER, Channel.DATA)
UNKNOWN = Voice(Role.UNKNOWN, Channel.PROMPT)
UNKNOWN_DATA = Voice(Role.UNKNOWN, Channel.DATA)


def word(holder: dict[str, object], key: str) -> str:
    """A word of the format, like `type` or `role`; empty where the key holds no string."""
    value = holder.get(key)
    return value if isinstance(value, str) else ""


def point(link: Link) -> str:
    """The JSON pointer (RFC 6901) of a place; it ends before a key that somebody typed."""
    keys: list[str | int] = []
    while isinstance(link, tuple):
        link, key = link
        keys.append(key)
    pointer = link
    for key in reversed(keys):
        if isinstance(key, str) and key not in QUOTABLE_WORDS and not is_quotable(key):
            break
        pointer += f"/{key}"
    return pointer


class Collector:
    """Segments, notes and unscanned places of one request, in the order in which they were read.

    Dialects call `text` for what they know; a string that was read once is not read again.
    `regions` says who speaks in the rest of an array or object: the sweep gives what the dialect
    left in there the same voice. Arrays and objects are known by identity, so each that is marked
    is kept: what is made after one has gone could take its place.
    """

    def __init__(self) -> None:
        self.segments: list[Segment] = []
        # In order, and each once: of dictionaries the keys. The role is that of the one speaker who
        # said it, where an operator may trust that one.
        self.unscanned: dict[str, Role | None] = {}
        self._unread: set[tuple[str, Link]] = set()
        self.notes: dict[str, None] = {}
        self._kept: list[object] = []
        self.read: dict[int, set[str | int]] = {}
        # Objects of which nothing is left to read.
        self.whole: set[int] = set()
        self.regions: dict[int, Voice] = {}
        # Set while a document of no known format is read, or at a path that another reader could
        # take for another one: there "system" is only a word, and a text may not be trusted
        # because of it.
        self.distrust = False
        self._seen: set[tuple[str, Role, Channel]] = set()
        self._runs: list[list[tuple[list[str], Link]]] = [[]]

    def say(self, text: str, voice: Voice, link: Link) -> None:
        """Add a text, unless it is blank or the same voice has said it already."""
        role, channel = voice
        if self.distrust and role in _TRUSTABLE:
            role = Role.UNKNOWN
        key = (text, role, channel)
        if key in self._seen or not text or text.isspace():
            return
        self._seen.add(key)
        self.segments.append(Segment(text, role, channel, point(link)))
        if "\\" in text and text[0] in ' \t\r\n{["':
            self._say_unescaped(text, voice, link)

    def _say_unescaped(self, text: str, voice: Voice, link: Link) -> None:
        """JSON inside a string, its escapes read: results of tools are often written like this."""
        short: list[str] = []
        for inner in unescaped(text):
            if is_short(inner):
                short.append(inner)
            else:
                self.say(inner, voice, link)
        self.say(" ".join(short), voice, link)

    def text(
        self, holder: dict[str, object] | list[object], key: str | int, voice: Voice, link: Link
    ) -> str | None:
        """Read `holder[key]`, if it is a string that nobody has read; `link` is the holder's."""
        value = holder.get(key) if isinstance(holder, dict) else holder[key]  # type: ignore[arg-type,index] # a str for dict, an int for list
        if not isinstance(value, str) or not self.mark(holder, key):
            return None
        self.say(value, voice, (link, key))
        return value

    def mark(self, holder: dict[str, object] | list[object], key: str | int) -> bool:
        """Take a value out of the sweep; False where it was taken already."""
        keys = self.read.get(id(holder))
        if keys is None:
            keys = self.read[id(holder)] = set()
            self._kept.append(holder)
        if key in keys:
            return False
        keys.add(key)
        return True

    def region(self, value: object, voice: Voice) -> None:
        """What is left in this array or object speaks with this voice; the first word counts."""
        if isinstance(value, dict | list) and id(value) not in self.regions:
            self.regions[id(value)] = voice
            self._kept.append(value)

    def note(self, word: str, link: Link) -> None:
        """A fact that changes no action."""
        self.notes[f"{word} at {point(link)}"] = None

    def unscan(self, word: str, link: Link, voice: Voice = UNKNOWN) -> None:
        """Something that may reach the model and that no classifier of texts can read."""
        if (word, link) in self._unread:
            return
        self._unread.add((word, link))
        reason = f"{word} at {point(link)}"
        role = voice.role if voice.role in _TRUSTABLE and not self.distrust else None
        # Several places have one pointer where it ends early; they are trusted together or not.
        if self.unscanned.setdefault(reason, role) != role:
            self.unscanned[reason] = None

    @property
    def trustable(self) -> list[tuple[str, Role]]:
        """Those of `unscanned` that one speaker alone has said whom an operator may trust."""
        return [(reason, role) for reason, role in self.unscanned.items() if role is not None]

    def turn(self, voice: Voice, texts: list[str], link: Link) -> None:
        """One turn of a conversation; `finish` joins those of the user with their neighbours."""
        if voice != USER:
            if self._runs[-1]:
                self._runs.append([])
        elif texts:
            self._runs[-1].append((texts, link))

    def end_conversation(self) -> None:
        """Score turns of the user together as well: each run of them, and the last ones of all."""
        runs, self._runs = self._runs, [[]]
        for run in runs:
            if len(run) > 1:
                pieces = [text for texts, _ in run for text in texts]
                self.join(pieces, USER, _common([link for _, link in run]))
        last: list[tuple[list[str], Link]] = []
        chars = 0
        for texts, link in (turn for run in reversed(runs) for turn in reversed(run)):
            if len(last) >= JOINED_TURNS and chars > _CHEAP_CHARS:
                break
            last.insert(0, (texts, link))
            chars += sum(map(len, texts))
        if len(last) > 1:
            pieces = [text for texts, _ in last for text in texts if not text.isspace()]
            self.say(_joined(pieces, JOINED_CHARS), USER, _common([link for _, link in last]))

    def join(self, texts: Sequence[str], voice: Voice, link: Link) -> None:
        """Score the parts of one message together as well: an attack may be cut between them."""
        pieces = [text for text in texts if text and not text.isspace()]
        if len(pieces) < 2:
            return
        self.say(_joined(pieces), voice, link)
        if any(a[-1].isalnum() and b[0].isalnum() for a, b in pairwise(pieces)):
            self.say("".join(_ends(piece, _GLUED_SEAM_CHARS) for piece in pieces), voice, link)


def _joined(pieces: Sequence[str], limit: int | None = None) -> str:
    """Pieces in order with one white space at every seam, the newest `limit` characters of them."""
    joined: list[str] = []
    left = limit
    following = " "
    for piece in reversed([piece for piece in pieces if piece]):
        short = _ends(piece, _SEAM_CHARS)
        if left is not None:
            short = short[-left:]
        gap = "" if following[0].isspace() or short[-1].isspace() else " "
        joined.append(short + gap)
        following = short
        if left is not None:
            left -= len(short) + len(gap)
            if left <= 0:
                break
    return "".join(reversed(joined))


def _ends(piece: str, seam: int) -> str:
    """A long piece without its middle, which no window across a seam would show."""
    return piece if len(piece) <= 2 * seam else f"{piece[:seam]}\n{piece[-seam:]}"


def _common(links: Sequence[Link]) -> Link:
    """The smallest array or object that holds all places."""
    paths = []
    for link in links:
        keys: list[str | int] = []
        while isinstance(link, tuple):
            link, key = link  # noqa: PLW2901 - walking up
            keys.append(key)
        paths.append([link, *reversed(keys)])
    common: Link | None = None
    for keys_here in zip(*paths, strict=False):
        if any(key != keys_here[0] for key in keys_here):
            break
        common = str(keys_here[0]) if common is None else (common, keys_here[0])
    return "" if common is None else common
