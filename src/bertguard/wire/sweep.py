"""Every string of a document that no dialect has read: values and keys, short ones joined."""

from __future__ import annotations

from bertguard.wire.collector import UNKNOWN, Collector, Link, Voice
from bertguard.wire.vocabulary import (
    IDENTIFIER_KEYS,
    NEVER_VALUES,
    PROTOCOL_WORDS,
    is_identifier,
    is_short,
)


def sweep(c: Collector, document: object, *, link: Link = "", voice: Voice = UNKNOWN) -> None:
    """Read what is left of a JSON value.

    A string shorter than `vocabulary.SHORT_CHARS`, or an identifier, is scored joined with the
    other short ones of the same voice; the fixed words of the formats are left out.
    """
    short: dict[Voice, list[str]] = {}

    def read(text: str, said_by: Voice, place: Link) -> None:
        if not is_short(text):
            c.say(text, said_by, place)
        elif not text.isspace():
            short.setdefault(said_by, []).append(text)

    # Nesting is bounded by the reader of JSON; a stack of our own keeps the order simple. Nothing
    # comes onto it that says nothing new: a chat of many turns is almost only that.
    stack: list[tuple[object, Link, Voice]] = []
    if not (isinstance(document, str) and _is_protocol(document)):
        stack.append((document, link, voice))
    while stack:
        value, place, said_by = stack.pop()
        if isinstance(value, str):
            read(value, said_by, place)
        elif isinstance(value, dict):
            said_by = c.regions.get(id(value), said_by)
            taken = c.read.get(id(value), ())
            for key in value:
                if key not in PROTOCOL_WORDS:
                    read(key, said_by, (place, key))
            for key, inner in reversed(value.items()):
                if isinstance(inner, str):
                    if key in taken or _is_protocol(inner) or _names(c, key, inner):
                        continue
                elif not isinstance(inner, dict | list):
                    continue
                stack.append((inner, (place, key), said_by))
        elif isinstance(value, list):
            said_by = c.regions.get(id(value), said_by)
            taken = c.read.get(id(value), ())
            for number in range(len(value) - 1, -1, -1):
                inner = value[number]
                if isinstance(inner, str):
                    if number in taken or _is_protocol(inner):
                        continue
                elif not isinstance(inner, dict | list):
                    continue
                stack.append((inner, (place, number), said_by))
    for said_by, texts in short.items():
        c.say(" ".join(texts), said_by, link)


def _is_protocol(text: str) -> bool:
    """True for a value that is a word of the formats, and no word that could say something."""
    return text in PROTOCOL_WORDS and text not in NEVER_VALUES


def _names(c: Collector, key: str, value: str) -> bool:
    """True for `"model": "gpt-4o"` and its like, in a dialect that gives the key that meaning."""
    return key in IDENTIFIER_KEYS and not c.distrust and is_identifier(value)
