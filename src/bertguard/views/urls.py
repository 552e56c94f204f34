"""Percent-encoding: letters that need no escape, sentences, words with some letters escaped."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import unquote_plus

from bertguard.views.language import known
from bertguard.views.offsets import Edit

_TOKEN = re.compile(r"[^\s<>\"'`]+")
_ESCAPE = re.compile(r"%[0-9A-Fa-f]{2}")
_NEEDLESS = re.compile(r"%(?:3[0-9]|[46][1-9A-Fa-f]|[57][0-9Aa])")
_WORD = re.compile(r"[a-z]{3,}")
# Bytes that are no UTF-8 are left out where they are few: one would hide the rest.
_MOST_FOREIGN = 0.25


def percent(text: str, layers: int) -> Iterator[tuple[Edit, bool]]:
    """What percent-encoded stretches say, and whether it is certain that they hide it.

    Escaped again, an escape is `%2549`: as many as `layers` are taken off at once.
    """
    if "%" not in text:
        return
    read = []
    hidden: set[str] = set()
    total = 0
    for match in _TOKEN.finditer(text):
        if "%" in match[0]:
            plain, needless, _ = _unquoted(match[0], layers)
            if plain != match[0]:
                read.append((match, plain, needless))
            if needless:
                total += needless
                lower = match[0].lower()
                found = set(_WORD.findall(plain.lower()))
                hidden.update(word for word in found if word not in lower and known(word))
    # "pr%65vi%6Fus": several common words that stand there only once it is decoded.
    in_words = total >= 4 and len(hidden) >= 2
    for match, plain, needless in read:
        escapes = len(_ESCAPE.findall(match[0]))
        certain = needless >= 4 and sum(map(str.isalpha, plain)) >= 4
        # The query of an ordinary link holds escapes too; a sentence has several words.
        foreign = sum(1 for character in plain if character > "\x7f")
        sentence = escapes >= 3 and (len(plain.split()) > 3 or foreign >= 8)
        if certain or sentence or (in_words and needless):
            edit = Edit(match.start(), match.end(), plain, "url")
            yield edit, certain or (in_words and needless > 0)


def spelt(text: str, layers: int) -> str | None:
    """What a text says that is percent-encoded as a whole; None where it is not, or bytes get lost.

    Whoever reads its escapes reads this, letter for letter, and nothing else stands in it.
    """
    token = text.strip()
    if "%" not in token or not _TOKEN.fullmatch(token):
        return None
    plain, _, lost = _unquoted(token, layers)
    return None if lost else plain


def _unquoted(token: str, layers: int) -> tuple[str, int, bool]:
    """A token decoded, how many escapes stood for ASCII letters and digits, and what got lost."""
    needless, lost = 0, False
    for _ in range(layers):
        escapes = len(_ESCAPE.findall(token))
        if not escapes:
            break
        plain = unquote_plus(token, errors="replace")
        foreign = plain.count("\ufffd")
        lost |= foreign > 0
        if foreign > _MOST_FOREIGN * escapes:
            break
        needless += len(_NEEDLESS.findall(token))
        token = plain.replace("\ufffd", "")
    return token, needless, lost
