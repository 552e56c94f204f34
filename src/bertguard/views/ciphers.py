"""Spans of Morse code and of letters rotated by thirteen."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from bertguard.views.language import Text, rot13, rotated_words, segmented, words
from bertguard.views.offsets import Edit

_DOTS, _DASHES = "·•∙⋅●", "−–—_‐‑"
_SIGN = rf"[.\-{_DOTS}{_DASHES}]"
_MORSE = re.compile(
    rf"(?<![\w.\-{_DOTS}{_DASHES}]){_SIGN}{{1,7}}+(?:[\s/|,]{{1,7}}+{_SIGN}{{1,7}}+(?!{_SIGN})){{4,}}+"
)
_MORSE_MARKS = str.maketrans(_DOTS + _DASHES, "." * len(_DOTS) + "-" * len(_DASHES))
# Every word of Morse but the shortest holds a letter with both marks.
_MORSE_PAIRS = [".-", "-.", "._", "_."]
_MORSE_PAIRS += [a + b for x in "." + _DOTS for y in "-" + _DASHES for a, b in ((x, y), (y, x))]
_MORSE_GAP = re.compile(r"[\s/|,]+")
# Source: ITU-R M.1677-1.
MORSE_LETTERS = {
    ".-": "a", "-...": "b", "-.-.": "c", "-..": "d", ".": "e", "..-.": "f", "--.": "g",
    "....": "h", "..": "i", ".---": "j", "-.-": "k", ".-..": "l", "--": "m", "-.": "n", "---": "o",
    ".--.": "p", "--.-": "q", ".-.": "r", "...": "s", "-": "t", "..-": "u", "...-": "v",
    ".--": "w", "-..-": "x", "-.--": "y", "--..": "z", "-----": "0", ".----": "1", "..---": "2",
    "...--": "3", "....-": "4", ".....": "5", "-....": "6", "--...": "7", "---..": "8",
    "----.": "9",
}  # fmt: skip
MORSE_LETTERS |= {".-.-.-": ".", "--..--": ",", "..--..": "?", "-.-.--": "!", "-..-.": "/"}
MORSE_LETTERS |= {".----.": "'", "-....-": "-", "---...": ":", ".--.-.": "@", "-...-": "="}
MORSE_LETTERS |= {"-.--.": "(", "-.--.-": ")", ".-..-.": '"', ".-.-.": "+"}
# Not of that recommendation, but of the tables in use.
MORSE_LETTERS |= {"-.-.-.": ";", "..--.-": "_", ".-...": "&", "...-..-": "$"}
_ROT13_WORD = re.compile(r"[A-Za-z]+")
# Words that are no common ones, between two that are: names and terms are rotated as well.
_ROT13_GAP = 12


def morse(text: str) -> Iterator[Edit]:
    """Spans of Morse code that are letters, whatever they say."""
    if not any(pair in text for pair in _MORSE_PAIRS[: 4 if text.isascii() else None]):
        return
    for match in _MORSE.finditer(text):
        signs = match[0].translate(_MORSE_MARKS)
        codes = _MORSE_GAP.split(signs)
        letters = [MORSE_LETTERS.get(code, "") for code in codes]
        if sum(map(bool, letters)) < 0.9 * len(codes):
            continue
        # The usual gap stands between letters, any other between words.
        gaps = _MORSE_GAP.findall(signs)
        usual = Counter(gaps).most_common(1)[0][0]
        parts = (
            letter if gap == usual else f" {letter}"
            for gap, letter in zip(gaps, letters[1:], strict=True)
        )
        plain = " ".join((letters[0] + "".join(parts)).split())
        if plain.count(" ") < 2 and segmented(plain.replace(" ", "")[:400])[1] >= 0.6:
            plain = " ".join(segmented(plain.replace(" ", ""))[0])
        yield Edit(match.start(), match.end(), plain, "morse")


def rot13_runs(source: Text) -> Iterator[Edit]:
    """Runs of words in which three common words and more stand thirteen letters on."""
    seen = rotated_words() & source.words
    if len(seen) < 3 or max(map(len, seen)) < 5:
        return
    text = source.string
    matches = list(_ROT13_WORD.finditer(text))
    common = words()
    is_hit = [m[0].lower() in rotated_words() and m[0].lower() not in common for m in matches]
    index = 0
    while index < len(matches):
        if not is_hit[index]:
            index += 1
            continue
        first = last = index
        hits, at = 1, index + 1
        while at < len(matches) and at - last <= _ROT13_GAP:
            if is_hit[at]:
                last, hits = at, hits + 1
            elif matches[at][0].lower() in common and len(matches[at][0]) > 3:
                break  # plain language again: "gung" in a sentence is no beginning
            at += 1
        index = last + 1
        if hits < 3 or hits < 0.2 * (last - first + 1):
            continue
        # Words on both sides that are no common words belong to it.
        while first > 0 and matches[first - 1][0].lower() not in common:
            first -= 1
        while last + 1 < len(matches) and matches[last + 1][0].lower() not in common:
            last += 1
        index = last + 1
        start, end = matches[first].start(), matches[last].end()
        yield Edit(start, end, rot13(text[start:end]), "rot13")
