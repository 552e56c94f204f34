"""The corpus of the package: whole, balanced, and read the same everywhere."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

import grams
from bertguard.errors import DataError
from bertguard.training.augment import Augmentation, epoch_texts
from bertguard.training.corpus import _seeds, read_corpus
from bertguard.training.examples import Example, corpus_examples, corpus_validation


def test_every_kind_is_there_in_every_language() -> None:
    """Both labels and both channels, in twelve languages and more."""
    kinds = Counter((seed.language, seed.channel, seed.label) for seed in read_corpus())
    languages = {language for language, _, _ in kinds}
    assert {"en", "de", "fr", "es", "it", "pt", "nl", "pl", "ru", "zh", "ja", "ar", "hi", "tr"} <= (
        languages
    )
    for language in languages:
        for channel in ("prompt", "data"):
            for label in (0, 1):
                assert kinds[language, channel, label] >= 4, (language, channel, label)


def test_no_seed_stands_twice_and_none_has_both_labels() -> None:
    """By its words, whatever their case."""
    for channel in ("prompt", "data"):
        texts = Counter(s.text.casefold() for s in read_corpus() if s.channel == channel)
        assert not [text for text, count in texts.items() if count > 1]


def test_alternatives_are_chosen_by_the_seeded_generator() -> None:
    """One choice each, nothing of the notation left, the same for the same seed."""
    for seed in read_corpus():
        spoken = seed.spoken(Random(1))
        assert "[[" not in spoken
        assert "]]" not in spoken
        assert spoken == seed.spoken(Random(1))
        assert spoken.strip()


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("prompt.txt", "a"),
        ("prompt.hostile.en.txt", "a"),
        ("speech.benign.en.txt", "a"),
        ("prompt.benign.en.extra.txt", "a"),
        ("prompt.benign.en.validation.more.txt", "a"),
        ("prompt.benign.en.txt", "one [[two|three"),
        ("prompt.benign.en.txt", "one two]]"),
    ],
)
def test_a_file_that_is_not_as_described_is_named(name: str, line: str) -> None:
    """The error says which file."""
    with pytest.raises(DataError, match=name):
        list(_seeds(name, line))


def test_an_epoch_takes_as_many_as_asked_for() -> None:
    """Both labels about equally, every language among them."""
    rows = [Example("how are you?", 0)] * 2000
    texts = epoch_texts(rows, Augmentation(replay=0.5), seed=0, epoch=0)[2000:]
    labels = Counter(text.label for text in texts)
    assert sum(labels.values()) == 2000
    assert abs(labels[0] - labels[1]) < 200
    for text in texts:
        if text.payload is not None:
            start, end = text.payload
            # An attack after or before innocent words.
            assert 0 < start < end == len(text.text) or 0 == start < end < len(text.text)
    joined = "\n".join(text.text for text in texts)
    assert all(word in joined for word in ("system", "不", "прав", "nicht", "règle"))


def test_what_is_kept_to_choose_by_is_never_trained_on() -> None:
    """Neither replayed nor among the rows of a training on the corpus alone."""
    kept = {seed.text for seed in read_corpus() if seed.held_out}
    assert len(kept) > 500
    assert {(row.channel, row.label) for row in corpus_validation(seed=0)} == {
        ("prompt", 0), ("prompt", 1), ("data", 0), ("data", 1),
    }  # fmt: skip
    training, validation = corpus_examples(seed=0)
    assert not kept & {row.text for row in training}
    assert len(kept & {row.text for row in validation}) > 400
    rows = [Example("how are you?", 0)] * 20_000
    replayed = epoch_texts(rows, Augmentation(replay=0.5), seed=0, epoch=0)[20_000:]
    assert not kept & {text.text for text in replayed}


def test_the_corpus_alone_is_data_to_train_on() -> None:
    """Tens of thousands of texts, none twice, each family of wordings on one side."""
    training, validation = corpus_examples(seed=0)
    assert (training, validation) == corpus_examples(seed=0)
    assert len(training) > 20_000
    assert len(validation) > 500
    for rows in (training, validation):
        assert {(row.channel, row.label) for row in rows} == {
            ("prompt", 0), ("prompt", 1), ("data", 0), ("data", 1),
        }  # fmt: skip
        assert "corpus.hi" in {row.source for row in rows}
    texts = Counter((row.text, row.channel) for row in training)
    assert max(texts.values()) == 1
    assert not texts.keys() & {(row.text, row.channel) for row in validation}


def test_no_seed_is_a_text_of_the_public_evaluation_sets() -> None:
    """By 8-gram containment: no seed in any wording has half of its word 8-grams in there."""
    evaluation = grams.read()
    assert len(evaluation) > 400_000
    for seed in read_corpus():
        for draw in range(8):
            found = grams.grams(seed.spoken(Random(draw)))
            assert 2 * len(found & evaluation) < max(len(found), 1), seed.text
