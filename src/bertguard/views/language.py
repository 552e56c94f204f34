"""Does a text read as language? Common words, the respelling of leetspeak, and joined words."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from functools import cache
from importlib.resources import files

# ASCII punctuation parts words, except for the characters that stand for letters in leetspeak.
_LEET = {"0": "o", "1": "i", "3": "e", "4": "a", "5": "s", "7": "t", "8": "b", "9": "g", "@": "a"}
_LEET |= {"$": "s", "!": "i", "|": "i", "6": "g", "+": "t"}
_EITHER = "1!|"  # i or l
_PARTING = {
    point: " " for point in range(128) if not chr(point).isalnum() and chr(point) not in _LEET
}
_AS_LETTERS = str.maketrans(_LEET)
_HARD = "!|+"  # at the end of a word these are punctuation
_ESCAPED = re.compile(r"\\[nrt]")
# Words that turn by thirteen letters into other words: "url" is "hey", "bar" is "one".
_ROTATED_NATURALLY = {"bar", "erf", "fur", "gel", "gra", "gung", "jul", "jung", "nal", "ner"}
_ROTATED_NATURALLY |= {"png", "sne", "url"}
_ABC = "abcdefghijklmnopqrstuvwxyz"
_ROT13 = str.maketrans(_ABC + _ABC.upper(), _ABC[13:] + _ABC[:13] + (_ABC[13:] + _ABC[:13]).upper())
_LONGEST_WORD = 16
_STRETCH_CHARS = 32_768
_SPACE = re.compile(r"\s")
_WORD = re.compile(r"[a-z0-9@$!|+\u0080-\U0010ffff]+")
_A_LETTER = re.compile(r"[a-z]")
# Signs that stand at a name in source code, a path, a link or an entity: alone on that side of it,
# or with a letter on their other side.
_BEFORE_NAME = frozenset("=/\\$@#&+_")
_BEFORE_PART = frozenset("(.[:")
_AFTER_NAME = frozenset("=/\\(;[+_")
_AFTER_PART = frozenset(".:)]")
_INITIAL = re.compile(r"(?<!\w)[A-Z]\. ?\Z")
_ASCII_WORD = re.compile(r"[a-z]+")


def rot13(text: str) -> str:
    """Each ASCII letter thirteen places on."""
    return text.translate(_ROT13)


@cache
def words() -> frozenset[str]:
    """The common words: about a thousand, lower case."""
    return _word_list("words.txt")


@cache
def forms() -> frozenset[str]:
    """The common words and what their endings make of the longer ones, wrong forms among them."""
    long = [word for word in words() if len(word) > 3]
    endings = ("s", "d", "r", "ed", "es", "er", "ly", "ing")
    made = {word + ending for word in long for ending in endings}
    made |= {word[:-1] + "ing" for word in long if word[-1] == "e"}
    return words() | made


@cache
def naturally_prefixed() -> frozenset[str]:
    """Words that are a common word with a letter before it, and nobody put it there."""
    return _word_list("lookalikes.txt")


@cache
def lexicon() -> tuple[dict[str, int], frozenset[str]]:
    """Words of four letters and more: common ones by rank, and all that are known.

    Twenty times as many as `words`, rarer ones and names among them: good to tell what a word
    may be, no sign that it is one.
    """
    text = (files("bertguard.views") / "lexicon.txt").read_text("utf-8")
    # Comments part the common words from the rarer ones.
    common, rare = (part.split() for part in re.split(r"(?:^#.*\n)+", text, flags=re.M)[1:])
    common += sorted(word for word in words() if len(word) > 3)
    ranks: dict[str, int] = {}
    for word in common:
        ranks.setdefault(word, len(ranks))
    return ranks, frozenset((*common, *rare)) | forms()


def _word_list(name: str) -> frozenset[str]:
    lines = (files("bertguard.views") / name).read_text("utf-8").splitlines()
    return frozenset(word for line in lines if line[:1] != "#" for word in line.split())


@cache
def _beginnings() -> frozenset[str]:
    return frozenset(word[:end] for word in forms() for end in range(1, len(word) + 1))


@cache
def rotated_words() -> frozenset[str]:
    """The common words of three letters and more, each letter thirteen places on."""
    rotated = {rot13(word) for word in forms() if len(word) > 2}
    return frozenset(rotated - _ROTATED_NATURALLY)


def tokens(text: str) -> list[str]:
    """The words of a text in lower case, cheaply: about 10 ns a character for ASCII."""
    if "\\" in text:
        # The two characters \n of a text inside JSON or source code part words too.
        text = _ESCAPED.sub(" ", text)
    lower = text.lower()
    return lower.translate(_PARTING).split() if text.isascii() else _WORD.findall(lower)


def stretches(text: str) -> Iterator[tuple[int, int]]:
    """Start and end of stretches of a long text, cut at white space where there is any near.

    One call of a regular expression or of `split` holds the GIL until it ends, and an event loop
    waits; on stretches it lets go between them.
    """
    start = 0
    while len(text) - start > 2 * _STRETCH_CHARS:
        space = _SPACE.search(text, start + _STRETCH_CHARS)
        if space is None:
            break
        yield start, space.start()
        start = space.start()
    yield start, len(text)


class Text:
    """A text with its words at hand: several signs are looked for among them."""

    __slots__ = ("_words", "string")

    def __init__(self, string: str) -> None:
        self.string = string
        self._words: frozenset[str] | None = None

    @property
    def words(self) -> frozenset[str]:
        """The different words in lower case."""
        if self._words is None:
            found: set[str] = set()
            for start, end in stretches(self.string):
                found.update(tokens(self.string[start:end]))
            self._words = frozenset(found)
        return self._words


def respelled(word: str) -> str | None:
    """The common word that a lower-case leetspeak `word` stands for: `1gn0r3` -> `ignore`."""
    if len(word) < 3 or word.isalpha() or not word.isascii() or word.isdigit():
        return None
    for core in dict.fromkeys((word, word.rstrip(_HARD))):
        # No common word is longer, and so the forms to try stay few.
        if not 3 <= len(core) <= _LONGEST_WORD or core.isalpha() or not _A_LETTER.search(core):
            continue
        places = [i for i, character in enumerate(core) if character in _EITHER][:4]
        plain = list(core.translate(_AS_LETTERS))
        for choice in itertools.product("il", repeat=len(places)):
            for place, letter in zip(places, choice, strict=True):
                plain[place] = letter
            if "".join(plain) in forms():
                return "".join(plain) + word[len(core) :]
    return None


def is_name(text: str, start: int, end: int) -> bool:
    """True for a word in source code, a path or an entity, and for a name after an initial."""
    before, after = text[max(start - 2, 0) : start], text[end : end + 2]
    if before[-1:] in _BEFORE_NAME or (before[-1:] in _BEFORE_PART and before[:1].isalnum()):
        return True
    if after[:1] in _AFTER_NAME or (after[:1] in _AFTER_PART and after[1:].isalnum()):
        return True
    return after == " =" or _INITIAL.search(text[max(start - 4, 0) : start]) is not None


def as_letters(text: str) -> str:
    """Leetspeak characters replaced one by one; the length stays the same."""
    return text.translate(_AS_LETTERS)


def known(word: str) -> bool:
    """True for a common word of three letters and more, in lower case or leetspeak."""
    return len(word) > 2 and (word in forms() or respelled(word) is not None)


def segmented(letters: str) -> tuple[list[str], float]:
    """Letters without gaps cut into common words where they hold some, and the share of those.

    Maximises the sum of squared lengths, so that `ignoreall` gives `ignore all` and no `no re`.
    What lies between common words stays together, in pieces that a tokenizer still cuts.
    """
    pieces: list[str] = []
    covered = loose = 0
    for start, end in [*_common_words(letters.lower()), (len(letters), len(letters))]:
        while loose < start:
            pieces.append(letters[loose : min(start, loose + 2 * _LONGEST_WORD)])
            loose += len(pieces[-1])
        if end > start:
            pieces.append(letters[start:end])
            covered += end - start if end - start > 2 else 0
        loose = end
    return pieces, covered / max(len(letters), 1)


def _common_words(lower: str) -> list[tuple[int, int]]:
    """Where the best cut of `lower` has common words: (start, end), in order."""
    common, beginnings = forms(), _beginnings()
    size = len(lower)
    best = [-1.0] * (size + 1)
    cut = [-1] * (size + 1)
    best[0] = 0.0
    for start in range(size):
        if best[start] >= best[start + 1]:
            best[start + 1], cut[start + 1] = best[start], -1
        for end in range(start + 1, min(start + _LONGEST_WORD, size) + 1):
            piece = lower[start:end]
            if piece not in beginnings:
                break
            # Half a point less for each word: one long word before two short ones.
            score = best[start] + (end - start) ** 2 - 0.5
            if piece in common and score > best[end]:
                best[end], cut[end] = score, start
    found = []
    end = size
    while end > 0:
        if cut[end] >= 0:
            found.append((cut[end], end))
        end = cut[end] if cut[end] >= 0 else end - 1
    return found[::-1]


def reads_as_language(text: str) -> bool:
    """True for a text that somebody wrote to be read, in any language; false for noise."""
    if not _printable(text):
        return False
    plain = sum(1 for c in text if c.isalnum() or c.isspace()) >= 0.7 * len(text)
    if plain and not text.isascii():
        letters = sum(map(str.isalpha, text))
        foreign = sum(map(str.isalpha, filter(lambda c: not c.isascii(), text)))
        if foreign >= 4 and letters + text.count(" ") >= 0.7 * len(text):
            return True
    found = tokens(text)
    if not found:
        return False
    hits = [word for word in found if len(word) > 1 and (word in words() or respelled(word))]
    if len({word for word in hits if len(word) > 3}) > max(2, 0.03 * len(found)):
        return True
    if not plain:
        return False
    if len(hits) >= max(2, 0.15 * len(found)):
        return True
    if len(hits) == 1 and len(found) <= 3 and max(map(len, found)) > 3:
        return True
    if sum(1 for word in found if word in rotated_words()) >= 3:
        return True
    if sum(1 for word in found if len(word) == 1) >= 8:
        return segmented("".join(found))[1] >= 0.5
    return _foreign_sentence(text, found)


def _printable(text: str) -> bool:
    """No control characters; letters with zero-width or tag characters between are writing too."""
    if len(text) < 3:
        return False
    return "".join(text.split()).isprintable() or all(
        character.isprintable() or character.isspace() or ord(character) >= 0x200B
        for character in text
    )


def _foreign_sentence(text: str, found: list[str]) -> bool:
    """Four words and more of a common length with vowels in them, in whatever Latin language."""
    plain = [word for word in found if _ASCII_WORD.fullmatch(word) and len(word) > 1]
    if len(plain) < 4 or len(plain) < 0.8 * len(found):
        return False
    letters = "".join(plain)
    vowels = sum(letters.count(vowel) for vowel in "aeiou")
    return 2.5 <= len(letters) / len(plain) <= 12 and 0.25 <= vowels / len(letters) <= 0.6
