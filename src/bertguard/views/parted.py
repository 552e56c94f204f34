"""Encoded text in pieces: groups of letters, lines of a mail, dumps of bytes, hex of any spacing.

Here is found what may be one span; `encodings` reads it and decides.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import NamedTuple

from bertguard.views.characters import UNSEEN
from bertguard.views.language import Text, words
from bertguard.views.offsets import Span

# Between two pieces: blanks, or a line break with the quoting or the indentation of the next line;
# `\n` in source code and JSON are two characters.
_BREAK = r"(?:[ \t\u00a0]{1,4}+|[ \t]{0,4}+(?:\r?\n|(?:\\r)?\\n)(?:[ \t>|*#]{0,12}+))"
_PIECE = r"[A-Za-z0-9+/_-]"
_PIECES = re.compile(
    rf"(?<![A-Za-z0-9+/=_-]){_PIECE}{{4,}}+(?:{_BREAK}{_PIECE}{{4,}}+)*"
    rf"(?:{_BREAK}{_PIECE}+)?={{0,6}}"
)
_BREAKS = re.compile(_BREAK)
_PLAIN = re.compile(r"[A-Z]?[a-z]+|[A-Z]+")
# Words of prose have neither figures nor capitals inside.
_HINT = re.compile(r"[0-9]|[a-z][A-Z]|[A-Z]{2}")
_MARKED = re.compile(rf"(?<![A-Za-z0-9+/_-]){_PIECE}++(?:[{UNSEEN}]++{_PIECE}++){{3,}}+={{0,6}}")
_MARKS = re.compile(f"[{UNSEEN}]+")
# Groups this long are lines: two of them are enough.
_LINE = 16
_LEAST_GROUPS = 3
_LEAST = 16
_SKIPS = 3
# Hex in groups: "69 67 6e", "6967:6e6f", "69_67", and "0x69,0x67", "\x69\x67".
_SIGNS = r"[\s,:;|/_.+*-]"
_HEX_GROUPS = re.compile(
    r"(?<![0-9A-Za-z])(?:[0-9a-fA-F]{2})++(?![0-9A-Za-z])"
    rf"(?:{_SIGNS}{{1,8}}+(?:[0-9a-fA-F]{{2}})++(?![0-9A-Za-z]))++"
)
_HEX_PREFIXED = re.compile(
    rf"(?:0x|\\x)[0-9a-fA-F]{{2}}(?:{_SIGNS}{{0,8}}+(?:0x|\\x)[0-9a-fA-F]{{2}}){{5,}}+"
)
_HEX_NOISE = re.compile(rf"0x|\\x|{_SIGNS}")
# What parts words rather than bytes, widest first.
_WORD_GAPS = (
    re.compile(r"\s*\n\s*"),
    re.compile(r"\s{2,}|\s*[,:;|/_.+*-]+\s*"),
    re.compile(r"\s+"),
)
# Source: hexdump -C, xxd, od -tx1: an offset, up to sixteen bytes, and what they show.
_DUMP = re.compile(
    r"(?:^[ \t>|]{0,8}+[0-9a-fA-F]{4,16}:?[ \t]{1,4}"
    r"(?:[0-9a-fA-F]{2}){1,8}(?:[ -]{1,2}(?:[0-9a-fA-F]{2}){1,8}){0,15}"
    r"(?:[ \t].{0,120})?(?:\n|\Z))+",
    re.MULTILINE,
)
_DUMP_LINE = re.compile(
    r"^[ \t>|]{0,8}+[0-9a-fA-F]{4,16}:?[ \t]{1,4}"
    r"((?:[0-9a-fA-F]{2}){1,8}(?:[ -]{1,2}(?:[0-9a-fA-F]{2}){1,8}){0,15})(?![^\s])",
    re.MULTILINE,
)
_DUMP_BYTES = 16
_LEAST_HEX = 12
_SPACE = "20"


class Parted(NamedTuple):
    """Where a span stands, and what it is once it is joined."""

    start: int
    end: int
    joined: str


def pieces(text: str) -> Iterator[list[Parted]]:
    """Groups and lines of one length, with a shorter last one: base64, base32 and hex as sent.

    For each span the ways to read it, likeliest first.
    """
    for match in _PIECES.finditer(text):
        if not _HINT.search(match[0]):
            continue
        groups = _groups(match)
        for length, run in itertools.groupby(enumerate(groups), key=lambda g: g[1][1] - g[1][0]):
            same = list(run)
            if len(same) >= (1 if length >= _LINE else _LEAST_GROUPS) and length >= 4:
                last = same[-1][0] + 1
                yield _ways(text, [span for _, span in same], groups[last : last + 1])
    if not text.isascii():
        for match in _MARKED.finditer(text):
            yield [Parted(*match.span(), _MARKS.sub("", match[0]))]


def _groups(match: re.Match[str]) -> list[Span]:
    """The spans of the groups of a match, the padding with the last of them."""
    spans = []
    at = match.start()
    for gap in _BREAKS.finditer(match.string, *match.span()):
        spans.append((at, gap.start()))
        at = gap.end()
    return [*spans, (at, match.end())]


def _ways(text: str, same: list[Span], rest: list[Span]) -> list[Parted]:
    """Groups of one length with the shorter one behind them, and without; words before left out."""
    plain = itertools.takewhile(lambda span: text[slice(*span)].lower() in words(), same)
    same = same[sum(1 for _ in plain) :] or same
    length = same[0][1] - same[0][0]
    tail = [text[start:end] for start, end in rest]
    # A plain word behind is the next one of the sentence.
    fits = any(len(t) < length or t[-1] == "=" for t in tail)
    plain_tail = any(map(_PLAIN.fullmatch, tail))
    ways = []
    for spans in ([*same, *rest], same) if fits and not plain_tail else (same,):
        for skip in range(min(_SKIPS, len(spans) - 1)):
            kept = spans[skip:]
            joined = "".join(text[start:end] for start, end in kept)
            if len(joined) >= _LEAST:
                ways.append(Parted(kept[0][0], kept[-1][1], joined))
    return ways


def hexes(source: Text) -> Iterator[list[Parted]]:
    """Bytes in hexadecimal with whatever stands between them, as one run of digits each.

    A second way has a space where the gaps are wider: words may be parted so, or a line each.
    """
    text = source.string
    for match in _DUMP.finditer(text):
        lines = (_HEX_NOISE.sub("", line[1]) for line in _DUMP_LINE.finditer(match[0]))
        yield [Parted(*match.span(), "".join(line[: 2 * _DUMP_BYTES] for line in lines))]
    matches: list[re.Match[str]] = []
    # Cheaper than the search: even groups with figures in them are words.
    even = sum(1 for word in source.words if len(word) % 2 == 0 and not word.isalpha())
    if even > 2 or not text.isascii() or "|" in text or "+" in text:
        matches += _HEX_GROUPS.finditer(text)
    if "0x" in text or "\\x" in text:
        matches += _HEX_PREFIXED.finditer(text)
    for match in matches:
        whole = match[0]
        ways = [_HEX_NOISE.sub("", whole)]
        if len(ways[0]) >= _LEAST_HEX:
            parts = (gap.split(whole) for gap in _WORD_GAPS)
            ways += [_SPACE.join(_HEX_NOISE.sub("", p) for p in part) for part in parts]
            yield [Parted(*match.span(), way) for way in dict.fromkeys(ways)]
