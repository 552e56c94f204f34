"""Words that a WordPiece vocabulary lacks: which ones, and a tokenizer that knows them.

An encoder that was pretrained on English reads other languages letter by letter, or not at all:
half of the Chinese characters are `[UNK]` to bert-base-uncased, and no training can tell one
`[UNK]` from another.

A new word starts from what a glossary says it means in words that the vocabulary has, else from the
mean of the pieces that it was cut into.

Sources: vocabulary transfer, Gee et al. 2022, https://arxiv.org/abs/2402.09977, for the pieces;
word-by-word initialisation from a dictionary, as in Tran 2020, https://arxiv.org/abs/2002.07306,
for the glosses.
"""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from tokenizers import Encoding, Tokenizer, models, trainers

from bertguard.errors import ConfigurationError
from bertguard.model.tokenization import harden, softened, unknown_id

# From this share of words on that are cut up or unknown, a text is in a language to be learnt; of
# English prose it is below a tenth, of French a third.
_BROKEN_SHARE = 0.25
# A word that is seen less often cannot be learnt, and is mostly a name.
_LEAST_OFTEN = 4
# Of the uses of a new word this share may lie in texts that were read well before: beyond it the
# word is one of theirs (`json`, `dele` of `deleted`), and they would be cut to other pieces by it.
_WELL_READ_SHARE = 0.05
_BATCH_TEXTS = 512


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """A tokenizer with new words, their ids being `first_new` and higher.

    `pieces` holds, for each new word in order, the ids that the old tokenizer made of its gloss,
    or of itself where it has none; nothing where that knew no part of it. `restated` holds the same
    for old words that have a gloss and no ASCII letter: what a vocabulary of English holds of other
    scripts has a row that hardly ever met a text.
    """

    tokenizer: Tokenizer
    first_new: int
    pieces: list[list[int]]
    restated: Mapping[int, list[int]]


def poorly_read(tokenizer: Tokenizer, texts: Sequence[str]) -> tuple[list[str], list[str]]:
    """The texts of which a quarter of the words are cut into pieces or unknown, and the others."""
    unknown = unknown_id(tokenizer)
    poor: list[str] = []
    well: list[str] = []
    for text, encoding in zip(texts, encoded(tokenizer, texts), strict=True):
        words = len(set(encoding.word_ids))
        broken = len(encoding.ids) - words + encoding.ids.count(unknown)
        (poor if words and broken / words > _BROKEN_SHARE else well).append(text)
    return poor, well


def extended(
    tokenizer: Tokenizer,
    texts: Sequence[str],
    words: int,
    glossary: Mapping[str, str] = MappingProxyType({}),
    *,
    well_read: Sequence[str] = (),
) -> Vocabulary:
    """The tokenizer with the words of the glossary and up to `words` of the most frequent others.

    But for those that `well_read` would be cut to other pieces by.

    Args:
        tokenizer: a WordPiece tokenizer, hardened or not.
        texts: in the languages to be learnt; see `poorly_read`.
        words: how many words and pieces that it lacks to add at most beside the glossary.
        glossary: a word -> what it means in words that the tokenizer has.
        well_read: texts that the tokenizer reads well, in its own language.

    Raises:
        ConfigurationError: another kind of tokenizer, or the texts hold nothing new.
    """
    if not isinstance(tokenizer.model, models.WordPiece):
        raise ConfigurationError(
            f"a {type(tokenizer.model).__name__} tokenizer: only the words of WordPiece can be "
            "extended; others, such as XLM-R's, have been trained on many languages"
        )
    plain = softened(tokenizer)
    description: dict[str, Any] = json.loads(plain.to_str())
    known: dict[str, int] = description["model"]["vocab"]
    prefix: str = description["model"]["continuing_subword_prefix"]
    glosses = _normal(plain, glossary)
    new = [word for word in {**glosses, **_letters_of(glosses, prefix)} if word not in known]
    new += _most_frequent(tokenizer, texts, words, known={*known, *new}, prefix=prefix)
    first = max([*known.values(), *(word["id"] for word in description["added_tokens"])]) + 1

    def knowing(more: Sequence[str]) -> Tokenizer:
        vocabulary = known | {word: first + number for number, word in enumerate(more)}
        model = description["model"] | {"vocab": vocabulary}
        return harden(Tokenizer.from_str(json.dumps(description | {"model": model})))

    while theirs := _words_of(well_read, texts, knowing(new), first, prefix=prefix):
        new = [word for word in new if word not in theirs]
    if not new:
        raise ConfigurationError(
            "the texts hold no word that the vocabulary lacks; give texts in other languages"
        )
    unknown = unknown_id(tokenizer)

    def pieces_of(text: str) -> list[int]:
        found = tokenizer.encode(text, add_special_tokens=False).ids
        return [piece for piece in found if piece != unknown]

    pieces = [
        pieces_of(glosses.get(word, "")) or pieces_of(word.removeprefix(prefix)) for word in new
    ]
    restated = {
        known[word]: pieces_of(gloss)
        for word, gloss in glosses.items()
        if word in known and not any(map(str.isascii, word))
    }
    return Vocabulary(knowing(new), first, pieces, restated)


def _words_of(
    well_read: Sequence[str],
    others: Sequence[str],
    tokenizer: Tokenizer,
    first_new: int,
    *,
    prefix: str,
) -> set[str]:
    """The new words, but for letters, that belong to the texts that were read well before."""
    here = _uses(tokenizer, well_read, first_new)
    there = _uses(tokenizer, others, first_new) if here else here
    names = {number: word for word, number in tokenizer.get_vocab().items()}
    return {
        names[number]
        for number, uses in here.items()
        if len(names[number].removeprefix(prefix)) > 1
        and uses >= _LEAST_OFTEN
        and uses > _WELL_READ_SHARE * (uses + there[number])
    }


def _uses(tokenizer: Tokenizer, texts: Sequence[str], first_new: int) -> Counter[int]:
    found: Counter[int] = Counter()
    for encoding in encoded(tokenizer, texts):
        found.update(number for number in encoding.ids if number >= first_new)
    return found


def _normal(soft: Tokenizer, glossary: Mapping[str, str]) -> dict[str, str]:
    """The glossary by words as the tokenizer sees them: in small letters, without accents, say.

    Two that become one mean what both mean. What it cuts at a sign or a space is no word to it.
    """
    found: dict[str, str] = {}
    for word, gloss in glossary.items():
        normal = soft.normalizer.normalize_str(word) if soft.normalizer else word
        parts = [part for part, _ in soft.pre_tokenizer.pre_tokenize_str(normal)]
        if len(parts) == 1:
            before = found.get(parts[0])
            found[parts[0]] = gloss if before in (None, gloss) else f"{before} {gloss}"
    return found


def _letters_of(words: Iterable[str], prefix: str) -> dict[str, None]:
    """What these words need to be read at all: each letter, as a beginning and as what goes on."""
    letters = dict.fromkeys(letter for word in words if len(word) > 1 for letter in word)
    return dict.fromkeys(form for letter in letters for form in (letter, prefix + letter))


def _most_frequent(
    tokenizer: Tokenizer, texts: Sequence[str], words: int, *, known: set[str], prefix: str
) -> list[str]:
    """WordPiece's own choice for these texts, letters first, without what is known already."""
    soft = softened(tokenizer)
    letters = _letters(soft, texts, prefix=prefix)
    learner = Tokenizer(models.WordPiece(unk_token=tokenizer.model.unk_token))
    learner.normalizer = soft.normalizer
    learner.pre_tokenizer = soft.pre_tokenizer
    # As many as are wanted beside all that turns out to be known already.
    learner.train_from_iterator(
        texts,
        trainers.WordPieceTrainer(
            vocab_size=words + len(known) + len(letters),
            min_frequency=_LEAST_OFTEN,
            # Of pieces that are equally frequent it takes the one with the lowest ids, and gives
            # ids in the order of a hash table, another one each time. Not to what comes first.
            special_tokens=sorted(letters),
            continuing_subword_prefix=prefix,
            show_progress=False,
        ),
    )
    learnt = sorted(learner.get_vocab().items(), key=lambda item: item[1])
    found = []
    for word, _ in learnt:
        body = word.removeprefix(prefix)
        often = len(body) > 1 or letters[body] >= _LEAST_OFTEN
        if word not in known and often and all(map(_belongs_to_words, body)):
            found.append(word)
    return found[:words]


def _belongs_to_words(letter: str) -> bool:
    # Full-width, bold and script letters are Latin ones written oddly: `views` reads them, and as
    # words of their own they would be met in attacks alone.
    if not letter.isascii() and unicodedata.normalize("NFKC", letter).isascii():
        return False
    # The vowels of Indian scripts are marks.
    return letter.isalpha() or unicodedata.category(letter).startswith("M")


def _letters(tokenizer: Tokenizer, texts: Sequence[str], *, prefix: str) -> Counter[str]:
    """How often the texts hold each letter, and how often in a word of several (`##x`).

    A letter is read where it is known both as a beginning and as what goes on; see `harden`.
    Chinese characters are words of their own.
    """
    found: Counter[str] = Counter()
    for text in texts:
        normal = tokenizer.normalizer.normalize_str(text) if tokenizer.normalizer else text
        for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(normal):
            found.update(word)
            if len(word) > 1:
                found.update(prefix + letter for letter in word)
    return found


def encoded(tokenizer: Tokenizer, texts: Sequence[str]) -> Iterator[Encoding]:
    """What a tokenizer makes of each text, a few at a time: encodings are far larger than texts."""
    for begun in range(0, len(texts), _BATCH_TEXTS):
        yield from tokenizer.encode_batch(
            list(texts[begun : begun + _BATCH_TEXTS]), add_special_tokens=False
        )
