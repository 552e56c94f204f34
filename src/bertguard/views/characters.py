"""Characters that are not what they look like: invisible, look-alike, styled, upside-down."""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections import Counter
from functools import cache
from importlib.resources import files

from bertguard.views.language import Text, as_letters, known, segmented, stretches, words
from bertguard.views.offsets import Edit

# Marks that no reader sees: soft hyphen, joiners, zero-width and bidi controls, fillers,
# variation selectors, tags. Written as code points: an invisible regex cannot be reviewed.
UNSEEN = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e"
    "\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0000-\U000e0fff"
)
_INVISIBLE = re.compile(f"[{UNSEEN}]+")
_MARKS = re.compile(
    "[\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]+"
)
# A word with everything that may hide in it; ASCII and general punctuation, arrows, boxes, emoji
# and Chinese, Japanese and Korean characters part words.
_WORD = re.compile(
    "[^\\s!-/:-@\\[-`{-~\u00a1-\u00a9\u00ab\u00ac\u00ae-\u00b4\u00b6-\u00b8\u00bb\u00bf"
    "\u2010-\u2027\u2030-\u205e\u2190-\u245f\u2500-\u2bff\u3000-\u9fff\uac00-\ud7af\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65\U0001f300-\U0001faff]+"
)
_TURNED_WORD = re.compile(r"\S+")
_BETWEEN_LETTERS = re.compile(f"[A-Za-z0-9][{UNSEEN}]+[A-Za-z0-9]")
_ASCII_LETTER = re.compile("[A-Za-z]")
_WIDE = re.compile(
    "[\u00a0\u2000-\u200a\u202f\u205f\u3000\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff5e]+"
)
_OVERRIDE = re.compile("\u202e([^\u202a-\u202e\n]{4,}+)\u202c?")
_TURNED = dict(zip("ɐqɔpǝɟƃᵷɥᴉıɾʞןɯuodbɹsʇnʌʍxʎz", "abcdefgghiijklmnopqrstuvwxyz", strict=True))
_TURNED |= dict(zip("∀ꓭƆᗡƎℲ⅁ſꓘ˥ԀΌᴚ⊥∩Λ⅄lIHNOSXZW˙¿¡", "abcdefgjklpqrtuvylihnosxzm.?!", strict=True))
_TURNED_ONLY = frozenset("ɐɔǝɟƃᵷɥᴉɾʞɯɹʇʌʍʎ")
_TURNED_ASCII = frozenset("bdlnopqsuxz")


# Letters with invisible characters between are cut into words where these are most of them.
_MOSTLY = 0.6
_LONGEST_WORD = 16
_MOST_LETTERS = 2_000


class _Foldings:
    """The table of look-alikes, read when the first text needs it."""

    def __init__(self) -> None:
        self.kinds: dict[str, str] = {}
        table: dict[int, str] = {}
        data = (files("bertguard.views") / "confusables.txt").read_text("utf-8")
        for line in data.splitlines():
            if line and not line.startswith("#"):
                kind, folded, characters = line.split("\t")
                for character in characters:
                    self.kinds[character] = kind
                    table[ord(character)] = folded
        self.table = table
        self.same_length = {point: text for point, text in table.items() if len(text) == 1}


@cache
def _foldings() -> _Foldings:
    return _Foldings()


def without_unseen(text: str) -> str:
    """What a reader sees of a text."""
    return text if text.isascii() else _INVISIBLE.sub("", text)


def skeleton(text: str) -> str:
    """Look-alikes as the ASCII that they look like, character for character."""
    return text if text.isascii() else text.translate(_foldings().same_length)


def reversed_runs(source: Text) -> list[Edit]:
    """Text behind a right-to-left override, in the order in which it is shown."""
    text = source.string
    if "\u202e" not in text:
        return []
    return [
        Edit(match.start(), match.end(), match[1][::-1], "bidi")
        for match in _OVERRIDE.finditer(text)
    ]


def folded(source: Text) -> list[Edit]:
    """Words of look-alike, styled and accented letters or with invisible ones between, in ASCII.

    A word counts where it is a common word behind its disguise; one that only mixes scripts
    counts where there are several. Ordinary text in any language raises nothing.
    """
    text = source.string
    if text.isascii():
        return []
    found = (_WORD.findall(text, *place) for place in stretches(text))
    candidates = {word for word in itertools.chain.from_iterable(found) if not word.isascii()}
    sure: dict[str, str] = {}
    likely: dict[str, str] = {}
    accented: dict[str, str] = {}
    plain_accents = 0
    for word in candidates:
        plain, kind = _unmasked(word)
        if kind == "accented":
            plain_accents += 1
        if not plain or kind == "":
            continue
        is_known = known(plain.lower()) or " " in plain
        if kind == "accented":
            if is_known and len(plain) > 3:
                accented[word] = plain
        elif is_known and kind in ("mixed", "invisible"):
            sure[word] = plain
        elif len(plain) > 3 and (is_known or kind != "foreign"):
            likely[word] = plain
    if len(accented) >= 3 and 3 * len(accented) >= plain_accents:
        sure |= accented
    if not sure and len(likely) < 2:
        return []
    return _word_edits(text, {**likely, **sure})


def _word_edits(text: str, chosen: dict[str, str]) -> list[Edit]:
    """An edit for each chosen word, and for the short disguised ones beside them ("а", "оf")."""
    found = [match for match in _WORD.finditer(text) if not match[0].isascii()]
    near = -1000
    edits: dict[int, Edit] = {}
    for matches in (found, found[::-1]):
        near = -1000
        for match in matches:
            word = match[0]
            plain = chosen.get(word)
            if plain is not None:
                near = match.start()
            elif abs(match.start() - near) <= 60:
                plain = _unmasked(word)[0]
            if plain:
                edits[match.start()] = Edit(match.start(), match.end(), plain, "folded")
    ends = {edit.end for edit in edits.values()}
    for match in _WIDE.finditer(text):
        if match.start() in ends or match.end() in edits:
            plain = unicodedata.normalize("NFKC", match[0])
            edits[match.start()] = Edit(match.start(), match.end(), plain, "folded")
    return [edits[start] for start in sorted(edits)]


def _unmasked(word: str) -> tuple[str, str]:
    """A word in ASCII letters and digits and how it was disguised; empty where it cannot be."""
    seen = _INVISIBLE.sub("", word)
    bare = _MARKS.sub("", unicodedata.normalize("NFD", seen))
    foldings = _foldings()
    plain = bare if bare.isascii() else bare.translate(foldings.table)
    if not plain.isascii() or not plain:
        return "", ""
    kinds = {foldings.kinds.get(character) for character in bare if not character.isascii()}
    if "confusable" in kinds:
        return plain, "mixed" if _ASCII_LETTER.search(bare) or len(kinds) > 1 else "foreign"
    if "styled" in kinds:
        return plain, "mixed" if _ASCII_LETTER.search(bare) else "styled"
    if seen.isascii():
        # A byte order mark before a word and the end of an emoji sequence hide nothing.
        return _parted(word, plain), "invisible" if _BETWEEN_LETTERS.search(word) else ""
    return plain, "accented"


def _parted(word: str, plain: str) -> str:
    """Zero-width characters between words rather than letters become spaces."""
    pieces = [piece for piece in _INVISIBLE.split(word) if piece]
    if plain.lower() in words() or len(pieces) < 2:
        return plain
    if all(piece.lower() in words() for piece in pieces):
        return " ".join(pieces)
    # Between letters, and something else between words: two of them, or another one.
    gaps = [
        gap[0] for gap in _INVISIBLE.finditer(word) if gap.start() > 0 and gap.end() < len(word)
    ]
    usual = Counter(gaps).most_common(1)[0][0]
    joined = pieces[0] + "".join(
        f"{'' if gap == usual else ' '}{piece}" for gap, piece in zip(gaps, pieces[1:], strict=True)
    )
    if _letters_known(joined.split()) >= _MOSTLY * len(plain):
        return joined
    if len(plain) <= _LONGEST_WORD or len(plain) > _MOST_LETTERS:
        return plain
    cut, share = segmented(plain)
    return " ".join(cut) if share >= _MOSTLY else plain


def _letters_known(found: list[str]) -> int:
    return sum(len(word) for word in found if word.lower() in words() or known(word.lower()))


def upright(source: Text) -> list[Edit]:
    """Upside-down writing turned back, in the direction that reads better."""
    text = source.string
    if text.isascii() or sum(1 for character in _TURNED_ONLY if character in text) < 3:
        return []
    regions: list[tuple[int, int]] = []
    start = end = -1
    certain = False
    for match in _TURNED_WORD.finditer(text):
        word = match[0]
        turned = not _TURNED_ONLY.isdisjoint(word)
        # "uo" and "sdn" stand on their heads only beside words that certainly do.
        if turned or _TURNED_ASCII.issuperset(c for c in word if c.isalpha()):
            start = match.start() if start < 0 else start
            end, certain = match.end(), certain or turned
            continue
        if certain:
            regions.append((start, end))
        start, certain = -1, False
    if certain:
        regions.append((start, end))
    edits = []
    for start, end in regions:
        upside = "".join(_TURNED.get(character, character) for character in text[start:end])
        best = max((upside[::-1], upside), key=_common)
        if _common(best) >= 2 or known(best.strip(".,!?")):
            edits.append(Edit(start, end, best, "upside_down", aligned=False))
    return edits


def _common(text: str) -> int:
    return sum(1 for word in as_letters(text).split() if known(word.strip(".,!?")))
