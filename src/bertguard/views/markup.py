"""Markup as it is read: inline tags gone, comments and attributes as lines."""

from __future__ import annotations

import re
from collections.abc import Iterator

from bertguard.views.language import Text, known
from bertguard.views.offsets import Edit, Span, is_near

_INLINE = re.compile(
    r"(?:</?(?:a|abbr|b|bdi|bdo|big|cite|code|em|font|i|ins|kbd|mark|q|s|small|span|strong|sub|sup|"
    r"tt|u|var|wbr)(?:\s[^<>]{0,400}+)?/?>"
    # Comments, the empty ones of browsers among them; no comment begins inside another.
    r"|<!--(?:-?>|(?:[^<-]|<(?!!--)|-(?!-!?>)){0,400}+--!?>)"
    # Markdown, and the colours of a terminal.
    r"|(?<=\w\w)(?:\*{1,3}|~~)|(?<=\*\w)\*{1,3}(?!\w)|\x1b\[[0-9;]{0,16}m)+",
    re.IGNORECASE,
)
_COLOUR = re.compile(r"\x1b\[[0-9;]{0,16}m")
_TAG = re.compile(r"<[A-Za-z][^<>]*+")
_ATTRIBUTE = re.compile(
    r"[\s\"'](?:alt|title|aria-label|aria-description|aria-roledescription|content|value|placeholder|"
    r"label|summary|data-[\w-]{1,40})\s{0,5}=\s{0,5}(?:\"([^\"]*+)|'([^']*+))",
    re.IGNORECASE,
)
_RAISED = re.compile(r"su[bp]", re.IGNORECASE)
_WORD_BEFORE = re.compile(r"\w{1,40}\Z")
_WORD_AFTER = re.compile(r"\w{1,40}")
# A hidden sentence has at least three words; shorter values are labels.
_MIN_WORDS = 3
_PUNCTUATION = ".,:;!?()[]{}\"'"


def untagged(source: Text) -> list[Edit]:
    """Inline tags inside words taken out where the words behind them are common words."""
    text = source.string
    if not any(sign in text for sign in ("<", "*", "~~", "\x1b[")):
        return []
    matches = list(_INLINE.finditer(text))
    hits = [match for match in matches if _inside_word(text, *match.span())]
    if len(hits) < 2:
        return []
    ends = [match.end() for match in hits]
    return [
        Edit(match.start(), match.end(), "", "untagged")
        for match in matches
        if is_near(ends, match.start())
    ]


def _inside_word(text: str, start: int, end: int) -> bool:
    """True where one word, or single letters, stand on both sides of a tag."""
    before = _WORD_BEFORE.search(_COLOUR.sub("", text[max(start - 40, 0) : start]))
    after = _WORD_AFTER.match(text, end)
    if not before or not after:
        return False
    left, right = before[0].lower(), after[0].lower()
    if len(left) == 1 and len(right) == 1:
        # Single letters in a row, but not "a<sub>i</sub>" or "a*b".
        return text[start] in "<\x1b" and not _RAISED.search(text[start:end])
    if len(left) == 1 and text[start] not in "<\x1b":
        return False  # "**A**rtificial **I**ntelligence" says where its letters come from
    return known(left + right) and not (known(left) and known(right))


def laid_out(source: Text) -> list[Edit]:
    """Comments and the attributes that hold sentences, each as a line of its own."""
    text = source.string
    if "<" not in text:
        return []
    spans = [*_comments(text), *_attributes(text)]
    edits: list[Edit] = []
    last = 0
    for start, end in sorted(spans):
        if start >= last and _sentence(text[start:end]):
            # The same length as before: offsets inside stay exact.
            edits.append(Edit(start, end, text[start:end], "markup", context=0))
            last = end
    return edits


def _comments(text: str) -> Iterator[Span]:
    position = text.find("<!--")
    while position >= 0:
        end = text.find("-->", position + 4)
        end = len(text) if end < 0 else end
        yield position + 4, end
        position = text.find("<!--", end)


def _attributes(text: str) -> Iterator[Span]:
    for tag in _TAG.finditer(text):
        if "=" in tag[0]:
            for match in _ATTRIBUTE.finditer(tag[0]):
                start, end = match.span(1) if match[1] is not None else match.span(2)
                yield tag.start() + start, tag.start() + end


def _sentence(text: str) -> bool:
    found = [word.strip(_PUNCTUATION) for word in text[:2000].lower().split()]
    return sum(map(str.isalpha, found)) >= _MIN_WORDS and any(map(known, found))
