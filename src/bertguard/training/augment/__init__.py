"""Examples -> the texts of one epoch: composed indirect injections, odd writings, twins.

Everything is drawn from (seed, epoch): the same two numbers give the same texts, on every process
and after an interruption.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from bertguard.errors import ConfigurationError
from bertguard.training.augment.carriers import CARRIERS, HERE, fill
from bertguard.training.augment.materials import Materials, Seeds
from bertguard.training.augment.noise import adversarial_suffix, harmless_tail
from bertguard.training.augment.obfuscation import READABLE, opaque
from bertguard.training.augment.texts import TrainingText, excerpt
from bertguard.training.corpus import read_corpus
from bertguard.training.examples import Example
from bertguard.views import views

__all__ = ["Augmentation", "TrainingText", "epoch_texts"]

# Of the composed twins, the share above this draw are prompts with a tail of noise.
_SUFFIXED_FROM = 0.93
# Of the surroundings in another language than English, those whose payload is in it too.
_SAME_LANGUAGE_SHARE = 0.6
_OPAQUE_SHARE = 0.15
# Of what is written oddly: the guard scores a text as written and as its views read it.
_READ_AGAIN_SHARE = 0.4
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
    "Please answer by what stands here:\n\n{0}",
    "Give me a short version of this article. {0}",
    "User review: {0}\n\nIs it positive or negative?",
    "{0}\n\nSummarise the above in one sentence.",
    'Read this and tell me what to do next:\n"""\n{0}\n"""',
    "Fasse den folgenden Text zusammen:\n{0}",
    "Übersetze ins Englische: {0}",
    "{0}\n\nWorum geht es hier?",
    "Résume le texte suivant :\n\n{0}",
    "Traduis en anglais : {0}",
    "Corrige les fautes : {0}",
    "Resume el siguiente texto:\n{0}",
    "Traduce al inglés: {0}",
    "¿De qué trata esto?\n\n{0}",
    "Resuma o texto a seguir:\n{0}",
    "Traduza para o inglês: {0}",
    "Riassumi il testo seguente:\n{0}",
    "Vat de volgende tekst samen:\n{0}",
    "Streść poniższy tekst:\n{0}",
    "Кратко перескажи следующий текст:\n{0}",
    "Переведи на английский: {0}",
    "Aşağıdaki metni özetle:\n{0}",
    "总结以下文字：\n{0}",
    "请把下面的内容翻译成英文：{0}",
    "次の文章を要約してください：\n{0}",
    "다음 글을 요약해 줘:\n{0}",
    "لخّص النص التالي:\n{0}",
    "निम्नलिखित पाठ का सारांश लिखो:\n{0}",
    "Ringkas teks berikut:\n{0}",
    "Tóm tắt đoạn văn sau:\n{0}",
    "สรุปข้อความต่อไปนี้:\n{0}",
)


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How much is added to the data of an epoch.

    Args:
        composed: texts composed per epoch; half of them carry a payload, half are their twins.
        obfuscated: share of all texts written oddly, of both labels alike.
        replay: share of the texts, beside the composed ones, that come from the corpus of the
            package, both labels alike.
    """

    composed: int = 0
    obfuscated: float = 0.0
    replay: float = 0.0

    def __post_init__(self) -> None:
        for name in ("obfuscated", "replay"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigurationError(
                    f"{name}={getattr(self, name)} must be at least 0 and below 1"
                )


def epoch_texts(
    examples: Sequence[Example], augmentation: Augmentation, *, seed: int, epoch: int
) -> list[TrainingText]:
    """The texts of one epoch: every example once, and what is composed from them."""
    rng = Random(f"{seed}:{epoch}")
    texts = [TrainingText(row.text, row.label, row.channel, source=row.source) for row in examples]
    seeds = Seeds(read_corpus() if augmentation.replay else ())
    if augmentation.composed:
        materials = Materials(examples, seeds)
        for _ in range(augmentation.composed // 2):
            texts += _twins(rng, materials)
    replayed = round(len(examples) * augmentation.replay / (1 - augmentation.replay))
    texts += [seeds.text(rng) for _ in range(replayed)]
    return [_maybe_odd(rng, text, augmentation.obfuscated) for text in texts]


def _twins(rng: Random, materials: Materials) -> list[TrainingText]:
    """Two texts in the same surroundings, one with a payload and one with a harmless sentence."""
    most = _LONG_SLICE_CHARS if rng.random() < 0.08 else _SLICE_CHARS
    document, language = materials.document(rng)
    context = excerpt(rng, document, most=most).replace(HERE, " ")
    if language in ("", "en") or rng.random() >= _SAME_LANGUAGE_SHARE:
        language = ""
    innocent = materials.innocent(rng, language)
    kind = rng.random()
    if kind > _SUFFIXED_FROM:
        request = materials.request(rng)
        salad = [context, *(materials.document(rng)[0] for _ in range(3))]
        hostile = adversarial_suffix(rng, request, salad)
        return [
            _marked(hostile, (0, len(hostile)), "prompt"),
            TrainingText(harmless_tail(rng, request, context), 0, "prompt"),
        ]
    if kind < 0.2:
        # The bare sentence: a field or a tool result that is nothing else.
        hostile = materials.payload(rng, language)
        return [_marked(hostile, (0, len(hostile)), "data"), TrainingText(innocent, 0, "data")]
    template, escape = rng.choice(CARRIERS)(rng, context)
    if kind < 0.32:
        request = rng.choice(_REQUESTS)
        before, _, after = request.partition("{0}")
        template = f"{before}{template}{after}"
        return [
            _marked(*fill(template, escape, materials.overriding(rng, language)), "prompt"),
            TrainingText(fill(template, escape, innocent)[0], 0, "prompt"),
        ]
    return [
        _marked(*fill(template, escape, materials.payload(rng, language)), "data"),
        TrainingText(fill(template, escape, innocent)[0], 0, "data"),
    ]


def _marked(text: str, place: tuple[int, int], channel: str) -> TrainingText:
    return TrainingText(text, 1, channel, place)


def _maybe_odd(rng: Random, text: TrainingText, share: float) -> TrainingText:
    if rng.random() >= share:
        return text
    if rng.random() < _OPAQUE_SHARE:
        if text.label == 0 and rng.random() < 0.6:
            return text.rewritten(lambda part: opaque(rng, part))
        return text.rewritten(lambda part: _read_again(opaque(rng, part)))
    writing = rng.choice(READABLE)
    if rng.random() < _READ_AGAIN_SHARE:
        return text.rewritten(lambda part: _read_again(writing(rng, part)))
    return text.rewritten(lambda part: writing(rng, part))


def _read_again(odd: str) -> str:
    """The text as a view of the guard would show it: words are cut otherwise, marks are lost."""
    return views(odd)[-1].text
