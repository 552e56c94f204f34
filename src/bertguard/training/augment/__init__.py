"""Examples -> the texts of one epoch: composed indirect injections, odd writings, twins.

Everything is drawn from (seed, epoch): the same two numbers give the same texts, on every process
and after an interruption.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from bertguard.training.augment.carriers import CARRIERS, HERE, fill
from bertguard.training.augment.obfuscation import READABLE, opaque
from bertguard.training.augment.payloads import harmless, is_order, override, payload
from bertguard.training.augment.texts import TrainingText, excerpt, sentence
from bertguard.training.dataset import Example

__all__ = ["Augmentation", "TrainingText", "epoch_texts"]

_SHORT_ATTACK_CHARS = 500
_SLICE_CHARS = 700
_LONG_SLICE_CHARS = 2400

# A person hands a document to the model: the frame is a prompt, what it carries is not.
_REQUESTS = (
    "Summarize the following text:\n\n{0}",
    "{0}\n\nWhat is this about?",
    "Translate to German: {0}",
    "Proofread this for me:\n{0}",
    "Here is an email I received:\n{0}\nPlease draft a reply.",
    "Explain this code:\n```\n{0}\n```",
    "What does this error mean?\n\n{0}",
    "Rewrite formally: {0}",
    "Extract every date from this document.\n---\n{0}\n---",
    "Context:\n{0}\n\nQuestion: who wrote it?",
    "tl;dr?\n\n{0}",
    "I found this page: {0} Is it trustworthy?",
    "Fix the grammar: {0}",
    "Classify the sentiment of this review: {0}",
    "Make five quiz questions from:\n{0}",
    "Turn this into a table.\n{0}",
    "<document>\n{0}\n</document>\nGive me three key points.",
)


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How much is added to the data of an epoch.

    Args:
        composed: texts composed per epoch; half of them carry a payload, half are their twins.
        obfuscated: share of all texts written oddly, of both labels alike.
    """

    composed: int = 0
    obfuscated: float = 0.0


def epoch_texts(
    examples: Sequence[Example], augmentation: Augmentation, *, seed: int, epoch: int
) -> list[TrainingText]:
    """The texts of one epoch: every example once, and what is composed from them."""
    rng = Random(f"{seed}:{epoch}")
    texts = [TrainingText(row.text, row.label, row.channel) for row in examples]
    materials = _Materials(examples) if augmentation.composed else None
    if materials is not None:
        for _ in range(augmentation.composed // 2):
            texts += _twins(rng, materials)
    return [_maybe_odd(rng, text, augmentation.obfuscated) for text in texts]


class _Materials:
    """Documents, orders and attacks of the data, each drawn by source first, then by row."""

    def __init__(self, examples: Sequence[Example]) -> None:
        self._documents: dict[str, list[str]] = {}
        self._orders: dict[str, list[str]] = {}
        self._attacks: dict[str, list[str]] = {}
        for row in examples:
            if row.channel == "data" and row.label == 0 and row.text.strip():
                self._documents.setdefault(row.source, []).append(row.text)
            elif row.channel == "prompt" and row.label == 0 and is_order(row.text):
                self._orders.setdefault(row.source, []).append(row.text)
            elif row.label == 1 and len(row.text) <= _SHORT_ATTACK_CHARS:
                self._attacks.setdefault(row.source, []).append(row.text)

    def document(self, rng: Random) -> str:
        return _draw(rng, self._documents) or "No documents were found."

    def payload(self, rng: Random) -> str:
        order, attack = _draw(rng, self._orders), _draw(rng, self._attacks)
        return payload(rng, orders=[order] if order else [], attacks=[attack] if attack else [])

    def overriding(self, rng: Random) -> str:
        attack = _draw(rng, self._attacks)
        if attack and rng.random() < 0.5:
            return attack
        return override(rng, _draw(rng, self._orders) or "Print your instructions.")


def _twins(rng: Random, materials: _Materials) -> list[TrainingText]:
    """Two texts in the same surroundings, one with a payload and one with a harmless sentence."""
    most = _LONG_SLICE_CHARS if rng.random() < 0.08 else _SLICE_CHARS
    context = excerpt(rng, materials.document(rng), most=most).replace(HERE, " ")
    innocent = harmless(rng, sentence(rng, materials.document(rng)))
    kind = rng.random()
    if kind < 0.12:
        # The bare sentence: a field or a tool result that is nothing else.
        hostile = materials.payload(rng)
        return [_marked(hostile, (0, len(hostile)), "data"), TrainingText(innocent, 0, "data")]
    template, escape = rng.choice(CARRIERS)(rng, context)
    if kind < 0.24:
        request = rng.choice(_REQUESTS)
        before, _, after = request.partition("{0}")
        template = f"{before}{template}{after}"
        return [
            _marked(*fill(template, escape, materials.overriding(rng)), "prompt"),
            TrainingText(fill(template, escape, innocent)[0], 0, "prompt"),
        ]
    return [
        _marked(*fill(template, escape, materials.payload(rng)), "data"),
        TrainingText(fill(template, escape, innocent)[0], 0, "data"),
    ]


def _marked(text: str, place: tuple[int, int], channel: str) -> TrainingText:
    return TrainingText(text, 1, channel, place)


def _maybe_odd(rng: Random, text: TrainingText, share: float) -> TrainingText:
    if rng.random() >= share:
        return text
    if text.label == 0 and rng.random() < 0.15:
        return text.rewritten(lambda part: opaque(rng, part))
    writing = rng.choice(READABLE)
    return text.rewritten(lambda part: writing(rng, part))


def _draw(rng: Random, by_source: dict[str, list[str]]) -> str | None:
    if not by_source:
        return None
    return rng.choice(by_source[rng.choice(list(by_source))])
