"""Characters written as numbers: the escapes of programming languages, and lists of codes."""

from __future__ import annotations

import re
from collections.abc import Iterator

from bertguard.views.characters import without_unseen
from bertguard.views.language import Text, reads_as_language
from bertguard.views.offsets import Edit

# JavaScript and Python, the older URL escapes; in C's octal ones, CSS and quoted-printable only
# several on end, since a path, a reference in a regular expression and "x=45" look like one.
_ESCAPES = re.compile(
    r"(?:\\(?:u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}|u\{[0-9a-fA-F]{1,6}\}|U[0-9a-fA-F]{8})"
    r"|%u[0-9a-fA-F]{4})+"
    r"|(?:\\[01][0-7]{2}(?![0-9a-fA-F])){4,}+|(?:\\0{2,4}[2-7][0-9a-fA-F] ?){4,}+"
    r"|(?:\\[2-7][0-9a-fA-F] ){4,}+|(?:=[0-9A-F]{2}){4,}+"
)
_ESCAPE = re.compile(r"\\([01][0-7]{2})(?![0-9a-fA-F])|(?:\\[uUx]?|%u|=)\{?([0-9a-fA-F]+)\}?")
_ESCAPE_SIGNS = ("\\u", "\\x", "\\U", "\\0", "\\1", "\\4", "\\6", "%u", "=4", "=6")
# "73 103 110", "73, 103", "chr(73)+chr(103)", "U+0049 U+0067", "01001001 01100111".
_NUMBER = r"(?:U\+[0-9A-F]{4,6}|(?:chr\()?(?:0b)?[0-9]{2,8}\)?+)(?![\w.])"
_LIST = re.compile(rf"(?<![\w.+-]){_NUMBER}(?:[\s,;+&|/-]{{1,3}}{_NUMBER}){{11,}}+", re.IGNORECASE)
_CODE = re.compile(r"(?:U\+|0b|)([0-9A-F]{2,8})", re.IGNORECASE)
# Marks and sizes are in the range of letters as well, but are no words with spaces between.
_LEAST_LETTERS = 0.7
# A number beside a list, or one that is none of its codes, does not hide the rest.
_LEAST_CODES = 0.9
_ASCII_POINTS = frozenset((9, 10, 13, *range(32, 127)))
_LONGEST_WORD = 16


def escapes(text: str) -> Iterator[Edit]:
    """Runs of escapes, where they stand for letters that nobody has to escape."""
    if not any(sign in text for sign in _ESCAPE_SIGNS):
        return
    found = []
    needless = 0
    for match in _ESCAPES.finditer(text):
        plain = _unescaped(match[0])
        needless += sum(1 for c in plain if c.isascii() and c.isalnum())
        found.append(Edit(match.start(), match.end(), plain, "escapes"))
    letters = sum(1 for edit in found for c in edit.text if c.isalpha())
    # Nobody escapes ASCII letters without a reason; other letters are escaped by JSON writers, and
    # joiners and selectors beside them, but not between ASCII letters.
    unseen = sum(_hidden(text, edit) for edit in found)
    if needless >= 4 or letters >= 12 or unseen >= 4:
        yield from (edit for edit in found if without_unseen(edit.text).isprintable())


def _hidden(text: str, edit: Edit) -> int:
    """How many tags outside flags, or invisible characters between ASCII letters, an edit has."""
    if without_unseen(edit.text):
        return 0
    around = text[max(edit.start - 1, 0) : edit.start] + text[edit.end : edit.end + 1]
    between = len(around) == 2 and around.isascii() and around.isalpha()
    tags = sum(1 for c in edit.text if "\U000e0000" < c <= "\U000e007f")
    return max(tags, between)


def _unescaped(run: str) -> str:
    points = (int(o, 8) if o else int(digits, 16) for o, digits in _ESCAPE.findall(run))
    text = "".join(chr(point) for point in points if point <= 0x10FFFF)
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def listed(source: Text) -> Iterator[Edit]:
    """Lists of the codes of ASCII characters that read as language."""
    # Cheaper than the search: the letters of a sentence are at least so many different numbers.
    if sum(1 for word in source.words if len(word) in (2, 3, 7, 8, 6) and _is_code(word)) < 6:
        return
    for match in _LIST.finditer(source.string):
        plain = _from_codes(_CODE.findall(match[0]), "U+" in match[0].upper())
        if plain and reads_as_language(plain):
            yield Edit(match.start(), match.end(), plain, "codes")


def _is_code(word: str) -> bool:
    return word.isdigit() or word[:2] == "u+"


def _from_codes(codes: list[str], unicode: bool) -> str:
    """The text of a list, in the first base in which nearly all are ASCII characters."""
    for base in (16,) if unicode else (2, 10, 8):
        try:
            points = [int(code, base) for code in codes]
        except ValueError:
            continue
        plain = "".join(map(chr, filter(_ASCII_POINTS.__contains__, points)))
        if len(plain) >= _LEAST_CODES * len(points):
            letters = sum(map(str.isalpha, plain))
            spaces = sum(map(str.isspace, plain))
            written = letters + spaces >= _LEAST_LETTERS * len(plain)
            return plain if written and len(plain) <= _LONGEST_WORD * spaces else ""
    return ""
