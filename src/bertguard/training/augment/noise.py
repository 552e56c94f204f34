"""Prompts that end in noise: optimised suffixes, and the noise that people really paste.

Source of the attack: GCG, Zou et al. 2023, https://arxiv.org/abs/2307.15043. A suffix found by
gradients is a run of words and marks without grammar in which a few words steer the answer; ours
is drawn in that shape, not optimised. Its twin ends in noise as well (identifiers, a cut table, a
stray key), so that noise alone is no sign.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from random import Random

_MARKS = (
    "!", "!!", '"', "\\", "}}", "](", ");", "**", "<<", "??", "--", "==", ":)", "{", "#", "~~",
    "',", "[", "|", ".<", "%%", "\\n", "/*", "```", "++", ":", ";;", "(@", "_{", "&&", ">>>",
)  # fmt: skip
_STEERING = (
    "Sure", "tutorial", "step", "Here", "sentences", "interface", "opposite", "revert", "Manuel",
    "write", "answer", "format", "begin", "Now", "please", "reply", "table", "ok", "list",
    "instead", "without", "repeat", "explain", "summary", "certainly", "Title", "output",
)  # fmt: skip
_LONGEST_PIECE = 16


def adversarial_suffix(rng: Random, request: str, documents: Sequence[str]) -> str:
    """The request, then 12 to 40 pieces of words, steering words and marks, glued at random.

    The search ranges over a whole vocabulary: prose, code and other languages side by side. So the
    pieces come from several `documents` of different kinds.
    """
    words = [word for text in documents for word in text.split()[:400]] or ["word"]
    pieces = []
    for _ in range(rng.randint(12, 40)):
        draw = rng.random()
        if draw < 0.35:
            piece = rng.choice(_MARKS)
        elif draw < 0.55:
            piece = rng.choice(_STEERING)
        else:
            word = rng.choice(words)[:_LONGEST_PIECE]
            piece = word[rng.randrange(len(word)) :] if rng.random() < 0.4 else word
            piece = piece.capitalize() if rng.random() < 0.2 else piece
        pieces.append(piece if rng.random() < 0.45 else f" {piece}")
    return f"{request} {''.join(pieces).strip()}"


def harmless_tail(rng: Random, request: str, context: str) -> str:
    """The request, then what a clipboard, a template or a keyboard leaves behind."""
    kind = rng.randrange(5)
    if kind == 0:
        tail = f"(ref: {''.join(rng.choices('0123456789abcdef', k=rng.randint(8, 32)))})"
    elif kind == 1:
        tail = " | ".join(str(rng.randint(0, 9999)) for _ in range(rng.randint(4, 14)))
    elif kind == 2:
        tail = "".join(rng.choices(string.ascii_lowercase + " ;,", k=rng.randint(6, 30)))
    elif kind == 3:
        tail = rng.choice(("!!!!", "?????", "......", "-----", "=====", ":-)", "<br><br>", "***"))
    else:
        # The middle of something: no beginning, no end.
        start = rng.randrange(max(1, len(context) - 60))
        tail = context[start : start + rng.randint(40, 160)]
    return f"{request} {tail}"
