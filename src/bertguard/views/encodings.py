"""Spans of a text that decode into language: base64, base32, hex, escapes, URL, and ciphers.

Each reader finds candidates in linear time and yields edits for those that read as language once
decoded (or as one more encoding of it); noise such as hashes, keys and identifiers yields nothing.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

from bertguard.views.bases import MAX_SPAN_BYTES, as_text, from_base32, from_base64, from_hex
from bertguard.views.characters import without_unseen
from bertguard.views.ciphers import morse, rot13_runs
from bertguard.views.codes import escapes, listed
from bertguard.views.entities import unescaped
from bertguard.views.hidden import payloads
from bertguard.views.language import (
    Text,
    reads_as_language,
    stretches,
    words,
)
from bertguard.views.offsets import Edit, Rewriting
from bertguard.views.parted import hexes, pieces
from bertguard.views.urls import percent

# Characters of an encoded span that may decode into that many bytes.
_MAX_RUN = {"hex": 2 * MAX_SPAN_BYTES, "base32": MAX_SPAN_BYTES // 5 * 8, "base64": 10920}
# A span this short must decode into common words and nothing else.
_SHORT = 16

_RUN = re.compile(r"(?<![A-Za-z0-9+/_-])[A-Za-z0-9+/_-]{8,}+={0,6}")
# What eight and more ASCII letters begin with in hex, base64 or base32.
_SHORT_SIGN = re.compile(
    r"[2-7][0-9a-fA-F][2-7][0-9a-fA-F]"
    r"|[I-Za-f][C-HS-Xi-nyz0-3][ABEFIJMNQRUVYZcdghklopstwx014589]|[E-PA-D][A-Z2-7]{7}"
)
# Six groups and more of base64 that can only come from ASCII letters, wherever they begin.
_BASE64_ASCII = re.compile(
    r"(?:[I-Za-f][C-HS-Xi-nyz0-3][ABEFIJMNQRUVYZcdghklopstwx014589][A-Za-z0-9+/]){6,}+[A-Za-z0-9]{0,3}"
)
_PIECE = re.compile(r"[A-Za-z0-9]{8,}+")


def decoded(source: Text, depth: int = 1) -> list[Edit]:
    """Every span that decodes into language, in order and without overlaps.

    With `depth` 1 a span also counts where what it decodes into holds such a span itself.
    """
    text = source.string
    found = list(_runs(text, depth))
    links = percent(text, layers=1 + depth)
    found += [edit for edit, certain in links if certain or _accepted(edit.text, depth)]
    found += escapes(text)
    found += listed(source)
    found += _parted(source, depth)
    found += [edit for edit in morse(text) if _accepted(edit.text, depth)]
    found += rot13_runs(source)
    edits: list[Edit] = []
    for edit in sorted(found, key=lambda e: (e.start, -e.end)):
        if not edits or edit.start >= edits[-1].end:
            edits.append(edit)
    return edits


def _accepted(text: str | None, depth: int, *, short: bool = False) -> bool:
    if not text:
        return False
    if short:
        return text.isascii() and text.isprintable() and _all_common(text)
    if reads_as_language(text):
        return True
    bare = _bare(text)
    if bare != text and reads_as_language(bare):
        return True
    plain = text.isascii() and text.isprintable()
    return depth > 0 and plain and len(text) >= _SHORT and bool(decoded(Text(text), depth - 1))


def _bare(text: str) -> str:
    """What is left of a decoded text once it is undisguised as the second round will do it."""
    for step in (payloads, unescaped, payloads):
        edits = step(Text(text))
        if edits:
            text = Rewriting(text, edits).text
    return without_unseen(text)


def _all_common(text: str) -> bool:
    found = text.lower().split()
    return bool(found) and max(map(len, found)) > 3 and all(word in words() for word in found)


def _runs(text: str, depth: int) -> Iterator[Edit]:
    runs = (_RUN.finditer(text, *place) for place in stretches(text))
    for match in itertools.chain.from_iterable(runs):
        run = match[0]
        if run.isalpha() and run[1:].islower():
            continue  # a plain word
        if len(run) < _SHORT and not _SHORT_SIGN.match(run):
            continue
        found = False
        for kind, plain, used in _readings(run, depth):
            found = True
            at = match.start()
            yield Edit(at, at + used, plain, kind, cut=used < len(run))
        if not found and len(run) > _SHORT:
            yield from _inside_run(run, match.start(), depth)


def _inside_run(run: str, start: int, depth: int) -> Iterator[Edit]:
    """Encoded spans with a path, a key or other letters in the same run: "com/aWdub3Jl…"."""
    pieces = _PIECE.finditer(run) if not run.rstrip("=").isalnum() else _BASE64_ASCII.finditer(run)
    for piece in pieces:
        if not piece[0].isalpha() or not piece[0][1:].islower():
            for kind, plain, used in _readings(piece[0], depth):
                at = start + piece.start()
                yield Edit(at, at + used, plain, kind, cut=used < len(piece[0]))


def _readings(run: str, depth: int) -> Iterator[tuple[str, str, int]]:
    """(kind, text, characters used) of the first encoding in which a run reads as language."""
    for kind, decode in (("hex", from_hex), ("base32", from_base32), ("base64", from_base64)):
        head = run[: _MAX_RUN[kind]]
        for raw in decode(head):
            plain = as_text(raw)
            if _accepted(plain, depth, short=len(head) < _SHORT):
                yield kind, plain or "", len(head)
                return


def _parted(source: Text, depth: int) -> Iterator[Edit]:
    """Spans in pieces, in the first way in which they read."""
    for ways in itertools.chain(pieces(source.string), hexes(source)):
        for way in ways:
            reading = next(_readings(way.joined, depth), None)
            if reading:
                kind, plain, used = reading
                yield Edit(way.start, way.end, plain, kind, cut=used < len(way.joined))
                break
