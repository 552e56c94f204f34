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

    def read(text: str, said_by: Voice, place: Link, *, key: bool = False) -> None:
        if text in PROTOCOL_WORDS and (key or text not in NEVER_VALUES):
            return
        if is_short(text):
            if not text.isspace():
                short.setdefault(said_by, []).append(text)
        else:
            c.say(text, said_by, place)

    # Nesting is bounded by the reader of JSON; a stack of our own keeps the order simple.
    stack: list[tuple[object, Link, Voice, bool]] = [(document, link, voice, False)]
    while stack:
        value, place, said_by, taken = stack.pop()
        if isinstance(value, str):
            if not taken:
                read(value, said_by, place)
        elif isinstance(value, dict):
            said_by = c.regions.get(id(value), said_by)
            taken_keys = c.read.get(id(value), ())
            for key in value:
                read(key, said_by, (place, key), key=True)
            stack += [
                (inner, (place, key), said_by, key in taken_keys or _names(c, key, inner))
                for key, inner in reversed(value.items())
            ]
        elif isinstance(value, list):
            said_by = c.regions.get(id(value), said_by)
            taken_items = c.read.get(id(value), ())
            stack += [
                (inner, (place, number), said_by, number in taken_items)
                for number, inner in reversed(list(enumerate(value)))
            ]
    for said_by, texts in short.items():
        c.say(" ".join(texts), said_by, link)


def _names(c: Collector, key: str, value: object) -> bool:
    """True for `"model": "gpt-4o"` and its like, in a dialect that gives the key that meaning."""
    return (
        key in IDENTIFIER_KEYS
        and not c.distrust
        and isinstance(value, str)
        and is_identifier(value)
    )
