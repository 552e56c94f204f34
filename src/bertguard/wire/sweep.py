"""Every string of a document that no dialect has read: values and keys, short ones joined."""

from __future__ import annotations

from bertguard.segments import Channel, Role
from bertguard.wire.collector import UNKNOWN, UNKNOWN_DATA, USER_DATA, Collector, Link, Voice, word
from bertguard.wire.hosted import HOSTS, note_hosted
from bertguard.wire.media import FILES, read_encoded, read_media
from bertguard.wire.named import NAMES, read_names
from bertguard.wire.pictures import PICTURES, read_pictures
from bertguard.wire.vocabulary import (
    CALL_KEYS,
    FREE_KEYS,
    FREE_OBJECTS,
    IDENTIFIER_KEYS,
    NEVER_VALUES,
    PROTOCOL_WORDS,
    SCHEMA_KEYS,
    is_identifier,
    is_short,
)

_CALLS = {Role.ASSISTANT: CALL_KEYS | {"input"}, Role.DEFINITION: CALL_KEYS | SCHEMA_KEYS}


def sweep(c: Collector, document: object, *, link: Link = "", voice: Voice = UNKNOWN) -> None:
    """Read what is left of a JSON value.

    A string shorter than `vocabulary.SHORT_CHARS`, or an identifier, is scored joined with the
    other short ones of the same voice; the fixed words of the formats are left out.
    """
    say_short(c, gather(c, document, link=link, voice=voice), link)


def say_short(c: Collector, short: dict[Voice, list[str]], link: Link) -> None:
    """Strings that are too short to be scored alone, those of each voice as one text."""
    for said_by, texts in short.items():
        c.say(" ".join(texts), said_by, link)


def gather(
    c: Collector, document: object, *, link: Link = "", voice: Voice = UNKNOWN
) -> dict[Voice, list[str]]:
    """Read what is left of a JSON value, but for its short strings, which are given back."""
    short: dict[Voice, list[str]] = {}

    def read(text: str, said_by: Voice, place: Link) -> None:
        if not is_short(text):
            c.say(text, said_by, place)
        elif not text.isspace():
            short.setdefault(said_by, []).append(text)

    # Nesting is bounded by the reader of JSON; a stack of our own keeps the order simple. What a
    # dialect has read never comes onto it: a chat of many turns is almost only that.
    stack: list[tuple[object, Link, Voice, bool, bool]] = [(document, link, voice, False, False)]
    while stack:
        value, place, said_by, free, called = stack.pop()
        if isinstance(value, str):
            if value not in PROTOCOL_WORDS or value in NEVER_VALUES:
                read(value, said_by, place)
                read_encoded(c, value, said_by, place)
            continue
        said_by = c.regions.get(id(value), said_by)
        inside: list[tuple[str | int, object]] = []
        formal = not (free or c.distrust)
        if isinstance(value, dict):
            _read_unread(c, value, place, said_by, words=called, fields=free)
            for key in value:
                if key not in PROTOCOL_WORDS:
                    read(key, said_by, (place, key))
            inside = list(value.items())
        elif isinstance(value, list):
            inside = list(enumerate(value))
        taken = c.read.get(id(value), ())
        stack += [
            (
                inner,
                (place, key),
                said_by,
                free or _is_free(key, inner),
                called or _is_called(key, said_by),
            )
            for key, inner in reversed(inside)
            if (
                key not in taken and not (formal and _names(key, inner))
                if isinstance(inner, str)
                else isinstance(inner, dict | list) and id(inner) not in c.whole
            )
        ]
    return short


def _read_unread(
    c: Collector,
    value: dict[str, object],
    place: Link,
    said_by: Voice,
    *,
    words: bool,
    fields: bool,
) -> None:
    """What one object brings unread: in `words` of a call, and in a result, no id opens a file.

    Nor is an address in `fields` of a document fetched.
    """
    kind = word(value, "type")
    listed = words or said_by.role is Role.TOOL
    if not listed and (kind == "file_id" or not NAMES.isdisjoint(value)):
        read_names(c, value, place)
    if not (listed or HOSTS.isdisjoint(value)):
        note_hosted(c, value, place)
    if not (words or PICTURES.isdisjoint(value)):
        read_pictures(c, value, place, _reader_of(said_by))
    if kind in FILES or word(value, "kind") == "file":
        listed = listed or (fields and said_by == USER_DATA)
        read_media(c, value, _reader_of(said_by), place, listed=listed)


def _reader_of(voice: Voice) -> Voice:
    """Whoever hands over a document, the model only reads it."""
    return voice if voice.channel is Channel.DATA else UNKNOWN_DATA


def _names(key: str | int, value: str) -> bool:
    """True for `"model": "gpt-4o"` and its like, where the format gives the key that meaning."""
    return key in IDENTIFIER_KEYS and is_identifier(value)


def _is_free(key: str | int, value: object) -> bool:
    """True where a tool's own object begins, which a model reads whole, ids among it."""
    return key in FREE_KEYS or (key in FREE_OBJECTS and isinstance(value, dict))


def _is_called(key: str | int, said_by: Voice) -> bool:
    """True where the arguments of a call begin, or the schema of them."""
    return key in _CALLS.get(said_by.role, CALL_KEYS)
