"""An encoder of one language -> one that reads words of others: new rows of its table of words.

A word that a glossary explains starts where the encoder already has what it means. The rows are
then learnt by masked-language modelling while the rest of the encoder stands still, or stay as they
begin. Then `guard train` goes on.

Source: Artetxe et al. 2020, "On the cross-lingual transferability of monolingual representations",
https://arxiv.org/abs/1910.11856, section 2 (step 2).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import cast

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from bertguard.errors import ConfigurationError
from bertguard.model.checkpoint import CARD, CONFIG, TOKENIZER, Manifest, write_manifest
from bertguard.model.classifier import InjectionClassifier
from bertguard.model.tokenization import WindowTokenizer, unknown_id
from bertguard.model.torch_scorer import resolve_device
from bertguard.model.writing import whole, writing
from bertguard.scoring import Window
from bertguard.training.card import model_card
from bertguard.training.guessing import Report, learn_rows
from bertguard.training.history import WORDS_ADDED, words_added
from bertguard.training.rows import new_share
from bertguard.training.saving import write_weights
from bertguard.training.settings import Settings
from bertguard.training.start import starting_point, wrapped
from bertguard.training.vocabulary import (
    Vocabulary,
    encoded,
    extended,
    poorly_read,
)

# A text teaches what it is made of: one of whose tokens fewer are new words is left out.
_LEAST_NEW = 0.2


@dataclass(frozen=True, slots=True)
class Reading:
    """How a tokenizer reads texts: `words`, the `tokens` it makes of them, those `unknown`."""

    words: int
    tokens: int
    unknown: int


@dataclass(frozen=True, slots=True)
class Extension:
    """What was added, how the texts are read before and after it, and the loss of any guessing."""

    words: int
    texts: int
    before: Reading
    after: Reading
    loss: float | None


def extend(
    texts: Sequence[str],
    *,
    settings: Settings,
    words: int,
    out: Path,
    glossary: Mapping[str, str] = MappingProxyType({}),
    guess: bool = True,
    command: str = "",
    device: str = "auto",
    report: Report | None = None,
) -> Extension:
    """Write `settings.base` to `out` with more words, their rows learnt from `texts`.

    What it scored before it scores as before: rows of old words, layers and head stay as they are.
    But for old words of the glossary without an ASCII letter, unless words were added before: then
    their rows have been learnt.

    Args:
        texts: in any language. Words come from those that the base reads poorly, none that the
            others would be cut to other pieces by.
        settings: base, epochs, batch_tokens, learning_rate and seed count here.
        words: whole words and pieces of words to add at most beside the glossary.
        glossary: a word -> what it means in words of the base; see `read_glossary`.
        guess: learn the rows by guessing hidden words; else they stay as they begin.
        out: a new checkpoint directory, to be trained next (`Settings.base`).
        command: recorded in the model card.
        device: `auto`, `cpu`, `cuda`, …
        report: called after every update.

    Raises:
        CheckpointError: there is no such base, or `out` cannot be written.
        ConfigurationError: `out` is there, the base is no WordPiece encoder or has no mask token,
            the texts hold no word that it lacks or hardly any, or the loss is not finite.
    """
    # Before anything else: that it is there already should not be found out at the end.
    with whole(out) as beside:
        torch.manual_seed(settings.seed)
        where = resolve_device(device)
        start = starting_point(settings)
        old = start.tokenizer.tokenizer
        poor, well = poorly_read(old, texts)
        found = extended(old, poor, words, glossary, well_read=well)
        _widen(start.classifier, found, seed=settings.seed)
        if not words_added(start.manifest.training):
            _restate(start.classifier, found)
        tokenizer = wrapped(found.tokenizer, start.manifest)
        loss = None
        if guess:
            loss = learn_rows(
                start.classifier.to(where).eval(),
                _teaching(tokenizer, poor, found),
                settings=settings,
                pad_id=start.manifest.pad_id,
                mask_id=_mask_id(tokenizer, settings.base),
                first_new=found.first_new,
                report=report,
            )
        training = {
            **start.manifest.training,
            "command": command,
            "rows": len(poor),
            "validation_rows": 0,
            WORDS_ADDED: len(found.pieces),
        }
        manifest = replace(start.manifest, training=training, calibration={}, metrics={})
        _write(beside, out, start.classifier, tokenizer, manifest)
    return Extension(
        words=len(found.pieces),
        texts=len(poor),
        before=_reading(old, poor),
        after=_reading(found.tokenizer, poor),
        loss=loss,
    )


def _mask_id(tokenizer: WindowTokenizer, base: str) -> int:
    found: int | None = tokenizer.tokenizer.token_to_id("[MASK]")
    if found is None:
        raise ConfigurationError(
            f"{base}: its tokenizer has no [MASK], which new words are learnt by"
        )
    return found


def _teaching(tokenizer: WindowTokenizer, texts: Sequence[str], found: Vocabulary) -> list[Window]:
    """The windows that hold enough new words to teach any."""
    windows = [
        window
        for own in tokenizer.windows_of([(text, "prompt") for text in texts])
        for window in own
        if new_share(window, found.first_new) >= _LEAST_NEW
    ]
    if not windows:
        raise ConfigurationError(
            f"the {len(found.pieces):,} new words are scattered so thinly over the texts that "
            "nothing can be learnt of them; give more text in the languages to be learnt"
        )
    return windows


def _widen(classifier: InjectionClassifier, found: Vocabulary, *, seed: int) -> None:
    """Rows for the new words: each the mean of its pieces, or somewhere among the old rows."""
    encoder = classifier.encoder
    encoder.resize_token_embeddings(found.first_new + len(found.pieces), mean_resizing=False)
    table = _table(classifier)
    generator = torch.Generator().manual_seed(seed)
    old = table[: found.first_new]
    mean, spread = old.mean(0), old.std(0)
    for number, pieces in enumerate(found.pieces):
        drawn = mean + spread * torch.randn(len(mean), generator=generator)
        table[found.first_new + number] = old[pieces].mean(0) if pieces else drawn


def _restate(classifier: InjectionClassifier, found: Vocabulary) -> None:
    """Rows of old words that a glossary explains."""
    table = _table(classifier)
    old = table.clone()
    for number, pieces in found.restated.items():
        if pieces:
            table[number] = old[pieces].mean(0)


def _table(classifier: InjectionClassifier) -> Tensor:
    """The rows of all words, `(words, hidden)`, to be written to."""
    return cast("nn.Embedding", classifier.encoder.get_input_embeddings()).weight.detach()


def _reading(tokenizer: Tokenizer, texts: Sequence[str]) -> Reading:
    unknown = unknown_id(tokenizer)
    words = tokens = unread = 0
    for encoding in encoded(tokenizer, texts):
        words += len(set(encoding.word_ids))
        tokens += len(encoding.ids)
        unread += encoding.ids.count(unknown)
    return Reading(words, tokens, unread)


def _write(
    directory: Path,
    out: Path,
    classifier: InjectionClassifier,
    tokenizer: WindowTokenizer,
    manifest: Manifest,
) -> None:
    write_weights(directory, classifier)
    with writing(out):
        classifier.encoder.config.to_json_file(directory / CONFIG)
        (directory / TOKENIZER).write_text(tokenizer.tokenizer.to_str(pretty=True), "utf-8")
        written = write_manifest(directory, manifest)
        (directory / CARD).write_text(model_card(written), encoding="utf-8")
