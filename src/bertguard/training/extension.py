"""An encoder of one language -> one that reads words of others: new rows of its table of words.

The rows are learnt by masked-language modelling while the rest of the encoder stands still, so that
a new word comes to lie where the encoder already has what it means. Then `guard train` goes on.

Source: Artetxe et al. 2020, "On the cross-lingual transferability of monolingual representations",
https://arxiv.org/abs/1910.11856, section 2 (step 2).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional

from bertguard.errors import ConfigurationError
from bertguard.model.checkpoint import CARD, CONFIG, TOKENIZER, Manifest, write_manifest
from bertguard.model.classifier import InjectionClassifier
from bertguard.model.tokenization import WindowTokenizer, unknown_id
from bertguard.model.torch_scorer import collate, resolve_device
from bertguard.model.writing import whole, writing
from bertguard.scoring import Window
from bertguard.training.card import model_card
from bertguard.training.dataset import token_budget_batches
from bertguard.training.loop import in_bf16, schedule, use_plain_attention
from bertguard.training.rows import WORDS_ADDED, new_share, only_rows
from bertguard.training.saving import write_weights
from bertguard.training.settings import Settings
from bertguard.training.start import starting_point, wrapped
from bertguard.training.validation import autocast
from bertguard.training.vocabulary import (
    Vocabulary,
    encoded,
    extended,
    poorly_read,
)

# A text teaches what it is made of: one of whose tokens fewer are new words is left out.
_LEAST_NEW = 0.2
# Of the tokens, and of those the share that is seen as the mask, as another word, as itself:
# Devlin et al. 2019, https://arxiv.org/abs/1810.04805, section 3.1.
_HIDDEN_SHARE = 0.15
_AS_MASK, _AS_ANOTHER = 0.8, 0.1
_WARMUP = 0.06

Report = Callable[[int, int, float], None]
"""Called with the number of the batch, how many there are, and its loss."""


@dataclass(frozen=True, slots=True)
class Reading:
    """How a tokenizer reads texts: `words`, the `tokens` it makes of them, those `unknown`."""

    words: int
    tokens: int
    unknown: int


@dataclass(frozen=True, slots=True)
class Extension:
    """What was added, and how the texts are read before and after it."""

    words: int
    texts: int
    before: Reading
    after: Reading
    loss: float


def extend(
    texts: Sequence[str],
    *,
    settings: Settings,
    words: int,
    out: Path,
    command: str = "",
    device: str = "auto",
    report: Report | None = None,
) -> Extension:
    """Write `settings.base` to `out` with up to `words` more words, their rows learnt from `texts`.

    What it scored before it scores as before: rows of old words, layers and head stay as they are.

    Args:
        texts: in any language; only those that the base reads poorly are used.
        settings: base, epochs, batch_tokens, learning_rate and seed count here.
        words: whole words and pieces of words to add at most.
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
        poor = poorly_read(old, texts)
        found = extended(old, poor, words)
        _widen(start.classifier, found, seed=settings.seed)
        tokenizer = wrapped(found.tokenizer, start.manifest)
        loss = _learn(
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
    """Rows for the new words: each the mean of its old pieces, or somewhere among the old rows."""
    encoder = classifier.encoder
    encoder.resize_token_embeddings(found.first_new + len(found.pieces), mean_resizing=False)
    _begin(cast("nn.Embedding", encoder.get_input_embeddings()).weight, found, seed=seed)


def _begin(table: Tensor, found: Vocabulary, *, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    old = table.detach()[: found.first_new]
    mean, spread = old.mean(0), old.std(0)
    with torch.no_grad():
        for number, pieces in enumerate(found.pieces):
            drawn = mean + spread * torch.randn(len(mean), generator=generator)
            table[found.first_new + number] = old[pieces].mean(0) if pieces else drawn


class _Guess(nn.Module):
    """BERT's head for hidden words: a layer, then the table of words itself, and a bias."""

    def __init__(self, hidden: int, words: int) -> None:
        super().__init__()
        self.layer = nn.Sequential(nn.Linear(hidden, hidden), nn.GELU(), nn.LayerNorm(hidden))
        self.bias = nn.Parameter(torch.zeros(words))

    def forward(self, hidden: Tensor, table: Tensor) -> Tensor:
        """Logits `(positions, words)` of hidden states `(positions, hidden)`."""
        return functional.linear(self.layer(hidden), table, self.bias)


def _learn(
    classifier: InjectionClassifier,
    windows: Sequence[Window],
    *,
    settings: Settings,
    pad_id: int,
    mask_id: int,
    first_new: int,
    report: Report | None,
) -> float:
    """Learn the rows from `first_new` on; the mean loss of the last epoch."""
    encoder = classifier.encoder
    if next(encoder.parameters()).device.type == "cpu":
        use_plain_attention(encoder)
    only_rows(classifier, first_new)
    table = cast("nn.Parameter", encoder.get_input_embeddings().weight)
    guess = _Guess(table.shape[1], len(table)).to(table.device)
    optimizer = torch.optim.AdamW(
        [table, *guess.parameters()],
        lr=settings.learning_rate,
        weight_decay=0.0,
        fused=table.device.type in ("cpu", "cuda"),
    )
    bf16 = in_bf16(settings, table.device)
    lengths = [len(window.ids) for window in windows]
    epochs = [
        token_budget_batches(lengths, max_tokens=settings.batch_tokens, seed=settings.seed + epoch)
        for epoch in range(settings.epochs)
    ]
    total = sum(map(len, epochs))
    done = 0
    losses: list[float] = []
    for batches in epochs:
        losses = []
        for inputs, places, hidden_ids in _hidden(batches, windows, pad_id, mask_id, table):
            for group in optimizer.param_groups:
                group["lr"] = settings.learning_rate * schedule(done / total, _WARMUP)
            with autocast(table.device, bf16=bf16):
                states = encoder(**inputs).last_hidden_state[places]
                logits = guess(states, table)
            loss = functional.cross_entropy(logits.float(), hidden_ids)
            loss.backward()  # type: ignore[no-untyped-call]  # torch has no type for it
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
            if not math.isfinite(losses[-1]):
                raise ConfigurationError(
                    f"the loss is not finite at update {done + 1}: use a learning rate below "
                    f"{settings.learning_rate:g}, or dtype fp32"
                )
            done += 1
            if report is not None:
                report(done, total, losses[-1])
    # No batch of the last epoch may have drawn a word to hide: texts of a word or two.
    return sum(losses) / max(1, len(losses))


def _hidden(
    batches: Sequence[Sequence[int]],
    windows: Sequence[Window],
    pad_id: int,
    mask_id: int,
    table: Tensor,
) -> Iterator[tuple[dict[str, Tensor], Tensor, Tensor]]:
    """Inputs with words hidden, where they are, `(batch, tokens)`, and which, `(positions,)`."""
    for batch in batches:
        laid_out = collate([windows[place] for place in batch], pad_id=pad_id)
        # Without the channel, which not every encoder has: words are guessed as in pretraining.
        inputs = {name: laid_out[name].to(table.device) for name in ("input_ids", "attention_mask")}
        ids = inputs["input_ids"]
        words = inputs["attention_mask"].bool()
        # The marks at both ends are no words.
        words = words & words.roll(1, 1) & words.roll(-1, 1)
        words[:, 0] = words[:, -1] = False
        drawn = torch.rand(ids.shape, device=ids.device)
        places = words & (drawn < _HIDDEN_SHARE)
        if not places.any():
            continue
        seen = ids.clone()
        seen[words & (drawn < _HIDDEN_SHARE * (_AS_MASK + _AS_ANOTHER))] = mask_id
        another = words & (drawn < _HIDDEN_SHARE * _AS_ANOTHER)
        seen[another] = torch.randint(len(table), (int(another.sum()),), device=ids.device)
        yield {**inputs, "input_ids": seen}, places, ids[places]


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
