"""Ways of writing a text oddly, used on both labels alike: oddness alone is no sign.

Most are writings that a reader can still read. Opaque ones (base64, hex, URL escapes, rot13,
Morse, reversed runs) are decoded by `bertguard.views` before scoring; a model cannot learn to
decode them and would only learn to fear them, so what `opaque` wrote is shown as it stands with
benign text alone.
"""

from __future__ import annotations

import base64
import codecs
import html
from collections.abc import Callable
from random import Random
from unicodedata import normalize
from urllib.parse import quote

from bertguard.views.ciphers import MORSE_LETTERS

Writing = Callable[[Random, str], str]

_LEET = str.maketrans("aeiostAEIOST", "43105743105 7".replace(" ", ""))
_CYRILLIC = str.maketrans("aceopxyABCEHKMOPTX", "асеорхуАВСЕНКМОРТХ")
_MORSE = {sign: code for code, sign in MORSE_LETTERS.items()}
_ZERO_WIDTH = ("\u200b", "\u200c", "\u200d", "\u2060", "\u00ad")
_SHOWN = (
    "Welcome", "Opening hours", "Our team", "The river in spring", "About this page", "Menu",
    "Photo gallery", "Thank you for your visit", "Contact", "News from the valley", "Prices",
)  # fmt: skip
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


def dotted(rng: Random, text: str) -> str:
    """i.g.n.o.r.e, or with another mark between the letters."""
    mark = rng.choice((".", ".", "-", "_", "·"))
    return " ".join(mark.join(word) for word in text.split(" "))


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
    """Without punctuation, half of it in lower case, as Morse code and hurried people leave it."""
    text = text.lower() if rng.random() < 0.5 else text
    return "".join(
        letter for letter in text if letter.isalnum() or letter.isspace() or rng.random() < 0.05
    )


def in_markup(rng: Random, text: str) -> str:
    """Where a page does not show it: a comment, an attribute, an element out of sight."""
    shown = rng.choice(_SHOWN)
    return rng.choice(
        (
            f"<p>{shown}</p><!-- {text} -->",
            f"<!-- {text} -->\n<h2>{shown}</h2>",
            f'<img src="p{rng.randint(1, 99)}.jpg" alt="{html.escape(text)}">',
            f'<a href="/{rng.randint(1, 99)}" title="{html.escape(text)}">{shown}</a>',
            f"<div hidden>{html.escape(text)}</div><p>{shown}</p>",
        )
    )


def morse(text: str, *, marks: bool = True) -> str:
    """ITU Morse code of the ASCII letters and figures, words parted by a stroke.

    An accent is left off its letter, as senders do; other letters have no code and are left out.

    Punctuation has codes of its own; without `marks` it is left out, as some writers do.
    """
    signs = {sign for sign in _MORSE if marks or sign.isalnum()}
    plain = normalize("NFKD", text.lower())
    words = [[_MORSE[sign] for sign in word if sign in signs] for word in plain.split()]
    return " / ".join(" ".join(word) for word in words if word)


def opaque(rng: Random, text: str) -> str:
    """base64, hexadecimal, URL escapes, rot13 or Morse of the whole, or each line backwards."""
    raw = text.encode("utf-8", "replace")
    draw = rng.random()
    if draw < 0.15 and (signs := morse(text)):
        return signs
    if draw < 0.4:
        return "\n".join(f"\u202e{line[::-1]}\u202c" for line in text.split("\n"))
    if draw < 0.55:
        return base64.b64encode(raw).decode("ascii")
    if draw < 0.7:
        return quote(text, safe="", errors="replace")
    return raw.hex() if draw < 0.85 else codecs.encode(text, "rot13")


READABLE: tuple[Writing, ...] = (
    upper, typos, typos, typos, leet, leet, spaced, dotted, confusables, zero_width, prefixed,
    prefixed, unmarked, unmarked, in_markup, in_markup,
)  # fmt: skip


def _by_word(rng: Random, text: str, share: float, rewrite: Callable[[str], str]) -> str:
    return " ".join(rewrite(word) if rng.random() < share else word for word in text.split(" "))
