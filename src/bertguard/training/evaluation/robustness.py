"""The same texts, written oddly: are attacks still caught, and innocent texts still let through?

Both halves count. A guard that flags whatever looks odd catches every disguised attack and is of
no use to people with unusual keyboards.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import codecs
import html
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from urllib.parse import quote

from bertguard.guard import Guard
from bertguard.training.augment import obfuscation
from bertguard.training.dataset import Example
from bertguard.training.evaluation import score_all
from bertguard.training.metrics import ranking

_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
_MORSE = dict(
    zip(
        _LETTERS,
        ".- -... -.-. -.. . ..-. --. .... .. .--- -.- .-.. -- -. --- .--. --.- .-. ... - ..- ...- "
        ".-- -..- -.-- --.. ----- .---- ..--- ...-- ....- ..... -.... --... ---.. ----.".split(),
        strict=True,
    )
)
_TURNED = str.maketrans("abcdefghijklmnopqrstuvwxyz", "ɐqɔpǝɟƃɥᴉɾʞlɯuodbɹsʇnʌʍxʎz")
_WIDE = {point: point + 0xFEE0 for point in range(0x21, 0x7F)} | {0x20: 0x3000}
_CARRIER = "Have a nice day."


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "replace")


def _tags(text: str) -> str:
    """Unicode tag characters behind an innocent sentence."""
    return _CARRIER + "".join(chr(0xE0000 + byte) for byte in text.encode("ascii", "ignore"))


def _selectors(text: str) -> str:
    """Variation selectors behind an emoji, one for each byte."""
    marks = (chr(0xFE00 + b) if b < 16 else chr(0xE0100 + b - 16) for b in _bytes(text))
    return f"{_CARRIER} \U0001f600" + "".join(marks)


def _morse(text: str) -> str:
    words = ["".join(c for c in word if c in _MORSE) for word in text.lower().split()]
    return " / ".join(" ".join(_MORSE[letter] for letter in word) for word in words if word)


# Each takes the generator and the text. Tags and Morse carry ASCII only, as their users do.
WRITINGS: dict[str, Callable[[Random, str], str]] = {
    "tags": lambda _, text: _tags(text),
    "variation selectors": lambda _, text: _selectors(text),
    "zero-width": obfuscation.zero_width,
    "bidi override": lambda _, text: "\n".join(f"\u202e{s[::-1]}\u202c" for s in text.split("\n")),
    "Cyrillic letters": lambda _, text: obfuscation.confusables(Random(1), text),
    "full-width": lambda _, text: text.translate(_WIDE),
    "upside-down": lambda _, text: text.lower().translate(_TURNED)[::-1],
    "spaced": obfuscation.spaced,
    "dotted": lambda _, text: " ".join(".".join(word) for word in text.split(" ")),
    "leet": obfuscation.leet,
    "upper case": lambda _, text: text.upper(),
    "typos": obfuscation.typos,
    "prefix letter": obfuscation.prefixed,
    "HTML entities": lambda _, text: "".join(f"&#{ord(c)};" for c in text),
    "HTML comment": lambda _, text: f"<p>{_CARRIER}</p><!-- {text} -->",
    "HTML attribute": lambda _, text: f'<img src="a.png" alt="{html.escape(text)}">',
    "URL": lambda _, text: quote(text, safe=""),
    "base64": lambda _, text: base64.b64encode(_bytes(text)).decode(),
    "base32": lambda _, text: base64.b32encode(_bytes(text)).decode(),
    "hex": lambda _, text: binascii.hexlify(_bytes(text)).decode(),
    "rot13": lambda _, text: codecs.encode(text, "rot13"),
    "Morse": lambda _, text: _morse(text),
}


@dataclass(frozen=True, slots=True)
class Disguise:
    """One way of writing: shares of the attacks still caught and of the benign texts flagged.

    `roc_auc` ranks the attacks against the benign texts under the same writing.
    """

    writing: str
    attacks: int
    caught: float | None
    benign: int
    flagged: float | None
    roc_auc: float | None


def robustness(
    guard: Guard,
    examples: Sequence[Example],
    *,
    texts: int = 500,
    longest: int = 600,
    seed: int = 0,
    report: Callable[[str], None] | None = None,
) -> list[Disguise]:
    """Write attacks that are caught plain, and benign prompts that pass plain, in every odd way.

    Args:
        guard: as it would serve; "caught" and "flagged" are at its `flag_at`.
        examples: labelled texts; channel prompt is used.
        texts: at most so many of each label, drawn by seed.
        longest: longer texts are left out; several writings multiply the length.
        seed: of the choice and of the writings.
        report: called with the name of every writing that is done.
    """
    rng = Random(f"robustness:{seed}")
    flag_at = guard.thresholds_of("prompt").flag_at
    chosen: dict[int, list[str]] = {}
    for label in (1, 0):
        pool = [
            row
            for row in examples
            if row.label == label and row.channel == "prompt" and 0 < len(row.text) <= longest
        ]
        rng.shuffle(pool)
        # Four times as many as needed are enough to find those that are judged right when plain.
        pool = pool[: 4 * texts]
        scores, _ = asyncio.run(score_all(guard, pool))
        right = [
            row.text
            for row, score in zip(pool, scores, strict=True)
            if (score >= flag_at) is bool(label)
        ]
        chosen[label] = right[:texts]
    rows = []
    for name, write in WRITINGS.items():
        shares: dict[int, float | None] = {}
        labels: list[int] = []
        all_scores: list[float] = []
        for label, plain in chosen.items():
            odd = [Example(write(rng, text), label) for text in plain]
            scores, _ = asyncio.run(score_all(guard, odd))
            reached = sum(score >= flag_at for score in scores)
            shares[label] = round(reached / len(odd), 4) if odd else None
            labels += [label] * len(odd)
            all_scores += scores
        area = ranking(labels, all_scores)["roc_auc"]
        rows.append(Disguise(name, len(chosen[1]), shares[1], len(chosen[0]), shares[0], area))
        if report is not None:
            report(name)
    return rows
