"""Words that a tokenizer would miss: spaced apart, in leetspeak, with a letter before them."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Sequence

from bertguard.views.characters import skeleton
from bertguard.views.language import (
    Text,
    as_letters,
    forms,
    is_name,
    known,
    lexicon,
    naturally_prefixed,
    respelled,
    segmented,
    words,
)
from bertguard.views.offsets import NEAR, Edit, is_near

_LETTER = "A-Za-z0-9@$!\u00c0-\u024f\u0370-\u052f"
# Single letters with one and the same kind of thing between them; no ordinary word inside.
_SPACED = re.compile(
    rf"(?<![{_LETTER}])[{_LETTER}](?:[^{_LETTER}]{{1,16}}+[{_LETTER}](?![{_LETTER}])){{2,}}+"
)
_SPACED_SIGN = re.compile(
    rf"(?<![{_LETTER}])[{_LETTER}](?:[^{_LETTER}]{{1,16}}+[{_LETTER}](?![{_LETTER}])){{3,}}+"
)
_PAIR = re.compile(rf"([{_LETTER}])([^{_LETTER}]*)")
_LONGEST_WORD = 20
_IN_WORDS = frozenset(["'", "\u2019", "-"])  # "don't", "co-op"
_BLANKS = re.compile(r"[^\S\n]+")
_LEET_WORD = re.compile(r"[A-Za-z0-9@$!|+]+(?:['\u2019][A-Za-z0-9]{1,2}\b)?")
_LEET_SHAPE = re.compile(
    r"[A-Za-z][013457@$!|]+[A-Za-z]|^[013457@$!|]{1,2}[A-Za-z]{4}|[A-Za-z]{4}[013457@$]$"
)
_MIXED = re.compile(r"[A-Za-z][0-9@$]|[0-9@$][A-Za-z]")
_DENSE_HITS = 4
_CONTRACTED = re.compile(r"(.+)(['\u2019][A-Za-z0-9]{1,2})")
_DECADE = re.compile(r"[0-9]{2,}['\u2019][a-z]+")
# Two consonants with which no English word begins.
_NO_ONSET = re.compile(
    r"(?!bl|br|ch|cl|cr|dr|dw|fl|fr|gh|gl|gn|gr|kn|kr|mc|ph|pl|pn|pr|ps|rh|sc|sh|sk|sl|sm|sn|sp|sq|"
    r"st|sv|sw|th|tr|ts|tw|wh|wr)[b-df-hj-np-tv-xz][b-df-hj-np-tv-xz]|q[^u]"
)
_PLAIN_WORD = re.compile(r"[A-Za-z]+")
_SHORTEST = frozenset("a i am an as at be do go he if in is it me no of on or so to us we".split())


def despaced(source: Text) -> list[Edit]:
    """Letters that stand apart joined to words where that gives common words."""
    text = source.string
    # Cheaper than the search: a word with its letters apart leaves single letters.
    certain = text.isascii() and "|" not in text and "+" not in text
    if certain and sum(1 for word in source.words if len(word) == 1) < 3:
        return []
    plain = skeleton(text)
    sure = {m.start(): (m, _joined(m[0], sure=True)) for m in _SPACED_SIGN.finditer(plain)}
    edits = [Edit(*m.span(), joined, "despaced") for m, joined in sure.values() if joined]
    if not edits:
        return []
    starts, ends = [edit.start for edit in edits], [edit.end for edit in edits]
    for match in _SPACED.finditer(plain):
        # Three letters apart ("a l l") are a word only beside longer ones.
        if match.start() not in sure and (
            is_near(starts, match.end()) or is_near(ends, match.start())
        ):
            joined = _joined(match[0], sure=False)
            if joined:
                edits.append(Edit(*match.span(), joined, "despaced"))
    return sorted(edits)


def _joined(run: str, *, sure: bool) -> str:
    """The words of a run of single letters, or nothing where they make none."""
    pairs = _PAIR.findall(run)
    letters = [letter for letter, _ in pairs]
    if sum(map(str.isalpha, letters)) * 2 < len(letters):
        return ""
    groups, between = _groups(letters, [gap for _, gap in pairs[:-1]])
    # Words are parted by blanks, or they run into each other.
    parted = any(map(str.isspace, between))
    spelled = [_spelled(group, alone=not parted) for group in groups]
    whole = [word for group in spelled for word in group]
    plain = "".join(map("".join, zip(map(" ".join, spelled), [*between, ""], strict=True)))
    lengths = [len(word) for word in whole if known(word.lower())]
    covered = sum(lengths)
    enough = covered >= 6 or max(lengths, default=0) >= 4 or not sure
    # Long words do not come about by chance, however much noise stands around them.
    certain = sum(length for length in lengths if length > 4) >= 10
    if certain or (enough and covered >= 0.5 * len(letters)) or (sure and _sentence(groups)):
        return plain
    return plain if sure and _unknown_language(letters) else ""


def _sentence(groups: Sequence[str]) -> bool:
    """True where four different common words and more stand, a third of all there are."""
    lower = [group.lower() for group in groups if len(group) > 1]
    common = {word for word in lower if word in words()}
    return len(common) >= 4 and sum(word in common for word in lower) * 3 >= len(groups)


def _groups(letters: Sequence[str], gaps: Sequence[str]) -> tuple[list[str], list[str]]:
    """Letters joined into words, and what stands between the words.

    The commonest gap stands inside words, a wider one between.
    """
    common = Counter(gaps).most_common(1)[0][0]
    cuts, between = [0], []
    for index, gap in enumerate(gaps, 1):
        if gap != common and (len(gap) > len(common) or gap.strip(common) or " " in gap):
            cuts.append(index)
            between.append(_parting(gap, common))
    cuts.append(len(letters))
    return ["".join(letters[start:end]) for start, end in itertools.pairwise(cuts)], between


def _parting(gap: str, common: str) -> str:
    """What the writer had put between two words, without the `common` gap around each sign.

    With "." as the gap, `.,. ` was ", ", `.'.` was "'", and ` ` was itself.
    """
    signs = []
    for place, part in enumerate(gap.split("  " if common == " " else " ")):
        # A gap follows the letter before the first part, and each sign of the others.
        sign, mark = part[place == 0 :: 2], part[place != 0 :: 2]
        signs.append(sign if set(mark) <= {common} else part)
    inner = _BLANKS.sub(" ", " ".join(signs))
    return inner if inner in _IN_WORDS or any(map(str.isspace, inner)) else f"{inner} "


def _spelled(group: str, *, alone: bool) -> list[str]:
    lower = group.lower()
    if lower in words() or known(lower):
        return [respelled(lower) or group]
    if not any(map(str.isalpha, group)):
        return [group]  # "2 0 2 6" and "! ! !" are no letters
    marks = len(group) - len(group.rstrip("!|"))
    if marks:
        return [*_spelled(group[:-marks], alone=alone), group[-marks:]]
    pieces, _ = segmented(group if group.isalpha() else as_letters(group))
    if not group.isalpha() and not all(piece.lower() in forms() for piece in pieces):
        # "ana@example": what does not come out as words is not rewritten.
        pieces, _ = segmented(group)
    if alone or len(group) > _LONGEST_WORD or all(piece.lower() in forms() for piece in pieces):
        return pieces
    # Where wider gaps part the words, a word of its own need not be a common one.
    return ["".join(pieces)]


def _unknown_language(letters: Sequence[str]) -> bool:
    """Long runs that read like words, though no common English ones."""
    lower = "".join(letters).lower()
    vowels = sum(lower.count(vowel) for vowel in "aeiouаеиоуыэюя")
    varied = len(set(lower)) >= 8 and lower != "".join(sorted(lower))
    share = vowels / len(lower)
    return len(lower) >= 20 and varied and lower.isalpha() and 0.3 <= share <= 0.55


def deleeted(source: Text) -> list[Edit]:
    """Leetspeak in letters, where two different words and more turn out to be common words."""
    hits = {word for word in source.words if not word.isalpha() and _leet_hit(word)}
    if len(hits) < 2:
        return []
    text = source.string
    # "%63t" is an escape, and no "get".
    found = (m for m in _LEET_WORD.finditer(text) if not m[0].isalpha())
    matches = [m for m in found if not text.startswith("%", m.start() - 1, m.start())]
    places = [m.start() for m in matches if m[0].lower() in hits]
    mixed = {m[0].lower() for m in matches if _MIXED.search(m[0])}
    # Where most such words are common ones in disguise, the others are words in disguise too.
    all_of_them = len(hits) >= _DENSE_HITS and 2 * len(hits) >= len(mixed)
    edits = []
    seen: dict[str, str] = {}
    for match in matches:
        if is_near(places, match.start()):
            plain = seen.get(match[0], "?")
            if plain == "?":
                plain = seen[match[0]] = _deleeted_word(match[0])
                if not plain and all_of_them and _MIXED.search(match[0]):
                    plain = seen[match[0]] = as_letters(match[0].lower())
            if plain:
                edits.append(Edit(match.start(), match.end(), plain, "deleeted"))
    return edits


def _leet_hit(word: str) -> bool:
    # "item5" and "key1" count things; a figure at the end alone is no sign.
    return not word[:-1].isalpha() and respelled(word) is not None


def _deleeted_word(word: str) -> str:
    contracted = _CONTRACTED.fullmatch(word)
    if contracted and not _DECADE.fullmatch(word):
        letters, ending = contracted[1], as_letters(contracted[2].lower())
        # "d0n'7": the word before may have no figure in it, or be known only with its ending.
        return (_deleeted_word(letters) or letters) + ending
    plain = respelled(word.lower())
    if plain is not None:
        return plain
    letters = as_letters(word.lower())
    # Figures alone and short words are no sign; beside signs "15 17 73575" says "is it tests".
    if letters in (_SHORTEST if len(letters) < 3 else forms()):
        return letters
    if not word.isdigit() and letters in lexicon()[1]:
        return letters
    core = word.rstrip("!|+")
    # Not a common word, so only where figures stand among letters: "pr0t0c0l", not "2024a".
    return as_letters(core) + word[len(core) :] if _LEET_SHAPE.search(core) else ""


def unprefixed(source: Text) -> list[Edit]:
    """One letter before a word taken off, where two words and more are common words without it.

    Source: TokenBreak (HiddenLayer, arXiv 2506.07948): "finstructions" falls into other pieces.
    """
    hits = {word for word in source.words if _surely_prefixed(word)}
    if len({word[1:] for word in hits}) < 2:
        return []
    text = source.string
    matches = list(_PLAIN_WORD.finditer(text))
    found = [m for m in matches if m[0].lower() in hits and not is_name(text, *m.span())]
    pairs = itertools.pairwise(found)
    places = [
        place
        for one, other in pairs
        if one[0].lower() != other[0].lower() and other.start() - one.start() <= NEAR
        for place in (one.start(), other.start())
    ]
    return [
        Edit(match.start(), match.start() + 1, "", "unprefixed")
        for match in matches
        if len(match[0]) > 2 and is_near(places, match.start()) and _prefixed(match[0].lower())
    ]


def _surely_prefixed(word: str) -> bool:
    """True for a long word that is common without it, and one that begins as no word does."""
    plain = word[1:]
    if len(plain) < 3 or plain not in forms() or not _odd(word):
        return False
    return (len(plain) > 4 and plain in words()) or _NO_ONSET.match(word) is not None


def _prefixed(word: str) -> bool:
    """True beside certain signs for a word that begins as no English word does, or in excess."""
    if word in forms() or not _odd(word):
        return False
    if len(word) < 5:
        return word[1:] in words()
    return word[1:] in forms() or _NO_ONSET.match(word) is not None


def _odd(word: str) -> bool:
    return word.isalpha() and word not in words() and word not in naturally_prefixed()
