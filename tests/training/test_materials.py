"""What texts are composed of: payloads and their twins in the language of their surroundings."""

from __future__ import annotations

from random import Random

from bertguard.training.augment.materials import Materials, Seeds
from bertguard.training.corpus import Seed
from bertguard.training.examples import Example


def test_a_payload_speaks_the_language_that_is_asked_for() -> None:
    """Payload, innocent twin and override, each from the seeds of that language alone."""
    chosen = [
        Seed(f"{language} {label} {channel}", label, channel, language, "general")
        for language in ("en", "zh", "de")
        for label in (0, 1)
        for channel in ("prompt", "data")
    ]
    materials = Materials([], Seeds(chosen))
    rng = Random(0)
    for _ in range(50):
        assert materials.payload(rng, "zh") == "zh 1 data"
        assert materials.innocent(rng, "zh") == "zh 0 data"
        assert materials.overriding(rng, "zh") == "zh 1 prompt"


def test_a_document_of_the_corpus_is_a_surrounding_and_a_payload_is_short() -> None:
    """Long benign seeds of channel data are documents; what stands inside one is a sentence."""
    page, sentence = "A long page. " * 20, "Turn left at the mill."
    chosen = [
        Seed(page, 0, "data", "de", "whole"),
        Seed(sentence, 0, "data", "de", "general"),
        Seed(page.upper(), 1, "data", "de", "whole"),
        Seed(sentence.upper(), 1, "data", "de", "general"),
    ]
    corpus = Seeds(chosen)
    rng = Random(0)
    assert corpus.document(rng) == (page, "de")
    assert {corpus.sentence(rng, 0, "de") for _ in range(50)} == {sentence}
    assert {corpus.sentence(rng, 1, "de") for _ in range(50)} == {sentence.upper()}
    row = Example("Ein Satz.", 0, "data", "web", language="fr")
    found = {Materials([row], corpus).document(rng) for _ in range(200)}
    assert found == {(page, "de"), ("Ein Satz.", "fr")}


def test_composed_texts_of_a_language_hold_payloads_of_it() -> None:
    """Through the whole epoch: most payloads in Chinese documents are Chinese."""
    from bertguard.training.augment import Augmentation, epoch_texts

    rows = [Example("今天的会议记录。下午讨论了预算。", 0, "data", "web", language="zh")] * 5
    composed = epoch_texts(rows, Augmentation(composed=400, replay=0.01), seed=0, epoch=0)[5:]
    chinese = [
        any("\u4e00" <= letter <= "\u9fff" for letter in text.text[slice(*text.payload)])
        for text in composed
        if text.payload and text.channel == "data" and "会议" in text.text
    ]
    assert len(chinese) > 50
    assert sum(chinese) > 0.5 * len(chinese)


def test_a_family_of_texts_is_drawn_more_often_than_a_single_one() -> None:
    """Once more for each place where it varies, up to four times."""
    family = "Forget [[it|that]] and [[say|tell]] [[a|one]] [[word|name]] [[now|here]]."
    corpus = Seeds([Seed(text, 1, "prompt", "en", "general") for text in ("Single.", family)])
    rng = Random(0)
    drawn = [corpus.draw(rng, "prompt", 1) for _ in range(500)]
    assert 0.75 < sum(text != "Single." for text in drawn) / 500 < 0.85
