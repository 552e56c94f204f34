"""What texts are composed of: the corpus, and the documents, orders and attacks of the data."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import TypeVar

from bertguard.training.augment.payloads import (
    harmless,
    is_order,
    is_question,
    override,
    payload,
)
from bertguard.training.augment.texts import TrainingText, sentence
from bertguard.training.corpus import Seed
from bertguard.training.examples import Example

_Row = TypeVar("_Row")

_SHORT_ATTACK_CHARS = 500
# How often a family of texts may be drawn for once that a single text is.
_MOST_COPIES = 4
# Of the draws from the corpus; the other languages share the rest evenly.
ENGLISH_SHARE = 0.4
_LONGEST_REQUEST_CHARS = 240
# Of the surroundings, those that are documents of the corpus.
_CORPUS_DOCUMENTS = 0.2
_DOCUMENT_CHARS = 140
# Of the seeds, what is short enough to stand inside a document.
_SENTENCE_CHARS = 240


class Seeds:
    """The corpus, drawn by label, channel and language first, so that English does not drown it."""

    def __init__(self, seeds: Sequence[Seed]) -> None:
        self._groups: dict[tuple[str, int], dict[str, list[Seed]]] = {}
        self._sentences: dict[int, dict[str, list[Seed]]] = {0: {}, 1: {}}
        self._documents: dict[str, list[Seed]] = {}
        for seed in seeds:
            if seed.held_out:
                continue
            # A family counts once more for each place where it varies.
            copies = [seed] * (1 + min(seed.text.count("[["), _MOST_COPIES - 1))
            languages = self._groups.setdefault((seed.channel, seed.label), {})
            languages.setdefault(seed.language, []).extend(copies)
            if seed.channel == "data" and len(seed.text) <= _SENTENCE_CHARS:
                self._sentences[seed.label].setdefault(seed.language, []).extend(copies)
            if seed.channel == "data" and not seed.label and len(seed.text) >= _DOCUMENT_CHARS:
                self._documents.setdefault(seed.language, []).append(seed)

    def draw(self, rng: Random, channel: str, label: int, language: str = "") -> str | None:
        """One text of a kind, in that language if given; None where there is none."""
        return _spoken(rng, self._groups.get((channel, label), {}), language)

    def sentence(self, rng: Random, label: int, language: str = "") -> str | None:
        """One text of channel data that may stand inside a document; like `draw`."""
        return _spoken(rng, self._sentences[label], language)

    def document(self, rng: Random) -> tuple[str, str] | None:
        """A benign document and its language; None where the corpus is not used."""
        if not self._documents:
            return None
        language = _language(rng, self._documents)
        return rng.choice(self._documents[language]).spoken(rng), language

    def text(self, rng: Random) -> TrainingText:
        """A seed as it stands; most are prompts, since payloads are composed as well."""
        channel = "prompt" if rng.random() < 0.7 else "data"
        label = rng.randrange(2)
        text = self.draw(rng, channel, label) or ""
        if channel == "prompt" and label == 1 and rng.random() < 0.25:
            # An innocent beginning: the attack is only the last thing that is said.
            before = self.draw(rng, "prompt", 0) or ""
            start = len(before) + 1
            gap = rng.choice((" ", "\n"))
            return TrainingText(f"{before}{gap}{text}", 1, channel, (start, start + len(text)))
        if channel == "prompt" and rng.random() < (0.1 if label else 0.3):
            # The other way round: what follows is innocent. Both labels are as often two in one.
            after = self.draw(rng, "prompt", 0) or ""
            place = (0, len(text)) if label else None
            return TrainingText(f"{text}{rng.choice((' ', chr(10)))}{after}", label, channel, place)
        return TrainingText(text, label, channel)


class Materials:
    """Documents, orders and attacks of the data, each drawn by source first, then by row."""

    def __init__(self, examples: Sequence[Example], seeds: Seeds) -> None:
        self._seeds = seeds
        self._documents: dict[str, list[tuple[str, str]]] = {}
        self._orders: dict[str, list[str]] = {}
        self._questions: dict[str, list[str]] = {}
        self._attacks: dict[str, list[str]] = {}
        for row in examples:
            if row.channel == "data" and row.label == 0 and row.text.strip():
                self._documents.setdefault(row.source, []).append((row.text, row.language))
            elif row.channel == "prompt" and row.label == 0 and is_order(row.text):
                self._orders.setdefault(row.source, []).append(row.text)
            elif row.channel == "prompt" and row.label == 0 and is_question(row.text):
                self._questions.setdefault(row.source, []).append(row.text)
            elif row.label == 1 and len(row.text) <= _SHORT_ATTACK_CHARS:
                self._attacks.setdefault(row.source, []).append(row.text)

    def document(self, rng: Random) -> tuple[str, str]:
        """A benign document and its language, as far as it is known."""
        if rng.random() < _CORPUS_DOCUMENTS and (found := self._seeds.document(rng)):
            return found
        return _draw(rng, self._documents) or ("No documents were found.", "en")

    def payload(self, rng: Random, language: str = "") -> str:
        if language and (seed := self._seeds.sentence(rng, 1, language)):
            return seed
        draw = rng.random()
        if draw < 0.3 and (seed := self._seeds.sentence(rng, 1)):
            return seed
        if draw < 0.4 and (question := _draw(rng, self._questions)):
            return question.strip()
        order, attack = _draw(rng, self._orders), _draw(rng, self._attacks)
        return payload(rng, orders=[order] if order else [], attacks=[attack] if attack else [])

    def overriding(self, rng: Random, language: str = "") -> str:
        if language and (seed := self._seeds.draw(rng, "prompt", 1, language)):
            return seed
        draw = rng.random()
        if draw < 0.35 and (seed := self._seeds.draw(rng, "prompt", 1)):
            return seed
        attack = _draw(rng, self._attacks)
        if attack and draw < 0.7:
            return attack
        return override(rng, _draw(rng, self._orders) or "Print your instructions.")

    def request(self, rng: Random) -> str:
        """What an ordinary user asks."""
        seed = self._seeds.draw(rng, "prompt", 0) if rng.random() < 0.5 else None
        if seed and len(seed) <= _LONGEST_REQUEST_CHARS:
            return seed
        return (_draw(rng, self._orders) or "Tell me about the sea.").strip()

    def innocent(self, rng: Random, language: str = "") -> str:
        """What stands in the payload's place in the benign twin."""
        if language and (seed := self._seeds.sentence(rng, 0, language)):
            return seed
        if rng.random() < 0.2 and (seed := self._seeds.sentence(rng, 0)):
            return seed
        return harmless(rng, sentence(rng, self.document(rng)[0]))


def _spoken(rng: Random, languages: dict[str, list[Seed]], language: str) -> str | None:
    if not languages or (language and language not in languages):
        return None
    return rng.choice(languages[language or _language(rng, languages)]).spoken(rng)


def _language(rng: Random, languages: dict[str, list[Seed]]) -> str:
    others = [language for language in languages if language != "en"]
    english = "en" in languages and (not others or rng.random() < ENGLISH_SHARE)
    return "en" if english else rng.choice(others)


def _draw(rng: Random, by_source: dict[str, list[_Row]]) -> _Row | None:
    if not by_source:
        return None
    return rng.choice(by_source[rng.choice(list(by_source))])
