"""Misspelt words put right: a slip of the keyboard cuts a word into other pieces.

With one letter in twenty lost, doubled, swapped or struck beside, a text reads as before to people
and to large models, while a tokenizer makes scraps of every third of its words. Looked for are
words that are one slip away from a common English one (Damerau 1964, doi:10.1145/363958.363994),
and only where a text in English holds many: single slips, names, terms and other languages raise
nothing. A letter put before a word is such a slip too, beside those that `spelling` is sure of.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from bertguard.views.language import Text, is_name, lexicon
from bertguard.views.offsets import Edit

# Not what Markdown cuts off a word: "**T**hreats".
_WORD = re.compile(r"(?<!\w)(?<!\w\*)(?<!\w\*\*)[^\W\d_]+(?!\w)")
_ABC = "abcdefghijklmnopqrstuvwxyz"
_SHORTEST, _LONGEST = 4, 16
_ENDINGS = ("s", "es", "d", "ed", "r", "er", "ly", "ing", "n", "y")
# The sign, in a stretch of so many words of that length: two different words and more that can be
# put right and are no names, an eighth of the different ones, three quarters English with them.
# Chosen on left-out texts: half of those with slips in them show it (the others are short, or in
# other languages), of innocent texts one in sixty.
_STRETCH = 32
_LEAST_WORDS = 2
_LEAST_SHARE = 0.12
_LEAST_ENGLISH = 0.75
# What a placeholder has instead of a text: some of it is one slip away from English.
_PLACEHOLDER = frozenset(
    "lorem ipsum dolore labore enim minim veniam quis elit velit esse magna aliqua tempor aute "
    "irure cillum nulla sint sunt culpa mollit anim commodo laboris nisi".split()
)
# A word is some 400 lookups: what a text has beyond these different ones is left as it stands.
_MOST_WORDS = 1_000


def corrected(source: Text) -> list[Edit]:
    """Words that are one slip away from a common English word, where a stretch is full of them."""
    unknown = source.words - lexicon()[1] - _PLACEHOLDER
    if len(unknown) < _LEAST_WORDS:
        return []
    odd = {
        word
        for word in unknown
        if _SHORTEST <= len(word) <= _LONGEST and word.isalpha() and not _inflected(word)
    }
    if len(odd) < _LEAST_WORDS:
        return []
    found = [m for m in _WORD.finditer(source.string) if _SHORTEST <= len(m[0]) <= _LONGEST]
    plain = [match[0].lower() for match in found]
    meant: dict[str, str | None] = {}
    edits: dict[int, Edit] = {}
    for start in range(0, max(len(found) - _STRETCH // 2, 1), _STRETCH // 2):
        stretch = slice(start, start + _STRETCH)
        different = set(plain[stretch])
        strange = different & odd
        enough = max(_LEAST_WORDS, _LEAST_SHARE * len(different))
        if len(strange) < enough:
            continue
        for word in sorted(strange - meant.keys())[: _MOST_WORDS - len(meant)]:
            meant[word] = _meant(word) if word.isascii() else None
        right = {word for word in strange if meant.get(word)}
        english = len(different) - len(strange) + len(right)
        if len(right & _no_names(source.string, found[stretch])) < enough or (
            english < _LEAST_ENGLISH * len(different)
        ):
            continue
        for match, word in zip(found[stretch], plain[stretch], strict=True):
            if plainer := meant.get(word):
                edits[match.start()] = Edit(*match.span(), plainer, "corrected")
    return [edits[place] for place in sorted(edits)]


def _no_names(text: str, found: Sequence[re.Match[str]]) -> set[str]:
    """The words of a stretch in lower case, but for capitalised ones where few are.

    A word in source code or after an initial is a name, too.
    """
    small = [match for match in found if not match[0].istitle()]
    if 2 * len(small) < len(found):
        small = list(found)
    return {match[0].lower() for match in small if not is_name(text, *match.span())}


def _meant(word: str) -> str | None:
    """The commonest word that is one slip away; before all others the word without a prefix."""
    ranks = lexicon()[0]
    if len(word) > _SHORTEST and word[1:] in ranks:
        return word[1:]
    return min(ranks.keys() & _slips(word), key=ranks.__getitem__, default=None)


def _slips(word: str) -> set[str]:
    """Every string that one lost, added, swapped or other letter makes of a word."""
    cuts = [(word[:place], word[place:]) for place in range(len(word) + 1)]
    slips = {before + letter + after for before, after in cuts for letter in _ABC}
    slips.update(before + letter + after[1:] for before, after in cuts[:-1] for letter in _ABC)
    slips.update(before + after[1:] for before, after in cuts[:-1])
    slips.update(before + after[1] + after[0] + after[2:] for before, after in cuts[:-2])
    return slips


def _inflected(word: str) -> bool:
    """True for what an ending makes of a known word: `rejections`, `navigates`."""
    known = lexicon()[1]
    return any(word.endswith(ending) and word.removesuffix(ending) in known for ending in _ENDINGS)
