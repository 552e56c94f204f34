"""Ways of writing a text oddly, used on both labels alike: oddness alone is no sign.

Only writings that a reader can still read are here. Opaque ones (base64, hex, rot13) are decoded
by `bertguard.views` before scoring; a model cannot learn to decode them and would only learn to
fear them, so `opaque` is used on benign text alone.
"""

from __future__ import annotations

import base64
import codecs
from collections.abc import Callable
from random import Random

Writing = Callable[[Random, str], str]

_LEET = str.maketrans("aeiostAEIOST", "43105743105 7".replace(" ", ""))
_CYRILLIC = str.maketrans("aceopxyABCEHKMOPTX", "асеорхуАВСЕНКМОРТХ")
_ZERO_WIDTH = ("\u200b", "\u200c", "\u200d", "\u2060", "\u00ad")
_KEYS = {"a": "sq", "e": "wr", "i": "uo", "o": "ip", "n": "bm", "r": "et", "s": "ad", "t": "ry"}


def upper(rng: Random, text: str) -> str:
    """CAPITALS throughout, or mixed case."""
    if rng.random() < 0.5:
        return text.upper()
    return "".join(rng.choice((letter.upper(), letter.lower())) for letter in text)


def typos(rng: Random, text: str) -> str:
    """Neighbouring keys, swapped, doubled and lost letters, about one in 20."""
    letters: list[str] = []
    for letter in text:
        draw = rng.random() if letter.isalpha() else 1.0
        if draw < 0.012:
            continue
        if draw < 0.024:
            letters.append(letter)
        elif draw < 0.036 and letters:
            letters.insert(len(letters) - 1, letter)
            continue
        elif draw < 0.05:
            letter = rng.choice(_KEYS.get(letter.lower(), letter))  # noqa: PLW2901  # the very point
        letters.append(letter)
    return "".join(letters)


def leet(rng: Random, text: str) -> str:
    """1gn0r3: digits for letters, in most words."""
    return _by_word(rng, text, 0.8, lambda word: word.translate(_LEET))


def spaced(rng: Random, text: str) -> str:
    """i g n o r e: letters set apart, two spaces between words."""
    return "  ".join(" ".join(word) for word in text.split(" "))


def confusables(rng: Random, text: str) -> str:
    """Cyrillic letters that look Latin."""
    return _by_word(rng, text, rng.choice((0.3, 1.0)), lambda word: word.translate(_CYRILLIC))


def zero_width(rng: Random, text: str) -> str:
    """Characters without width between letters."""
    return "".join(
        letter + rng.choice(_ZERO_WIDTH) if letter.isalpha() and rng.random() < 0.3 else letter
        for letter in text
    )


def prefixed(rng: Random, text: str) -> str:
    """One letter before words, which breaks them into other word pieces.

    Source: TokenBreak, Schulz et al. 2025, https://arxiv.org/abs/2506.07948.
    """
    return _by_word(rng, text, 0.4, lambda word: rng.choice("abcfhstx") + word if word else word)


def unmarked(rng: Random, text: str) -> str:
    """Without punctuation, as Morse code, speech and hurried people leave it."""
    return "".join(
        letter for letter in text if letter.isalnum() or letter.isspace() or rng.random() < 0.05
    )


def opaque(rng: Random, text: str) -> str:
    """base64, hexadecimal or rot13 of the whole."""
    raw = text.encode("utf-8", "replace")
    draw = rng.random()
    if draw < 0.4:
        return base64.b64encode(raw).decode("ascii")
    return raw.hex() if draw < 0.7 else codecs.encode(text, "rot13")


READABLE: tuple[Writing, ...] = (
    upper, typos, typos, leet, leet, spaced, confusables, zero_width, prefixed, prefixed, unmarked,
)  # fmt: skip


def _by_word(rng: Random, text: str, share: float, rewrite: Callable[[str], str]) -> str:
    return " ".join(rewrite(word) if rng.random() < share else word for word in text.split(" "))
