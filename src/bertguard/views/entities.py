"""HTML entities: characters written as `&#73;` or `&shy;`, with whatever a browser still reads."""

from __future__ import annotations

import html
import re

from bertguard.views.language import Text, known
from bertguard.views.offsets import Edit

# Source: WHATWG HTML, 13.2.5.72 to 80: numbers may begin with zeros and need no semicolon; of
# names only the old ones need none, and of those only two hide anything: in a link, `&copy=2` is
# a parameter. What is escaped again has `amp;` before it.
_AGAIN = r"&(?:(?:amp|#0{0,9}38|#[xX]0{0,9}26);){0,3}+"
_UNSEEN = (
    "#0{0,9}173|#[xX]0{0,9}[aA][dD]|shy|zwj|zwnj|lrm|rlm|ZeroWidthSpace|NoBreak|NegativeThinSpace|NegativeMediumSpace|"
    "NegativeThickSpace|NegativeVeryThinSpace|af|ApplyFunction|it|InvisibleTimes|ic|InvisibleComma"
)
_BLANK = (
    "#0{0,9}(?:32|160)|#[xX]0{0,9}(?:20|[aA]0)|nbsp|NonBreakingSpace|ensp|emsp13|emsp14|emsp|numsp|"
    "puncsp|thinsp|ThinSpace|hairsp"
)
_NUMBER = r"#0{0,64}+[0-9]{1,7}+;?|#[xX]0{0,64}+[0-9a-fA-F]{1,6}+;?"
_ENTITY = re.compile(rf"{_AGAIN}(?:{_NUMBER}|(?:shy|nbsp)(?![=;])|[A-Za-z][A-Za-z0-9]{{1,31}}+;)")
_NUMERIC = re.compile(rf"{_AGAIN}(?:{_NUMBER})")
_BEFORE = re.compile(rf"\A{_AGAIN}")
# One word with invisible characters in it, and words with nothing but spaces of HTML between.
_MARK = rf"(?:{_AGAIN}(?:{_UNSEEN});?)+"
_MARKED = re.compile(rf"(?<!\w)\w{{1,40}}+(?:{_MARK}\w{{1,40}}+)+")
_MARKS = re.compile(_MARK)
_GAP = rf"{_AGAIN}(?:{_BLANK});?"
_GLUED = re.compile(rf"(?<![^\s&<>])[^\s&<>]{{1,40}}+(?:{_GAP}[^\s&<>]{{1,40}}+){{3,}}+")
_GAPS = re.compile(_GAP)
# Letters of mathematics, several on end: "&Iscr;&gscr;&nscr;".
_STYLED = re.compile(r"(?:&[A-Za-z](?:scr|fr|opf);){3,}+")
_LEAST = 3


def unescaped(source: Text) -> list[Edit]:
    """Entities decoded where several hide letters; `&amp;` and `&uuml;` alone are no sign."""
    text = source.string
    if "&" not in text or not _hide(text):
        return []
    found = [Edit(*m.span(), _character(m[0]), "entities") for m in _ENTITY.finditer(text)]
    return [edit for edit in found if edit.text != text[edit.start : edit.end]]


def _hide(text: str) -> bool:
    if "#" in text:
        numbers = (_character(match[0]) for match in _NUMERIC.finditer(text))
        if sum(map(_hides, numbers)) >= _LEAST:
            return True
    if _STYLED.search(text) or any(map(_sentence, _GLUED.findall(text))):
        return True
    return sum(map(_inside_word, _MARKED.findall(text))) >= _LEAST


def _character(entity: str) -> str:
    plain = html.unescape(_BEFORE.sub("&", entity))
    return " " if plain.isspace() and plain not in "\t\n\r" else plain


def _hides(decoded: str) -> bool:
    """No writer needs an entity for an ASCII letter, a look-alike or an invisible character."""
    if decoded.isascii():
        return decoded.isalnum()
    if decoded >= "\U000e0000":
        return True
    return decoded >= "\u0370" and (decoded.isalpha() or not decoded.isprintable())


def _inside_word(marked: str) -> int:
    """How many invisible characters part a common word, common words or single letters.

    Long words of a page may be hyphenated; those of other languages are not common ones.
    """
    pieces = [piece.lower() for piece in _MARKS.split(marked)]
    if known("".join(pieces)) or all(map(known, pieces)) or max(map(len, pieces)) == 1:
        return len(pieces) - 1
    return 0


def _sentence(glued: str) -> bool:
    """Pages have a space of HTML before a unit, not between all the words of a sentence."""
    return len(set(filter(known, map(str.lower, _GAPS.split(glued))))) >= _LEAST
