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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice, zip_longest
from random import Random
from unicodedata import normalize
from urllib.parse import quote

from bertguard.guard import Guard
from bertguard.training.augment import obfuscation
from bertguard.training.evaluation import score_all
from bertguard.training.examples import Example
from bertguard.training.metrics import ranking

_TURNED = str.maketrans("abcdefghijklmnopqrstuvwxyz", "ɐqɔpǝɟƃɥᴉɾʞlɯuodbɹsʇnʌʍxʎz")
_WIDE = {point: point + 0xFEE0 for point in range(0x21, 0x7F)} | {0x20: 0x3000}
_CARRIER = "Have a nice day."


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "replace")


def _tags(text: str) -> str:
    """Unicode tag characters behind an innocent sentence."""
    plain = normalize("NFKD", text).encode("ascii", "ignore")
    return _CARRIER + "".join(chr(0xE0000 + byte) for byte in plain)


def _selectors(text: str) -> str:
    """Variation selectors behind an emoji, one for each byte."""
    marks = (chr(0xFE00 + b) if b < 16 else chr(0xE0100 + b - 16) for b in _bytes(text))
    return f"{_CARRIER} \U0001f600" + "".join(marks)


# Each takes the generator and the text.
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
    "Morse": lambda _, text: obfuscation.morse(text),
    "Morse, letters only": lambda _, text: obfuscation.morse(text, marks=False),
}
# They have no signs but for ASCII: what is left of a Chinese attack in Morse code is no attack.
_ASCII_ALONE = frozenset(("tags", "Morse", "Morse, letters only"))
# Of the letters and figures of a text, those that such a writing may lose.
_MOST_LOST = 0.05


@dataclass(frozen=True, slots=True)
class Disguise:
    """One way of writing: shares of the attacks still caught and of the benign texts flagged.

    `attacks` are of both channels, each judged in its own; the benign texts are prompts. Both are
    counts of the texts that can be written so: there is no Morse code of Chinese.
    `roc_auc` ranks the attacks among the prompts against the benign ones under the same writing.
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
    longest: int = 2000,
    seed: int = 0,
    writings: Sequence[str] = tuple(WRITINGS),
    report: Callable[[str], None] | None = None,
) -> list[Disguise]:
    """Write attacks that are caught plain, and benign prompts that pass plain, in every odd way.

    Args:
        guard: as it would serve; "caught" and "flagged" are at the `flag_at` of the channel.
        examples: labelled texts; attacks of both channels and benign prompts are used.
        texts: at most so many of each label, drawn by seed, as evenly from the sources as they go.
        longest: longer texts are left out; several writings multiply the length.
        seed: of the choice and of the writings, each of which draws for itself.
        writings: names of those in `WRITINGS` to go through.
        report: called with the name of every writing that is done.
    """
    rng = Random(f"robustness:{seed}")
    flag_at = {name: guard.thresholds_of(name).flag_at for name in ("prompt", "data")}
    short = [row for row in examples if 0 < len(row.text) <= longest]
    attacks = _judged_right(guard, [row for row in short if row.label == 1], flag_at, texts, rng)
    benign = _judged_right(
        guard,
        [row for row in short if row.label == 0 and row.channel == "prompt"],
        flag_at,
        texts,
        rng,
    )
    found = []
    for name in writings:
        write, own = WRITINGS[name], Random(f"robustness:{seed}:{name}")
        able = [[row for row in rows if _carries(name, row.text)] for rows in (attacks, benign)]
        odd = [replace(row, text=write(own, row.text)) for rows in able for row in rows]
        scores, _ = asyncio.run(score_all(guard, odd))
        over = [score >= flag_at[row.channel] for row, score in zip(odd, scores, strict=True)]
        prompts = [
            (row.label, score)
            for row, score in zip(odd, scores, strict=True)
            if row.channel == "prompt"
        ]
        area = ranking([label for label, _ in prompts], [score for _, score in prompts])["roc_auc"]
        caught, flagged = over[: len(able[0])], over[len(able[0]) :]
        found.append(
            Disguise(name, len(caught), _share(caught), len(flagged), _share(flagged), area)
        )
        if report is not None:
            report(name)
    return found


def _carries(writing: str, text: str) -> bool:
    """Whether the writing has signs for the letters of a text."""
    letters = [sign.isascii() for sign in normalize("NFKD", text) if sign.isalnum()]
    return writing not in _ASCII_ALONE or sum(letters) >= (1 - _MOST_LOST) * len(letters)


def _judged_right(
    guard: Guard,
    pool: Sequence[Example],
    flag_at: dict[str, float],
    texts: int,
    rng: Random,
) -> list[Example]:
    """Up to `texts` rows that are judged right when plain."""
    right: list[Example] = []
    waiting = _by_turns(pool, rng)
    while len(right) < texts and (some := list(islice(waiting, texts))):
        scores, _ = asyncio.run(score_all(guard, some))
        right += [
            row
            for row, score in zip(some, scores, strict=True)
            if (score >= flag_at[row.channel]) is bool(row.label)
        ]
    return right[:texts]


def _by_turns(pool: Sequence[Example], rng: Random) -> Iterator[Example]:
    """One of every source in turn, so that a large source does not stand for all."""
    sources: dict[tuple[str, str], list[Example]] = {}
    for row in pool:
        sources.setdefault((row.channel, row.source), []).append(row)
    for rows in sources.values():
        rng.shuffle(rows)
    for turn in zip_longest(*sources.values()):
        yield from (row for row in turn if row is not None)


def _share(hits: Sequence[bool]) -> float | None:
    return round(sum(hits) / len(hits), 4) if hits else None
