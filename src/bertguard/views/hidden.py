"""Text that no reader sees: payloads in Unicode tag characters and in variation selectors."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator

from bertguard.views.language import Text
from bertguard.views.offsets import Edit, Span

_SIGN = re.compile("[\ufe00-\ufe0f\U000e0001-\U000e007f\U000e0100-\U000e01ef]")
_TAGS = re.compile("[\U000e0001\U000e0020-\U000e007f]+")
_SELECTORS = re.compile("[\ufe00-\ufe0f\U000e0100-\U000e01ef]+")
# Source: UTS 51, emoji tag sequences: a black flag, up to six letters or digits, a cancel tag.
_FLAG = re.compile("[\U000e0030-\U000e0039\U000e0061-\U000e007a]{3,6}\U000e007f")
_BLACK_FLAG = "\U0001f3f4"
# Runs with no more characters than this between them carry one payload: of selectors, which have
# their uses, a few; of tags, which have none outside flags, as many as a sentence has.
_GAP = 3
_TAG_GAP = 200


def payloads(source: Text) -> list[Edit]:
    """Each hidden payload laid out as a line of its own, where it stands."""
    text = source.string
    if text.isascii() or not _SIGN.search(text):
        return []
    edits = list(_tag_edits(text)) + list(_selector_edits(text))
    return sorted(edits)


def _tag_edits(text: str) -> Iterator[Edit]:
    runs = []
    for match in _TAGS.finditer(text):
        flagged = text[match.start() - 1 : match.start()] == _BLACK_FLAG
        flag = _FLAG.match(match[0]) if flagged else None
        start = match.start() + (flag.end() if flag else 0)
        if start < match.end():
            runs.append((start, match.end()))
    for cluster in _clusters(runs, _TAG_GAP):
        codes = (ord(c) - 0xE0000 for start, end in cluster for c in text[start:end])
        payload = "".join(chr(code) for code in codes if 0x20 <= code < 0x7F)
        if len(payload.strip()) >= 3:
            yield _laid_out(text, cluster, payload, "tags")


def _selector_edits(text: str) -> Iterator[Edit]:
    runs = []
    for match in _SELECTORS.finditer(text):
        base = text[match.start() - 1 : match.start()]
        # One selector per character is ordinary: U+FE0F after an emoji, U+E0100 after a kanji.
        single = match.end() - match.start() == 1
        if not (single and (match[0] <= "\ufe0f" or _ideograph(base))):
            runs.append(match.span())
    for cluster in _clusters(runs, _GAP):
        codes = [ord(c) for start, end in cluster for c in text[start:end]]
        # Source: P. Butler, "Smuggling arbitrary data through an emoji" (2025): selector n is
        # byte n - 1. The simpler U+E0100 + byte is seen as well.
        bytewise = [c - 0xFE00 if c <= 0xFE0F else c - 0xE0100 + 16 for c in codes]
        direct = [c - 0xFE00 if c <= 0xFE0F else c - 0xE0100 for c in codes]
        payload = max((_utf8(bytewise), _utf8(direct)), key=_letters)
        if len(payload.strip()) >= 3 and _letters(payload) >= 0.6 * len(payload):
            yield _laid_out(text, cluster, payload, "variation_selectors")


def _clusters(runs: Iterable[Span], gap: int) -> Iterator[list[Span]]:
    cluster: list[Span] = []
    for start, end in runs:
        if cluster and start - cluster[-1][1] > gap:
            yield cluster
            cluster = []
        cluster.append((start, end))
    if cluster:
        yield cluster


def _laid_out(text: str, cluster: list[Span], payload: str, kind: str) -> Edit:
    """The payload on a line of its own, then what is to be seen between its characters."""
    start, end = cluster[0][0], cluster[-1][1]
    seen = _SIGN.sub("", text[start:end])
    return Edit(start, end, f"\n{payload}\n{seen}", kind)


def _utf8(codes: list[int]) -> str:
    text = bytes(code for code in codes if 0 <= code < 256).decode("utf-8", "ignore")
    return "".join(c for c in text if c.isprintable() or c.isspace())


def _letters(text: str) -> int:
    return sum(1 for c in text if c.isalnum() or c == " ")


def _ideograph(character: str) -> bool:
    return unicodedata.name(character, "").startswith("CJK") if character else False
